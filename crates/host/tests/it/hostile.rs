//! Links in a layer lead nowhere, also while they are exchanged for directories.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use mica_vfs::{Access, Errno, FileType, Filesystem, NodeId};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::ground::{Ground, list, name};

const SECRET: &[u8] = b"outside";

#[test]
fn a_symlink_is_an_object_and_never_a_way() {
    let ground = Ground::new();
    symlink("/", ground.path("up")).unwrap();
    symlink("f", ground.path("l")).unwrap();
    std::fs::write(ground.path("f"), b"1").unwrap();
    let (up, link) = (ground.find("up").unwrap(), ground.node("l"));
    assert_eq!(up.attr.kind, FileType::Symlink);
    assert_eq!(ground.find("up/etc").err(), Some(Errno::NOTDIR));
    assert_eq!(ground.fs.read(link, 0, &mut [0]), Err(Errno::INVAL));
    assert!(ground.fs.host_file(link, Access::Read).is_err());
    assert_eq!(ground.fs.read_link(up.node).unwrap(), b"/");
    let file = ground.node("f");
    assert_eq!(ground.fs.read_link(file), Err(Errno::INVAL));
}

#[test]
fn a_directory_that_becomes_a_link_is_not_entered() {
    let ground = Ground::new();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("f"), SECRET).unwrap();
    std::fs::create_dir(ground.path("d")).unwrap();
    std::fs::write(ground.path("d/f"), b"inside").unwrap();
    let (dir, file) = (ground.node("d"), ground.node("d/f"));
    ground.empty_cache();
    std::fs::rename(ground.path("d"), ground.path("gone")).unwrap();
    symlink(outside.path(), ground.path("d")).unwrap();
    assert_eq!(ground.read(file), Err(Errno::STALE));
    assert_eq!(ground.fs.lookup(dir, name("f")).err(), Some(Errno::STALE));
    assert_eq!(ground.fs.get_attr(dir), Err(Errno::STALE));
}

/// Another process exchanges a directory and a link to a directory outside as fast as it can.
#[test]
fn nothing_outside_is_read_while_a_directory_and_a_link_are_exchanged() {
    let ground = Ground::with_limit(4);
    let outside = tempfile::tempdir().unwrap();
    for file in ["f", "only-outside"] {
        std::fs::write(outside.path().join(file), SECRET).unwrap();
    }
    std::fs::create_dir(ground.path("d")).unwrap();
    std::fs::write(ground.path("d/f"), b"inside").unwrap();
    symlink(outside.path(), ground.path("l")).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (ground, done) = (&ground, &done);
        scope.spawn(move || {
            let (dir, link) = (ground.path("d"), ground.path("l"));
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, &dir, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..3000 {
            ground.empty_cache();
            intrude(ground);
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Reads through `d` whatever it is at the moment.
fn intrude(ground: &Ground) {
    let fs = &ground.fs;
    let Ok(dir) = fs.lookup(NodeId::ROOT, name("d")) else {
        return;
    };
    ground.empty_cache();
    assert_eq!(fs.lookup(dir.node, name("only-outside")).ok(), None);
    if let Ok(file) = fs.lookup(dir.node, name("f")) {
        ground.empty_cache();
        if let Ok(data) = ground.read(file.node) {
            assert_eq!(data, b"inside");
        }
        fs.forget(file.node, 1);
    }
    if let Ok(opened) = fs.host_file(dir.node, Access::Read) {
        assert!(opened.is_none());
    }
    if dir.attr.kind == FileType::Directory {
        let mut names = Vec::new();
        let listed = fs.read_dir(dir.node, mica_vfs::Cookie::START, &mut |entry| {
            names.push(entry.name.to_string());
            mica_vfs::Flow::Continue
        });
        assert!(listed.is_err() || names == ["f"], "{names:?}");
    }
    fs.forget(dir.node, 1);
}

#[test]
fn a_fifo_is_never_opened() {
    let ground = Ground::new();
    rustix::fs::mknodat(
        CWD,
        ground.path("p"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let fifo = ground.node("p");
    assert_eq!(ground.fs.read(fifo, 0, &mut [0]), Err(Errno::INVAL));
    assert_eq!(ground.fs.file_flags(fifo), Err(Errno::NOTTY));
    assert_eq!(ground.fs.fsync(fifo, mica_vfs::SyncScope::All), Ok(()));
    assert_eq!(list(&ground.fs, NodeId::ROOT), ["p"]);
}
