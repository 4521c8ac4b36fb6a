//! What the kernel's overlayfs makes of an upper and its work directory (ovl_get_workdir, ovl_make_workdir, ovl_get_indexdir).

use mica_host::Features;

use super::asked::Asked;
use super::finding::Finding;
use super::layers::{Dir, Facts, Layers, magic};
use super::machine::Machine;
use super::remains::{self, Left};
use super::rows;
use crate::stack::error::word;
use crate::stack::{LayerDir, StackError};

/// Adds what is wrong with the upper, if there is one.
pub(super) fn judge(asked: &Asked, machine: &Machine, layers: &Layers, found: &mut Vec<Finding>) {
    let (Some(upper), Some(work)) = (&layers.upper, &layers.work) else {
        return;
    };
    if let Some((there, here)) = upper.facts().zip(work.facts()) {
        if there.read_only {
            let dir = upper.dir.clone();
            found.push(shared(&rows::UPPER_READ_ONLY, StackError::ReadOnly { dir }));
        } else if there.magic == magic::OVERLAY {
            found.push(on_overlay(&upper.dir));
        } else if there.magic == magic::NFS {
            found.push(remote(
                &upper.dir,
                "NFS keeps no whiteouts and no attributes",
            ));
        } else if let Some(features) = here.features {
            found.extend(lacking(asked, machine, upper, there, features));
        }
        if there.unseen_error {
            found.push(unseen_error(&upper.dir));
        }
        if here.by.is_none() {
            found.extend(left_behind(asked, machine, layers, upper, work));
        }
    }
    if asked.is_on("index", machine) || asked.has("xino", "auto") {
        found.extend(handles(asked, machine, layers));
    }
}

fn shared(row: &'static rows::Row, error: StackError) -> Finding {
    let hint = error.hint();
    Finding::of_kernel(row, error, hint)
}

/// The way out where a filesystem cannot hold an upper.
fn elsewhere(upper: &LayerDir) -> String {
    format!(
        "choose an upperdir and a workdir on another filesystem; `findmnt -T {}` shows this one",
        word(&upper.path)
    )
}

fn on_overlay(upper: &LayerDir) -> Finding {
    Finding::kernel(
        &rows::UPPER_ON_OVERLAY,
        format!("{upper} is on an overlay, which the kernel takes for no upper"),
        format!(
            "{}. In a container, use a volume or a tmpfs",
            elsewhere(upper)
        ),
    )
}

fn remote(upper: &LayerDir, why: &str) -> Finding {
    Finding::kernel(
        &rows::REMOTE_UPPER,
        format!("{upper} is on a filesystem of a server that lacks what an upper needs: {why}"),
        elsewhere(upper),
    )
}

fn unseen_error(upper: &LayerDir) -> Finding {
    Finding::kernel(
        &rows::WRITEBACK_ERROR,
        format!(
            "a write to the filesystem of {upper} failed, and nobody was told: the kernel mounts nothing `volatile` there"
        ),
        format!(
            "`sync -f {0}` tells of it, and takes it away; `dmesg` and `df {0}` may show why it failed",
            word(&upper.path)
        ),
    )
}

/// Filesystems whose names the kernel asks a server about (`ovl_dentry_remote`).
fn is_remote(facts: &Facts) -> bool {
    let remote = [magic::FUSE, magic::NFS, magic::V9FS, magic::CEPH];
    remote.contains(&facts.magic) || magic::SMB.contains(&facts.magic)
}

/// Says what the filesystem of an upper cannot do.
fn lacking(
    asked: &Asked,
    machine: &Machine,
    upper: &Dir,
    facts: &Facts,
    features: Features,
) -> Vec<Finding> {
    let dir = || upper.dir.clone();
    let lacks = [
        (features.d_type, "no d_type"),
        (features.rename_whiteout, "no RENAME_WHITEOUT"),
        (features.xattr, "no attributes"),
    ];
    let lacks: Vec<&str> = lacks
        .iter()
        .filter(|(has, _)| !has)
        .map(|(_, what)| *what)
        .collect();
    if is_remote(facts) && !lacks.is_empty() {
        return vec![remote(&upper.dir, &lacks.join(", "))];
    }
    let mut found = Vec::new();
    if !features.d_type {
        found.push(shared(
            &rows::NO_D_TYPE,
            StackError::NoDirentType { upper: dir() },
        ));
    }
    if !features.whiteout {
        found.push(shared(
            &rows::NO_WHITEOUT,
            StackError::NoWhiteout { upper: dir() },
        ));
    }
    if !features.rename_whiteout {
        found.push(Finding::kernel(
            &rows::NO_RENAME_WHITEOUT,
            format!("the filesystem of {} lacks RENAME_WHITEOUT: a crash between the two steps of a rename shows the old name again", upper.dir),
            elsewhere(&upper.dir),
        ));
    }
    if !features.tmpfile {
        found.push(Finding::kernel(
            &rows::NO_TMPFILE,
            format!(
                "the filesystem of {} lacks O_TMPFILE: copy-up is slower",
                upper.dir
            ),
            elsewhere(&upper.dir),
        ));
    }
    if !features.xattr {
        let (row, namespace) = match (asked.userxattr, facts.magic) {
            (true, magic::TMPFS) if machine.older_than(6, 6) => {
                (&rows::TMPFS_USER_XATTR, "user.overlay.")
            }
            (true, _) => (&rows::NO_XATTR, "user.overlay."),
            (false, _) => (&rows::NO_XATTR, "trusted.overlay."),
        };
        // Who may not set them is told so by `TRUSTED_XATTRS`.
        if asked.userxattr || machine.trusted() {
            let upper = dir();
            found.push(shared(row, StackError::NoXattr { upper, namespace }));
        }
    }
    found
}

/// Says what an earlier mount left in the way.
fn left_behind(
    asked: &Asked,
    machine: &Machine,
    layers: &Layers,
    upper: &Dir,
    work: &Dir,
) -> Vec<Finding> {
    let mut found = Vec::new();
    match remains::left_in(&work.dir.path) {
        Left::Nothing => {}
        Left::Incompatible(feature) => {
            let error = StackError::Incompatible {
                upper: upper.dir.clone(),
                work: work.dir.clone(),
                feature,
            };
            found.push(shared(&rows::INCOMPATIBLE, error));
        }
        Left::Kept(what) => found.push(Finding::kernel(
            &rows::WORK_KEPT,
            format!(
                "{} holds what the kernel cannot remove, {}: it mounts read-only",
                work.dir,
                crate::Escaped::new(&what)
            ),
            format!(
                "see why with `lsattr -dR {0}`, and remove it with `rm -r {0}` while nothing is mounted",
                word(&work.dir.path.join("work"))
            ),
        )),
    }
    if !asked.is_on("index", machine) {
        return found;
    }
    let lower = layers.lowers.first();
    if let Some(lower) = lower
        && remains::is_of_another(&upper.dir.path, "origin", &lower.dir.path, asked.userxattr)
    {
        found.push(Finding::kernel(
            &rows::OTHER_LOWER,
            format!(
                "{} was used with `index=on` over another lower than {}",
                upper.dir, lower.dir
            ),
            "start with a new upperdir and workdir, or add `-o index=off`",
        ));
    }
    let index = work.dir.path.join("index");
    if remains::is_of_another(&index, "upper", &upper.dir.path, asked.userxattr) {
        found.push(Finding::kernel(
            &rows::STALE_INDEX,
            format!(
                "the index in {} is that of another upper than {}",
                work.dir, upper.dir
            ),
            format!(
                "remove it with `rm -r {}`, or add `-o index=off`",
                word(&index)
            ),
        ));
    }
    found
}

/// Says which layers cannot be told again by a file handle (ovl_lower_uuid_ok, ovl_can_decode_fh).
fn handles(asked: &Asked, machine: &Machine, layers: &Layers) -> Vec<Finding> {
    let mut found = Vec::new();
    let index = asked.is_on("index", machine);
    if index && !machine.trusted() {
        found.push(Finding::kernel(
            &rows::INDEX_DROPPED,
            "`index=on` needs CAP_DAC_READ_SEARCH in the initial user namespace, and is dropped"
                .into(),
            "leave `index=on` out, or mount as root",
        ));
        return found;
    }
    let without = layers.open().find(|(_, facts)| !facts.handles);
    if let Some((dir, _)) = without {
        let feature = if index { "index=on" } else { "xino=auto" };
        found.push(Finding::kernel(
            &rows::NO_HANDLES,
            format!("the filesystem of {dir} has no file handles, so `{feature}` is dropped"),
            format!(
                "leave `{feature}` out; `findmnt -T {}` shows the filesystem",
                word(&dir.path)
            ),
        ));
    }
    let lowers: Vec<_> = layers
        .lowers
        .iter()
        .filter_map(|dir| Some((&dir.dir, dir.facts()?)))
        .collect();
    let twin = lowers.iter().enumerate().find(|(n, (_, facts))| {
        let mut before = lowers.iter().take(*n);
        let other = |(_, other): &(&LayerDir, &Facts)| {
            other.uuid == facts.uuid && !other.place.same_filesystem(facts.place)
        };
        before.any(other)
    });
    if let Some((_, (dir, _))) = twin {
        found.push(Finding::kernel(
            &rows::SAME_UUID,
            format!("the filesystem of {dir} has no UUID, or that of another layer's: `index` and `xino` are dropped"),
            "give the copy a UUID of its own, with `tune2fs -U random`, `xfs_admin -U generate` or `btrfstune -u`, while it is not mounted",
        ));
    }
    found
}
