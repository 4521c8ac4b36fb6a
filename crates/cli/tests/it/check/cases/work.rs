//! What can be wrong with a work directory and the index in it.

use std::fs;

use super::Case;
use crate::check::{dir, file, mark};

pub(super) const CASES: &[Case] = &[
    (
        "volatile",
        |g| dir(g, "w/work/incompat/volatile"),
        "error",
        "incompatible",
        "/work/incompat/volatile",
        false,
    ),
    (
        "temporary",
        |g| file(g, "w/work/#1f/deep/er", "x"),
        "warning",
        "stale-temporary",
        "/work/#1f",
        true,
    ),
    (
        "probe",
        |g| file(g, "w/#probe-1-0-a", "x"),
        "warning",
        "stale-temporary",
        "/#probe-1-0-a",
        true,
    ),
    (
        "strange",
        |g| file(g, "w/mine", "x"),
        "note",
        "strange-entry",
        "/mine",
        false,
    ),
    (
        "index name",
        |g| dir(g, "w/index/zz"),
        "error",
        "index-name",
        "/index/zz",
        true,
    ),
    (
        "index name with data",
        |g| file(g, "w/index/zz", "x"),
        "error",
        "index-name",
        "/index/zz",
        false,
    ),
    (
        "index temporary",
        |g| file(g, "w/index/#2", "x"),
        "warning",
        "stale-temporary",
        "/index/#2",
        true,
    ),
    (
        "stale index",
        |g| {
            dir(g, "w/index");
            file(g, "u/f", "u");
            fs::hard_link(g.at("u/f"), g.at("w/index").join(hex(&ORIGIN))).unwrap();
        },
        "error",
        "index-stale",
        INDEXED,
        true,
    ),
    (
        "orphan index",
        |g| dir(g, &format!("w{INDEXED}")),
        "warning",
        "index-orphan",
        INDEXED,
        true,
    ),
    (
        "other upper",
        |g| {
            dir(g, "w/index");
            mark(g, "w/index", "upper", &ORIGIN);
        },
        "error",
        "index-other-upper",
        "/index",
        false,
    ),
    (
        "other lower",
        |g| {
            dir(g, "w/index");
            mark(g, "u", "origin", &ORIGIN);
        },
        "error",
        "index-other-lower",
        "/",
        false,
    ),
    (
        "nlink",
        |g| {
            dir(g, "w/index");
            file(g, "u/f", "u");
            mark(g, "u/f", "origin", &ORIGIN);
            mark(g, "u/f", "nlink", b"U-9");
            mark(g, "u", "impure", b"y");
            fs::hard_link(g.at("u/f"), g.at("w/index").join(hex(&ORIGIN))).unwrap();
        },
        "warning",
        "wrong-nlink",
        INDEXED,
        false,
    ),
];

/// A handle of something on a filesystem that is nowhere here.
const ORIGIN: [u8; 29] = {
    let mut bytes = [7; 29];
    bytes[0] = 0;
    bytes[1] = 0xfb;
    bytes[2] = 29;
    bytes[3] = 0;
    bytes[4] = 1;
    bytes
};
const INDEXED: &str = "/index/00fb1d0001070707070707070707070707070707070707070707070707";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
