//! What a program that is started next inherits.

#![allow(unsafe_code, reason = "rustix has no close_range")]

use rustix::io::Errno;

use crate::call::ret;

/// Marks all descriptors but the standard three to be closed when this process starts another program; Linux 5.11.
///
/// # Errors
///
/// `ENOSYS` or `EINVAL`: the kernel is older; nothing was changed.
pub fn close_on_exec() -> Result<(), Errno> {
    let (first, last) = (3u32, u32::MAX);
    // SAFETY: no argument is a pointer, and marking a descriptor closes none: whoever owns it goes on with it.
    let value = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            last,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    ret(value).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

    use super::*;

    #[test]
    fn an_inherited_descriptor_is_marked() {
        let file = tempfile::tempfile().unwrap();
        fcntl_setfd(&file, FdFlags::empty()).unwrap();
        close_on_exec().unwrap();
        assert_eq!(fcntl_getfd(file.as_fd()), Ok(FdFlags::CLOEXEC));
    }
}
