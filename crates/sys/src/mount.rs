//! Changing the properties of a mount: mount_setattr(2), Linux 5.12.

#![allow(unsafe_code, reason = "rustix has no mount_setattr")]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::call::ret;

/// `struct mount_attr`, first version.
#[repr(C)]
pub(crate) struct MountAttr {
    pub(crate) attr_set: u64,
    pub(crate) attr_clr: u64,
    pub(crate) propagation: u64,
    pub(crate) userns_fd: u64,
}

/// Makes the mount whose root `fd` has open read-only. Its other mounts are not touched.
///
/// # Errors
///
/// As mount_setattr(2): `EPERM` without `CAP_SYS_ADMIN`, `EINVAL` if `fd` is not the root of a mount, `ENOSYS`.
pub fn set_read_only(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    change(
        fd,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
        MountAttrFlags::empty(),
    )
}

/// Sets and clears attributes of the mount whose root `fd` has open, all of them or none. Its other mounts are not
/// touched. To change how access times are kept, `clear` has to have all of `MOUNT_ATTR__ATIME`.
///
/// # Errors
///
/// As mount_setattr(2): `EPERM` without `CAP_SYS_ADMIN`, `EINVAL` if `fd` is not the root of a mount, `EBUSY` if
/// it is to become read-only while a file is open for writing, `ENOSYS`.
pub fn change(fd: BorrowedFd<'_>, set: MountAttrFlags, clear: MountAttrFlags) -> Result<(), Errno> {
    let attr = MountAttr {
        attr_set: set.bits().into(),
        attr_clr: clear.bits().into(),
        propagation: 0,
        userns_fd: 0,
    };
    set_attributes(fd, &attr, Extent::Mount)
}

/// What an attribute change applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// One mount.
    Mount,
    /// That and all mounts below it.
    Tree,
}

/// mount_setattr(2) of the mount whose root `fd` has open.
pub(crate) fn set_attributes(
    fd: BorrowedFd<'_>,
    attr: &MountAttr,
    extent: Extent,
) -> Result<(), Errno> {
    let how = match extent {
        Extent::Mount => 0,
        Extent::Tree => libc::AT_RECURSIVE,
    };
    // SAFETY: the path is a NUL-terminated literal, `attr` lives across the call and has the size that is given;
    // the kernel only reads both.
    let value = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | how,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    ret(value).map(drop)
}

/// Sets attributes of the mount whose root `fd` has open and of all mounts below it, all of them or none.
///
/// # Errors
///
/// As [`change`].
pub fn restrict_tree(fd: BorrowedFd<'_>, set: MountAttrFlags) -> Result<(), Errno> {
    let attr = MountAttr {
        attr_set: set.bits().into(),
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    set_attributes(fd, &attr, Extent::Tree)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_directory_that_is_no_mount_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        let refused = set_read_only(fd.as_fd());
        // ENOSYS is what valgrind says of calls it does not know.
        assert!(
            matches!(refused, Err(Errno::INVAL | Errno::PERM | Errno::NOSYS)),
            "{refused:?}"
        );
    }
}
