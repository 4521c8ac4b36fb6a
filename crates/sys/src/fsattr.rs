//! Attributes of a whole filesystem that are read by ioctl.

#![allow(
    unsafe_code,
    reason = "rustix has neither FS_IOC_GETFSUUID nor BTRFS_IOC_FS_INFO"
)]

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

/// `struct btrfs_ioctl_fs_info_args`.
#[repr(C)]
struct BtrfsInfo {
    max_id: u64,
    devices: u64,
    uuid: [u8; 16],
    rest: [u8; 992],
}

/// `BTRFS_IOC_FS_INFO`.
const BTRFS_INFO: Opcode = opcode::read::<BtrfsInfo>(0x94, 31);

/// Returns the UUID of the btrfs that `fd`, which must not be `O_PATH`, lies on. Btrfs answers no [`fs_uuid`].
///
/// # Errors
///
/// `ENOTTY` where it lies on another filesystem.
pub fn btrfs_uuid(fd: BorrowedFd<'_>) -> Result<[u8; 16], Errno> {
    // SAFETY: the opcode reads a `struct btrfs_ioctl_fs_info_args`, which `BtrfsInfo` is, byte for byte.
    let request = unsafe { Getter::<BTRFS_INFO, BtrfsInfo>::new() };
    // SAFETY: the ioctl writes the 1024 bytes of `BtrfsInfo` and touches no other memory.
    let found = unsafe { ioctl(fd, request) }?;
    Ok(found.uuid)
}

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
    fn the_opcodes_are_those_of_the_headers() {
        // _IOR(0x15, 0, struct fsuuid2) of linux/fs.h on x86-64 and arm64.
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        {
            assert_eq!(GETFSUUID, 0x8011_1500);
            // _IOR(0x94, 31, struct btrfs_ioctl_fs_info_args) of linux/btrfs.h.
            assert_eq!(BTRFS_INFO, 0x8400_941f);
        }
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
