//! The ioctls of `/dev/fuse`.

#![allow(unsafe_code, reason = "rustix knows nothing of FUSE")]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::ioctl::{NoArg, Opcode, Setter, ioctl, opcode};

/// `FUSE_DEV_IOC_MAGIC`.
const MAGIC: u8 = 229;
/// `FUSE_DEV_IOC_CLONE`.
const CLONE: Opcode = opcode::read::<u32>(MAGIC, 0);
/// `FUSE_DEV_IOC_SYNC_INIT`.
const SYNC_INIT: Opcode = opcode::none(MAGIC, 3);

/// Ties `fresh`, an unused `/dev/fuse`, to the connection of `session`.
///
/// # Errors
///
/// `EINVAL` if `session` has no connection or `fresh` has one.
pub fn clone_connection(fresh: BorrowedFd<'_>, session: BorrowedFd<'_>) -> Result<(), Errno> {
    let number = u32::try_from(session.as_raw_fd()).map_err(|_| Errno::BADF)?;
    // SAFETY: although its direction is "read", the kernel only reads the u32 behind the pointer: a descriptor.
    let request = unsafe { Setter::<CLONE, u32>::new(number) };
    // SAFETY: as above; the number is that of a descriptor borrowed for the call.
    unsafe { ioctl(fresh, request) }
}

/// Has mount(2) and fsmount(2) on `fd` wait for the answer to INIT; Linux 6.18.
///
/// # Errors
///
/// `ENOTTY` where the kernel lacks it, `EINVAL` if `fd` has a connection.
pub fn sync_init(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the opcode takes no argument.
    let request = unsafe { NoArg::<SYNC_INIT>::new() };
    // SAFETY: the ioctl sets a flag of the open file and touches no memory of this process.
    unsafe { ioctl(fd, request) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn the_opcodes_are_those_of_the_header() {
        assert_eq!((CLONE, SYNC_INIT), (0x8004_e500, 0xe503));
    }

    #[test]
    fn a_file_that_is_no_fuse_device_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let refused = clone_connection(file.as_fd(), file.as_fd());
        assert_eq!(refused, Err(Errno::NOTTY));
        assert_eq!(sync_init(file.as_fd()), Err(Errno::NOTTY));
    }

    #[test]
    fn a_device_without_a_connection_cannot_be_cloned() {
        let open = || {
            std::fs::File::options()
                .read(true)
                .write(true)
                .open("/dev/fuse")
        };
        if let (Ok(fresh), Ok(session)) = (open(), open()) {
            let refused = clone_connection(fresh.as_fd(), session.as_fd());
            assert!(
                matches!(refused, Err(Errno::INVAL | Errno::PERM)),
                "{refused:?}"
            );
        }
    }
}
