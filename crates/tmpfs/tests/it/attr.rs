use mica_vfs::{
    Errno, FileType, Filesystem, KillPriv, Mode, NodeId, Rdev, SetAttr, SetTime, Through, Time,
};

use crate::stage::*;

const CAPABILITY: &str = "security.capability";

/// A file with every privilege that there is.
fn privileged(fs: &mica_tmpfs::Tmpfs, mode: u32) -> NodeId {
    let node = file_with(fs, "p", b"program");
    chmod(fs, node, mode);
    set_xattr(fs, node, CAPABILITY, b"caps").unwrap();
    node
}

#[test]
fn a_change_of_nothing_changes_nothing() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    let before = attr(&fs, node);
    assert_eq!(fs.set_attr(node, &SetAttr::default()), Ok(before));
}

#[test]
fn every_attribute_can_be_set_and_moves_ctime() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    let time = Time { secs: -5, nanos: 7 };
    let before = attr(&fs, node);
    let change = SetAttr {
        size: Some(10),
        uid: Some(1),
        gid: Some(2),
        mode: Some(Mode::new(0o600)),
        atime: Some(SetTime::At(time)),
        mtime: Some(SetTime::Now),
        kill: KillPriv::Keep,
        through: Through::Name,
    };
    let after = fs.set_attr(node, &change).unwrap();
    assert_eq!((after.size, after.uid, after.gid), (10, 1, 2));
    assert_eq!((after.mode, after.atime), (Mode::new(0o600), time));
    assert!(after.mtime > before.mtime && after.ctime == after.mtime);
    assert_eq!(after.btime, before.btime);
}

#[test]
fn a_mode_given_with_an_owner_comes_after_it() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    let change = SetAttr {
        uid: Some(1),
        mode: Some(Mode::new(0o4755)),
        ..SetAttr::default()
    };
    assert_eq!(fs.set_attr(node, &change).unwrap().mode, Mode::new(0o4755));
}

#[test]
fn a_chown_drops_privileges_of_files_but_not_of_directories() {
    let fs = tmpfs();
    let chown = SetAttr {
        gid: Some(5),
        ..SetAttr::default()
    };
    let node = privileged(&fs, 0o6755);
    assert_eq!(fs.set_attr(node, &chown).unwrap().mode, Mode::new(0o755));
    assert_eq!(get_xattr(&fs, node, CAPABILITY), Err(Errno::NODATA));
    chmod(&fs, node, 0o2745);
    assert_eq!(fs.set_attr(node, &chown).unwrap().mode, Mode::new(0o2745));
    let dir = mkdir(&fs, ROOT, "d");
    chmod(&fs, dir, 0o6755);
    assert_eq!(fs.set_attr(dir, &chown).unwrap().mode, Mode::new(0o6755));
}

#[test]
fn a_write_drops_the_capability_and_on_demand_the_bits() {
    let fs = tmpfs();
    let node = privileged(&fs, 0o6755);
    fs.write(node, 0, b"x", KillPriv::Keep).unwrap();
    assert_eq!(attr(&fs, node).mode, Mode::new(0o6755));
    assert_eq!(get_xattr(&fs, node, CAPABILITY), Err(Errno::NODATA));
    fs.write(node, 0, b"", KillPriv::Clear).unwrap();
    assert_eq!(attr(&fs, node).mode, Mode::new(0o6755));
    fs.write(node, 0, b"x", KillPriv::Clear).unwrap();
    assert_eq!(attr(&fs, node).mode, Mode::new(0o755));
}

#[test]
fn a_truncation_drops_the_capability_and_on_demand_the_bits() {
    let fs = tmpfs();
    let node = privileged(&fs, 0o6755);
    assert_eq!(truncate(&fs, node, 3).unwrap().mode, Mode::new(0o6755));
    assert_eq!(get_xattr(&fs, node, CAPABILITY), Err(Errno::NODATA));
    let change = SetAttr {
        size: Some(0),
        kill: KillPriv::Clear,
        ..SetAttr::default()
    };
    assert_eq!(fs.set_attr(node, &change).unwrap().mode, Mode::new(0o755));
}

#[test]
fn only_a_regular_file_has_a_size_to_set() {
    let fs = tmpfs();
    let link = fs
        .symlink(&mica_vfs::Caller::ROOT, ROOT, name("l"), b"x")
        .unwrap()
        .node;
    let fifo = mknod(&fs, "p", FileType::Fifo, Rdev::default());
    let node = file(&fs, ROOT, "f");
    assert_eq!(truncate(&fs, ROOT, 0).err(), Some(Errno::ISDIR));
    assert_eq!(truncate(&fs, link, 0).err(), Some(Errno::INVAL));
    assert_eq!(truncate(&fs, fifo, 0).err(), Some(Errno::INVAL));
    assert_eq!(truncate(&fs, node, 1 << 63).err(), Some(Errno::FBIG));
    assert!(truncate(&fs, node, (1 << 63) - 1).is_ok());
}

#[test]
fn a_symlink_has_no_mode_to_set_and_a_refused_change_changes_nothing() {
    let fs = tmpfs();
    let link = fs
        .symlink(&mica_vfs::Caller::ROOT, ROOT, name("l"), b"x")
        .unwrap();
    let change = SetAttr {
        uid: Some(9),
        mode: Some(Mode::new(0o600)),
        ..SetAttr::default()
    };
    let changed = fs.set_attr(link.node, &change);
    assert_eq!(changed.err(), Some(Errno::OPNOTSUPP));
    assert_eq!(attr(&fs, link.node), link.attr);
}

#[test]
fn reading_moves_no_time() {
    let fs = tmpfs();
    let node = file_with(&fs, "f", b"data");
    let before = (attr(&fs, node), attr(&fs, ROOT));
    assert_eq!(read(&fs, node), b"data");
    assert_eq!(names(&fs, ROOT), ["f"]);
    assert_eq!((attr(&fs, node), attr(&fs, ROOT)), before);
}
