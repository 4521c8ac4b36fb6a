//! Asking what this process may do with an object: faccessat2(2), Linux 5.8.

#![allow(unsafe_code, reason = "rustix has no AT_EMPTY_PATH for it")]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::Access;
use rustix::io::Errno;

use crate::call::ret;

/// Fails if this process, with its effective ids, may not do `wanted` with what `fd`, which may be `O_PATH`, has open.
///
/// # Errors
///
/// As access(2); `ENOSYS` before Linux 5.8.
pub fn access_fd(fd: BorrowedFd<'_>, wanted: Access) -> Result<(), Errno> {
    // SAFETY: the path is a NUL-terminated string that outlives the call; no other argument is a pointer.
    let value = unsafe {
        libc::syscall(
            libc::SYS_faccessat2,
            fd.as_raw_fd(),
            c"".as_ptr(),
            wanted.bits(),
            libc::AT_EMPTY_PATH | libc::AT_EACCESS,
        )
    };
    ret(value).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use rustix::fs::{CWD, Mode, OFlags, openat};

    use super::*;

    #[test]
    fn what_nobody_may_run_is_refused_through_an_o_path_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"").unwrap();
        let fd = openat(CWD, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        assert_eq!(access_fd(fd.as_fd(), Access::READ_OK), Ok(()));
        let refused = access_fd(fd.as_fd(), Access::EXEC_OK);
        assert_eq!(refused, Err(Errno::ACCESS));
    }
}
