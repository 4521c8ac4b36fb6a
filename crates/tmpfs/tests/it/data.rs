use mica_tmpfs::Tmpfs;
use mica_vfs::{
    CopyMethod, Errno, FallocateMode, FileType, Filesystem, KillPriv, NodeId, Rdev, SeekFrom,
    SyncScope,
};

use crate::stage::*;

const PAGE: u64 = 4096;
const PUNCH: FallocateMode = FallocateMode::PUNCH_HOLE.union(FallocateMode::KEEP_SIZE);

fn write(fs: &Tmpfs, node: NodeId, offset: u64, data: &[u8]) -> usize {
    fs.write(node, offset, data, KillPriv::Keep).unwrap()
}

fn pages(fs: &Tmpfs, node: NodeId) -> u64 {
    attr(fs, node).blocks / 8
}

#[test]
fn data_reads_back_across_pages() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    let data: Vec<u8> = (0..10_000u32).map(|n| n.to_le_bytes()[0]).collect();
    assert_eq!(write(&fs, node, 4000, &data), data.len());
    let all = read(&fs, node);
    assert_eq!(all.len(), 14_000);
    assert!(all[..4000].iter().all(|&b| b == 0));
    assert_eq!(all[4000..], data);
    assert_eq!(fs.read(node, 14_000, &mut [0; 4]), Ok(0));
    assert_eq!(fs.read(node, u64::MAX, &mut [0; 4]), Ok(0));
    let mut few = [0; 3];
    assert_eq!(fs.read(node, 13_998, &mut few), Ok(2));
}

#[test]
fn a_hole_takes_no_room() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    write(&fs, node, 1 << 40, b"x");
    assert_eq!(pages(&fs, node), 1);
    assert_eq!(attr(&fs, node).size, (1 << 40) + 1);
}

#[test]
fn a_write_moves_mtime_and_ctime_unless_it_is_empty() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    let before = attr(&fs, node);
    assert_eq!(write(&fs, node, 50, b""), 0);
    assert_eq!(attr(&fs, node), before);
    write(&fs, node, 0, b"x");
    let after = attr(&fs, node);
    assert!(after.mtime > before.mtime && after.ctime == after.mtime);
    assert_eq!(after.atime, before.atime);
}

#[test]
fn what_was_cut_off_reads_as_zeros_when_the_file_grows() {
    let fs = tmpfs();
    let node = file_with(&fs, "f", &[b'x'; 10_000]);
    truncate(&fs, node, 5000).unwrap();
    assert_eq!(pages(&fs, node), 2);
    truncate(&fs, node, 9000).unwrap();
    let data = read(&fs, node);
    assert!(data[..5000].iter().all(|&b| b == b'x'));
    assert!(data[5000..].iter().all(|&b| b == 0));
    truncate(&fs, node, 0).unwrap();
    assert_eq!(pages(&fs, node), 0);
}

#[test]
fn a_file_ends_at_the_largest_offset() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    let max = (1u64 << 63) - 1;
    assert_eq!(write(&fs, node, max - 2, b"abcd"), 2);
    let past = fs.write(node, max, b"x", KillPriv::Keep);
    assert_eq!(past, Err(Errno::FBIG));
    assert_eq!(attr(&fs, node).size, max);
    truncate(&fs, node, 0).unwrap();
    assert_eq!(pages(&fs, node), 0);
}

#[test]
fn allocating_takes_room_and_grows_unless_told() {
    let fs = tmpfs();
    let node = file_with(&fs, "f", b"ab");
    let keep = FallocateMode::KEEP_SIZE;
    fs.fallocate(node, keep, 0, 3 * PAGE).unwrap();
    assert_eq!((pages(&fs, node), attr(&fs, node).size), (3, 2));
    fs.fallocate(node, FallocateMode::empty(), PAGE, 10)
        .unwrap();
    assert_eq!((pages(&fs, node), attr(&fs, node).size), (3, PAGE + 10));
    assert_eq!(read(&fs, node)[..3], *b"ab\0");
}

#[test]
fn punching_frees_pages_and_zeroes_the_edges() {
    let fs = tmpfs();
    let node = file_with(&fs, "f", &[b'x'; 4 * 4096]);
    fs.fallocate(node, PUNCH, 100, 3 * PAGE).unwrap();
    assert_eq!((pages(&fs, node), attr(&fs, node).size), (2, 4 * PAGE));
    let data = read(&fs, node);
    let hole = 100..100 + 3 * 4096;
    for (at, &byte) in data.iter().enumerate() {
        assert_eq!(byte == 0, hole.contains(&at), "byte {at}");
    }
    // Within one page, and past the end.
    fs.fallocate(node, PUNCH, 10, 20).unwrap();
    assert_eq!(
        read(&fs, node)[9..31].iter().filter(|&&b| b == 0).count(),
        20
    );
    fs.fallocate(node, PUNCH, 100 * PAGE, PAGE).unwrap();
    assert_eq!(attr(&fs, node).size, 4 * PAGE);
}

#[test]
fn zeroing_a_range_keeps_its_room() {
    let fs = tmpfs();
    let node = file_with(&fs, "f", &[b'x'; 2 * 4096]);
    fs.fallocate(node, FallocateMode::ZERO_RANGE, 10, 4 * PAGE)
        .unwrap();
    assert_eq!((pages(&fs, node), attr(&fs, node).size), (5, 4 * PAGE + 10));
    let data = read(&fs, node);
    assert_eq!(data[..10], [b'x'; 10]);
    assert!(data[10..].iter().all(|&b| b == 0));
}

#[test]
fn fallocate_refuses_what_it_cannot_do() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    let fifo = mknod(&fs, "p", FileType::Fifo, Rdev::default());
    let device = mknod(&fs, "c", FileType::CharDevice, Rdev::default());
    let plain = FallocateMode::empty();
    for (node, mode, offset, len, errno) in [
        (
            node,
            FallocateMode::COLLAPSE_RANGE,
            0,
            PAGE,
            Errno::OPNOTSUPP,
        ),
        (node, FallocateMode::INSERT_RANGE, 0, PAGE, Errno::OPNOTSUPP),
        (
            node,
            FallocateMode::UNSHARE_RANGE,
            0,
            PAGE,
            Errno::OPNOTSUPP,
        ),
        (node, FallocateMode::PUNCH_HOLE, 0, PAGE, Errno::OPNOTSUPP),
        (node, plain, 0, 0, Errno::INVAL),
        (node, plain, 1 << 63, 1, Errno::FBIG),
        (node, PUNCH, u64::MAX, 2, Errno::FBIG),
        (ROOT, plain, 0, 1, Errno::ISDIR),
        (fifo, plain, 0, 1, Errno::SPIPE),
        (device, plain, 0, 1, Errno::NODEV),
    ] {
        assert_eq!(
            fs.fallocate(node, mode, offset, len),
            Err(errno),
            "{mode:?}"
        );
    }
}

#[test]
fn seek_finds_data_and_holes() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    write(&fs, node, 2 * PAGE, b"x");
    truncate(&fs, node, 5 * PAGE).unwrap();
    for (from, found) in [
        (SeekFrom::Data(0), Ok(2 * PAGE)),
        (SeekFrom::Data(2 * PAGE + 5), Ok(2 * PAGE + 5)),
        (SeekFrom::Data(3 * PAGE), Err(Errno::NXIO)),
        (SeekFrom::Hole(0), Ok(0)),
        (SeekFrom::Hole(2 * PAGE + 5), Ok(3 * PAGE)),
        (SeekFrom::Hole(4 * PAGE + 1), Ok(4 * PAGE + 1)),
        (SeekFrom::Hole(5 * PAGE), Err(Errno::NXIO)),
        (SeekFrom::Data(5 * PAGE), Err(Errno::NXIO)),
    ] {
        assert_eq!(fs.seek(node, from), found, "{from:?}");
    }
    let full = file_with(&fs, "g", b"xyz");
    assert_eq!(fs.seek(full, SeekFrom::Hole(1)), Ok(3));
    assert_eq!(fs.seek(ROOT, SeekFrom::Data(0)), Err(Errno::INVAL));
}

#[test]
fn a_range_is_copied_with_its_holes() {
    let fs = tmpfs();
    let from = file(&fs, ROOT, "a");
    write(&fs, from, 10, b"head");
    write(&fs, from, 9 * PAGE, b"tail");
    let to = file_with(&fs, "b", &[b'x'; 20 * 4096]);
    let copied = fs.copy_range(from, 5, to, 4096 + 5, u64::MAX);
    assert_eq!(copied, Ok(9 * PAGE - 1));
    let (source, target) = (read(&fs, from), read(&fs, to));
    assert_eq!(target[4096 + 5..][..source.len() - 5], source[5..]);
    assert_eq!(target[4096 + 4], b'x');
    assert_eq!(target[4096 + source.len()], b'x');
    assert_eq!(pages(&fs, to), 12);
    assert_eq!(fs.copy_range(from, 1 << 30, to, 0, 5), Ok(0));
}

#[test]
fn a_file_is_copied_within_itself_unless_the_ranges_overlap() {
    let fs = tmpfs();
    let node = file_with(&fs, "f", b"abcdef");
    assert_eq!(fs.copy_range(node, 0, node, 3, 3), Ok(3));
    assert_eq!(read(&fs, node), b"abcabc");
    assert_eq!(fs.copy_range(node, 0, node, 2, 3), Err(Errno::INVAL));
    assert_eq!(fs.copy_range(node, 0, ROOT, 2, 3), Err(Errno::ISDIR));
}

#[test]
fn a_file_of_another_filesystem_is_copied_with_its_holes() {
    let (fs, source) = (tmpfs(), tmpfs());
    let from = file(&source, ROOT, "a");
    write(&source, from, 3 * PAGE + 7, b"data");
    // A page of zeros is data to the source and a hole in the copy.
    write(&source, from, 6 * PAGE, &[0; 4096]);
    truncate(&source, from, 1 << 32).unwrap();
    let to = file(&fs, ROOT, "b");
    let copied = fs.copy_from(to, &source, from, 1 << 32);
    assert_eq!(copied, Ok(CopyMethod::Bytes));
    assert_eq!((pages(&fs, to), attr(&fs, to).size), (1, 1 << 32));
    let mut data = [0; 4];
    fs.read(to, 3 * PAGE + 7, &mut data).unwrap();
    assert_eq!(&data, b"data");
}

#[test]
fn only_the_first_bytes_are_copied_and_the_source_may_be_this_filesystem() {
    let fs = tmpfs();
    let from = file_with(&fs, "a", &[b'x'; 9000]);
    let to = file(&fs, ROOT, "b");
    fs.copy_from(to, &fs, from, 5000).unwrap();
    assert_eq!(read(&fs, to), [b'x'; 5000]);
    let short = file(&fs, ROOT, "c");
    let longer_than_it_is = fs.copy_from(short, &fs, from, 9001).unwrap();
    assert_eq!(longer_than_it_is, CopyMethod::Bytes);
    assert_eq!(attr(&fs, short).size, 9001);
}

#[test]
fn data_belongs_to_regular_files() {
    let fs = tmpfs();
    let fifo = mknod(&fs, "p", FileType::Fifo, Rdev::default());
    assert_eq!(fs.read(ROOT, 0, &mut [0]), Err(Errno::ISDIR));
    assert_eq!(fs.read(fifo, 0, &mut [0]), Err(Errno::INVAL));
    assert_eq!(fs.write(ROOT, 0, b"x", KillPriv::Keep), Err(Errno::ISDIR));
    assert_eq!(fs.write(fifo, 0, b"x", KillPriv::Keep), Err(Errno::INVAL));
}

#[test]
fn fsync_has_nothing_to_do_but_knows_its_nodes() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    assert_eq!(fs.fsync(node, SyncScope::Data), Ok(()));
    assert_eq!(fs.fsync(ROOT, SyncScope::All), Ok(()));
    fs.forget(node, 1);
    assert_eq!(fs.fsync(node, SyncScope::All), Err(Errno::STALE));
}
