use mica_tmpfs::Tmpfs;
use mica_vfs::{Caller, Errno, FileType, Filesystem, Mode, NodeId, Rdev};

use crate::stage::*;

const USER: Caller = Caller {
    uid: 1000,
    gid: 100,
    umask: 0o022,
};

#[test]
fn a_new_file_has_the_callers_owner_and_the_mode_less_umask() {
    let fs = tmpfs();
    let made = fs
        .create(&USER, ROOT, name("f"), Mode::new(0o6666))
        .unwrap()
        .attr;
    assert_eq!((made.uid, made.gid), (1000, 100));
    assert_eq!(made.mode, Mode::new(0o6644));
    assert_eq!((made.nlink, made.size, made.blocks), (1, 0, 0));
    assert_eq!(made.kind, FileType::Regular);
    assert_eq!(made.btime, Some(made.ctime));
}

#[test]
fn mkdir_ignores_setuid_and_setgid() {
    let fs = tmpfs();
    let made = fs.mkdir(&USER, ROOT, name("d"), Mode::new(0o7777)).unwrap();
    assert_eq!(made.attr.mode, Mode::new(0o1755));
    assert_eq!(made.attr.nlink, 2);
    assert_eq!(attr(&fs, ROOT).nlink, 3);
}

#[test]
fn a_setgid_directory_gives_its_group_and_to_directories_the_bit() {
    let fs = tmpfs();
    let dir = mkdir(&fs, ROOT, "d");
    let group = mica_vfs::SetAttr {
        gid: Some(7),
        mode: Some(Mode::new(0o2755)),
        ..Default::default()
    };
    fs.set_attr(dir, &group).unwrap();
    let file = fs.create(&USER, dir, name("f"), Mode::new(0o644)).unwrap();
    let sub = fs.mkdir(&USER, dir, name("s"), Mode::new(0o755)).unwrap();
    let link = fs.symlink(&USER, dir, name("l"), b"f").unwrap();
    assert_eq!((file.attr.gid, file.attr.mode), (7, Mode::new(0o644)));
    assert_eq!((sub.attr.gid, sub.attr.mode), (7, Mode::new(0o2755)));
    assert_eq!((link.attr.gid, link.attr.uid), (7, 1000));
}

#[test]
fn a_symlink_is_0777_under_any_umask_and_reads_back() {
    let fs = tmpfs();
    let link = fs.symlink(&USER, ROOT, name("l"), b"../to").unwrap();
    assert_eq!(link.attr.mode, Mode::new(0o777));
    assert_eq!(link.attr.size, 5);
    assert_eq!(fs.read_link(link.node).unwrap(), b"../to");
    assert_eq!(fs.read_link(ROOT), Err(Errno::INVAL));
    let symlink = |target: &[u8]| fs.symlink(&USER, ROOT, name("x"), target).err();
    assert_eq!(symlink(b""), Some(Errno::NOENT));
    assert_eq!(symlink(&[b'x'; 4096]), Some(Errno::NAMETOOLONG));
    assert_eq!(symlink(&[b'x'; 4095]), None);
}

#[test]
fn mknod_makes_every_type_but_directories_and_symlinks() {
    let fs = tmpfs();
    let rdev = Rdev { major: 1, minor: 3 };
    for (at, kind, has_rdev) in [
        ("c", FileType::CharDevice, true),
        ("b", FileType::BlockDevice, true),
        ("p", FileType::Fifo, false),
        ("s", FileType::Socket, false),
        ("r", FileType::Regular, false),
    ] {
        let made = attr(&fs, mknod(&fs, at, kind, rdev));
        assert_eq!(made.kind, kind);
        assert_eq!(made.rdev == rdev, has_rdev, "{kind:?}");
    }
    let refused = |kind| {
        fs.mknod(&USER, ROOT, name("x"), kind, Mode::empty(), rdev)
            .err()
    };
    assert_eq!(refused(FileType::Directory), Some(Errno::PERM));
    assert_eq!(refused(FileType::Symlink), Some(Errno::INVAL));
}

#[test]
fn a_name_that_exists_is_eexist_for_every_maker() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    let mode = Mode::new(0o644);
    let at = name("f");
    assert_eq!(fs.create(&USER, ROOT, at, mode).err(), Some(Errno::EXIST));
    assert_eq!(fs.mkdir(&USER, ROOT, at, mode).err(), Some(Errno::EXIST));
    assert_eq!(fs.symlink(&USER, ROOT, at, b"x").err(), Some(Errno::EXIST));
    assert_eq!(fs.link(node, ROOT, at).err(), Some(Errno::EXIST));
}

#[test]
fn names_are_made_in_directories_only_and_not_in_removed_ones() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    let gone = mkdir(&fs, ROOT, "d");
    fs.rmdir(ROOT, name("d")).unwrap();
    let create = |dir| fs.create(&USER, dir, name("x"), Mode::empty()).err();
    assert_eq!(create(node), Some(Errno::NOTDIR));
    assert_eq!(create(gone), Some(Errno::NOENT));
    assert_eq!(create(NodeId(99)), Some(Errno::STALE));
    assert_eq!(lookup(&fs, node, "x").err(), Some(Errno::NOTDIR));
    assert_eq!(lookup(&fs, ROOT, "x").err(), Some(Errno::NOENT));
}

#[test]
fn a_link_is_one_more_name_of_the_same_inode() {
    let fs = tmpfs();
    let node = file_with(&fs, "f", b"data");
    let before = attr(&fs, node);
    let linked = fs.link(node, ROOT, name("g")).unwrap();
    assert_eq!(linked.node, node);
    assert_eq!(linked.attr.nlink, 2);
    assert_eq!(linked.attr.ino, before.ino);
    assert!(linked.attr.ctime > before.ctime);
    assert_eq!(linked.attr.mtime, before.mtime);
    let dir = mkdir(&fs, ROOT, "d");
    assert_eq!(fs.link(dir, ROOT, name("e")).err(), Some(Errno::PERM));
}

#[test]
fn a_tmpfile_has_no_name_until_it_is_linked() {
    let fs = tmpfs();
    let made = fs.tmpfile(&USER, ROOT, Mode::new(0o600)).unwrap();
    assert_eq!(made.attr.nlink, 0);
    assert!(names(&fs, ROOT).is_empty());
    fs.link(made.node, ROOT, name("t")).unwrap();
    assert_eq!(attr(&fs, made.node).nlink, 1);
    fs.unlink(ROOT, name("t")).unwrap();
    let again = fs.link(made.node, ROOT, name("u"));
    assert_eq!(again.err(), Some(Errno::NOENT));
}

#[test]
fn every_instance_is_a_device_and_every_inode_a_number_of_its_own() {
    let (a, b) = (tmpfs(), Tmpfs::new());
    assert_ne!(attr(&a, ROOT).dev, attr(&b, ROOT).dev);
    assert_ne!(a.uuid(), b.uuid());
    let first = attr(&a, file(&a, ROOT, "f")).ino;
    let second = attr(&a, file(&a, ROOT, "g")).ino;
    assert_ne!(first, second);
    rename(&a, (ROOT, "f"), (ROOT, "h"), mica_vfs::RenameFlags::empty()).unwrap();
    assert_eq!(lookup(&a, ROOT, "h").unwrap().attr.ino, first);
}

#[test]
fn making_a_name_moves_the_times_of_its_directory() {
    let fs = tmpfs();
    let dir = mkdir(&fs, ROOT, "d");
    let before = attr(&fs, dir);
    let node = file(&fs, dir, "f");
    let after = attr(&fs, dir);
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);
    assert_eq!(after.atime, before.atime);
    assert_eq!(attr(&fs, node).mtime, after.mtime);
}
