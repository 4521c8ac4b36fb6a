//! What can be wrong with an upper and its work directory: how it is made, and what is said of it.

mod work;

use super::{device, dir, file, mark};
use crate::ground::Ground;

/// Something wrong: how it is made, what is said of it, and whether it can be repaired.
pub(super) type Case = (
    &'static str,
    fn(&Ground),
    &'static str,
    &'static str,
    &'static str,
    bool,
);

/// Returns all of them.
pub(super) fn cases() -> impl Iterator<Item = &'static Case> {
    [UPPER, work::CASES].into_iter().flatten()
}

const UPPER: &[Case] = &[
    (
        "bad opaque",
        |g| {
            dir(g, "u/d");
            mark(g, "u/d", "opaque", b"n");
        },
        "error",
        "malformed-mark",
        "/d",
        false,
    ),
    (
        "empty redirect",
        |g| {
            dir(g, "u/d");
            mark(g, "u/d", "redirect", b"");
        },
        "error",
        "malformed-mark",
        "/d",
        false,
    ),
    (
        "long redirect",
        |g| {
            dir(g, "u/d");
            mark(g, "u/d", "redirect", b"a/b");
        },
        "error",
        "malformed-mark",
        "/d",
        false,
    ),
    (
        "bad metacopy",
        |g| {
            file(g, "u/f", "");
            mark(g, "u/f", "metacopy", b"xx");
        },
        "error",
        "malformed-mark",
        "/f",
        false,
    ),
    (
        "bad origin",
        |g| {
            file(g, "u/f", "u");
            mark(g, "u/f", "origin", b"\0\xfa\x04\0");
        },
        "error",
        "malformed-mark",
        "/f",
        true,
    ),
    (
        "bad nlink",
        |g| {
            file(g, "u/f", "u");
            mark(g, "u/f", "nlink", b"12");
        },
        "warning",
        "meaningless-mark",
        "/f",
        true,
    ),
    (
        "bad protattr",
        |g| {
            file(g, "u/f", "u");
            mark(g, "u/f", "protattr", b"x");
        },
        "warning",
        "meaningless-mark",
        "/f",
        true,
    ),
    (
        "impure file",
        |g| {
            file(g, "u/f", "u");
            mark(g, "u/f", "impure", b"y");
        },
        "note",
        "misplaced-mark",
        "/f",
        true,
    ),
    (
        "opaque root",
        |g| mark(g, "u", "opaque", b"y"),
        "warning",
        "opaque-root",
        "/",
        true,
    ),
    (
        "opaque and redirect",
        |g| {
            dir(g, "u/d");
            mark(g, "u/d", "opaque", b"y");
            mark(g, "u/d", "redirect", b"e");
        },
        "note",
        "useless-redirect",
        "/d",
        true,
    ),
    (
        "dangling redirect",
        |g| {
            dir(g, "u/d");
            mark(g, "u/d", "redirect", b"gone");
        },
        "error",
        "dangling-redirect",
        "/d",
        false,
    ),
    (
        "dangling path",
        |g| {
            dir(g, "u/d");
            mark(g, "u/d", "redirect", b"/d/a/x");
        },
        "error",
        "dangling-redirect",
        "/d",
        false,
    ),
    (
        "no data",
        |g| {
            file(g, "u/new", "");
            mark(g, "u/new", "metacopy", b"");
        },
        "error",
        "metacopy-without-data",
        "/new",
        false,
    ),
    (
        "other size",
        |g| {
            file(g, "u/f", "u");
            mark(g, "u/f", "metacopy", b"");
        },
        "warning",
        "metacopy-size",
        "/f",
        false,
    ),
    (
        "listed whiteout",
        |g| {
            dir(g, "u/new");
            device(g, "u/new/w");
        },
        "warning",
        "listed-whiteout",
        "/new/w",
        true,
    ),
    (
        "whiteout in opaque",
        |g| {
            dir(g, "u/d");
            mark(g, "u/d", "opaque", b"y");
            device(g, "u/d/a");
        },
        "warning",
        "listed-whiteout",
        "/d/a",
        true,
    ),
    (
        "whiteout of nothing",
        |g| {
            dir(g, "u/d");
            device(g, "u/d/none");
        },
        "note",
        "whiteout-over-nothing",
        "/d/none",
        true,
    ),
    (
        "xattr whiteout",
        |g| {
            file(g, "u/f", "");
            mark(g, "u/f", "whiteout", b"");
        },
        "warning",
        "xattr-whiteout",
        "/f",
        true,
    ),
    (
        "other lowers",
        |g| {
            dir(g, "u/new");
            mark(g, "u/new", "origin", b"");
        },
        "warning",
        "other-lowers",
        "/new",
        false,
    ),
    (
        "other prefix",
        |g| {
            dir(g, "u/d");
            mark(g, "u/d", "opaque", b"y");
            mark(g, "u/d", "user.overlay.opaque", b"y");
        },
        "warning",
        "other-prefix",
        "/d",
        false,
    ),
    (
        ".wh.",
        |g| file(g, "u/.wh.f", ""),
        "warning",
        "named-whiteout",
        "/.wh.f",
        false,
    ),
    (
        ".wh..wh..opq",
        |g| file(g, "u/d/.wh..wh..opq", ""),
        "warning",
        "named-opaque",
        "/d/.wh..wh..opq",
        false,
    ),
    (
        "aufs",
        |g| dir(g, "u/.wh..wh.plnk"),
        "warning",
        "foreign-name",
        "/.wh..wh.plnk",
        false,
    ),
    (
        "unionfs",
        |g| dir(g, "u/.unionfs"),
        "warning",
        "foreign-name",
        "/.unionfs",
        false,
    ),
    (
        "fuse-overlayfs",
        |g| {
            dir(g, "u/d");
            mark(g, "u/d", "user.fuseoverlayfs.opaque", b"y");
        },
        "warning",
        "foreign-xattr",
        "/d",
        false,
    ),
    (
        "old whiteout",
        |g| {
            dir(g, "u/d");
            mark(g, "u/d", "whiteout.a", b"y");
        },
        "warning",
        "old-whiteout",
        "/d",
        false,
    ),
    (
        "unknown mark",
        |g| {
            dir(g, "u/d");
            mark(g, "u/d", "whatever", b"y");
        },
        "note",
        "unknown-mark",
        "/d",
        false,
    ),
];
