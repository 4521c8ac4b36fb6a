//! Directories that are not what they should be, do not fit together, or hold what cannot be read.

use super::{Case, LESS, REFUSES, UPPER, WORKS, case, with};

pub(super) const CASES: &[Case] = &[
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
];
