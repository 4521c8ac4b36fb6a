//! What `mica mount -v` says: what was chosen for a mount.

use mica::{
    Acls, Cage, Coherence, DirLinks, Durability, Escaped, Features, IdRules, Identity, Metacopies,
    Mount, MountFlags, MountSpec, OwnerXattr, Owners, Reach, Redirects, StackSpec, XattrNamespace,
};

use crate::cause::Cause;

/// Describes a mount, one fact to a line.
pub(crate) fn describe(mount: &Mount, spec: &MountSpec, cage: Option<&Cage>) -> String {
    let mut lines = vec![format!(
        "mounted at {}",
        Escaped::new(mount.unmounter().path())
    )];
    for (n, lower) in spec.stack.lower.iter().enumerate() {
        lines.push(format!("lower {} {}", n + 1, Escaped::new(lower)));
    }
    match &spec.stack.upper {
        Some(upper) => {
            lines.push(format!("upper {}", Escaped::new(&upper.dir)));
            lines.push(format!("work {}", Escaped::new(&upper.work)));
        }
        None => lines.push("no upper: read-only".into()),
    }
    if spec.stack.upper.is_some() && spec.flags.contains(MountFlags::READ_ONLY) {
        lines.push("read-only, as asked for".into());
    }
    if spec.stack.upper.is_some() {
        lines.extend(durability(spec.stack.durability).map(str::to_owned));
    }
    if let Some(features) = mount.stack().features() {
        lines.push(abilities(features));
    }
    let marks = spec.stack.xattrs.prefix();
    lines.push(format!("marks kept as {}*", marks.escape_ascii()));
    lines.push(redirects(&spec.stack).to_owned());
    lines.extend(metacopies(&spec.stack));
    lines.extend(identity(&spec.stack.identity));
    lines.push(match spec.stack.coherence {
        Coherence::Exclusive => "data path cached, transport dev".into(),
        Coherence::Shared => {
            "lowers shared: looked at again at each open; data path cached, transport dev".into()
        }
    });
    lines.push(mount.protocol().to_string());
    lines.extend(spec.notes.iter().map(|note| format!("option {note}")));
    lines.push(cage.map_or_else(|| "no sandbox".into(), Cage::to_string));
    if let (Some(_), Some(reach)) = (cage, mount.stack().reach()) {
        lines.push(match reach {
            Reach::Below(dir) => format!("sandbox reach: upper and work, in {}", Escaped::new(dir)),
            Reach::Mount { source } => format!(
                "sandbox reach: upper and work, and all else on their mount, which cannot be cloned: {}",
                Cause(*source)
            ),
        });
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Says what becomes of a directory of a lower that is renamed, and of one that was.
fn redirects(stack: &StackSpec) -> &'static str {
    match (stack.redirects.in_xattrs(stack.xattrs), stack.xattrs) {
        (Redirects::On, XattrNamespace::Trusted) => "redirects written and followed",
        (Redirects::On, XattrNamespace::User) => {
            "redirects written and followed; the kernel's overlayfs follows none in user.overlay.*, and refuses such directories with EPERM"
        }
        (Redirects::Follow, _) => {
            "redirects followed, not written: renaming a directory of a lower is EXDEV"
        }
        (Redirects::NoFollow, _) => {
            "redirects refused with EPERM, not written: renaming a directory of a lower is EXDEV"
        }
    }
}

/// Says where data lies that is not beside its metadata, if any may.
fn metacopies(stack: &StackSpec) -> Vec<String> {
    let mut lines = Vec::new();
    if stack.metacopies == Metacopies::On {
        lines.push("metacopies written and followed: a change of metadata copies no data".into());
    }
    if !stack.data.is_empty() {
        lines.push(format!("data-only layers: {}", stack.data.len()));
    }
    lines
}

/// Says when changes are put on disk, if not as usual.
const fn durability(durability: Durability) -> Option<&'static str> {
    match durability {
        Durability::Auto => None,
        Durability::Strict => {
            Some("fsync strict: copied-up files and directories are on disk before they show")
        }
        Durability::Volatile => Some(
            "volatile: nothing is put on disk; after a crash of the machine, throw upper and work away",
        ),
    }
}

/// Says whose objects are shown as whose, where that is not as everywhere.
fn identity(identity: &Identity) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(rules("uids", &identity.ids.users));
    lines.extend(rules("gids", &identity.ids.groups));
    match identity.owners {
        Owners::Real => {}
        Owners::Xattr(OwnerXattr::Security) => {
            lines.push("owners kept as security.fuseoverlayfs.override_stat".into());
        }
        Owners::Xattr(OwnerXattr::User) => {
            lines.push("owners kept as user.fuseoverlayfs.override_stat".into());
        }
    }
    if identity.acls == Acls::Off {
        lines.push("no ACLs".into());
    }
    if identity.dir_links == DirLinks::One {
        lines.push("link count of directories 1".into());
    }
    lines
}

fn rules(what: &str, rules: &IdRules) -> Option<String> {
    let ranges = rules.ranges.as_ref().map(|ranges| {
        let ranges = ranges.as_slice().iter();
        let ranges = ranges.map(|r| format!("{}:{}:{}", r.stored, r.shown, r.len));
        ranges.collect::<Vec<_>>().join(" ")
    });
    match (rules.squash, ranges) {
        (None, None) => None,
        (Some(id), None) => Some(format!("{what} shown as {id}")),
        (None, Some(ranges)) => Some(format!("{what} mapped {ranges}")),
        (Some(id), Some(ranges)) => Some(format!("{what} shown as {id}, stored by {ranges}")),
    }
}

/// Says what the upper filesystem can do and what it cannot.
fn abilities(features: Features) -> String {
    let all = [
        ("d_type", features.d_type),
        ("xattr", features.xattr),
        ("whiteout", features.whiteout),
        ("rename_whiteout", features.rename_whiteout),
        ("rename_exchange", features.rename_exchange),
        ("tmpfile", features.tmpfile),
    ];
    let named = |wanted: bool| {
        let names = all.iter().filter(|(_, has)| *has == wanted);
        names.map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
    };
    let (has, lacks) = (named(true), named(false));
    match lacks.as_str() {
        "" => format!("upper filesystem has {has}"),
        _ => format!("upper filesystem has {has}; lacks {lacks}"),
    }
}
