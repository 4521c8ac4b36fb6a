//! Ending a mount from outside the threads that serve it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mica_vfs::Errno;
use rustix::mount::UnmountFlags;

use crate::error::UnmountError;
use crate::mount::fusermount::{self, Unmount};

/// How a mount ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmounted {
    /// It is gone.
    Gone,
    /// It is gone from the tree; the server ends when its last user does.
    Detached,
    /// It was gone before.
    Before,
}

/// Unmounts a session from any thread, for instance on a signal.
#[derive(Debug, Clone)]
pub struct Unmounter {
    /// Where the mount is. Immutable.
    path: PathBuf,
    /// The connection has ended: what is mounted at `path`, if anything, is somebody else's. Atomic.
    ended: Arc<AtomicBool>,
}

impl Unmounter {
    pub(crate) const fn new(path: PathBuf, ended: Arc<AtomicBool>) -> Self {
        Self { path, ended }
    }

    /// Returns where the mount is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Unmounts; a mount that is in use is detached and ends with its last user.
    ///
    /// # Errors
    ///
    /// The mount is still there.
    pub fn unmount(&self) -> Result<Unmounted, UnmountError> {
        if self.ended.load(Ordering::Acquire) {
            return Ok(Unmounted::Before);
        }
        let flags = UnmountFlags::NOFOLLOW;
        match rustix::mount::unmount(&self.path, flags) {
            Ok(()) => Ok(Unmounted::Gone),
            Err(Errno::BUSY) => {
                let detached = rustix::mount::unmount(&self.path, flags | UnmountFlags::DETACH);
                detached
                    .map(|()| Unmounted::Detached)
                    .or_else(|errno| self.judge(errno))
            }
            Err(Errno::PERM) => self.by_helper(),
            Err(errno) => self.judge(errno),
        }
    }

    fn judge(&self, source: Errno) -> Result<Unmounted, UnmountError> {
        match source {
            // Not a mount point (any more).
            Errno::INVAL | Errno::NOENT => Ok(Unmounted::Before),
            source => Err(UnmountError::Refused {
                path: self.path.clone(),
                source,
            }),
        }
    }

    fn by_helper(&self) -> Result<Unmounted, UnmountError> {
        if fusermount::unmount(&self.path, Unmount::Idle).is_ok() {
            return Ok(Unmounted::Gone);
        }
        fusermount::unmount(&self.path, Unmount::Lazy)
            .map(|()| Unmounted::Detached)
            .map_err(|message| UnmountError::Helper {
                path: self.path.clone(),
                message,
            })
    }
}
