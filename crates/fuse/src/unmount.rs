//! Ending a mount from outside the threads that serve it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mica_vfs::Errno;
use rustix::mount::UnmountFlags;

use crate::error::UnmountError;
use crate::mount::fusermount::{self, Unmount as How};

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

/// What unmounts, where a process cannot do it by itself any more.
pub trait Unmount: Send + Sync + fmt::Debug {
    /// Unmounts what is mounted at `path`; a mount that is in use is detached and ends with its last user.
    ///
    /// # Errors
    ///
    /// The mount is still there.
    fn unmount(&self, path: &Path) -> Result<Unmounted, UnmountError>;
}

/// This process, helped by `fusermount3` where it may not unmount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByItself;

impl Unmount for ByItself {
    fn unmount(&self, path: &Path) -> Result<Unmounted, UnmountError> {
        let flags = UnmountFlags::NOFOLLOW;
        match rustix::mount::unmount(path, flags) {
            Ok(()) => Ok(Unmounted::Gone),
            Err(Errno::BUSY) => {
                let detached = rustix::mount::unmount(path, flags | UnmountFlags::DETACH);
                detached
                    .map(|()| Unmounted::Detached)
                    .or_else(|errno| judge(path, errno))
            }
            Err(Errno::PERM) => by_helper(path),
            Err(errno) => judge(path, errno),
        }
    }
}

fn judge(path: &Path, source: Errno) -> Result<Unmounted, UnmountError> {
    match source {
        // Not a mount point (any more).
        Errno::INVAL | Errno::NOENT => Ok(Unmounted::Before),
        source => Err(UnmountError::Refused {
            path: path.to_owned(),
            source,
        }),
    }
}

fn by_helper(path: &Path) -> Result<Unmounted, UnmountError> {
    if fusermount::unmount(path, How::Idle).is_ok() {
        return Ok(Unmounted::Gone);
    }
    fusermount::unmount(path, How::Lazy)
        .map(|()| Unmounted::Detached)
        .map_err(|message| UnmountError::Helper {
            path: path.to_owned(),
            message,
        })
}

/// Unmounts a session from any thread, for instance on a signal.
#[derive(Debug, Clone)]
pub struct Unmounter {
    /// Where the mount is. Immutable.
    path: PathBuf,
    /// The connection has ended: what is mounted at `path`, if anything, is somebody else's. Atomic.
    ended: Arc<AtomicBool>,
    /// Immutable.
    by: Arc<dyn Unmount>,
}

impl Unmounter {
    pub(crate) fn new(path: PathBuf, ended: Arc<AtomicBool>) -> Self {
        Self {
            path,
            ended,
            by: Arc::new(ByItself),
        }
    }

    /// Leaves unmounting to `by`.
    #[must_use]
    pub fn with(self, by: Arc<dyn Unmount>) -> Self {
        Self { by, ..self }
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
        self.by.unmount(&self.path)
    }
}
