//! Reading directories.

use std::collections::BTreeMap;

use mica_vfs::{Cookie, FileType, Filesystem, Flow, NodeId, Rdev};

use crate::ground::{Ground, list, me, name};

#[test]
fn a_listing_tells_names_numbers_and_types() {
    let ground = Ground::new();
    ground.file("f", b"");
    ground.mkdir("d");
    ground
        .fs
        .symlink(&me(), NodeId::ROOT, name("l"), b"f")
        .unwrap();
    let mode = mica_vfs::Mode::new(0o600);
    ground
        .fs
        .mknod(
            &me(),
            NodeId::ROOT,
            name("p"),
            FileType::Fifo,
            mode,
            Rdev::default(),
        )
        .unwrap();
    let mut found = 0;
    ground
        .fs
        .read_dir_plus(NodeId::ROOT, Cookie::START, &mut |entry, node| {
            let node = node.unwrap();
            assert_eq!(entry.ino, node.attr.ino);
            assert!(entry.kind.is_none_or(|kind| kind == node.attr.kind));
            assert_ne!(entry.cookie, Cookie::START);
            found += 1;
            Flow::Continue
        })
        .unwrap();
    assert_eq!(found, 4);
}

#[test]
fn a_listing_goes_on_from_any_cookie() {
    let ground = Ground::new();
    for nth in 0..500 {
        std::fs::write(ground.path(format!("file-{nth}")), b"").unwrap();
    }
    let mut seen = BTreeMap::new();
    let mut from = Cookie::START;
    loop {
        let (mut taken, mut ended) = (0, true);
        ground
            .fs
            .read_dir(NodeId::ROOT, from, &mut |entry| {
                if taken == 7 {
                    ended = false;
                    return Flow::Stop;
                }
                taken += 1;
                *seen.entry(entry.name.to_string()).or_insert(0) += 1;
                from = entry.cookie;
                Flow::Continue
            })
            .unwrap();
        if ended {
            break;
        }
    }
    assert_eq!(seen.len(), 500);
    assert!(seen.values().all(|&times| times == 1));
}

#[test]
fn names_that_existed_throughout_are_listed_once_while_others_come_and_go() {
    let ground = Ground::new();
    for nth in 0..300 {
        std::fs::write(ground.path(format!("stays-{nth}")), b"").unwrap();
        std::fs::write(ground.path(format!("goes-{nth}")), b"").unwrap();
    }
    let mut seen = BTreeMap::new();
    let (mut from, mut step) = (Cookie::START, 0);
    loop {
        let mut taken = Vec::new();
        ground
            .fs
            .read_dir(NodeId::ROOT, from, &mut |entry| {
                if taken.len() == 5 {
                    return Flow::Stop;
                }
                taken.push(entry.name.to_string());
                from = entry.cookie;
                Flow::Continue
            })
            .unwrap();
        if taken.is_empty() {
            break;
        }
        for name in taken.iter().filter(|name| name.starts_with("stays")) {
            *seen.entry(name.clone()).or_insert(0) += 1;
        }
        if step < 300 {
            ground
                .fs
                .unlink(NodeId::ROOT, name(&format!("goes-{step}")))
                .unwrap();
            std::fs::write(ground.path(format!("comes-{step}")), b"").unwrap();
        }
        step += 1;
    }
    assert_eq!(seen.len(), 300);
    assert!(seen.values().all(|&times| times == 1));
}

#[test]
fn a_listing_from_the_start_sees_the_present() {
    let ground = Ground::new();
    let dir = ground.mkdir("d");
    assert!(list(&ground.fs, dir).is_empty());
    std::fs::write(ground.path("d/new"), b"").unwrap();
    assert_eq!(list(&ground.fs, dir), ["new"]);
    std::fs::remove_file(ground.path("d/new")).unwrap();
    assert!(list(&ground.fs, dir).is_empty());
}

#[test]
fn listing_what_is_no_directory_fails() {
    let ground = Ground::new();
    let file = ground.file("f", b"");
    let listed = ground
        .fs
        .read_dir(file, Cookie::START, &mut |_| Flow::Continue);
    assert_eq!(listed, Err(mica_vfs::Errno::NOTDIR));
}
