//! A read-only layer changes nothing.

use std::sync::Arc;

use mica_host::{FdCache, HostFs, LayerAccess, open_layer};
use mica_vfs::{
    Access, Errno, FallocateMode, FileFlags, FileType, Filesystem, KillPriv, Mode, NodeId, Rdev,
    RenameFlags, SetAttr, SyncScope, XattrMode,
};

use crate::ground::{find, list, me, name, xattr_name};

#[test]
fn every_change_is_erofs_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), b"data").unwrap();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    let before = std::fs::metadata(dir.path().join("f"))
        .unwrap()
        .modified()
        .unwrap();
    let root = open_layer(dir.path(), LayerAccess::ReadOnly).unwrap();
    let fs = HostFs::new(root, LayerAccess::ReadOnly, FdCache::new(8)).unwrap();
    let (file, sub) = (find(&fs, "f").unwrap().node, find(&fs, "d").unwrap().node);
    let (root, new, mode, keep) = (NodeId::ROOT, name("new"), Mode::new(0o644), KillPriv::Keep);
    let (me, a) = (me(), xattr_name("user.a"));
    let refused = [
        fs.set_attr(file, &SetAttr::default()).err(),
        fs.set_xattr(file, a, b"", XattrMode::Set, keep).err(),
        fs.remove_xattr(file, a).err(),
        fs.set_file_flags(file, FileFlags::NOATIME).err(),
        fs.create(&me, root, new, mode).err(),
        fs.mkdir(&me, sub, new, mode).err(),
        fs.mknod(&me, root, new, FileType::Fifo, mode, Rdev::default())
            .err(),
        fs.symlink(&me, root, new, b"t").err(),
        fs.tmpfile(&me, root, mode).err(),
        fs.link(file, root, new).err(),
        fs.unlink(root, name("f")).err(),
        fs.rmdir(root, name("d")).err(),
        fs.rename(root, name("f"), root, new, RenameFlags::empty())
            .err(),
        fs.write(file, 0, b"x", keep).err(),
        fs.fallocate(file, FallocateMode::empty(), 0, 1).err(),
        fs.copy_range(file, 0, file, 2, 2).err(),
        fs.copy_from(file, &fs, file, 1).err(),
        fs.host_file(file, Access::Write).err(),
        fs.probe(root, b"user.overlay.").err(),
    ];
    for (nth, errno) in refused.into_iter().enumerate() {
        assert_eq!(errno, Some(Errno::ROFS), "operation {nth}");
    }
    assert_eq!(fs.fsync(file, SyncScope::All), Ok(()));
    assert_eq!(list(&fs, root), ["d", "f"]);
    let mut data = [0; 8];
    assert_eq!(fs.read(file, 0, &mut data), Ok(4));
    let after = std::fs::metadata(dir.path().join("f"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(before, after);
}

#[test]
fn reading_does_not_touch_the_access_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, b"data").unwrap();
    // Older than the last change: relatime would update it.
    let old = std::time::SystemTime::UNIX_EPOCH;
    let times = std::fs::FileTimes::new().set_accessed(old);
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_times(times)
        .unwrap();
    let fds = FdCache::new(8);
    let root = open_layer(dir.path(), LayerAccess::ReadOnly).unwrap();
    let fs = HostFs::new(root, LayerAccess::ReadOnly, Arc::clone(&fds)).unwrap();
    let file = find(&fs, "f").unwrap().node;
    assert_eq!(fs.read(file, 0, &mut [0; 8]), Ok(4));
    assert_eq!(std::fs::metadata(&path).unwrap().accessed().unwrap(), old);
}
