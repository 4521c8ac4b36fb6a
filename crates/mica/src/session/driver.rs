//! Who makes the view: Mica over FUSE, or where that is not to be had, the kernel's overlayfs.

use mica_vfs::Errno;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

/// Who makes the view of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Driver {
    /// Mica, over FUSE.
    Mica,
    /// The kernel, as /dev/fuse cannot be opened: the number of the error.
    Kernel(i32),
}

impl Driver {
    /// Takes Mica if this process may open /dev/fuse, and the kernel if there is no such device for it. Any other error is
    /// left to the attempt to mount.
    pub(super) fn choose() -> Self {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open("/dev/fuse", flags, Mode::empty()) {
            Err(
                errno @ (Errno::NOENT
                | Errno::NOTDIR
                | Errno::ACCESS
                | Errno::PERM
                | Errno::NODEV
                | Errno::NXIO),
            ) => Self::Kernel(errno.raw_os_error()),
            _ => Self::Mica,
        }
    }

    /// Returns why it is not Mica.
    pub(super) fn errno(self) -> Errno {
        match self {
            Self::Mica => Errno::NODEV,
            Self::Kernel(number) => Errno::from_raw_os_error(number),
        }
    }
}
