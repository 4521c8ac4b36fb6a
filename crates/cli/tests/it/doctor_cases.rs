//! The cases that doctor knows, and how to get into each.

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

const UPPER: &str = "lowerdir=$/l,upperdir=$/u,workdir=$/w";

fn with(more: &str) -> String {
    format!("{UPPER},{more}")
}

pub(crate) const CASES: &[Case] = &[
    // Options.
    case!("no-lower", "true", "upperdir=$/u,workdir=$/w", REFUSES),
    case!(
        "upper-without-work",
        "true",
        "lowerdir=$/l,upperdir=$/u",
        REFUSES
    ),
    case!(
        "work-without-upper",
        "true",
        "lowerdir=$/l:$/l2,workdir=$/w",
        REFUSES
    ),
    case!("single-lower", "true", "lowerdir=$/l", WORKS),
    case!("only-data-layers", "true", "lowerdir=::$/l", REFUSES),
    case!(
        "colons",
        "true",
        "lowerdir=$/l:,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
    case!(
        "colons",
        "true",
        "lowerdir=$/l:::$/l2,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
    case!(
        "lower-after-data",
        "mkdir d",
        "lowerdir=$/l::$/d:$/l2",
        REFUSES
    ),
    case!(
        "too-many-lowers",
        "true",
        format!("lowerdir=/{}", ":/".repeat(500)),
        REFUSES
    ),
    case!("unknown-option", "true", with("wibble"), REFUSES),
    case!("unknown-option", "true", with("noacl"), WORKS),
    case!("bad-value", "true", with("index=maybe"), REFUSES),
    case!(
        "options-cut",
        "for n in {100..160}; do mkdir -p $/long/a-directory-with-a-rather-long-name-as-those-of-images-are/$n; done",
        format!(
            "lowerdir={},upperdir=$/u,workdir=$/w",
            (100..160)
                .map(|n| format!(
                    "$/long/a-directory-with-a-rather-long-name-as-those-of-images-are/{n}"
                ))
                .collect::<Vec<_>>()
                .join(":")
        ),
        WORKS
    ),
    case!(
        "metacopy-conflict",
        "true",
        with("metacopy=on,redirect_dir=nofollow"),
        REFUSES
    ),
    case!(
        "nfs-export-conflict",
        "true",
        with("nfs_export=on,index=off"),
        REFUSES
    ),
    case!(
        "nfs-export-conflict",
        "true",
        with("nfs_export=on,metacopy=on"),
        REFUSES
    ),
    case!(
        "userxattr-conflict",
        "true",
        with("userxattr,redirect_dir=on"),
        WORKS
    ),
    case!(
        "userxattr-conflict",
        "true",
        with("userxattr,metacopy=on"),
        REFUSES
    ),
    // Directories.
    case!(
        "missing",
        "true",
        "lowerdir=$/l:$/gone,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
    case!(
        "not-a-directory",
        "touch f",
        "lowerdir=$/l:$/f,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
    case!(
        "same-directory",
        "true",
        "lowerdir=$/l:$/l,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
    case!(
        "same-directory",
        "true",
        "lowerdir=$/l:$/u,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
    case!(
        "lower-inside",
        "mkdir l/in",
        "lowerdir=$/l:$/l/in,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
    case!(
        "lower-inside",
        "mkdir u/in",
        "lowerdir=$/u/in,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
    case!(
        "inside-lower",
        "mkdir l/u l/w",
        "lowerdir=$/l,upperdir=$/l/u,workdir=$/l/w",
        REFUSES,
        "! LC_ALL=C ls m/u 2>err; grep -q 'Too many levels' err"
    ),
    case!(
        "work-nested",
        "mkdir u/w",
        "lowerdir=$/l,upperdir=$/u,workdir=$/u/w",
        REFUSES
    ),
    case!(
        "work-nested",
        "mkdir w/u",
        "lowerdir=$/l,upperdir=$/w/u,workdir=$/w",
        REFUSES
    ),
    case!(
        "work-nested",
        "true",
        "lowerdir=$/l,upperdir=$/u,workdir=$/u",
        REFUSES
    ),
    case!("work-apart", "mount --bind w w", UPPER, REFUSES),
    case!("work-apart", "mount -t tmpfs t w", UPPER, REFUSES),
    case!(
        "in-use",
        "mount -t overlay o -o lowerdir=$/l2,upperdir=$/u,workdir=$/w m2",
        UPPER,
        REFUSES
    ),
    case!(
        "in-use-index",
        "mount -t overlay o -o lowerdir=$/l2,upperdir=$/u,workdir=$/w m2",
        with("index=on"),
        REFUSES
    ),
    case!(
        "lower-in-use",
        "mount -t overlay o -o lowerdir=$/l2,upperdir=$/u2,workdir=$/w2 m2",
        "lowerdir=$/u2,upperdir=$/u,workdir=$/w",
        LESS
    ),
    case!(
        "lower-in-use-index",
        "mount -t overlay o -o lowerdir=$/l2,upperdir=$/u2,workdir=$/w2 m2",
        "lowerdir=$/u2,upperdir=$/u,workdir=$/w,index=on",
        LESS
    ),
    case!(
        "other-lower",
        "mount -t overlay o -o lowerdir=$/l2,upperdir=$/u,workdir=$/w,index=on m2; umount m2",
        with("index=on"),
        REFUSES
    ),
    case!(
        "stale-index",
        "mount -t overlay o -o lowerdir=$/l,upperdir=$/u2,workdir=$/w,index=on m2; umount m2",
        with("index=on"),
        REFUSES
    ),
    case!(
        "index-left",
        "echo old > l/a; ln l/a l/b; mount -t overlay o -o lowerdir=$/l,upperdir=$/u,workdir=$/w,index=on m2; \
        echo new > m2/a; umount m2",
        UPPER,
        REFUSES,
        "grep -q new m/a; grep -q old m/b"
    ),
    case!(
        "incompatible",
        "mount -t overlay o -o lowerdir=$/l,upperdir=$/u,workdir=$/w,volatile m2; umount m2",
        UPPER,
        REFUSES
    ),
    case!(
        "work-kept",
        "mkdir -p w/work/a/b/c; touch w/work/a/b/c/f",
        UPPER,
        WORKS,
        "! touch m/f 2>err; grep -q Read-only err"
    ),
    case!(
        "work-kept",
        "truncate -s 16M img; mkfs.ext4 -q img; mkdir e; mount -o loop img e; mkdir -p e/u e/w/work; \
        touch e/w/work/f; chattr +i e/w/work/f",
        "lowerdir=$/l,upperdir=$/e/u,workdir=$/e/w",
        REFUSES,
        "! touch m/f 2>err; grep -q Read-only err"
    ),
    case!(
        "foreign-marks",
        "touch l/f u/.wh.f",
        UPPER,
        REFUSES,
        "test -e m/f"
    ),
    case!(
        "foreign-marks",
        "mkdir l/d u/d; touch l/d/f u/d/.wh.f; chown 1000 u/d",
        UPPER,
        LESS,
        "test -e m/d/f"
    ),
    Case {
        mark: Some(("l/f", "metacopy", "")),
        ..case!(
            "metacopy-refused",
            "touch l/f l2/f",
            "lowerdir=$/l:$/l2,upperdir=$/u,workdir=$/w,metacopy=off",
            LESS,
            "! cat m/f 2>err; grep -q 'not permitted' err"
        )
    },
    Case {
        mark: Some(("l/d", "redirect", "/e")),
        ..case!(
            "redirect-refused",
            "mkdir l/d l2/e",
            "lowerdir=$/l:$/l2,upperdir=$/u,workdir=$/w,redirect_dir=nofollow",
            LESS,
            "! ls m/d 2>err; grep -q 'not permitted' err"
        )
    },
    Case {
        mark: Some(("l/f", "metacopy", "")),
        ..case!(
            "metacopy-no-data",
            "touch l/f",
            "lowerdir=$/l:$/l2,upperdir=$/u,workdir=$/w,metacopy=on,redirect_dir=on",
            LESS,
            "! cat m/f 2>err; grep -q 'Input/output' err"
        )
    },
    Case {
        mark: Some(("l/f", "metacopy", "")),
        ..case!(
            "no-digest",
            "truncate -s 1 l/f; echo > l2/f",
            "lowerdir=$/l:$/l2,upperdir=$/u,workdir=$/w,metacopy=on,redirect_dir=on,verity=require",
            REFUSES,
            "! cat m/f 2>err; grep -q 'Input/output' err"
        )
    },
    // Filesystems.
    case!(
        "upper-read-only",
        "mkdir -p e/u e/w; mount --bind e e; mount -o remount,bind,ro e",
        "lowerdir=$/l,upperdir=$/e/u,workdir=$/e/w",
        REFUSES
    ),
    case!(
        "upper-on-overlay",
        "mount -t overlay o -o lowerdir=$/l2,upperdir=$/u2,workdir=$/w2 m2; mkdir m2/u m2/w",
        "lowerdir=$/l,upperdir=$/m2/u,workdir=$/m2/w",
        REFUSES
    ),
    case!(
        "too-deep",
        "mkdir o1 o2 l3; mount -t overlay o -o lowerdir=$/l:$/l2 o1; mount -t overlay o -o lowerdir=$/o1:$/l3 o2",
        "lowerdir=$/o2,upperdir=$/u,workdir=$/w",
        WORKS
    ),
    case!(
        "too-deep",
        "true",
        "lowerdir=/proc,upperdir=$/u,workdir=$/w",
        WORKS
    ),
    case!(
        "remote-upper",
        "fuse-overlayfs -o lowerdir=$/l2,upperdir=$/u2,workdir=$/w2 m2 >/dev/null 2>&1; mkdir m2/u m2/w",
        "lowerdir=$/l,upperdir=$/m2/u,workdir=$/m2/w",
        REFUSES
    ),
    case!(
        "no-d-type",
        "touch l/f; truncate -s 8M img; mkfs.ext4 -q -O ^filetype,^has_journal img; mkdir e; mount -o loop img e; mkdir e/u e/w",
        "lowerdir=$/l,upperdir=$/e/u,workdir=$/e/w",
        REFUSES,
        "rm m/f; ls m | grep -q f"
    ),
    case!(
        "no-rename-whiteout",
        "mkdir r; mount -t ramfs r r; mkdir r/u r/w",
        "lowerdir=$/l,upperdir=$/r/u,workdir=$/r/w",
        REFUSES
    ),
    case!(
        "no-xattr",
        "mkdir -p r l/d; mount -t ramfs r r; mkdir r/u r/w",
        "lowerdir=$/l,upperdir=$/r/u,workdir=$/r/w",
        REFUSES,
        "rmdir m/d; ! mkdir m/d 2>err; grep -q 'Input/output' err"
    ),
    case!(
        "no-handles",
        "mkdir r; mount -t ramfs r r",
        "lowerdir=$/r,upperdir=$/u,workdir=$/w,index=on",
        REFUSES
    ),
    case!(
        "same-uuid",
        "truncate -s 16M one; mkfs.ext4 -q one; cp one two; mkdir a b; mount -o loop one a; mount -o loop two b",
        "lowerdir=$/a:$/b,upperdir=$/u,workdir=$/w,index=on",
        REFUSES
    ),
];

/// Cases that are made in user namespaces, each in a test of its own.
pub(crate) const IN_NAMESPACES: &[&str] = &[
    "not-permitted",
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

/// Cases that this machine cannot make: other kernels, other filesystems, other kernels' filesystems.
pub(crate) const PREDICTED: &[&str] = &[
    "verity-conflict",
    "no-overlayfs",
    "old-user-namespace",
    "not-supported",
    "casefold",
    "no-whiteout",
    "no-tmpfile",
    "tmpfs-user-xattr",
    "fuse-refused",
    "fuse-too-old",
    "other",
];
