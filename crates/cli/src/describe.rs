//! What `mica mount -v` says: what was chosen for a mount.

use mica::{Escaped, Features, Mount, MountFlags, MountSpec};

/// Describes a mount, one fact to a line.
pub(crate) fn describe(mount: &Mount, spec: &MountSpec) -> String {
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
    if let Some(features) = mount.stack().features() {
        lines.push(abilities(features));
    }
    let marks = spec.stack.xattrs.prefix();
    lines.push(format!("marks kept as {}*", marks.escape_ascii()));
    lines.push("data path cached, transport dev".into());
    lines.push(mount.protocol().to_string());
    lines.push(String::new());
    lines.join("\n")
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
