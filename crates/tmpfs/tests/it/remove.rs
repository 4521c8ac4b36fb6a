use mica_vfs::{Errno, Filesystem, Mode};

use crate::stage::*;

#[test]
fn unlink_takes_one_name_and_rmdir_an_empty_directory() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    fs.link(node, ROOT, name("g")).unwrap();
    let before = attr(&fs, node);
    fs.unlink(ROOT, name("f")).unwrap();
    let after = attr(&fs, node);
    assert_eq!(after.nlink, 1);
    assert!(after.ctime > before.ctime);
    mkdir(&fs, ROOT, "d");
    let with = attr(&fs, ROOT);
    fs.rmdir(ROOT, name("d")).unwrap();
    let without = attr(&fs, ROOT);
    assert_eq!((with.nlink, without.nlink), (3, 2));
    assert!(without.mtime > with.mtime);
    assert_eq!(names(&fs, ROOT), ["g"]);
}

#[test]
fn each_refuses_what_the_other_removes() {
    let fs = tmpfs();
    let dir = mkdir(&fs, ROOT, "d");
    file(&fs, dir, "f");
    assert_eq!(fs.unlink(ROOT, name("d")), Err(Errno::ISDIR));
    assert_eq!(fs.rmdir(dir, name("f")), Err(Errno::NOTDIR));
    assert_eq!(fs.rmdir(ROOT, name("d")), Err(Errno::NOTEMPTY));
    assert_eq!(fs.rmdir(ROOT, name("x")), Err(Errno::NOENT));
    assert_eq!(fs.unlink(ROOT, name("x")), Err(Errno::NOENT));
}

#[test]
fn a_removed_file_is_used_on_while_it_is_referenced() {
    let fs = tmpfs();
    let node = file_with(&fs, "f", b"old");
    fs.unlink(ROOT, name("f")).unwrap();
    assert_eq!(attr(&fs, node).nlink, 0);
    assert_eq!(read(&fs, node), b"old");
    fs.write(node, 3, b"er", mica_vfs::KillPriv::Keep).unwrap();
    assert_eq!(read(&fs, node), b"older");
    fs.forget(node, 1);
    assert_eq!(fs.get_attr(node).err(), Some(Errno::STALE));
}

#[test]
fn a_removed_directory_lists_nothing() {
    let fs = tmpfs();
    let dir = mkdir(&fs, ROOT, "d");
    fs.rmdir(ROOT, name("d")).unwrap();
    assert_eq!(attr(&fs, dir).nlink, 0);
    assert!(names(&fs, dir).is_empty());
    let tmpfile = fs.tmpfile(&mica_vfs::Caller::ROOT, dir, Mode::empty());
    assert_eq!(tmpfile.err(), Some(Errno::NOENT));
}
