//! Attributes of a whole filesystem that are read by ioctl.

#![allow(unsafe_code, reason = "rustix has no FS_IOC_GETFSUUID")]

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, ioctl, opcode};

/// `struct fsuuid2`.
#[repr(C)]
struct FsUuid2 {
    len: u8,
    uuid: [u8; 16],
}

/// `FS_IOC_GETFSUUID`.
const GETFSUUID: Opcode = opcode::read::<FsUuid2>(0x15, 0);

/// Returns the UUID of the filesystem that `fd`, which must not be `O_PATH`, lies on; Linux 6.9.
///
/// # Errors
///
/// `ENOTTY` where the kernel lacks the call or the filesystem has no UUID of 16 bytes.
pub fn fs_uuid(fd: BorrowedFd<'_>) -> Result<[u8; 16], Errno> {
    // SAFETY: the opcode reads a `struct fsuuid2`, which `FsUuid2` is, byte for byte.
    let request = unsafe { Getter::<GETFSUUID, FsUuid2>::new() };
    // SAFETY: the ioctl writes the 17 bytes of `FsUuid2` and touches no other memory.
    let found = unsafe { ioctl(fd, request) }?;
    if found.len == 16 {
        Ok(found.uuid)
    } else {
        Err(Errno::NOTTY)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_opcode_is_that_of_the_header() {
        // _IOR(0x15, 0, struct fsuuid2) of linux/fs.h on x86-64 and arm64.
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        assert_eq!(GETFSUUID, 0x8011_1500);
    }

    #[test]
    fn a_filesystem_has_one_uuid_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        let first = fs_uuid(fd.as_fd());
        assert_eq!(first, fs_uuid(fd.as_fd()));
        assert!(matches!(first, Ok(_) | Err(Errno::NOTTY)), "{first:?}");
    }
}
