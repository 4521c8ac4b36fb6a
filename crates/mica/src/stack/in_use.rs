//! Keeping a second server away from an upper and its work directory.
//!
//! Two servers that write to one upper would each be wrong about what is there. Both directories carry an exclusive
//! flock(2) while a mount uses them; it goes away with the process, however that ends.

use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use mica_vfs::Errno;
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::error::{LayerDir, StackError};

/// How long a directory may stay in use. umount(2) returns before the server has ended, so the next mount of the
/// same directories meets the last moments of the one before.
const GRACE: Duration = Duration::from_secs(1);
/// The time between two attempts.
const PAUSE: Duration = Duration::from_millis(5);

/// Holds a directory as in use until dropped.
#[derive(Debug)]
pub(super) struct InUse {
    _locked: OwnedFd,
}

impl InUse {
    /// Marks `dir`, open as `fd`, as in use.
    pub(super) fn claim(dir: &LayerDir, fd: impl AsFd) -> Result<Self, StackError> {
        let lock = |source| StackError::Lock {
            dir: dir.clone(),
            source,
        };
        // A layer's own fd may be O_PATH, which cannot be locked.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let locked = rustix::fs::openat(fd, c".", flags, Mode::empty()).map_err(lock)?;
        let deadline = Instant::now() + GRACE;
        loop {
            match rustix::fs::flock(&locked, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _locked: locked }),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(PAUSE),
                Err(Errno::WOULDBLOCK) => return Err(StackError::InUse { dir: dir.clone() }),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(lock(errno)),
            }
        }
    }
}
