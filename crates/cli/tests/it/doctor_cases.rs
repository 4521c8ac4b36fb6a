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
        "no-lower",
        "true",
        "lowerdir=,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
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
        "only-data-layers",
        "true",
        "lowerdir=:$/l,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
    case!(
        "only-datadirs",
        "true",
        "datadir+=$/l,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
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
        "metacopy-conflict",
        "true",
        with("metacopy=on,redirect_dir=off"),
        REFUSES
    ),
    case!(
        "metacopy-conflict",
        "true",
        with("metacopy=on,redirect_dir=follow"),
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
        "same-directory",
        "true",
        "lowerdir=$/w,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
    case!(
        "lower-inside",
        "mkdir w/in",
        "lowerdir=$/w/in,upperdir=$/u,workdir=$/w",
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
        "inside-lower",
        "mkdir l/w",
        "lowerdir=$/l,upperdir=$/u,workdir=$/l/w",
        REFUSES,
        "! LC_ALL=C ls m/w 2>err; grep -q 'Too many levels' err"
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
    Case {
        // Version, length, flags, SHA-256, and 32 bytes that are nobody's digest.
        mark: Some((
            "l/f",
            "metacopy",
            "\0\x24\0\x01xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        )),
        ..case!(
            "wrong-digest",
            "truncate -s 1 l/f; echo > l2/f",
            "lowerdir=$/l:$/l2,upperdir=$/u,workdir=$/w,metacopy=on,redirect_dir=on,verity=on",
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
        "upper-read-only",
        "truncate -s 16M img; mkfs.ext4 -q img; mkdir e; mount -o loop img e; mkdir e/u e/w; umount e; mount -o loop,ro img e",
        "lowerdir=$/l,upperdir=$/e/u,workdir=$/e/w",
        REFUSES
    ),
    case!(
        "writeback-error",
        "mkdir t e; mount -t tmpfs -o size=4M t t; truncate -s 64M t/img; mkfs.ext4 -q -O ^has_journal t/img; \
        mount -o loop t/img e; mkdir e/u e/w; sync -f e; ! dd if=/dev/urandom of=e/f bs=1M count=16 conv=fsync 2>err",
        "lowerdir=$/l,upperdir=$/e/u,workdir=$/e/w,volatile",
        WORKS
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
        "no-handles",
        "mkdir r; mount -t ramfs r r",
        "lowerdir=$/r,upperdir=$/u,workdir=$/w,xino=auto",
        WORKS
    ),
    case!(
        "same-uuid",
        "for n in one two; do truncate -s 16M $n; mkfs.ext4 -q -U clear $n; done; mkdir a b; mount -o loop one a; mount -o loop two b",
        "lowerdir=$/a:$/b,upperdir=$/u,workdir=$/w,index=on",
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

/// What the kernel's overlayfs (Linux 6.18) refuses, does without or fails at later, one by one; and what FUSE refuses. With
/// the case that doctor calls it by.
pub(crate) const CONDITIONS: &[(&str, &str)] = &[
    ("no lowerdir", "no-lower"),
    ("an empty lowerdir", "no-lower"),
    ("an upper without workdir", "upper-without-work"),
    ("one lower, no upper", "single-lower"),
    ("only data layers, after two colons", "only-data-layers"),
    ("only data layers, by datadir+", "only-datadirs"),
    ("a path that is missing", "missing"),
    ("options of more than a page", "options-cut"),
    ("a path that is no directory", "not-a-directory"),
    ("a colon at the end", "colons"),
    ("a colon at the beginning", "only-data-layers"),
    ("three colons", "colons"),
    ("a layer with names after one of data", "lower-after-data"),
    ("more than 500 lowers", "too-many-lowers"),
    ("an unknown option", "unknown-option"),
    ("a bad value", "bad-value"),
    ("a lower twice", "same-directory"),
    ("a lower that is the upper", "same-directory"),
    ("a lower that is the workdir", "same-directory"),
    ("a lower inside the upper", "lower-inside"),
    ("a lower inside the workdir", "lower-inside"),
    ("a lower inside another lower", "lower-inside"),
    ("the upper inside a lower", "inside-lower"),
    ("the workdir inside a lower", "inside-lower"),
    ("the workdir is the upper", "work-nested"),
    ("the workdir inside the upper", "work-nested"),
    ("the upper inside the workdir", "work-nested"),
    ("the workdir on another filesystem", "work-apart"),
    (
        "the workdir on another mount of the filesystem",
        "work-apart",
    ),
    ("an upper in use, index=off", "in-use"),
    ("an upper in use, index=on", "in-use-index"),
    ("a lower that is a live upper, index=off", "lower-in-use"),
    (
        "a lower that is a live upper, index=on",
        "lower-in-use-index",
    ),
    ("index=on over another lower than before", "other-lower"),
    ("a stale index", "stale-index"),
    ("a volatile mount before", "incompatible"),
    (
        "volatile after a write error that nobody saw",
        "writeback-error",
    ),
    ("a read-only mount of the upper", "upper-read-only"),
    ("a read-only filesystem of the upper", "upper-read-only"),
    ("an upper on overlayfs", "upper-on-overlay"),
    ("overlays stacked too deep", "too-deep"),
    ("a layer of proc, which counts as the deepest", "too-deep"),
    (
        "autofs, and dentries that are revalidated or hashed in their own way",
        "not-supported",
    ),
    ("a layer that folds case", "casefold"),
    (
        "an upper of a server that lacks what an upper needs",
        "remote-upper",
    ),
    ("an upper without d_type", "no-d-type"),
    ("an upper without RENAME_WHITEOUT", "no-rename-whiteout"),
    ("an upper without O_TMPFILE", "no-tmpfile"),
    ("an upper without attributes", "no-xattr"),
    ("userxattr on a tmpfs before Linux 6.6", "tmpfs-user-xattr"),
    ("a lower without file handles, index=on", "no-handles"),
    ("a lower without file handles, xino=auto", "no-handles"),
    ("lowers of one UUID", "same-uuid"),
    ("lowers of no UUID", "same-uuid"),
    ("a workdir with something immutable in it", "work-kept"),
    ("a workdir with something deep in it", "work-kept"),
    ("metacopy=on, redirect_dir=off", "metacopy-conflict"),
    ("metacopy=on, redirect_dir=follow", "metacopy-conflict"),
    ("metacopy=on, redirect_dir=nofollow", "metacopy-conflict"),
    ("nfs_export=on, index=off", "nfs-export-conflict"),
    ("nfs_export=on, metacopy=on", "nfs-export-conflict"),
    ("userxattr, redirect_dir=on", "userxattr-conflict"),
    ("userxattr, metacopy=on", "userxattr-conflict"),
    (
        "metacopy=off, verity=on before Linux 6.16",
        "verity-conflict",
    ),
    ("redirect_dir=on in a user namespace", "trusted-redirects"),
    ("metacopy=on in a user namespace", "trusted-redirects"),
    ("no userxattr in a user namespace", "trusted-xattrs"),
    ("index=on in a user namespace", "index-dropped"),
    ("a user namespace before Linux 5.11", "old-user-namespace"),
    (
        "a mount namespace of another user namespace",
        "other-user-namespace",
    ),
    ("an owner without a mapping", "unmapped-ids"),
    ("a metacopy, metacopy=off", "metacopy-refused"),
    ("a redirect, redirect_dir=nofollow", "redirect-refused"),
    ("a metacopy without data", "metacopy-no-data"),
    (
        "data without the digest that its metacopy has",
        "wrong-digest",
    ),
    ("a metacopy without a digest, verity=require", "no-digest"),
    ("no /dev/fuse", "fuse-missing"),
    ("/dev/fuse for root alone", "fuse-closed"),
    ("allow_other without user_allow_other", "user-allow-other"),
    ("FUSE before user namespaces had it", "fuse-too-old"),
    ("few open files", "open-files"),
];
