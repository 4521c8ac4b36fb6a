//! One random operation.

use super::Scene;
use crate::oracle::call::SLOTS;
use crate::rng::Rng;

/// Draws one.
pub(super) fn draw(rng: &mut Rng, scene: &Scene) -> String {
    match rng.below(20) {
        0..=7 => names(rng, scene),
        8..=10 => data(rng, scene),
        11..=13 => attributes(rng, scene),
        14..=16 if !scene.has_links => held(rng, scene),
        _ => questions(rng, scene),
    }
}

fn bits(rng: &mut Rng) -> &'static str {
    let all = [
        "644", "600", "755", "777", "4755", "2755", "1777", "000", "2777",
    ];
    rng.pick(&all, "644")
}

fn offset(rng: &mut Rng) -> u64 {
    rng.pick(&[0, 3, 4096, 5000, 60000, 70000], 0)
}

fn names(rng: &mut Rng, scene: &Scene) -> String {
    let mut path = || scene.path(rng);
    let (a, b) = (path(), path());
    match rng.below(22) {
        0 => format!("creat {a} {}", bits(rng)),
        1 => format!("excl {a} {}", bits(rng)),
        2..=4 => format!("mkdir {a} {}", bits(rng)),
        5 | 6 => format!("rmdir {a}"),
        7..=9 => format!("unlink {a}"),
        10 => {
            let target = rng.pick(&["a", "d", "../a", "d/a", "nowhere", "new"], "a");
            format!("symlink {target} {a}")
        }
        11 | 12 => format!("link {a} {b}"),
        13..=16 => format!("rename {a} {b}"),
        17 => format!("renamenew {a} {b}"),
        18 => format!("exchange {a} {b}"),
        19 => match rng.below(4) {
            0 | 1 => format!("linkfollow {a} {b}"),
            _ => format!("exchange {a} {b}"),
        },
        20 => format!("tmplink {a} {b}"),
        _ => {
            let kind = rng.pick(&["p", "s", "b", "c", "f"], "p");
            // Character device 0:0 is a whiteout: the kernel's overlay makes none (D-31).
            let device = match kind {
                "b" => rng.pick(&[0, 0x103], 0),
                "c" => 0x103,
                _ => 0,
            };
            format!("mknod {a} {kind} {device} {}", bits(rng))
        }
    }
}

fn data(rng: &mut Rng, scene: &Scene) -> String {
    let (a, at) = (scene.path(rng), offset(rng));
    match rng.below(13) {
        0..=2 => format!("write {a} {at} {}", rng.pick(&["w", "longer-text"], "w")),
        3 | 4 => format!("append {a} +{}", rng.below(100)),
        5 => format!("opentrunc {a}"),
        6 => format!("truncate {a} {}", rng.pick(&[0, 2, 4096, 9000, 65537], 0)),
        7 | 8 => {
            let how = rng.pick(&["plain", "keep", "punch", "zero"], "plain");
            format!("falloc {a} {how} {at} {}", rng.pick(&[1, 4096, 10000], 1))
        }
        9 => format!("copyrange {a} {}", scene.path(rng)),
        10 => format!("fsync {a}"),
        11 => format!("storeinto {a} {at} stored"),
        _ => format!("fdatasync {a}"),
    }
}

/// Attributes, and values for them: one's own, those of overlays on overlays, those that the kernel gives a meaning.
const XATTRS: &[(&str, &str)] = &[
    ("user.note", "text"),
    ("user.note", "@long"),
    ("user.empty", "@none"),
    ("trusted.note", "secret"),
    ("trusted.overlay.opaque", "y"),
    ("trusted.overlay.overlay.opaque", "y"),
    ("trusted.overlay.foo", "nested"),
    ("trusted.overlay.whiteout", "@none"),
    ("user.overlay.bar", "plain"),
    ("user.overlay.opaque", "y"),
    ("system.posix_acl_access", "@acl"),
    ("system.posix_acl_access", "@aclmode"),
    ("system.posix_acl_access", "@aclgroup"),
    ("system.posix_acl_default", "@acl"),
    ("system.posix_acl_default", "@aclgroup"),
    ("security.capability", "@cap"),
    ("security.other", "label"),
    ("bad", "no-namespace"),
];

/// Draws flags: mostly none, for what is protected stays as it is.
fn flags(rng: &mut Rng) -> &'static str {
    rng.pick(
        &["-", "-", "-", "-", "i", "a", "ia", "A", "d", "S", "dA"],
        "-",
    )
}

fn attributes(rng: &mut Rng, scene: &Scene) -> String {
    let a = scene.path(rng);
    let (attr, value) = rng.pick(XATTRS, ("user.note", "text"));
    match rng.below(14) {
        0..=2 => format!("chmod {a} {}", bits(rng)),
        3 => format!("chown {a} {}", owners(rng)),
        4 | 5 => format!("lchown {a} {}", owners(rng)),
        6 | 7 => format!("utimens {a} {}", time(rng)),
        8..=10 => format!(
            "setx {a} {attr} {value} {}",
            rng.pick(&["any", "any", "new", "old"], "any")
        ),
        11 => format!("delx {a} {attr}"),
        12 => format!("setflags {a} {}", flags(rng)),
        _ => match rng.below(4) {
            0 => format!("setxflags {a} {}", flags(rng)),
            1 => format!("getxflags {a}"),
            _ => format!("getflags {a}"),
        },
    }
}

/// Draws a user and a group, one of them at least: a FUSE server is not told of a chown(2) that names neither (D-25).
fn owners(rng: &mut Rng) -> &'static str {
    let all = [
        "0 0",
        "0 -",
        "- 0",
        "1000 1000",
        "1001 0",
        "- 1000",
        "1000 -",
        "1001 1000",
    ];
    rng.pick(&all, "0 0")
}

fn time(rng: &mut Rng) -> &'static str {
    rng.pick(&["1200000000", "now", "mtime", "atime", "none"], "now")
}

fn held(rng: &mut Rng, scene: &Scene) -> String {
    let slots = u64::try_from(SLOTS).unwrap_or(1);
    let (slot, a) = (rng.below(slots), scene.path(rng));
    let (attr, value) = rng.pick(XATTRS, ("user.note", "text"));
    match rng.below(38) {
        0..=2 => format!("hold {slot} {a}"),
        3 | 4 => format!("holdwrite {slot} {a}"),
        5 | 6 => format!("holddir {slot} {a}"),
        7 => format!("holdpath {slot} {a}"),
        8 => format!("holdtmp {slot} {a}"),
        9 | 10 => format!("heldread {slot}"),
        11 | 12 => format!("heldwrite {slot} {} held", offset(rng)),
        13 => format!("heldtruncate {slot} {}", rng.pick(&[0, 1, 5000], 0)),
        14 => format!(
            "heldfalloc {slot} {} 0 5000",
            rng.pick(&["plain", "punch"], "plain")
        ),
        15 => format!("heldchmod {slot} {}", bits(rng)),
        16 => format!("heldchown {slot} {}", owners(rng)),
        17 => format!("heldutimens {slot} {}", time(rng)),
        18 => format!("heldsetx {slot} {attr} {value}"),
        19 => format!("heldgetx {slot} {attr}"),
        20 | 21 => format!("heldstat {slot}"),
        22 => format!("heldlist {slot}"),
        23 => format!("heldsync {slot}"),
        24 => format!("heldlink {slot} {a}"),
        25 => format!("heldmkdir {slot} made 755"),
        26 => format!("heldcreat {slot} {} 644", rng.pick(&["made", "a"], "made")),
        27 => {
            let how = rng.pick(&["shared", "exclusive", "none"], "shared");
            format!(
                "{} {slot} {how}",
                rng.pick(&["flock", "posixlock"], "flock")
            )
        }
        28 => format!("heldflags {slot}"),
        29 => format!("heldsetflags {slot} {}", flags(rng)),
        30 => format!(
            "map {} {slot} {}",
            rng.below(slots),
            rng.pick(&["shared", "shared", "private"], "shared")
        ),
        31 | 32 => format!("load {slot} {}", offset(rng)),
        33 | 34 => format!("store {slot} {} stored", offset(rng)),
        35 => format!("mapsync {slot}"),
        36 => format!("unmap {slot}"),
        _ => format!("release {slot}"),
    }
}

fn questions(rng: &mut Rng, scene: &Scene) -> String {
    let a = scene.path(rng);
    let (attr, _) = rng.pick(XATTRS, ("user.note", "text"));
    match rng.below(20) {
        0..=3 => format!("stat {a}"),
        4 => format!("statfollow {a}"),
        5..=7 => format!("read {a}"),
        8..=10 => format!("list {a}"),
        11 => format!("listseek {a} {}", rng.below(5)),
        12 => format!("readlink {a}"),
        13 | 14 => format!("access {a} {}", rng.pick(&[1, 2, 4, 6, 7], 4)),
        15 | 16 => format!("getx {a} {attr}"),
        17 => format!("listx {a}"),
        18 => format!(
            "seek {a} {} {}",
            rng.pick(&["hole", "data"], "hole"),
            offset(rng)
        ),
        _ => format!("statfs {a}"),
    }
}
