//! Changing the mode of an object without following a link: fchmodat2(2), Linux 6.6.

#![allow(unsafe_code, reason = "rustix has no fchmodat2")]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::call::{Missing, ret};
use crate::proc::FdPath;

static FCHMODAT2: Missing = Missing::new();

/// Sets the mode of the object that `fd`, which may be `O_PATH`, has open.
///
/// # Errors
///
/// As chmod(2); `EOPNOTSUPP` for a symbolic link.
pub fn chmod_fd(fd: BorrowedFd<'_>, mode: Mode) -> Result<(), Errno> {
    FCHMODAT2
        .attempt(|| fchmodat2(fd, c"", mode, libc::AT_EMPTY_PATH))
        .unwrap_or_else(|| rustix::fs::chmod(FdPath::new(fd).as_c_str(), mode))
}

fn fchmodat2(dir: BorrowedFd<'_>, path: &CStr, mode: Mode, flags: i32) -> Result<(), Errno> {
    // SAFETY: `path` is a NUL-terminated string that outlives the call; no other argument is a pointer.
    let value = unsafe {
        libc::syscall(
            libc::SYS_fchmodat2,
            dir.as_raw_fd(),
            path.as_ptr(),
            mode.as_raw_mode(),
            flags,
        )
    };
    ret(value).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::fs::{CWD, OFlags, openat};

    use super::*;

    #[test]
    fn an_o_path_descriptor_can_change_the_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"").unwrap();
        let fd = openat(CWD, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        for mode in [0o4711, 0o600] {
            chmod_fd(fd.as_fd(), Mode::from_raw_mode(mode)).unwrap();
            let stat = rustix::fs::fstat(&fd).unwrap();
            assert_eq!(stat.st_mode & 0o7777, mode);
        }
        let by_proc = rustix::fs::chmod(FdPath::new(fd.as_fd()).as_c_str(), Mode::RUSR);
        assert_eq!(by_proc, Ok(()), "the fallback");
    }

    #[test]
    fn a_symlink_has_no_mode_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("t"), dir.path().join("l"));
        std::fs::write(&target, b"").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let before = rustix::fs::stat(&target).unwrap().st_mode;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(CWD, &link, flags, Mode::empty()).unwrap();
        assert_eq!(chmod_fd(fd.as_fd(), Mode::empty()), Err(Errno::OPNOTSUPP));
        assert_eq!(rustix::fs::stat(&target).unwrap().st_mode, before);
    }
}
