//! Nodes whose last known name is gone, and files that never had one.

use std::sync::Arc;

use mica_host::{FdCache, HostFs};
use mica_vfs::{
    Cookie, Errno, FileType, Filesystem, Flow, KillPriv, Mode, NodeId, Rdev, RenameFlags, SetAttr,
    SyncScope, XattrMode,
};

use crate::ground::{Ground, list, me, name, skip, xattr_name};

const ROOT: NodeId = NodeId::ROOT;

/// Does everything that can be done with a regular file through its node alone.
fn exercise(fs: &HostFs, fds: &Arc<FdCache>, node: NodeId) {
    for emptied in [false, true] {
        if emptied {
            fds.trim_idle(std::time::Duration::ZERO);
        }
        assert_eq!(fs.write(node, 0, b"hello world", KillPriv::Keep), Ok(11));
        let mut data = [0; 16];
        assert_eq!(fs.read(node, 6, &mut data), Ok(5));
        assert_eq!(&data[..5], b"world");
        let change = SetAttr {
            size: Some(5),
            mode: Some(Mode::new(0o640)),
            ..SetAttr::default()
        };
        let attr = fs.set_attr(node, &change).unwrap();
        assert_eq!((attr.size, attr.mode, attr.nlink), (5, Mode::new(0o640), 0));
        assert_eq!(fs.get_attr(node), Ok(attr));
        let a = xattr_name("user.a");
        match fs.set_xattr(node, a, b"value", XattrMode::Set, KillPriv::Keep) {
            Err(Errno::OPNOTSUPP) => {}
            done => {
                done.unwrap();
                assert_eq!(fs.get_xattr(node, a, &mut data), Ok(5));
                fs.remove_xattr(node, a).unwrap();
            }
        }
        fs.fsync(node, SyncScope::All).unwrap();
        assert!(
            fs.host_file(node, mica_vfs::Access::Write)
                .unwrap()
                .is_some()
        );
    }
}

#[test]
fn an_unlinked_file_works_as_before() {
    for limit in [64, 8, 1] {
        let ground = Ground::with_limit(limit);
        let node = ground.file("f", b"1");
        ground.fs.unlink(ROOT, name("f")).unwrap();
        assert_eq!(ground.find("f").err(), Some(Errno::NOENT));
        exercise(&ground.fs, &ground.fds, node);
        let again = ground.file("f", b"new");
        assert_ne!(again, node);
        exercise(&ground.fs, &ground.fds, node);
        assert_eq!(ground.read(again).unwrap(), b"new");
    }
}

#[test]
fn an_unlinked_file_that_was_never_opened_works() {
    let ground = Ground::with_limit(8);
    std::fs::write(ground.path("f"), b"12").unwrap();
    let node = ground.node("f");
    ground.fs.unlink(ROOT, name("f")).unwrap();
    assert_eq!(ground.read(node).unwrap(), b"12");
    exercise(&ground.fs, &ground.fds, node);
}

#[test]
fn a_node_that_lost_one_of_its_names_works_and_is_found_by_the_other() {
    let ground = Ground::new();
    let node = ground.file("a", b"data");
    std::fs::hard_link(ground.path("a"), ground.path("b")).unwrap();
    ground.fs.unlink(ROOT, name("a")).unwrap();
    ground.empty_cache();
    assert_eq!(ground.read(node).unwrap(), b"data");
    let held = ground.fds.open();
    assert_eq!(ground.node("b"), node);
    ground.empty_cache();
    assert!(
        ground.fds.open() < held,
        "a name took the descriptor's place"
    );
    assert_eq!(ground.read(node).unwrap(), b"data");
    ground.fs.unlink(ROOT, name("b")).unwrap();
    ground.empty_cache();
    assert_eq!(ground.read(node).unwrap(), b"data");
    assert_eq!(ground.fs.get_attr(node).unwrap().nlink, 0);
}

#[test]
fn a_removed_directory_is_empty_for_who_still_has_it() {
    let ground = Ground::new();
    let dir = ground.mkdir("d");
    ground.empty_cache();
    ground.fs.rmdir(ROOT, name("d")).unwrap();
    ground.empty_cache();
    assert_eq!(ground.fs.get_attr(dir).unwrap().kind, FileType::Directory);
    assert_eq!(ground.fs.lookup(dir, name("x")).err(), Some(Errno::NOENT));
    let made = ground.fs.create(&me(), dir, name("x"), Mode::new(0o600));
    assert_eq!(made.err(), Some(Errno::NOENT));
    // Linux lists nothing in a directory that is gone, with or without an error.
    let listed = ground
        .fs
        .read_dir(dir, Cookie::START, &mut |_| Flow::Continue);
    assert!(matches!(listed, Ok(()) | Err(Errno::NOENT)), "{listed:?}");
    let again = ground.mkdir("d");
    assert_ne!(again, dir);
    assert!(list(&ground.fs, again).is_empty());
}

#[test]
fn removed_links_fifos_and_replaced_directories_keep_their_attributes() {
    let ground = Ground::new();
    let link = ground
        .fs
        .symlink(&me(), ROOT, name("l"), b"target")
        .unwrap()
        .node;
    let mode = Mode::new(0o600);
    let fifo = ground.fs.mknod(
        &me(),
        ROOT,
        name("p"),
        FileType::Fifo,
        mode,
        Rdev::default(),
    );
    let fifo = fifo.unwrap().node;
    let (old, new) = (ground.mkdir("old"), ground.mkdir("new"));
    for file in ["l", "p"] {
        ground.fs.unlink(ROOT, name(file)).unwrap();
    }
    ground
        .fs
        .rename(ROOT, name("new"), ROOT, name("old"), RenameFlags::empty())
        .unwrap();
    ground.empty_cache();
    assert_eq!(ground.fs.read_link(link).unwrap(), b"target");
    let change = SetAttr {
        mode: Some(Mode::new(0o640)),
        ..SetAttr::default()
    };
    assert_eq!(
        ground.fs.set_attr(fifo, &change).unwrap().mode,
        Mode::new(0o640)
    );
    assert_eq!(ground.fs.get_attr(old).unwrap().kind, FileType::Directory);
    assert_eq!(ground.node("old"), new);
}

#[test]
fn a_file_born_without_a_name_works_and_can_be_given_one() {
    let ground = Ground::with_limit(8);
    let born = match ground.fs.tmpfile(&me(), ROOT, Mode::new(0o666)) {
        Err(Errno::OPNOTSUPP) => {
            return skip(
                "a_file_born_without_a_name_works_and_can_be_given_one",
                "the filesystem lacks it",
            );
        }
        born => born.unwrap(),
    };
    assert_eq!((born.attr.nlink, born.attr.mode), (0, Mode::new(0o644)));
    assert!(list(&ground.fs, ROOT).is_empty());
    exercise(&ground.fs, &ground.fds, born.node);
    let linked = ground.fs.link(born.node, ROOT, name("f")).unwrap();
    assert_eq!((linked.node, linked.attr.nlink), (born.node, 1));
    ground.empty_cache();
    assert_eq!(std::fs::read(ground.path("f")).unwrap(), b"hello");
    assert_eq!(ground.read(born.node).unwrap(), b"hello");
    ground.fs.forget(born.node, 2);
    assert_eq!(ground.fs.nodes(), 1);
}

#[test]
fn a_nameless_file_ends_with_its_last_reference() {
    let ground = Ground::new();
    let held = ground.fds.open();
    let Ok(born) = ground.fs.tmpfile(&me(), ROOT, Mode::new(0o600)) else {
        return skip(
            "a_nameless_file_ends_with_its_last_reference",
            "the filesystem lacks it",
        );
    };
    assert_eq!(ground.fds.open(), held + 1);
    ground.fs.forget(born.node, 1);
    assert_eq!((ground.fds.open(), ground.fs.nodes()), (held, 1));
    assert_eq!(ground.fs.get_attr(born.node), Err(Errno::STALE));
}
