use mica_vfs::{Caller, Errno, FileFlags, FileHandle, Filesystem, Protection};

use crate::stage::*;

#[test]
fn a_handle_finds_its_object_without_a_reference() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    let handle = fs.file_handle(node).unwrap();
    let expected = attr(&fs, node);
    fs.forget(node, 1);
    assert_eq!(fs.attr_by_handle(&handle), Ok(expected));
    assert_eq!(
        fs.attr_by_handle(&fs.file_handle(ROOT).unwrap()),
        Ok(attr(&fs, ROOT))
    );
}

#[test]
fn a_handle_of_what_is_gone_is_estale() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    let handle = fs.file_handle(node).unwrap();
    fs.unlink(ROOT, name("f")).unwrap();
    assert_eq!(fs.attr_by_handle(&handle), Err(Errno::STALE));
    fs.forget(node, 1);
    file(&fs, ROOT, "g");
    assert_eq!(fs.attr_by_handle(&handle), Err(Errno::STALE));
    assert_eq!(fs.file_handle(node), Err(Errno::STALE));
}

#[test]
fn a_strange_handle_is_estale() {
    let fs = tmpfs();
    let good = fs.file_handle(ROOT).unwrap();
    let handle = |kind, bytes: &[u8]| FileHandle {
        kind,
        bytes: bytes.into(),
    };
    for bad in [
        handle(2, &good.bytes),
        handle(1, b""),
        handle(1, &good.bytes[..15]),
        handle(1, &[0; 16]),
        handle(1, &[0xff; 16]),
        handle(1, &[0; 128]),
    ] {
        assert_eq!(fs.attr_by_handle(&bad), Err(Errno::STALE), "{bad:?}");
    }
}

#[test]
fn file_flags_are_those_of_linux_and_told_with_the_attributes() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    assert_eq!(fs.file_flags(node), Ok(FileFlags::empty()));
    let flags = FileFlags::APPEND | FileFlags::NOATIME;
    assert_eq!(fs.set_file_flags(node, flags), Ok(()));
    assert_eq!(fs.file_flags(node), Ok(flags));
    assert_eq!(attr(&fs, node).protection, Protection::APPEND);
    let set = fs.set_file_flags(node, FileFlags::SYNC);
    assert_eq!(set, Err(Errno::OPNOTSUPP));
    let link = fs.symlink(&Caller::ROOT, ROOT, name("l"), b"f").unwrap();
    assert_eq!(fs.file_flags(link.node), Err(Errno::NOTTY));
}
