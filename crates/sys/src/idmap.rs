//! Idmapped mounts: mount_setattr(2) with `MOUNT_ATTR_IDMAP`, Linux 5.12; of FUSE, Linux 6.12.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::mount::{Extent, MountAttr, set_attributes};

/// Makes the mount whose root `fd` has open an idmapped one: owners are shown through it, and stored, as the mapping of
/// the user namespace `userns` says. Once only, and before the mount is attached anywhere.
///
/// # Errors
///
/// As mount_setattr(2): `EINVAL` if the filesystem cannot be idmapped, or the mount is attached or idmapped already.
pub fn set_idmap(fd: BorrowedFd<'_>, userns: BorrowedFd<'_>) -> Result<(), Errno> {
    let attr = MountAttr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(userns.as_raw_fd()).map_err(|_| Errno::BADF)?,
    };
    set_attributes(fd, &attr, Extent::Mount)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_directory_that_is_no_mount_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        let userns = std::fs::File::open("/proc/self/ns/user").unwrap();
        let refused = set_idmap(fd.as_fd(), userns.as_fd());
        // ENOSYS is what valgrind says of calls it does not know.
        assert!(
            matches!(refused, Err(Errno::INVAL | Errno::PERM | Errno::NOSYS)),
            "{refused:?}"
        );
    }
}
