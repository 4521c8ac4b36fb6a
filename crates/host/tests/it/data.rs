//! Reading, writing, space, holes, and copies within the layer.

use std::os::unix::fs::MetadataExt;

use mica_host::{FdCache, HostFs, LayerAccess, open_layer};
use mica_vfs::{
    Access, Errno, FallocateMode, FileName, Filesystem, KillPriv, Mode, NodeId, SeekFrom, SetAttr,
    SyncScope,
};

use crate::ground::{Ground, skip};

#[test]
fn reads_and_writes_are_at_offsets() {
    let ground = Ground::new();
    let node = ground.file("f", b"0123456789");
    let fs = &ground.fs;
    assert_eq!(fs.write(node, 12, b"xy", KillPriv::Keep), Ok(2));
    let mut data = [9; 32];
    assert_eq!(fs.read(node, 8, &mut data), Ok(6));
    assert_eq!(&data[..6], b"89\0\0xy");
    assert_eq!(fs.read(node, 14, &mut data), Ok(0));
    assert_eq!(fs.read(node, 1000, &mut data), Ok(0));
    assert_eq!(fs.read(node, 0, &mut []), Ok(0));
    let dir = ground.mkdir("d");
    assert_eq!(fs.read(dir, 0, &mut data), Err(Errno::ISDIR));
    assert_eq!(fs.write(dir, 0, b"", KillPriv::Keep), Err(Errno::ISDIR));
}

/// A file that cannot be read from some page on is the memory of this process, from the end of a mapping on.
#[test]
fn a_read_that_fails_half_way_is_an_error_and_not_the_end_of_the_file() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let bounds: Vec<(u64, u64)> = maps
        .lines()
        .filter(|line| line.contains(" r") && !line.contains("[v"))
        .map(|line| {
            let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
            (
                u64::from_str_radix(start, 16).unwrap(),
                u64::from_str_radix(end, 16).unwrap(),
            )
        })
        .collect();
    let end = bounds
        .windows(2)
        .find_map(|pair| (pair[0].1 + (1 << 20) < pair[1].0).then_some(pair[0].1))
        .unwrap();
    let root = open_layer(std::path::Path::new("/proc/self"), LayerAccess::ReadOnly).unwrap();
    let fs = HostFs::new(root, LayerAccess::ReadOnly, FdCache::new(8)).unwrap();
    let name = FileName::new(b"mem").unwrap();
    let mem = fs.lookup(NodeId::ROOT, name).unwrap().node;
    let mut page = [0; 4096];
    assert_eq!(fs.read(mem, end - 4096, &mut page), Ok(4096));
    let mut pages = [0; 8192];
    assert_eq!(fs.read(mem, end - 4096, &mut pages), Err(Errno::IO));
}

#[test]
fn a_write_beyond_the_largest_file_is_efbig() {
    let ground = Ground::new();
    let node = ground.file("f", b"");
    let far = u64::try_from(i64::MAX).unwrap() - 1;
    let written = ground.fs.write(node, far, b"12345678", KillPriv::Keep);
    assert!(
        matches!(written, Err(Errno::FBIG | Errno::INVAL) | Ok(1)),
        "{written:?}"
    );
}

#[test]
fn a_write_and_a_truncation_that_kill_drop_setuid_and_setgid() {
    let ground = Ground::new();
    let node = ground.file("f", b"123");
    let privileged = SetAttr {
        mode: Some(Mode::new(0o6755)),
        ..SetAttr::default()
    };
    let mode = || ground.fs.get_attr(node).unwrap().mode;
    ground.fs.set_attr(node, &privileged).unwrap();
    ground.fs.write(node, 0, b"1", KillPriv::Clear).unwrap();
    assert_eq!(mode(), Mode::new(0o755));
    ground.fs.set_attr(node, &privileged).unwrap();
    let truncate = SetAttr {
        size: Some(1),
        kill: KillPriv::Clear,
        ..SetAttr::default()
    };
    assert_eq!(
        ground.fs.set_attr(node, &truncate).unwrap().mode,
        Mode::new(0o755)
    );
    // Setgid without the group's execute bit is mandatory locking, not privilege.
    let locking = SetAttr {
        mode: Some(Mode::new(0o2745)),
        ..SetAttr::default()
    };
    ground.fs.set_attr(node, &locking).unwrap();
    ground.fs.write(node, 0, b"1", KillPriv::Clear).unwrap();
    assert_eq!(mode(), Mode::new(0o2745));
}

#[test]
fn space_is_allocated_punched_and_searched() {
    let ground = Ground::new();
    let node = ground.file("f", &[7; 4096]);
    let fs = &ground.fs;
    match fs.fallocate(node, FallocateMode::empty(), 0, 1 << 20) {
        Err(Errno::OPNOTSUPP) => {
            return skip(
                "space_is_allocated_punched_and_searched",
                "the filesystem lacks it",
            );
        }
        done => done.unwrap(),
    }
    assert_eq!(fs.get_attr(node).unwrap().size, 1 << 20);
    let keep = FallocateMode::KEEP_SIZE;
    fs.fallocate(node, keep, 0, 2 << 20).unwrap();
    assert_eq!(fs.get_attr(node).unwrap().size, 1 << 20);
    fs.write(node, 1 << 19, &[8; 4096], KillPriv::Keep).unwrap();
    fs.fallocate(node, keep | FallocateMode::PUNCH_HOLE, 0, 1 << 18)
        .unwrap();
    let mut data = [1; 16];
    assert_eq!(fs.read(node, 0, &mut data), Ok(16));
    assert_eq!(data, [0; 16]);
    let found = fs.seek(node, SeekFrom::Data(0)).unwrap();
    assert!(found > 0 && found <= 1 << 19);
    assert_eq!(fs.seek(node, SeekFrom::Hole(0)), Ok(0));
    assert_eq!(fs.seek(node, SeekFrom::Data(1 << 30)), Err(Errno::NXIO));
}

#[test]
fn a_range_is_copied_within_the_layer() {
    let ground = Ground::new();
    let (from, to) = (ground.file("a", b"0123456789"), ground.file("b", b"xxxx"));
    let copied = ground.fs.copy_range(from, 2, to, 1, 4);
    assert_eq!(copied, Ok(4));
    assert_eq!(ground.read(to).unwrap(), b"x2345");
    assert_eq!(
        ground.fs.copy_range(from, 10, to, 0, 5),
        Ok(0),
        "past the end"
    );
}

#[test]
fn fsync_takes_every_type() {
    let ground = Ground::new();
    let link = ground.fs.symlink(
        &crate::ground::me(),
        NodeId::ROOT,
        crate::ground::name("l"),
        b"t",
    );
    for node in [
        ground.file("f", b"1"),
        ground.mkdir("d"),
        link.unwrap().node,
        NodeId::ROOT,
    ] {
        for scope in [SyncScope::Data, SyncScope::All] {
            assert_eq!(ground.fs.fsync(node, scope), Ok(()));
        }
    }
}

#[test]
fn a_host_file_is_the_file_itself() {
    let ground = Ground::new();
    let node = ground.file("f", b"1");
    ground.empty_cache();
    let read = ground.fs.host_file(node, Access::Read).unwrap().unwrap();
    assert!(
        rustix::io::write(&read, b"2").is_err(),
        "open for reading only"
    );
    let write = ground.fs.host_file(node, Access::Write).unwrap().unwrap();
    assert_eq!(rustix::io::pwrite(&write, b"2", 0), Ok(1));
    assert_eq!(ground.read(node).unwrap(), b"2");
    let ino = std::fs::metadata(ground.path("f")).unwrap().ino();
    assert_eq!(rustix::fs::fstat(&read).unwrap().st_ino, ino);
    assert!(ground.fs.host_file(NodeId::ROOT, Access::Read).is_err());
}
