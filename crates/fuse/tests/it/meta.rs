//! Attributes: owner, mode, times, birth, extended attributes, ACLs, flags of statfs.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, StatxFlags, XattrFlags};
use rustix::io::Errno;

use crate::mounted::{on_mount, skip};

on_mount! {
    fn times_are_set_to_the_nanosecond(mounted) {
        let path = mounted.path("f");
        fs::write(&path, "").unwrap();
        let before_1970 = SystemTime::UNIX_EPOCH - Duration::new(1000, 1);
        let far = SystemTime::UNIX_EPOCH + Duration::new(10_000_000_000, 123_456_789);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_times(FileTimes::new().set_accessed(before_1970).set_modified(far)).unwrap();
        let stat = fs::metadata(&path).unwrap();
        assert_eq!(stat.accessed().unwrap(), before_1970);
        assert_eq!(stat.modified().unwrap(), far);
    }
}

on_mount! {
    fn mode_and_owner_change(mounted) {
        let path = mounted.path("f");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o4711)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode(), 0o104_711);
        if !rustix::process::geteuid().is_root() {
            return skip("mode_and_owner_change", "chown needs root");
        }
        std::os::unix::fs::chown(&path, Some(1234), Some(5678)).unwrap();
        let stat = fs::metadata(&path).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (1234, 5678));
        assert_eq!(stat.mode(), 0o100_711);
    }
}

on_mount! {
    fn a_write_of_an_ordinary_user_drops_setuid_and_one_of_root_does_not(mounted) {
        let test = "a_write_of_an_ordinary_user_drops_setuid_and_one_of_root_does_not";
        if !rustix::process::geteuid().is_root() {
            return skip(test, "needs root and another user");
        }
        fs::set_permissions(mounted.root(), Permissions::from_mode(0o777)).unwrap();
        let script = |user: &str, path: &std::path::Path| {
            let status = Command::new("setpriv")
                .args(["--reuid", user, "--clear-groups", "sh", "-c", "echo x >> \"$0\""])
                .arg(path)
                .status();
            status.is_ok_and(|status| status.success())
        };
        let path = mounted.path("suid");
        fs::write(&path, "data").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o6777)).unwrap();
        // The directory of the mountpoint is the user's own.
        fs::set_permissions(mounted.root().parent().unwrap(), Permissions::from_mode(0o1777)).unwrap();
        if !script("0", &path) {
            return skip(test, "setpriv does not work");
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o6777);
        assert!(script("65534", &path));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o777);
    }
}

on_mount! {
    fn statx_tells_the_time_of_birth(mounted) {
        fs::write(mounted.path("f"), "").unwrap();
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = rustix::fs::statx(CWD, mounted.path("f"), AtFlags::empty(), mask).unwrap();
        assert!(StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME));
        assert!(stat.stx_btime.tv_sec > 1_600_000_000);
        assert_eq!(mounted.requests("STATX"), 1);
    }
}

on_mount! {
    fn extended_attributes_are_kept(mounted) {
        let path = mounted.path("f");
        fs::write(&path, "").unwrap();
        let get = |name: &str, len: usize| {
            let mut value = vec![0; len];
            rustix::fs::getxattr(&path, name, &mut value[..]).map(|len| value[..len].to_vec())
        };
        let set = |name: &str, value: &[u8], flags| rustix::fs::setxattr(&path, name, value, flags);
        assert_eq!(get("user.a", 10), Err(Errno::NODATA));
        set("user.a", b"value", XattrFlags::empty()).unwrap();
        assert_eq!(set("user.a", b"", XattrFlags::CREATE), Err(Errno::EXIST));
        assert_eq!(set("user.b", b"", XattrFlags::REPLACE), Err(Errno::NODATA));
        assert_eq!(get("user.a", 10), Ok(b"value".to_vec()));
        assert_eq!(get("user.a", 2), Err(Errno::RANGE));
        assert_eq!(rustix::fs::getxattr_query(&path, "user.a"), Ok(5));
        assert_eq!(rustix::fs::listxattr_query(&path), Ok(7));
        let big = vec![7; 65536];
        set("user.big", &big, XattrFlags::empty()).unwrap();
        assert_eq!(get("user.big", 65536), Ok(big));
        let mut names = [0; 100];
        let len = rustix::fs::listxattr(&path, &mut names[..]).unwrap();
        let names = String::from_utf8(names[..len].to_vec()).unwrap();
        assert!(names.contains("user.a\0") && names.contains("user.big\0"), "{names:?}");
        rustix::fs::removexattr(&path, "user.a").unwrap();
        assert_eq!(get("user.a", 10), Err(Errno::NODATA));
    }
}

on_mount! {
    fn an_acl_decides_and_a_default_acl_is_inherited(mounted) {
        let dir = mounted.path("d");
        fs::create_dir(&dir).unwrap();
        let set = Command::new("setfacl").args(["-m", "u:1234:rwx,d:u:1234:rw"]).arg(&dir).status();
        if !set.is_ok_and(|status| status.success()) {
            return skip("an_acl_decides_and_a_default_acl_is_inherited", "no setfacl");
        }
        fs::write(dir.join("f"), "").unwrap();
        let get = |path| {
            let output = Command::new("getfacl").args(["-cpn"]).arg(path).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(get(dir.clone()).contains("user:1234:rwx"));
        assert!(get(dir.join("f")).contains("user:1234:rw-"), "{}", get(dir.join("f")));
    }
}

on_mount! {
    fn statfs_tells_space(mounted) {
        let stat = rustix::fs::statvfs(mounted.root()).unwrap();
        assert!(stat.f_blocks > 0 && stat.f_bsize >= 512);
        assert_eq!(stat.f_namemax, 255);
    }
}
