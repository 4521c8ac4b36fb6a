//! Filling a file from another filesystem.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use mica_host::{FdCache, HostFs, LayerAccess, open_layer};
use mica_vfs::{CopyMethod, Errno, Filesystem, NodeId};

use crate::ground::{Ground, find, is_root, me, name, skip};

/// A layer on `dir`.
fn layer(dir: &Path, access: LayerAccess) -> HostFs {
    let root = open_layer(dir, access).unwrap();
    HostFs::new(root, access, FdCache::new(16)).unwrap()
}

fn empty(fs: &HostFs, file: &str) -> NodeId {
    fs.create(&me(), NodeId::ROOT, name(file), mica_vfs::Mode::new(0o600))
        .unwrap()
        .node
}

/// A file with data at its start, in the middle and before its end, and holes elsewhere.
fn sparse(path: &Path) -> u64 {
    let file = std::fs::File::create_new(path).unwrap();
    for at in [0, 5 << 20, 12 << 20] {
        file.write_all_at(&[0xab; 8192], at).unwrap();
    }
    file.set_len(20 << 20).unwrap();
    file.sync_all().unwrap();
    20 << 20
}

#[test]
fn holes_stay_holes() {
    let (lower, upper) = (tempfile::tempdir().unwrap(), Ground::new());
    let len = sparse(&lower.path().join("f"));
    let source = layer(lower.path(), LayerAccess::ReadOnly);
    let from = find(&source, "f").unwrap();
    let to = empty(&upper.fs, "copy");
    let method = upper.fs.copy_from(to, &source, from.node, len).unwrap();
    assert_ne!(method, CopyMethod::Bytes);
    let (old, new) = (lower.path().join("f"), upper.path("copy"));
    assert_eq!(std::fs::read(&old).unwrap(), std::fs::read(&new).unwrap());
    std::fs::File::open(&new).unwrap().sync_all().unwrap();
    let blocks = |path: &Path| std::fs::metadata(path).unwrap().blocks();
    assert!(
        blocks(&new) <= blocks(&old),
        "{} > {}",
        blocks(&new),
        blocks(&old)
    );
}

#[test]
fn small_dense_empty_and_all_hole_files_are_copied() {
    let (lower, upper) = (tempfile::tempdir().unwrap(), Ground::new());
    let contents: [Vec<u8>; 4] = [
        b"small".to_vec(),
        (0..3_000_000u32).map(|nth| nth.to_le_bytes()[0]).collect(),
        Vec::new(),
        Vec::new(),
    ];
    for (nth, data) in contents.iter().enumerate() {
        let path = lower.path().join(format!("{nth}"));
        std::fs::write(&path, data).unwrap();
    }
    let hole = std::fs::File::options()
        .write(true)
        .open(lower.path().join("3"))
        .unwrap();
    hole.set_len(1 << 20).unwrap();
    let source = layer(lower.path(), LayerAccess::ReadOnly);
    for nth in 0..4 {
        let from = find(&source, &format!("{nth}")).unwrap();
        let to = empty(&upper.fs, &format!("{nth}"));
        upper
            .fs
            .copy_from(to, &source, from.node, from.attr.size)
            .unwrap();
        let copied = std::fs::read(upper.path(format!("{nth}"))).unwrap();
        assert_eq!(
            copied,
            std::fs::read(lower.path().join(format!("{nth}"))).unwrap()
        );
    }
}

#[test]
fn only_the_first_bytes_can_be_wanted_and_a_short_source_is_eio() {
    let (lower, upper) = (tempfile::tempdir().unwrap(), Ground::new());
    std::fs::write(lower.path().join("f"), b"0123456789").unwrap();
    let source = layer(lower.path(), LayerAccess::ReadOnly);
    let from = find(&source, "f").unwrap().node;
    let to = empty(&upper.fs, "a");
    upper.fs.copy_from(to, &source, from, 4).unwrap();
    assert_eq!(std::fs::read(upper.path("a")).unwrap(), b"0123");
    let to = empty(&upper.fs, "b");
    assert_eq!(
        upper.fs.copy_from(to, &source, from, 0),
        Ok(CopyMethod::Bytes)
    );
    assert_eq!(upper.fs.copy_from(to, &source, from, 11), Err(Errno::IO));
}

/// Offers no host file, so that its data comes through the trait.
#[derive(Debug)]
struct Opaque(HostFs);

/// Passes a method on to the filesystem within.
macro_rules! pass {
    ($($method:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $method(&self, $($arg: $type),*) -> $result { self.0.$method($($arg),*) })*
    };
}

impl Filesystem for Opaque {
    pass! {
        lookup(dir: NodeId, name: mica_vfs::FileName<'_>) -> Result<mica_vfs::Entry, Errno>;
        forget(node: NodeId, count: u64) -> ();
        read_dir(dir: NodeId, from: mica_vfs::Cookie, sink: &mut dyn FnMut(mica_vfs::DirEntry<'_>) -> mica_vfs::Flow) -> Result<(), Errno>;
        read_link(node: NodeId) -> Result<Vec<u8>, Errno>;
        get_attr(node: NodeId) -> Result<mica_vfs::Attr, Errno>;
        set_attr(node: NodeId, change: &mica_vfs::SetAttr) -> Result<mica_vfs::Attr, Errno>;
        get_xattr(node: NodeId, name: mica_vfs::XattrName<'_>, value: &mut [u8]) -> Result<usize, Errno>;
        list_xattr(node: NodeId, names: &mut [u8]) -> Result<usize, Errno>;
        set_xattr(node: NodeId, name: mica_vfs::XattrName<'_>, value: &[u8], mode: mica_vfs::XattrMode, kill: mica_vfs::KillPriv) -> Result<(), Errno>;
        remove_xattr(node: NodeId, name: mica_vfs::XattrName<'_>) -> Result<(), Errno>;
        create(caller: &mica_vfs::Caller, dir: NodeId, name: mica_vfs::FileName<'_>, mode: mica_vfs::Mode) -> Result<mica_vfs::Entry, Errno>;
        mkdir(caller: &mica_vfs::Caller, dir: NodeId, name: mica_vfs::FileName<'_>, mode: mica_vfs::Mode) -> Result<mica_vfs::Entry, Errno>;
        mknod(caller: &mica_vfs::Caller, dir: NodeId, name: mica_vfs::FileName<'_>, kind: mica_vfs::FileType, mode: mica_vfs::Mode, rdev: mica_vfs::Rdev) -> Result<mica_vfs::Entry, Errno>;
        symlink(caller: &mica_vfs::Caller, dir: NodeId, name: mica_vfs::FileName<'_>, target: &[u8]) -> Result<mica_vfs::Entry, Errno>;
        link(node: NodeId, dir: NodeId, name: mica_vfs::FileName<'_>) -> Result<mica_vfs::Entry, Errno>;
        unlink(dir: NodeId, name: mica_vfs::FileName<'_>) -> Result<(), Errno>;
        rmdir(dir: NodeId, name: mica_vfs::FileName<'_>) -> Result<(), Errno>;
        rename(from_dir: NodeId, from: mica_vfs::FileName<'_>, to_dir: NodeId, to: mica_vfs::FileName<'_>, flags: mica_vfs::RenameFlags) -> Result<(), Errno>;
        read(node: NodeId, offset: u64, data: &mut [u8]) -> Result<usize, Errno>;
        write(node: NodeId, offset: u64, data: &[u8], kill: mica_vfs::KillPriv) -> Result<usize, Errno>;
        fallocate(node: NodeId, mode: mica_vfs::FallocateMode, offset: u64, len: u64) -> Result<(), Errno>;
        seek(node: NodeId, from: mica_vfs::SeekFrom) -> Result<u64, Errno>;
        copy_range(from: NodeId, from_offset: u64, to: NodeId, to_offset: u64, len: u64) -> Result<u64, Errno>;
        copy_from(to: NodeId, source: &dyn Filesystem, from: NodeId, len: u64) -> Result<CopyMethod, Errno>;
        fsync(node: NodeId, scope: mica_vfs::SyncScope) -> Result<(), Errno>;
        stat_fs() -> Result<mica_vfs::StatFs, Errno>;
    }
}

#[test]
fn data_that_is_in_no_host_file_comes_as_bytes_without_its_holes() {
    let (lower, upper) = (tempfile::tempdir().unwrap(), Ground::new());
    let len = sparse(&lower.path().join("f"));
    let source = Opaque(layer(lower.path(), LayerAccess::ReadOnly));
    let from = find(&source.0, "f").unwrap().node;
    let to = empty(&upper.fs, "copy");
    assert_eq!(
        upper.fs.copy_from(to, &source, from, len),
        Ok(CopyMethod::Bytes)
    );
    let (old, new) = (lower.path().join("f"), upper.path("copy"));
    assert_eq!(std::fs::read(&old).unwrap(), std::fs::read(&new).unwrap());
    assert!(std::fs::metadata(&new).unwrap().blocks() * 512 < 1 << 20);
    let to = empty(&upper.fs, "long");
    assert_eq!(
        upper.fs.copy_from(to, &source, from, len + 1),
        Err(Errno::IO)
    );
}

/// A filesystem in an image, mounted until it is dropped.
struct Image(tempfile::TempDir);

impl Image {
    fn mount(program: &str, options: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (image, point) = (dir.path().join("image"), dir.path().join("mnt"));
        std::fs::create_dir(&point).unwrap();
        std::fs::File::create(&image)
            .unwrap()
            .set_len(512 << 20)
            .unwrap();
        let run = |command: &mut Command| command.output().is_ok_and(|out| out.status.success());
        let made = run(Command::new(program).args(options).arg(&image))
            && run(Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(&point));
        made.then_some(Self(dir))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("mnt").join(name)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg(self.0.path().join("mnt"))
            .status();
        assert!(unmounted.unwrap().success());
    }
}

#[test]
fn blocks_are_shared_where_the_filesystem_can() {
    const TEST: &str = "blocks_are_shared_where_the_filesystem_can";
    if !is_root() {
        return skip(TEST, "it needs root to mount an image");
    }
    let Some(xfs) = Image::mount("mkfs.xfs", &["-q", "-m", "reflink=1"]) else {
        return skip(TEST, "it needs mkfs.xfs and a loop device");
    };
    for dir in ["lower", "upper"] {
        std::fs::create_dir(xfs.path(dir)).unwrap();
    }
    std::fs::write(xfs.path("lower/f"), vec![0x5a; 8 << 20]).unwrap();
    std::fs::File::open(xfs.path("lower/f"))
        .unwrap()
        .sync_all()
        .unwrap();
    let source = layer(&xfs.path("lower"), LayerAccess::ReadOnly);
    let target = layer(&xfs.path("upper"), LayerAccess::ReadWrite);
    let from = find(&source, "f").unwrap().node;
    let free = || target.stat_fs().unwrap().blocks_free * 4096;
    let before = free();
    for (file, len) in [("whole", 8 << 20), ("part", 5000)] {
        let to = empty(&target, file);
        assert_eq!(
            target.copy_from(to, &source, from, len),
            Ok(CopyMethod::Reflink)
        );
        assert_eq!(target.get_attr(to).unwrap().size, len);
    }
    assert!(before - free() < 4 << 20, "the data was not written again");
    let copied = std::fs::read(xfs.path("upper/whole")).unwrap();
    assert!(copied.len() == 8 << 20 && copied.iter().all(|&byte| byte == 0x5a));
    let part = std::fs::read(xfs.path("upper/part")).unwrap();
    assert_eq!(part, vec![0x5a; 5000]);
    // From another filesystem it is bytes, or the kernel's copy.
    let (elsewhere, fds) = (tempfile::tempdir().unwrap(), FdCache::new(8));
    std::fs::write(elsewhere.path().join("f"), b"from ext4").unwrap();
    let root = open_layer(elsewhere.path(), LayerAccess::ReadOnly).unwrap();
    let other = HostFs::new(root, LayerAccess::ReadOnly, Arc::clone(&fds)).unwrap();
    let to = empty(&target, "other");
    let method = target
        .copy_from(to, &other, find(&other, "f").unwrap().node, 9)
        .unwrap();
    assert_ne!(method, CopyMethod::Reflink);
    assert_eq!(
        std::fs::read(xfs.path("upper/other")).unwrap(),
        b"from ext4"
    );
    drop((source, target));
}

#[test]
fn a_layer_on_btrfs_has_the_uuid_of_the_filesystem() {
    const TEST: &str = "a_layer_on_btrfs_has_the_uuid_of_the_filesystem";
    if !is_root() {
        return skip(TEST, "it needs root to mount an image");
    }
    let uuid = "01234567-89ab-4cde-8f01-23456789abcd";
    let Some(btrfs) = Image::mount("mkfs.btrfs", &["-q", "-U", uuid]) else {
        return skip(TEST, "it needs mkfs.btrfs and a loop device");
    };
    let layer = layer(&btrfs.path(""), LayerAccess::ReadOnly);
    let expected = 0x0123_4567_89ab_4cde_8f01_2345_6789_abcd_u128;
    assert_eq!(layer.uuid(), mica_vfs::Uuid(expected.to_be_bytes()));
    drop(layer);
}
