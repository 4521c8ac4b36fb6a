//! `mica check`: what is wrong is made for real, found, repaired where it can be, and then both drivers show the same tree.

use std::fs;
use std::path::Path;

use mica_overlay::{Redirects, XattrNamespace};
use mica_testkit::{Detail, KernelMount, assert_same, dump_host, hash_tree};
use rustix::fs::{FileType, Mode, XattrFlags, lsetxattr, mknodat};
use serde_json::Value;

use crate::ground::{Ground, Outcome, can_mount, is_root, ok};

/// Gives an object of the upper a mark.
fn mark(ground: &Ground, path: &str, name: &str, value: &[u8]) {
    let name = match name.starts_with("user.") {
        true => name.to_owned(),
        false => format!("trusted.overlay.{name}"),
    };
    lsetxattr(ground.at(path), name, value, XattrFlags::empty()).unwrap();
}

fn device(ground: &Ground, path: &str) {
    let (kind, mode) = (FileType::CharacterDevice, Mode::empty());
    mknodat(rustix::fs::CWD, ground.at(path), kind, mode, 0).unwrap();
}

fn file(ground: &Ground, path: &str, data: &str) {
    fs::create_dir_all(ground.at(path).parent().unwrap()).unwrap();
    fs::write(ground.at(path), data).unwrap();
}

fn dir(ground: &Ground, path: &str) {
    fs::create_dir_all(ground.at(path)).unwrap();
}

/// A ground with a lower of some objects.
fn stack() -> Ground {
    let ground = Ground::new();
    for name in ["l/d/a", "l/d/b", "l/e/c", "l/f"] {
        file(&ground, name, name);
    }
    ground
}

/// Runs a check of all directories.
#[track_caller]
fn check(ground: &Ground, more: &[&str]) -> Outcome {
    let line = ["check", "u", "--work", "w", "--lower", "l"];
    ground.run(&[&line, more].concat())
}

/// Runs a check and returns the JSON object that it prints.
#[track_caller]
fn check_json(ground: &Ground, more: &[&str]) -> (Option<i32>, Value) {
    let outcome = check(ground, &[&["--json"], more].concat());
    assert_eq!(outcome.stderr, "");
    (
        outcome.status,
        serde_json::from_str(&outcome.stdout).unwrap(),
    )
}

fn kinds(report: &Value, list: &str) -> Vec<(String, String)> {
    let text = |found: &Value, field: &str| found[field].as_str().unwrap().to_owned();
    let all = report[list].as_array().unwrap().iter();
    all.map(|found| (text(found, "kind"), text(found, "path")))
        .collect()
}

/// Something wrong: how it is made, what is said of it, and whether it can be repaired.
type Case = (
    &'static str,
    fn(&Ground),
    &'static str,
    &'static str,
    &'static str,
    bool,
);

const CASES: &[Case] = &[
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

#[test]
fn ovl_150_all_that_can_be_wrong_is_found_and_what_can_be_is_repaired_for_both_drivers() {
    let test =
        "ovl_150_all_that_can_be_wrong_is_found_and_what_can_be_is_repaired_for_both_drivers";
    if !can_mount(test) || !KernelMount::is_possible(test) {
        return;
    }
    for (case, make, severity, kind, path, repairs) in CASES {
        let ground = stack();
        make(&ground);
        let lower = hash_tree(&ground.at("l"));
        let wanted = vec![((*kind).to_owned(), (*path).to_owned())];

        let (status, report) = check_json(&ground, &[]);
        assert_eq!(kinds(&report, "findings"), wanted, "{case}: {report}");
        let found = &report["findings"][0];
        assert_eq!(found["severity"], *severity, "{case}");
        assert_eq!(status, Some(i32::from(*severity != "note")), "{case}");
        assert_eq!(found["repair"].is_string(), *repairs, "{case}: {found}");

        let (status, report) = check_json(&ground, &["--repair"]);
        let (left, done) = (kinds(&report, "findings"), kinds(&report, "repaired"));
        let (want_left, want_done) = match repairs {
            true => (Vec::new(), wanted),
            false => (wanted, Vec::new()),
        };
        assert_eq!((left, done), (want_left, want_done), "{case}: {report}");
        assert_eq!(
            status,
            Some(i32::from(!repairs && *severity != "note")),
            "{case}"
        );
        let (_, again) = check_json(&ground, &["--repair"]);
        assert_eq!(again["repaired"].as_array().unwrap().len(), 0, "{case}");
        if *repairs {
            both_drivers_agree(&ground, case);
        }
        assert_eq!(
            hash_tree(&ground.at("l")),
            lower,
            "{case}: the lower changed"
        );
    }
}

/// Mounts the stack with both drivers and compares what they show.
#[track_caller]
fn both_drivers_agree(ground: &Ground, what: &str) {
    let (lowers, xattrs) = ([ground.at("l")], XattrNamespace::Trusted);
    let kernel = KernelMount::new(
        &lowers,
        &ground.at("u"),
        &ground.at("w"),
        xattrs,
        Redirects::On,
    )
    .unwrap();
    let expected = kernel.dump(Detail::empty());
    drop(kernel);
    let options = "lowerdir=l,upperdir=u,workdir=w";
    assert_eq!(ground.run(&["mount", "-o", options, "m"]), ok(), "{what}");
    let found = dump_host(&ground.at("m"), Detail::empty());
    assert_eq!(ground.run(&["umount", "m"]), ok(), "{what}");
    assert_same(&expected, &found, what);
}

#[test]
fn a_check_says_what_it_found_in_words_and_what_would_mend_it() {
    if !is_root("a_check_says_what_it_found_in_words_and_what_would_mend_it") {
        return;
    }
    let ground = stack();
    mark(&ground, "u", "opaque", b"y");
    dir(&ground, "u/a\nb");
    mark(&ground, "u/a\nb", "redirect", b"gone");
    let said = check(&ground, &[]);
    assert_eq!(said.status, Some(1));
    assert_eq!(
        said.stdout,
        "warning: `/`: the root is marked opaque, which no mount heeds (`--repair`: remove `trusted.overlay.opaque`)\n\
         error: `/a\\nb`: `redirect` leads to `gone`, where no lower has a directory: what it showed is gone \
         (`mica convert UPPER --no-redirects --lower DIR` makes the upper plain)\n\
         not clean: 2 objects, 1 error, 1 warning, 0 notes\n"
    );
    let said = check(&ground, &["--repair"]);
    assert!(said.stdout.starts_with(
        "repaired: `/`: the root is marked opaque, which no mount heeds; did: remove `trusted.overlay.opaque`\n"
    ));
}

#[test]
fn a_directory_with_copied_up_entries_that_lost_impure_gets_it_back() {
    let test = "a_directory_with_copied_up_entries_that_lost_impure_gets_it_back";
    if !can_mount(test) || !KernelMount::is_possible(test) {
        return;
    }
    let ground = stack();
    let options = "lowerdir=l,upperdir=u,workdir=w";
    assert_eq!(ground.run(&["mount", "-o", options, "m"]), ok());
    fs::write(ground.at("m/d/a"), "changed").unwrap();
    ground.unmount("m");
    let name = "trusted.overlay.impure";
    rustix::fs::lremovexattr(ground.at("u/d"), name).unwrap();
    let wanted = [("impure-missing".to_owned(), "/d".to_owned())];
    for line in [
        &["check", "--json", "u"][..],
        &["check", "--json", "u", "--lower", "l"],
    ] {
        let said = ground.run(line);
        let report = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(kinds(&report, "findings"), wanted);
    }
    let (status, report) = check_json(&ground, &["--repair"]);
    assert_eq!(
        (status, kinds(&report, "repaired")),
        (Some(0), wanted.to_vec())
    );
    both_drivers_agree(&ground, test);
}

#[test]
fn a_directory_that_a_mount_uses_is_refused() {
    if !can_mount("a_directory_that_a_mount_uses_is_refused") {
        return;
    }
    let ground = stack();
    ground.mount(&[]);
    for line in [
        &["check", "u"][..],
        &["check", "u", "--work", "w", "--repair"],
    ] {
        let said = ground.run(line);
        assert_eq!(said.status, Some(1));
        assert!(
            said.stderr
                .contains("is in use by the mount of Mica at `$/m`"),
            "{}",
            said.stderr
        );
        assert!(
            said.stderr.contains("hint: `mica umount $/m` ends it"),
            "{}",
            said.stderr
        );
    }
    ground.unmount("m");
    assert_eq!(ground.run(&["check", "u"]).status, Some(0));
}

#[test]
fn what_hides_nothing_stays_if_the_lowers_may_be_the_wrong_ones() {
    if !is_root("what_hides_nothing_stays_if_the_lowers_may_be_the_wrong_ones") {
        return;
    }
    let ground = stack();
    dir(&ground, "u/d");
    device(&ground, "u/d/none");
    dir(&ground, "u/copied");
    mark(&ground, "u/copied", "origin", b"");
    let (_, report) = check_json(&ground, &["--repair"]);
    assert_eq!(report["repaired"].as_array().unwrap().len(), 0, "{report}");
    assert!(ground.at("u/d/none").symlink_metadata().is_ok());
}

#[test]
fn a_redirect_under_user_overlay_is_noted_as_one_that_the_kernel_does_not_follow() {
    if !is_root("a_redirect_under_user_overlay_is_noted_as_one_that_the_kernel_does_not_follow") {
        return;
    }
    let ground = stack();
    dir(&ground, "u/moved");
    mark(&ground, "u/moved", "user.overlay.redirect", b"/d");
    let said = check(&ground, &[]);
    assert_eq!(said.status, Some(0));
    assert!(
        said.stdout
            .contains("note: `/moved`: a redirect under `user.overlay.`: Mica follows it"),
        "{}",
        said.stdout
    );
}

#[test]
fn a_hostile_upper_is_read_without_following_anything() {
    let test = "a_hostile_upper_is_read_without_following_anything";
    if !is_root(test) {
        return;
    }
    let ground = Ground::alone();
    file(&ground, "out/w", "");
    mark(&ground, "out/w", "whiteout", b"");
    for (link, to) in [
        ("u/out", "../out"),
        ("u/loop", "loop"),
        ("u/abs", "/"),
        ("u/dot", "."),
    ] {
        std::os::unix::fs::symlink(to, ground.at(link)).unwrap();
    }
    let long = "n".repeat(255);
    for name in ["a\nb", "\u{1b}[2J", " ", long.as_str(), "-x"] {
        file(&ground, &format!("u/{name}"), "");
    }
    // Deeper than any path can be.
    let mut deep =
        rustix::fs::open(ground.at("u"), rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&deep, "deep", Mode::RWXU).unwrap();
        deep = rustix::fs::openat(&deep, "deep", rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    }
    mknodat(&deep, "w", FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    drop(deep);
    dir(&ground, "u/mnt");
    let at = ground.at("u/mnt");
    rustix::mount::mount(
        "none",
        &at,
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        None,
    )
    .unwrap();
    file(&ground, "u/mnt/f", "");
    mark(&ground, "u/mnt/f", "whiteout", b"");

    let (status, report) = check_json(&ground, &[]);
    rustix::mount::unmount(&at, rustix::mount::UnmountFlags::empty()).unwrap();
    let found = kinds(&report, "findings");
    let [(kind, path)] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(kind, "listed-whiteout");
    assert_eq!(Path::new(path).components().count(), 3002);
    assert_eq!(status, Some(1));
    let (status, report) = check_json(&ground, &["--repair"]);
    assert_eq!(status, Some(0), "{report}");
    remove_deep(&ground);
}

/// Removes what is too deep for paths, from above.
fn remove_deep(ground: &Ground) {
    let inner = ground.at("u/inner");
    let outer = ground.at("u/deep");
    while fs::rename(outer.join("deep"), &inner).is_ok() {
        fs::remove_dir(&outer).unwrap();
        fs::rename(&inner, &outer).unwrap();
    }
}
