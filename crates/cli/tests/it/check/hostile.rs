//! Uppers that somebody made to harm who reads them.

use std::fs;
use std::path::Path;

use rustix::fs::{FileType, Mode, mknodat};

use super::{check_json, dir, file, kinds, mark};
use crate::ground::{Ground, is_root};

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
