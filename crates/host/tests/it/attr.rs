//! Attributes, file flags, the filesystem as a whole.

use std::os::unix::fs::MetadataExt;

use mica_vfs::{
    Errno, FileFlags, FileType, Filesystem, KillPriv, Mode, NodeId, SetAttr, SetTime, Through, Time,
};

use crate::ground::{Ground, is_root, me, name, skip};

const UNCHANGED: SetAttr = SetAttr {
    size: None,
    uid: None,
    gid: None,
    mode: None,
    atime: None,
    mtime: None,
    kill: KillPriv::Keep,
    through: Through::Name,
};

#[test]
fn attributes_are_those_of_the_host() {
    let ground = Ground::new();
    std::fs::write(ground.path("f"), b"12345").unwrap();
    let host = std::fs::metadata(ground.path("f")).unwrap();
    let entry = ground.find("f").unwrap();
    for attr in [entry.attr, ground.fs.get_attr(entry.node).unwrap()] {
        assert_eq!(
            (attr.ino.0, attr.dev.0, attr.size),
            (host.ino(), host.dev(), 5)
        );
        assert_eq!(
            (attr.uid, attr.gid, attr.nlink),
            (host.uid(), host.gid(), 1)
        );
        assert_eq!(
            (attr.kind, attr.mode.bits()),
            (FileType::Regular, host.mode() & 0o7777)
        );
        assert_eq!(attr.mtime.secs, host.mtime());
        assert_eq!(i64::from(attr.mtime.nanos), host.mtime_nsec());
        assert_eq!(attr.blocks, host.blocks());
    }
}

#[test]
fn every_field_of_a_change_is_applied() {
    let ground = Ground::new();
    let node = ground.file("f", b"12345678");
    let times = (
        Time { secs: 5, nanos: 7 },
        Time {
            secs: -3,
            nanos: 999_999_999,
        },
    );
    for round in 0..2 {
        let change = SetAttr {
            size: Some(3 + round),
            uid: Some(me().uid),
            gid: Some(me().gid),
            mode: Some(Mode::new(0o6750)),
            atime: Some(SetTime::At(times.0)),
            mtime: Some(SetTime::At(times.1)),
            kill: KillPriv::Clear,
            through: Through::Name,
        };
        let attr = ground.fs.set_attr(node, &change).unwrap();
        assert_eq!((attr.size, attr.mode), (3 + round, Mode::new(0o6750)));
        assert_eq!((attr.atime, attr.mtime), times);
        assert_eq!(ground.fs.get_attr(node), Ok(attr));
        // Once with the descriptor of the birth, once without any.
        ground.empty_cache();
    }
}

#[test]
fn times_that_are_not_given_stay() {
    let ground = Ground::new();
    let node = ground.mkdir("d");
    let before = ground.fs.get_attr(node).unwrap();
    let at = Time { secs: 1, nanos: 2 };
    let change = SetAttr {
        mtime: Some(SetTime::At(at)),
        ..UNCHANGED
    };
    let after = ground.fs.set_attr(node, &change).unwrap();
    assert_eq!((after.atime, after.mtime), (before.atime, at));
    let change = SetAttr {
        atime: Some(SetTime::Now),
        ..UNCHANGED
    };
    let after = ground.fs.set_attr(node, &change).unwrap();
    assert!(after.atime >= before.atime);
    assert_eq!(after.mtime, at);
}

#[test]
fn a_symlink_changes_itself_and_not_its_target() {
    let ground = Ground::new();
    let target = ground.file("t", b"1");
    let before = ground.fs.get_attr(target).unwrap();
    let link = ground
        .fs
        .symlink(&me(), NodeId::ROOT, name("l"), b"t")
        .unwrap()
        .node;
    let at = Time { secs: 77, nanos: 0 };
    let change = SetAttr {
        mtime: Some(SetTime::At(at)),
        uid: Some(me().uid),
        ..UNCHANGED
    };
    assert_eq!(ground.fs.set_attr(link, &change).unwrap().mtime, at);
    let chmod = SetAttr {
        mode: Some(Mode::new(0)),
        ..UNCHANGED
    };
    assert_eq!(ground.fs.set_attr(link, &chmod), Err(Errno::OPNOTSUPP));
    let truncate = SetAttr {
        size: Some(0),
        ..UNCHANGED
    };
    assert_eq!(ground.fs.set_attr(link, &truncate), Err(Errno::INVAL));
    assert_eq!(ground.fs.get_attr(target), Ok(before));
}

#[test]
fn a_directory_has_no_size_to_set() {
    let ground = Ground::new();
    let dir = ground.mkdir("d");
    let truncate = SetAttr {
        size: Some(0),
        ..UNCHANGED
    };
    assert_eq!(ground.fs.set_attr(dir, &truncate), Err(Errno::ISDIR));
}

#[test]
fn chown_changes_owner_and_group_alone_or_together() {
    if !is_root() {
        return skip(
            "chown_changes_owner_and_group_alone_or_together",
            "it needs root",
        );
    }
    let ground = Ground::new();
    let node = ground.file("f", b"");
    let change = SetAttr {
        uid: Some(7),
        ..UNCHANGED
    };
    let attr = ground.fs.set_attr(node, &change).unwrap();
    assert_eq!((attr.uid, attr.gid), (7, me().gid));
    let change = SetAttr {
        gid: Some(8),
        uid: Some(u32::MAX),
        ..UNCHANGED
    };
    let attr = ground.fs.set_attr(node, &change).unwrap();
    assert_eq!((attr.uid, attr.gid), (7, 8));
}

#[test]
fn file_flags_are_read_and_set_on_files_and_directories_only() {
    let ground = Ground::new();
    let nodes = [ground.file("f", b""), ground.mkdir("d")];
    for node in nodes {
        let flags = match ground.fs.file_flags(node) {
            Err(Errno::NOTTY | Errno::OPNOTSUPP) => return,
            flags => flags.unwrap(),
        };
        let changed = flags | FileFlags::NOATIME;
        match ground.fs.set_file_flags(node, changed) {
            Err(Errno::OPNOTSUPP) => return,
            done => done.unwrap(),
        }
        assert_eq!(ground.fs.file_flags(node), Ok(changed));
        ground.fs.set_file_flags(node, flags).unwrap();
    }
    let link = ground
        .fs
        .symlink(&me(), NodeId::ROOT, name("l"), b"f")
        .unwrap()
        .node;
    assert_eq!(ground.fs.file_flags(link), Err(Errno::NOTTY));
}

#[test]
fn the_filesystem_has_space_and_a_limit_on_names() {
    let ground = Ground::new();
    let found = ground.fs.stat_fs().unwrap();
    assert!(found.blocks > 0 && found.block_size > 0);
    assert_eq!(found.name_max, 255);
    let host = rustix::fs::statfs(ground.path("")).unwrap();
    assert_eq!(i128::from(found.kind), i128::from(host.f_type));
}

#[test]
fn a_handle_leads_back_to_its_object_until_that_is_gone() {
    const TEST: &str = "a_handle_leads_back_to_its_object_until_that_is_gone";
    let ground = Ground::new();
    let node = ground.file("f", b"");
    ground.empty_cache();
    let handle = match ground.fs.file_handle(node) {
        Err(Errno::OPNOTSUPP) => return skip(TEST, "the filesystem has no handles"),
        handle => handle.unwrap(),
    };
    assert!(!handle.bytes.is_empty());
    if !is_root() {
        assert_eq!(ground.fs.attr_by_handle(&handle), Err(Errno::PERM));
        return skip(TEST, "opening them needs CAP_DAC_READ_SEARCH");
    }
    assert_eq!(ground.fs.attr_by_handle(&handle), ground.fs.get_attr(node));
    let _second: NodeId = ground.node("f");
    assert_eq!(ground.fs.file_handle(node), Ok(handle.clone()));
    ground.fs.unlink(NodeId::ROOT, name("f")).unwrap();
    ground.fs.forget(node, 2);
    assert_eq!(ground.fs.attr_by_handle(&handle), Err(Errno::STALE));
}
