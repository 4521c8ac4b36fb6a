//! The data of files, through the page cache of the mount.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::mounted::on_mount;

fn read_write(path: std::path::PathBuf) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).unwrap()
}

on_mount! {
    fn truncation_by_open_really_truncates(mounted) {
        let path = mounted.path("f");
        fs::write(&path, "0123456789a").unwrap();
        fs::write(&path, "ab").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"ab");
        fs::write(&path, "").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }
}

on_mount! {
    fn appending_appends_from_two_descriptors(mounted) {
        let path = mounted.path("log");
        let open = || OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let (mut a, mut b) = (open(), open());
        for _ in 0..10 {
            a.write_all(b"a").unwrap();
            b.write_all(b"b").unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), b"ab".repeat(10));
    }
}

on_mount! {
    fn five_megabytes_survive_the_way_there_and_back(mounted) {
        let data: Vec<u8> = (0..5_000_003u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(mounted.path("big"), &data).unwrap();
        // A second mount of the pages: what the server has, not what the kernel kept.
        let file = File::open(mounted.path("big")).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        assert!(fs::read(mounted.path("big")).unwrap() == data);
        assert!(mounted.session().stats().bytes_written() >= 5_000_003);
    }
}

on_mount! {
    fn a_file_without_a_name_is_written_and_read(mounted) {
        let mut file = read_write(mounted.path("gone"));
        file.write_all(b"before").unwrap();
        fs::remove_file(mounted.path("gone")).unwrap();
        file.write_all(b" after").unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before after");
        assert_eq!(file.metadata().unwrap().nlink(), 0);
        file.set_len(3).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 3);
    }
}

on_mount! {
    fn holes_are_made_found_and_read_as_zeros(mounted) {
        let file = read_write(mounted.path("sparse"));
        file.write_all_at(&[1; 65536], 0).unwrap();
        file.write_all_at(&[2; 4096], 1 << 20).unwrap();
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, punch, 4096, 8192).unwrap();
        let mut page = [7; 4096];
        file.read_exact_at(&mut page, 4096).unwrap();
        assert_eq!(page, [0; 4096]);
        let seek = |from| rustix::fs::seek(&file, from);
        assert_eq!(seek(rustix::fs::SeekFrom::Hole(0)), Ok(4096));
        assert_eq!(seek(rustix::fs::SeekFrom::Data(4096)), Ok(12288));
        assert_eq!(seek(rustix::fs::SeekFrom::Hole(12288)), Ok(65536));
        assert_eq!(seek(rustix::fs::SeekFrom::Data(65536)), Ok(1 << 20));
        assert_eq!(seek(rustix::fs::SeekFrom::Data(2 << 20)), Err(Errno::NXIO));
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 3 << 20).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 3 << 20);
    }
}

on_mount! {
    fn a_range_is_copied_within_the_mount(mounted) {
        let (from, to) = (read_write(mounted.path("a")), read_write(mounted.path("b")));
        from.write_all_at(&b"0123456789".repeat(1000), 0).unwrap();
        let (mut from_offset, mut to_offset) = (5, 3);
        let copied = rustix::fs::copy_file_range(
            &from, Some(&mut from_offset), &to, Some(&mut to_offset), 9000,
        );
        assert_eq!(copied, Ok(9000));
        let data = fs::read(mounted.path("b")).unwrap();
        assert_eq!(data[..13], *b"\x00\x00\x005678901234");
        assert_eq!(data.len(), 9003);
        let asked = mounted.requests("COPY_FILE_RANGE") + mounted.requests("COPY_FILE_RANGE_64");
        assert!(asked > 0);
    }
}

on_mount! {
    fn fsync_reaches_the_server(mounted) {
        let file = read_write(mounted.path("f"));
        file.write_all_at(b"x", 0).unwrap();
        file.sync_all().unwrap();
        file.sync_data().unwrap();
        File::open(mounted.root()).unwrap().sync_all().unwrap();
        assert_eq!(mounted.requests("FSYNC"), 2);
        assert_eq!(mounted.requests("FSYNCDIR"), 1);
    }
}

on_mount! {
    fn direct_io_reads_what_was_written(mounted) {
        let data = b"direct".repeat(10_000);
        fs::write(mounted.path("f"), &data).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECT;
        let file = rustix::fs::open(mounted.path("f"), flags, rustix::fs::Mode::empty()).unwrap();
        let mut read = vec![0; data.len()];
        File::from(file).read_exact_at(&mut read, 0).unwrap();
        assert!(read == data);
    }
}

on_mount! {
    fn four_writers_do_not_mix_their_blocks(mounted) {
        let file = read_write(mounted.path("shared"));
        std::thread::scope(|scope| {
            for writer in 0..4u8 {
                let file = &file;
                scope.spawn(move || {
                    for block in 0..50 {
                        let at = (block * 4 + u64::from(writer)) * 1000;
                        file.write_all_at(&[writer + 1; 1000], at).unwrap();
                    }
                });
            }
        });
        let data = fs::read(mounted.path("shared")).unwrap();
        for (place, block) in data.chunks(1000).enumerate() {
            assert!(block.iter().all(|&byte| usize::from(byte) == place % 4 + 1), "{place}");
        }
        assert_eq!(data.len(), 200_000);
    }
}
