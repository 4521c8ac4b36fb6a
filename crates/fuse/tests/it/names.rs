//! Names: making, removing, renaming, links of both kinds, special files.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use mica_vfs::{Caller, FileName, Filesystem, KillPriv, NodeId};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::mounted::{on_mount, skip};

on_mount! {
    fn rename_replaces_and_its_flags_hold(mounted) {
        let (a, b) = (mounted.path("a"), mounted.path("b"));
        fs::write(&a, "a").unwrap();
        fs::write(&b, "b").unwrap();
        let flagged = |flags| rustix::fs::renameat_with(CWD, &a, CWD, &b, flags);
        assert_eq!(flagged(RenameFlags::NOREPLACE), Err(Errno::EXIST));
        flagged(RenameFlags::EXCHANGE).unwrap();
        assert_eq!(fs::read(&a).unwrap(), b"b");
        fs::rename(&a, &b).unwrap();
        assert_eq!(fs::read(&b).unwrap(), b"b");
        assert!(!a.exists());
    }
}

on_mount! {
    fn directories_are_made_moved_and_removed(mounted) {
        fs::create_dir_all(mounted.path("a/b/c")).unwrap();
        fs::write(mounted.path("a/b/c/f"), "x").unwrap();
        fs::rename(mounted.path("a/b"), mounted.path("moved")).unwrap();
        assert_eq!(fs::read(mounted.path("moved/c/f")).unwrap(), b"x");
        let full = fs::remove_dir(mounted.path("moved/c")).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::DirectoryNotEmpty);
        fs::remove_dir_all(mounted.path("moved")).unwrap();
        assert_eq!(fs::metadata(mounted.path("a")).unwrap().nlink(), 2);
    }
}

on_mount! {
    fn hard_links_are_one_object(mounted) {
        let (a, b) = (mounted.path("a"), mounted.path("b"));
        fs::write(&a, "1").unwrap();
        fs::hard_link(&a, &b).unwrap();
        fs::write(&b, "2").unwrap();
        assert_eq!(fs::read(&a).unwrap(), b"2");
        let (a, b) = (fs::metadata(&a).unwrap(), fs::metadata(&b).unwrap());
        assert_eq!((a.ino(), a.nlink()), (b.ino(), 2));
    }
}

on_mount! {
    fn symbolic_links_are_read_and_followed(mounted) {
        fs::write(mounted.path("f"), "x").unwrap();
        std::os::unix::fs::symlink("f", mounted.path("l")).unwrap();
        assert_eq!(fs::read_link(mounted.path("l")).unwrap().as_os_str(), "f");
        assert_eq!(fs::read(mounted.path("l")).unwrap(), b"x");
        let longest = "x".repeat(4095);
        std::os::unix::fs::symlink(&longest, mounted.path("long")).unwrap();
        let read = fs::read_link(mounted.path("long")).unwrap();
        assert_eq!(read.as_os_str().len(), 4095);
    }
}

on_mount! {
    fn fifos_sockets_and_devices_are_what_they_are(mounted) {
        if !rustix::process::geteuid().is_root() {
            return skip("fifos_sockets_and_devices_are_what_they_are", "making a device needs root");
        }
        let mode = Mode::from_raw_mode(0o640);
        let make = |name: &str, kind, major, minor| {
            let dev = rustix::fs::makedev(major, minor);
            rustix::fs::mknodat(CWD, mounted.path(name), kind, mode, dev).unwrap();
            fs::symlink_metadata(mounted.path(name)).unwrap()
        };
        assert!(make("fifo", FileType::Fifo, 0, 0).file_type().is_fifo());
        assert!(make("socket", FileType::Socket, 0, 0).file_type().is_socket());
        let null = make("null", FileType::CharacterDevice, 1, 3);
        assert!(null.file_type().is_char_device());
        assert_eq!(null.rdev(), rustix::fs::makedev(1, 3));
        assert_eq!(fs::read(mounted.path("null")).unwrap(), b"");
        let block = make("block", FileType::BlockDevice, 259, 300_000);
        assert_eq!(block.rdev(), rustix::fs::makedev(259, 300_000));
        assert_eq!(make("regular", FileType::RegularFile, 0, 0).mode(), 0o100_640);
    }
}

on_mount! {
    fn a_nameless_file_gets_a_name_by_linkat(mounted) {
        let flags = OFlags::TMPFILE | OFlags::RDWR;
        let file = rustix::fs::open(mounted.root(), flags, Mode::from_raw_mode(0o600)).unwrap();
        rustix::io::write(&file, b"data").unwrap();
        rustix::fs::linkat(&file, "", CWD, mounted.path("named"), AtFlags::EMPTY_PATH).unwrap();
        assert_eq!(fs::read(mounted.path("named")).unwrap(), b"data");
        assert_eq!(fs::metadata(mounted.path("named")).unwrap().nlink(), 1);
    }
}

on_mount! {
    fn a_name_of_255_bytes_works_and_one_of_256_is_too_long(mounted) {
        fs::write(mounted.path(&"x".repeat(255)), "").unwrap();
        let refused = fs::write(mounted.path(&"x".repeat(256)), "").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(Errno::NAMETOOLONG.raw_os_error()));
    }
}

on_mount! {
    fn a_name_that_was_missed_is_found_once_it_is_made(mounted) {
        let path = mounted.path("late");
        assert!(!path.exists());
        assert!(!path.exists());
        fs::write(&path, "x").unwrap();
        assert!(path.exists());
        fs::remove_file(&path).unwrap();
        assert!(!path.exists());
        fs::create_dir(&path).unwrap();
        assert!(path.is_dir());
    }
}

on_mount! {
    /// CREATE says EEXIST to the server's surprise: the kernel looks again, checks permissions, and truncates.
    fn a_name_that_came_up_behind_the_kernel_is_opened_and_truncated(mounted) {
        let path = mounted.path("late");
        assert!(!path.exists());
        let name = FileName::new(b"late").unwrap();
        let mode = mica_vfs::Mode::new(0o600);
        let made = mounted.fs.create(&Caller::ROOT, NodeId::ROOT, name, mode).unwrap();
        mounted.fs.write(made.node, 0, b"behind", KillPriv::Keep).unwrap();
        mounted.fs.forget(made.node, 1);
        if !rustix::process::geteuid().is_root() {
            let refused = fs::write(&path, "x").unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
            return;
        }
        fs::write(&path, "x").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
        assert_eq!(mounted.requests("CREATE"), 1);
    }
}

on_mount! {
    fn the_umask_is_taken_off_once(mounted) {
        // Read, not set: other tests run beside this one.
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
        let mask = u32::from_str_radix(mask.trim(), 8).unwrap();
        let flags = OFlags::CREATE | OFlags::WRONLY;
        rustix::fs::open(mounted.path("f"), flags, Mode::from_raw_mode(0o666)).unwrap();
        let mode = fs::metadata(mounted.path("f")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666 & !mask);
    }
}
