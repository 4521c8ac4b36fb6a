use mica_tmpfs::Limits;
use mica_vfs::{Caller, Errno, FallocateMode, Filesystem, KillPriv, Mode, RenameFlags};

use crate::stage::*;

const PAGE: usize = 4096;

fn small() -> mica_tmpfs::Tmpfs {
    with_limits(Limits {
        bytes: Some(4 * 4096),
        inodes: Some(4),
    })
}

#[test]
fn a_write_over_the_limit_is_short_and_then_enospc() {
    let fs = small();
    let node = file(&fs, ROOT, "f");
    let big = [b'x'; 6 * PAGE];
    assert_eq!(
        fs.write(node, 100, &big, KillPriv::Keep),
        Ok(4 * PAGE - 100)
    );
    let end = attr(&fs, node).size;
    let more = fs.write(node, end, b"x", KillPriv::Keep);
    assert_eq!(more, Err(Errno::NOSPC));
    // What is there can be overwritten, and what is freed is free.
    assert_eq!(fs.write(node, 0, b"y", KillPriv::Keep), Ok(1));
    truncate(&fs, node, 1).unwrap();
    assert_eq!(fs.stat_fs().unwrap().blocks_free, 3);
    assert_eq!(fs.write(node, end, b"x", KillPriv::Keep), Ok(1));
}

#[test]
fn an_allocation_over_the_limit_changes_nothing() {
    let fs = small();
    let node = file_with(&fs, "f", b"data");
    let before = attr(&fs, node);
    for mode in [FallocateMode::empty(), FallocateMode::ZERO_RANGE] {
        let done = fs.fallocate(node, mode, 0, 5 * 4096);
        assert_eq!(done, Err(Errno::NOSPC));
    }
    assert_eq!(attr(&fs, node), before);
    assert_eq!(read(&fs, node), b"data");
}

#[test]
fn a_copy_over_the_limit_is_short() {
    let fs = small();
    let from = file_with(&fs, "a", &[b'x'; 3 * PAGE]);
    let to = file(&fs, ROOT, "b");
    assert_eq!(fs.copy_range(from, 0, to, 0, 3 * 4096), Ok(4096));
    let full = fs.copy_range(from, 0, to, 4096, 1);
    assert_eq!(full, Err(Errno::NOSPC));
    let other = tmpfs();
    let source = file_with(&other, "a", &[b'x'; PAGE]);
    let new = file(&fs, ROOT, "c");
    assert_eq!(fs.copy_from(new, &other, source, 4096), Err(Errno::NOSPC));
}

#[test]
fn data_is_freed_with_the_last_name_and_reference() {
    let fs = small();
    let node = file_with(&fs, "f", &[b'x'; 4 * PAGE]);
    fs.unlink(ROOT, name("f")).unwrap();
    assert_eq!(fs.stat_fs().unwrap().blocks_free, 0);
    fs.forget(node, 1);
    let free = fs.stat_fs().unwrap();
    assert_eq!((free.blocks_free, free.files_free), (4, 3));
}

#[test]
fn inodes_run_out_and_a_failed_maker_leaves_nothing() {
    let fs = small();
    for at in ["a", "b", "c"] {
        file(&fs, ROOT, at);
    }
    let before = attr(&fs, ROOT);
    let made = fs.create(&Caller::ROOT, ROOT, name("d"), Mode::empty());
    assert_eq!(made.err(), Some(Errno::NOSPC));
    let unnamed = fs.tmpfile(&Caller::ROOT, ROOT, Mode::empty());
    assert_eq!(unnamed.err(), Some(Errno::NOSPC));
    let whiteout = rename(&fs, (ROOT, "a"), (ROOT, "z"), RenameFlags::WHITEOUT);
    assert_eq!(whiteout, Err(Errno::NOSPC));
    assert_eq!(attr(&fs, ROOT), before);
    assert_eq!(names(&fs, ROOT), ["a", "b", "c"]);
    // A further name of an inode is none.
    let node = lookup(&fs, ROOT, "a").unwrap().node;
    assert!(fs.link(node, ROOT, name("d")).is_ok());
}

#[test]
fn statfs_tells_the_limits() {
    let fs = small();
    file_with(&fs, "f", b"x");
    let stat = fs.stat_fs().unwrap();
    assert_eq!((stat.block_size, stat.fragment_size), (4096, 4096));
    assert_eq!((stat.blocks, stat.blocks_free), (4, 3));
    assert_eq!((stat.files, stat.files_free), (4, 2));
    assert_eq!(stat.name_max, 255);
    assert!(tmpfs().stat_fs().unwrap().blocks_available > 1 << 40);
}
