//! Lookup, link, unlink, rmdir and rename.

use mica_vfs::{Errno, FileType, Filesystem, KillPriv, NodeId, RenameFlags, SetAttr};

use crate::ground::{Ground, is_root, list, me, name, skip};

const ROOT: NodeId = NodeId::ROOT;
const PLAIN: RenameFlags = RenameFlags::empty();

#[test]
fn a_missing_name_is_enoent() {
    let ground = Ground::new();
    assert_eq!(ground.find("no").err(), Some(Errno::NOENT));
    assert_eq!(ground.fs.unlink(ROOT, name("no")), Err(Errno::NOENT));
    assert_eq!(ground.fs.rmdir(ROOT, name("no")), Err(Errno::NOENT));
    let renamed = ground.fs.rename(ROOT, name("no"), ROOT, name("x"), PLAIN);
    assert_eq!(renamed, Err(Errno::NOENT));
}

#[test]
fn unlink_and_rmdir_keep_to_their_types() {
    let ground = Ground::new();
    ground.file("f", b"");
    ground.mkdir("d");
    std::fs::write(ground.path("d/in"), b"").unwrap();
    assert_eq!(ground.fs.unlink(ROOT, name("d")), Err(Errno::ISDIR));
    assert_eq!(ground.fs.rmdir(ROOT, name("f")), Err(Errno::NOTDIR));
    assert_eq!(ground.fs.rmdir(ROOT, name("d")), Err(Errno::NOTEMPTY));
    assert_eq!(ground.find("d/in").unwrap().attr.kind, FileType::Regular);
    ground.fs.unlink(ROOT, name("f")).unwrap();
    let dir = ground.node("d");
    ground.fs.unlink(dir, name("in")).unwrap();
    ground.fs.rmdir(ROOT, name("d")).unwrap();
    assert!(list(&ground.fs, ROOT).is_empty());
}

#[test]
fn a_failed_removal_leaves_the_node_with_its_name() {
    let ground = Ground::new();
    let dir = ground.mkdir("d");
    std::fs::write(ground.path("d/in"), b"").unwrap();
    ground.empty_cache();
    let before = ground.fds.open();
    assert_eq!(ground.fs.rmdir(ROOT, name("d")), Err(Errno::NOTEMPTY));
    assert_eq!(ground.fds.open(), before, "the descriptor was given back");
    assert_eq!(list(&ground.fs, dir), ["in"]);
    ground
        .fs
        .rename(ROOT, name("d"), ROOT, name("e"), PLAIN)
        .unwrap();
    assert_eq!(list(&ground.fs, dir), ["in"]);
}

#[test]
fn a_link_is_one_more_name_of_one_node() {
    let ground = Ground::new();
    let file = ground.file("a", b"data");
    for (nth, to) in ["b", "c"].into_iter().enumerate() {
        let linked = ground.fs.link(file, ROOT, name(to)).unwrap();
        assert_eq!(linked.node, file);
        assert_eq!(usize::try_from(linked.attr.nlink).unwrap(), nth + 2);
        ground.empty_cache();
    }
    assert_eq!(
        ground.fs.link(file, ROOT, name("b")).err(),
        Some(Errno::EXIST)
    );
    let dir = ground.mkdir("d");
    assert_eq!(
        ground.fs.link(dir, ROOT, name("e")).err(),
        Some(Errno::PERM)
    );
    let link = ground
        .fs
        .symlink(&me(), ROOT, name("s"), b"a")
        .unwrap()
        .node;
    let linked = ground.fs.link(link, ROOT, name("t")).unwrap();
    assert_eq!((linked.node, linked.attr.kind), (link, FileType::Symlink));
}

#[test]
fn rename_moves_the_node_and_what_is_below_it() {
    let ground = Ground::new();
    std::fs::create_dir_all(ground.path("a/b/c")).unwrap();
    std::fs::write(ground.path("a/b/c/f"), b"deep").unwrap();
    let (b, c, file) = (
        ground.node("a/b"),
        ground.node("a/b/c"),
        ground.node("a/b/c/f"),
    );
    let target = ground.mkdir("t");
    for cached in [true, false] {
        if !cached {
            ground.empty_cache();
        }
        let (from, to) = if cached { ("a", "z") } else { ("z", "a") };
        ground
            .fs
            .rename(ROOT, name(from), ROOT, name(to), PLAIN)
            .unwrap();
        ground.empty_cache();
        assert_eq!(ground.read(file).unwrap(), b"deep");
        assert_eq!(list(&ground.fs, c), ["f"]);
        assert_eq!(ground.node(&format!("{to}/b")), b);
    }
    let a = ground.node("a");
    ground
        .fs
        .rename(a, name("b"), target, name("moved"), PLAIN)
        .unwrap();
    ground
        .fs
        .rename(c, name("f"), ROOT, name("top"), PLAIN)
        .unwrap();
    ground.empty_cache();
    assert_eq!(list(&ground.fs, b), ["c"]);
    assert_eq!(ground.read(file).unwrap(), b"deep");
    assert_eq!(std::fs::read(ground.path("top")).unwrap(), b"deep");
    let inside = ground.fs.rename(ROOT, name("t"), c, name("x"), PLAIN);
    assert_eq!(inside, Err(Errno::INVAL));
}

#[test]
fn rename_flags_are_those_of_the_host() {
    let ground = Ground::new();
    let (a, b) = (ground.file("a", b"A"), ground.file("b", b"B"));
    let rename = |flags| ground.fs.rename(ROOT, name("a"), ROOT, name("b"), flags);
    assert_eq!(rename(RenameFlags::NOREPLACE), Err(Errno::EXIST));
    let both = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
    assert_eq!(rename(both), Err(Errno::INVAL));
    assert_eq!(rename(RenameFlags::EXCHANGE), Ok(()));
    ground.empty_cache();
    assert_eq!(
        (ground.read(a).unwrap(), ground.read(b).unwrap()),
        (b"A".into(), b"B".into())
    );
    assert_eq!(std::fs::read(ground.path("a")).unwrap(), b"B");
    assert_eq!((ground.node("b"), ground.node("a")), (a, b));
    let missing = ground
        .fs
        .rename(ROOT, name("a"), ROOT, name("no"), RenameFlags::EXCHANGE);
    assert_eq!(missing, Err(Errno::NOENT));
}

#[test]
fn exchanged_directories_keep_what_is_below_them() {
    let ground = Ground::new();
    std::fs::create_dir_all(ground.path("p/x")).unwrap();
    std::fs::write(ground.path("p/x/in-x"), b"x").unwrap();
    std::fs::create_dir_all(ground.path("q/y")).unwrap();
    std::fs::write(ground.path("q/y/in-y"), b"y").unwrap();
    let (p, q) = (ground.node("p"), ground.node("q"));
    let (in_x, in_y) = (ground.node("p/x/in-x"), ground.node("q/y/in-y"));
    ground
        .fs
        .rename(p, name("x"), q, name("y"), RenameFlags::EXCHANGE)
        .unwrap();
    ground.empty_cache();
    assert_eq!(
        (ground.read(in_x).unwrap(), ground.read(in_y).unwrap()),
        (b"x".into(), b"y".into())
    );
    assert_eq!(
        (ground.node("q/y/in-x"), ground.node("p/x/in-y")),
        (in_x, in_y)
    );
}

#[test]
fn a_rename_can_leave_a_whiteout() {
    if !is_root() {
        return skip("a_rename_can_leave_a_whiteout", "it needs CAP_MKNOD");
    }
    let ground = Ground::new();
    let file = ground.file("a", b"A");
    match ground
        .fs
        .rename(ROOT, name("a"), ROOT, name("b"), RenameFlags::WHITEOUT)
    {
        Err(Errno::INVAL) => {
            return skip("a_rename_can_leave_a_whiteout", "the filesystem lacks it");
        }
        done => done.unwrap(),
    }
    let whiteout = ground.find("a").unwrap();
    assert_eq!(whiteout.attr.kind, FileType::CharDevice);
    assert_eq!(whiteout.attr.rdev, mica_vfs::Rdev::WHITEOUT);
    assert_ne!(whiteout.node, file);
    assert_eq!(ground.node("b"), file);
}

#[test]
fn renaming_a_link_over_another_of_the_same_file_does_nothing() {
    let ground = Ground::new();
    let file = ground.file("a", b"A");
    ground.fs.link(file, ROOT, name("b")).unwrap();
    for (from, to) in [("a", "b"), ("b", "a")] {
        ground
            .fs
            .rename(ROOT, name(from), ROOT, name(to), PLAIN)
            .unwrap();
        ground.empty_cache();
        assert_eq!(ground.fs.get_attr(file).unwrap().nlink, 2);
        assert_eq!(ground.read(file).unwrap(), b"A");
    }
    assert_eq!(list(&ground.fs, ROOT), ["a", "b"]);
}

#[test]
fn a_replaced_file_lives_on_and_the_new_one_is_found() {
    let ground = Ground::new();
    let (old, new) = (ground.file("old", b"old"), ground.file("new", b"new"));
    ground
        .fs
        .rename(ROOT, name("new"), ROOT, name("old"), PLAIN)
        .unwrap();
    ground.empty_cache();
    assert_eq!(ground.node("old"), new);
    assert_eq!(ground.read(old).unwrap(), b"old");
    assert_eq!(ground.read(new).unwrap(), b"new");
    assert_eq!(ground.fs.get_attr(old).unwrap().nlink, 0);
    ground.fs.write(old, 0, b"OLD", KillPriv::Keep).unwrap();
    assert_eq!(
        ground.fs.set_attr(old, &SetAttr::default()).unwrap().size,
        3
    );
    assert_eq!(std::fs::read(ground.path("old")).unwrap(), b"new");
}

#[test]
fn names_of_255_bytes_work_everywhere() {
    let ground = Ground::new();
    let (long, other) = ("n".repeat(255), "m".repeat(255));
    let node = ground.file(&long, b"1");
    ground.empty_cache();
    assert_eq!(ground.read(node).unwrap(), b"1");
    assert_eq!(ground.fs.get_attr(node).unwrap().size, 1);
    ground
        .fs
        .rename(ROOT, name(&long), ROOT, name(&other), PLAIN)
        .unwrap();
    ground.empty_cache();
    assert_eq!(ground.read(node).unwrap(), b"1");
    ground.fs.unlink(ROOT, name(&other)).unwrap();
    assert_eq!(ground.read(node).unwrap(), b"1");
}
