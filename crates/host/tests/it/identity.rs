//! Which objects are one node, and how long a node lives.

use mica_host::{FdCache, HostFs, LayerAccess};
use mica_vfs::{Errno, Filesystem, KillPriv, NodeId};

use crate::ground::{Ground, is_root, list, me, name, skip};

const ROOT: NodeId = NodeId::ROOT;

#[test]
fn two_hard_links_are_one_node() {
    let ground = Ground::new();
    std::fs::write(ground.path("a"), b"1").unwrap();
    std::fs::create_dir(ground.path("d")).unwrap();
    std::fs::hard_link(ground.path("a"), ground.path("d/b")).unwrap();
    let (a, b) = (ground.node("a"), ground.node("d/b"));
    assert_eq!(a, b);
    ground.fs.write(a, 0, b"2", KillPriv::Keep).unwrap();
    assert_eq!(std::fs::read(ground.path("d/b")).unwrap(), b"2");
}

#[test]
fn what_others_moved_is_followed_where_the_layer_is_shared() {
    for shared in [false, true] {
        let ground = Ground::new();
        let dir = std::fs::File::open(ground.path(".")).unwrap();
        let layer = HostFs::new(dir.into(), LayerAccess::ReadOnly, FdCache::new(8)).unwrap();
        let layer = if shared {
            layer.shared().unwrap()
        } else {
            layer
        };
        std::fs::write(ground.path("a"), b"1").unwrap();
        let node = layer.lookup(ROOT, name("a")).unwrap().node;
        std::fs::rename(ground.path("a"), ground.path("b")).unwrap();
        assert_eq!(layer.get_attr(node), Err(Errno::STALE));
        assert_eq!(layer.lookup(ROOT, name("b")).unwrap().node, node);
        assert_eq!(layer.get_attr(node).is_ok(), shared);
        // Another object under the name is not taken for it.
        std::fs::write(ground.path("c"), b"22").unwrap();
        std::fs::rename(ground.path("c"), ground.path("b")).unwrap();
        assert_eq!(layer.read(node, 0, &mut [0; 9]), Err(Errno::STALE));
    }
}

#[test]
fn a_node_lives_until_its_last_reference() {
    let ground = Ground::new();
    std::fs::write(ground.path("f"), b"1").unwrap();
    let node = ground.node("f");
    for _ in 0..3 {
        assert_eq!(ground.node("f"), node);
    }
    ground.fs.forget(node, 3);
    assert_eq!(ground.read(node).unwrap(), b"1");
    ground.fs.forget(node, 1);
    assert_eq!(ground.fs.get_attr(node), Err(Errno::STALE));
    assert_eq!(ground.fs.lookup(node, name("x")).err(), Some(Errno::STALE));
    let next = ground.node("f");
    assert_ne!(
        next, node,
        "the slot was used again under another generation"
    );
    assert_eq!(ground.fs.get_attr(node), Err(Errno::STALE));
}

#[test]
fn forgetting_everything_leads_back_to_the_start() {
    let ground = Ground::new();
    std::fs::create_dir_all(ground.path("a/b/c/d/e")).unwrap();
    let start = (ground.fs.nodes(), ground.fds.open());
    let mut held = Vec::new();
    let (mut at, mut path) = (ROOT, String::new());
    for part in ["a", "b", "c", "d", "e"] {
        at = ground.fs.lookup(at, name(part)).unwrap().node;
        held.push(at);
        path = format!("{path}/{part}");
        let made = ground
            .fs
            .create(&me(), at, name("f"), mica_vfs::Mode::new(0o600));
        held.push(made.unwrap().node);
        ground.fs.unlink(at, name("f")).unwrap();
    }
    assert_eq!(ground.fs.nodes(), start.0 + 10);
    assert!(ground.fds.open() > start.1);
    // Ancestors first: what lies below keeps them in the table, unreferenced.
    for node in held {
        ground.fs.forget(node, 1);
    }
    assert_eq!((ground.fs.nodes(), ground.fds.open()), start);
}

#[test]
fn a_child_keeps_its_forgotten_ancestors() {
    let ground = Ground::new();
    std::fs::create_dir_all(ground.path("a/b")).unwrap();
    std::fs::write(ground.path("a/b/f"), b"deep").unwrap();
    let file = ground.node("a/b/f");
    assert_eq!(ground.fs.nodes(), 4);
    ground.empty_cache();
    assert_eq!(ground.read(file).unwrap(), b"deep");
    let again = ground.node("a");
    ground.fs.forget(file, 1);
    assert_eq!(ground.fs.nodes(), 2);
    ground.fs.forget(again, 1);
    assert_eq!(ground.fs.nodes(), 1);
}

#[test]
fn forgetting_too_much_or_the_unknown_is_harmless() {
    let ground = Ground::new();
    let node = ground.file("f", b"");
    ground.fs.forget(node, u64::MAX);
    for id in [node, NodeId(0), ROOT, NodeId(u64::MAX), NodeId(999)] {
        ground.fs.forget(id, u64::MAX);
    }
    assert_eq!(ground.fs.nodes(), 1);
    assert_eq!(list(&ground.fs, ROOT), ["f"]);
}

#[test]
fn an_attached_directory_is_a_root_that_files_can_be_renamed_from() {
    let ground = Ground::new();
    let outside = tempfile::tempdir_in(ground.path("..")).unwrap();
    let work = mica_host::open_layer(outside.path(), LayerAccess::ReadWrite).unwrap();
    let work = ground.fs.attach(work).unwrap();
    assert_ne!(work, ROOT);
    let made = ground
        .fs
        .create(&me(), work, name("tmp"), mica_vfs::Mode::new(0o600))
        .unwrap();
    ground.fs.write(made.node, 0, b"1", KillPriv::Keep).unwrap();
    let flags = mica_vfs::RenameFlags::NOREPLACE;
    ground
        .fs
        .rename(work, name("tmp"), ROOT, name("f"), flags)
        .unwrap();
    ground.empty_cache();
    assert_eq!(ground.read(made.node).unwrap(), b"1");
    assert_eq!(
        (list(&ground.fs, work).len(), list(&ground.fs, ROOT).len()),
        (0, 1)
    );
    ground.fs.forget(work, 100);
    assert!(ground.fs.get_attr(work).is_ok(), "a root is not forgotten");
}

#[test]
fn a_directory_of_another_filesystem_cannot_be_attached() {
    let ground = Ground::new();
    let proc = mica_host::open_layer("/proc".as_ref(), LayerAccess::ReadWrite).unwrap();
    assert_eq!(ground.fs.attach(proc), Err(Errno::XDEV));
}

#[test]
fn a_directory_behind_another_mount_cannot_be_attached() {
    const TEST: &str = "a_directory_behind_another_mount_cannot_be_attached";
    if !is_root() {
        return skip(TEST, "it needs root");
    }
    let ground = Ground::new();
    ground.mkdir("work");
    // A private copy of the mount, as lower layers get.
    let copy = mica_host::open_layer(&ground.path("work"), LayerAccess::ReadOnly).unwrap();
    assert_eq!(ground.fs.attach(copy), Err(Errno::XDEV));
}

#[test]
fn an_object_replaced_from_outside_is_estale_and_never_another() {
    let ground = Ground::new();
    std::fs::write(ground.path("f"), b"old").unwrap();
    std::fs::write(ground.path("other"), b"new").unwrap();
    let node = ground.node("f");
    std::fs::rename(ground.path("other"), ground.path("f")).unwrap();
    assert_eq!(ground.fs.get_attr(node), Err(Errno::STALE));
    let change = mica_vfs::SetAttr {
        mode: Some(mica_vfs::Mode::new(0)),
        ..Default::default()
    };
    assert_eq!(ground.fs.set_attr(node, &change), Err(Errno::STALE));
    std::fs::remove_file(ground.path("f")).unwrap();
    assert_eq!(ground.fs.get_attr(node), Err(Errno::STALE));
    assert_eq!(ground.read(node), Err(Errno::STALE));
}
