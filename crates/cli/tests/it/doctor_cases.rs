//! The cases that doctor knows, and how to get into each.

mod conditions;
mod directories;
mod filesystems;
mod options;

pub(crate) use conditions::CONDITIONS;

/// A way into a case, as root.
#[derive(Debug)]
pub(crate) struct Case {
    /// Its name.
    pub(crate) row: &'static str,
    /// Commands that make it, run by bash in the test's directory, in which `l`, `u`, `w`, `m` and `l2`, `u2`, `w2`, `m2` are.
    pub(crate) script: &'static str,
    /// Options of the mount; `$` is the test's directory.
    pub(crate) options: fn() -> String,
    /// What doctor says of Mica.
    pub(crate) mica: &'static str,
    /// Commands that succeed if the kernel's mount, at `m`, lacks what doctor says.
    pub(crate) then: &'static str,
    /// An object, and a mark of the overlay that it gets.
    pub(crate) mark: Option<(&'static str, &'static str, &'static str)>,
}

const WORKS: &str = "works";
const LESS: &str = "works-with-less";
const REFUSES: &str = "refuses";

macro_rules! case {
    ($row:literal, $script:literal, $options:expr, $mica:expr) => {
        case!($row, $script, $options, $mica, "true")
    };
    ($row:literal, $script:literal, $options:expr, $mica:expr, $then:literal) => {
        Case {
            row: $row,
            script: $script,
            options: || String::from($options),
            mica: $mica,
            then: $then,
            mark: None,
        }
    };
}
use case;

const UPPER: &str = "lowerdir=$/l,upperdir=$/u,workdir=$/w";

fn with(more: &str) -> String {
    format!("{UPPER},{more}")
}

/// Returns all that a script can make.
pub(crate) fn cases() -> impl Iterator<Item = &'static Case> {
    [options::CASES, directories::CASES, filesystems::CASES]
        .into_iter()
        .flatten()
}

/// Cases that are made in user namespaces, each in a test of its own.
pub(crate) const IN_NAMESPACES: &[&str] = &[
    "not-permitted",
    "other-user-namespace",
    "trusted-redirects",
    "trusted-xattrs",
    "index-dropped",
    "unmapped-ids",
    "closed",
    "no-effect",
];

/// Cases of FUSE, each made in a test of its own.
pub(crate) const WITH_FUSE: &[&str] = &[
    "fuse-missing",
    "fuse-closed",
    "fusermount-missing",
    "fusermount-powerless",
    "user-allow-other",
    "allow-root",
    "open-files",
    "option-refused",
];

/// Cases that this machine cannot make, and why not.
pub(crate) const PREDICTED: &[(&str, &str)] = &[
    ("verity-conflict", "Linux 6.15 and older"),
    ("no-overlayfs", "a kernel without overlayfs"),
    ("old-user-namespace", "Linux 5.10 and older"),
    (
        "not-supported",
        "autofs waits for its daemon, and this kernel has no vfat",
    ),
    ("casefold", "a kernel without CONFIG_UNICODE"),
    (
        "no-whiteout",
        "all filesystems of this kernel that take device nodes take those of whiteouts",
    ),
    (
        "no-tmpfile",
        "all filesystems of this kernel that can hold an upper have O_TMPFILE",
    ),
    ("tmpfs-user-xattr", "Linux 6.5 and older"),
    ("fuse-refused", "no kernel refuses what Mica asks for"),
    ("fuse-too-old", "Linux 5.8 and older"),
    ("other", "what has no name"),
];
