use mica_vfs::{Caller, Errno, FileType, Filesystem, KillPriv, Rdev, XATTR_SIZE_MAX, XattrMode};

use crate::stage::*;

#[test]
fn an_attribute_reads_back_and_its_length_rules_are_the_kernels() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    set_xattr(&fs, node, "user.k", b"value").unwrap();
    set_xattr(&fs, node, "trusted.empty", b"").unwrap();
    let key = xattr("user.k");
    assert_eq!(fs.get_xattr(node, key, &mut []), Ok(5));
    assert_eq!(fs.get_xattr(node, key, &mut [0; 4]), Err(Errno::RANGE));
    let mut long = [b'.'; 7];
    assert_eq!(fs.get_xattr(node, key, &mut long), Ok(5));
    assert_eq!(&long, b"value..");
    assert_eq!(get_xattr(&fs, node, "trusted.empty"), Ok(Vec::new()));
    assert_eq!(get_xattr(&fs, node, "user.none"), Err(Errno::NODATA));
}

#[test]
fn the_list_has_every_name_ended_by_nul() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    assert_eq!(fs.list_xattr(node, &mut []), Ok(0));
    assert_eq!(fs.list_xattr(node, &mut [0; 1]), Ok(0));
    for key in ["user.k", "trusted.t", "security.s"] {
        set_xattr(&fs, node, key, b"").unwrap();
    }
    let mut list = [0; 28];
    assert_eq!(fs.list_xattr(node, &mut []), Ok(28));
    assert_eq!(fs.list_xattr(node, &mut [0; 27]), Err(Errno::RANGE));
    assert_eq!(fs.list_xattr(node, &mut list), Ok(28));
    assert_eq!(&list, b"security.s\0trusted.t\0user.k\0");
}

#[test]
fn create_and_replace_mind_what_is_there() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    let set = |mode| fs.set_xattr(node, xattr("user.k"), b"v", mode, KillPriv::Keep);
    assert_eq!(set(XattrMode::Replace), Err(Errno::NODATA));
    assert_eq!(set(XattrMode::Create), Ok(()));
    assert_eq!(set(XattrMode::Create), Err(Errno::EXIST));
    assert_eq!(set(XattrMode::Replace), Ok(()));
}

#[test]
fn an_attribute_is_removed_once() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    set_xattr(&fs, node, "user.k", b"").unwrap();
    let before = attr(&fs, node);
    assert_eq!(fs.remove_xattr(node, xattr("user.k")), Ok(()));
    assert_eq!(fs.remove_xattr(node, xattr("user.k")), Err(Errno::NODATA));
    let after = attr(&fs, node);
    assert!(after.ctime > before.ctime);
    assert_eq!(after.mtime, before.mtime);
}

#[test]
fn user_attributes_are_for_files_and_directories() {
    let fs = tmpfs();
    let link = fs
        .symlink(&Caller::ROOT, ROOT, name("l"), b"x")
        .unwrap()
        .node;
    let fifo = mknod(&fs, "p", FileType::Fifo, Rdev::default());
    for node in [link, fifo] {
        assert_eq!(set_xattr(&fs, node, "user.k", b""), Err(Errno::PERM));
        assert_eq!(get_xattr(&fs, node, "user.k"), Err(Errno::NODATA));
        assert_eq!(fs.remove_xattr(node, xattr("user.k")), Err(Errno::PERM));
        assert_eq!(set_xattr(&fs, node, "trusted.k", b""), Ok(()));
        assert_eq!(set_xattr(&fs, node, "security.k", b""), Ok(()));
    }
    assert_eq!(set_xattr(&fs, ROOT, "user.k", b""), Ok(()));
}

#[test]
fn names_outside_the_namespaces_are_refused() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    for (key, errno) in [
        ("system.other", Errno::OPNOTSUPP),
        ("nothing", Errno::OPNOTSUPP),
        ("other.k", Errno::OPNOTSUPP),
        ("user.", Errno::INVAL),
        ("trusted.", Errno::INVAL),
    ] {
        assert_eq!(set_xattr(&fs, node, key, b""), Err(errno), "{key}");
        assert_eq!(get_xattr(&fs, node, key), Err(errno), "{key}");
    }
    let big = vec![0; XATTR_SIZE_MAX + 1];
    assert_eq!(set_xattr(&fs, node, "user.k", &big), Err(Errno::TOOBIG));
    assert_eq!(set_xattr(&fs, node, "user.k", &big[1..]), Ok(()));
}
