//! A mounted overlay, from mountpoint to statistics.
//!
//! # Invariants
//!
//! - [`Mount::start`] returns a mount that has answered a request, or leaves nothing mounted.
//! - The threads that serve requests do not hold `CAP_SYS_RESOURCE`, as those of the kernel's overlayfs do not:
//!   with it, disk quotas and reserved blocks would not bind whoever writes through the mount.

mod error;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use mica_fuse::{InitReport, Session, SessionConfig, SessionStats};
use mica_overlay::{Overlay, OverlayStats};
use mica_vfs::Errno;
use rustix::thread::CapabilitySet;

pub use error::MountError;

use crate::housekeeping::Housekeeping;
use crate::options::{MountFlags, MountSpec};
use crate::stack::Stack;

/// Mounts what `spec` says at `mountpoint`, and serves it on threads of its own.
///
/// # Errors
///
/// A [`MountError`]; nothing is mounted then.
pub fn mount(spec: &MountSpec, mountpoint: &Path) -> Result<Mount, MountError> {
    let mountpoint = Mountpoint::find(mountpoint)?;
    let stack = Stack::open(&spec.stack)?;
    Mount::start(stack, spec, mountpoint)
}

/// A directory to mount on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mountpoint(PathBuf);

impl Mountpoint {
    /// Finds the directory that `path` leads to. It is found again when the working directory has changed.
    ///
    /// # Errors
    ///
    /// A [`MountError`]: it does not exist, is no directory or cannot be reached.
    pub fn find(path: &Path) -> Result<Self, MountError> {
        let reached = path.canonicalize().and_then(|found| {
            let is_dir = found.metadata()?.is_dir();
            Ok((found, is_dir))
        });
        match reached {
            Ok((found, true)) => Ok(Self(found)),
            Ok((_, false)) => Err(MountError::MountpointNotDirectory),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(MountError::MountpointMissing)
            }
            Err(source) => Err(MountError::Mountpoint { source }),
        }
    }

    /// Returns its absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// A mounted overlay and its server.
#[derive(Debug)]
pub struct Mount {
    session: Session,
    observer: Observer,
    // Before the stack: it has the stack's files in its hands.
    _housekeeping: Housekeeping,
    stack: Stack,
}

impl Mount {
    /// Mounts an open stack. Of `spec`, the layers are not looked at again.
    ///
    /// # Errors
    ///
    /// A [`MountError`]; nothing is mounted then.
    pub fn start(
        stack: Stack,
        spec: &MountSpec,
        mountpoint: Mountpoint,
    ) -> Result<Self, MountError> {
        let options = options_of(spec);
        let overlay = Arc::clone(stack.overlay());
        let housekeeping = Housekeeping::start(Arc::clone(stack.fds()));
        let housekeeping = housekeeping.map_err(|source| MountError::Thread { source })?;
        let session = without_cap_sys_resource(|| {
            Session::mount(overlay, mountpoint.path(), &options, SessionConfig::default())
        })?;
        todo!()
    }
}

/// Runs `serve` on a thread without `CAP_SYS_RESOURCE`; the threads that it starts are without it, too. The caller
/// keeps its own.
fn without_cap_sys_resource<T: Send>(
    serve: impl FnOnce() -> T + Send,
) -> Result<T, MountError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("mica-setup".into());
        let thread = thread.spawn_scoped(scope, || {
            let mut sets = rustix::thread::capabilities(None)?;
            if sets.effective.contains(CapabilitySet::SYS_RESOURCE) {
                sets.effective.remove(CapabilitySet::SYS_RESOURCE);
                rustix::thread::set_capabilities(None, sets)?;
            }
            Ok(serve())
        });
        let thread = thread.map_err(|source| MountError::Thread { source })?;
        match thread.join() {
            Ok(done) => done.map_err(|source: Errno| MountError::Capabilities { source }),
            Err(panicked) => std::panic::resume_unwind(panicked),
        }
    })
}
