//! Which crate may depend on which: the picture of ARCHITECTURE.md, as a table; and that only `sys` names libc.

use super::Finding;
use super::source::Source;

/// Each crate, and those of ours that it may depend on. Tests (dev-dependencies) may use `testkit` and `tmpfs`, too.
const EDGES: [(&str, &[&str]); 11] = [
    ("crates/sys", &["libc"]),
    ("crates/vfs", &[]),
    ("crates/tmpfs", &["mica-vfs"]),
    ("crates/host", &["mica-sys", "mica-vfs"]),
    ("crates/overlay", &["mica-vfs"]),
    ("crates/fuse", &["mica-sys", "mica-vfs"]),
    (
        "crates/mica",
        &[
            "mica-sys",
            "mica-vfs",
            "mica-tmpfs",
            "mica-host",
            "mica-overlay",
            "mica-fuse",
            // In a build of the feature `planted`.
            "mica-testkit",
        ],
    ),
    ("crates/cli", &["mica", "mica-sys", "mica-vfs"]),
    (
        "crates/testkit",
        &["mica-vfs", "mica-tmpfs", "mica-host", "mica-overlay"],
    ),
    ("xtask", &[]),
    (
        "fuzz",
        &[
            "mica",
            "mica-vfs",
            "mica-tmpfs",
            "mica-host",
            "mica-overlay",
            "mica-fuse",
        ],
    ),
];

/// Every dependency between our crates is in the table.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let Some(folder) = source.path.strip_suffix("/Cargo.toml") else {
            continue;
        };
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == folder) else {
            findings.push(Finding::new(
                &source.path,
                "a new crate: add it to tidy/edges.rs and ARCHITECTURE.md",
            ));
            continue;
        };
        for name in dependencies(&source.text).filter(|name| !allowed.contains(name)) {
            let advice = format!(
                "depends on `{name}`, an edge that tidy/edges.rs does not allow: dependencies point one way"
            );
            findings.push(Finding::new(&source.path, advice));
        }
    }
    findings
}

/// Returns our crates, and libc, in the `[dependencies]` section of a manifest.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| ["mica", "libc"].contains(name) || name.starts_with("mica-"))
}

#[cfg(test)]
mod tests {
    use super::{Source, check};

    #[test]
    fn the_overlay_may_not_see_the_host() {
        let manifest =
            "[dependencies]\nmica-vfs.workspace = true\nmica-host = { workspace = true }\n";
        let source = Source {
            path: "crates/overlay/Cargo.toml".into(),
            text: manifest.into(),
        };
        let findings = check(&[source]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].advice.contains("`mica-host`"));
    }

    #[test]
    fn dev_dependencies_are_free() {
        let manifest = "[dependencies]\nmica-vfs.workspace = true\n\n[dev-dependencies]\nmica-testkit.workspace = true\n";
        let source = Source {
            path: "crates/overlay/Cargo.toml".into(),
            text: manifest.into(),
        };
        assert!(check(&[source]).is_empty());
    }
}
