//! A mounted overlay, from mountpoint to statistics.
//!
//! # Invariants
//!
//! - [`Mount::start`] returns a mount that has answered a request, or leaves nothing mounted.
//! - The threads that serve requests do not hold `CAP_SYS_RESOURCE`, as those of the kernel's overlayfs do not:
//!   with it, disk quotas and reserved blocks would not bind whoever writes through the mount.
//! - Between [`Mount::attach`] and [`Attached::serve`] this process has no thread of ours.

mod effect;
mod error;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use mica_fuse::{
    AclChecks, Audience, Decider, InitReport, MountAccess, MountOptions, Session, SessionConfig,
    SessionError, SessionStats, Unmount, Unmounter, Way,
};
use mica_host::FdCache;
use mica_overlay::{Acls, Overlay, OverlayStats, Permissions};
use mica_vfs::{Errno, Filesystem};
use rustix::process::Pid;
use rustix::thread::CapabilitySet;

pub use error::MountError;

use crate::housekeeping::{Housekeeping, Pace};
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
    Mount::start(stack, spec, &mountpoint)
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

/// An overlay that is mounted and that nobody serves yet: requests wait in the kernel.
///
/// This process has no thread for it, so this is the time for [`enter_cage`](crate::enter_cage). Dropping it leaves a
/// mount that answers `ENOTCONN`; [`unmounter`](Self::unmounter) removes it.
#[derive(Debug)]
pub struct Attached {
    session: mica_fuse::Attached,
    stack: Stack,
}

impl Attached {
    /// Leaves unmounting to `by`, as a process in a cage has to.
    #[must_use]
    pub fn unmounted_by(self, by: Arc<dyn Unmount>) -> Self {
        Self {
            session: self.session.unmounted_by(by),
            ..self
        }
    }

    /// Returns what ends the mount.
    #[must_use]
    pub fn unmounter(&self) -> Unmounter {
        self.session.unmounter()
    }

    /// Lets a process that has one thread do everything in the mount, where the overlay decides what callers may do.
    pub(crate) fn trust(&self, process: Pid) {
        self.session.trust(process);
    }

    /// Gives the mount up before it was served: the work directory is left as if it had not been there.
    pub fn abandon(self) {
        self.stack.overlay().abandon();
    }

    /// Serves the mount on threads of this process.
    ///
    /// # Errors
    ///
    /// The system has no thread. The mount is still there, and answers `ENOTCONN`.
    pub fn serve(self) -> Result<Mount, MountError> {
        let Self { session, stack } = self;
        let started = start_threads(session, &stack);
        let (session, housekeeping) = started.inspect_err(|_| stack.overlay().abandon())?;
        let observer = Observer {
            session: session.stats(),
            overlay: Arc::clone(stack.overlay()),
            fds: Arc::clone(stack.fds()),
        };
        Ok(Mount {
            session,
            observer,
            housekeeping,
            stack,
        })
    }
}

/// Starts what serves a mount.
fn start_threads(
    session: mica_fuse::Attached,
    stack: &Stack,
) -> Result<(Session, Housekeeping), MountError> {
    let housekeeping = Housekeeping::start(
        Arc::clone(stack.fds()),
        Arc::clone(stack.overlay()),
        Pace::default(),
    )
    .map_err(|source| MountError::Thread { source })?;
    let session = without_cap_sys_resource(|| session.serve())??;
    Ok((session, housekeeping))
}

/// A mounted overlay and its server.
///
/// Dropping it leaves the mount to its server; [`unmounter`](Self::unmounter) ends it.
#[derive(Debug)]
pub struct Mount {
    session: Session,
    observer: Observer,
    housekeeping: Housekeeping,
    stack: Stack,
}

impl Mount {
    /// Mounts an open stack, to be served later. Of `spec`, the layers are not looked at again.
    ///
    /// Root's mounts are for everyone, as those of the kernel's overlayfs are, but with `allow_root` for root alone;
    /// those of other users only with `allow_other`.
    ///
    /// # Errors
    ///
    /// A [`MountError`]; nothing is mounted then.
    pub fn attach(
        stack: Stack,
        spec: &MountSpec,
        mountpoint: &Mountpoint,
    ) -> Result<Attached, MountError> {
        let options = effect::refuse_no_effect(spec.flags)
            .and_then(|()| options_of(spec))
            // What opening the stack has left in the work directory, a volatile mount's mark above all.
            .inspect_err(|_| stack.overlay().abandon())?;
        let overlay: Arc<dyn Filesystem> = Arc::clone(stack.overlay()) as _;
        #[cfg(feature = "planted")]
        let overlay = crate::planted::before(overlay);
        let config = SessionConfig {
            acls: match (spec.stack.identity.acls, options.decider) {
                (Acls::Off, Decider::Kernel) => AclChecks::Off,
                // Where the kernel has none default ACLs still count, for the filesystem below.
                (Acls::On, _) | (_, Decider::Filesystem) => AclChecks::On,
            },
            cache: spec.fuse.cache,
            threads: spec.fuse.threads,
            coherence: spec.stack.coherence,
            decider: options.decider,
        };
        let session = mica_fuse::Attached::mount(overlay, mountpoint.path(), &options, config);
        match session {
            Ok(session) => Ok(Attached { session, stack }),
            Err(error) => {
                stack.overlay().abandon();
                Err(error.into())
            }
        }
    }

    /// Mounts an open stack and serves it: [`attach`](Self::attach), then [`serve`](Attached::serve).
    ///
    /// # Errors
    ///
    /// A [`MountError`]; nothing is mounted then.
    pub fn start(
        stack: Stack,
        spec: &MountSpec,
        mountpoint: &Mountpoint,
    ) -> Result<Self, MountError> {
        let attached = Self::attach(stack, spec, mountpoint)?;
        let unmounter = attached.unmounter();
        attached.serve().map_err(|error| match unmounter.unmount() {
            Ok(_) => error,
            Err(source) => MountError::Left { source },
        })
    }

    /// Waits until the mount is gone.
    ///
    /// # Errors
    ///
    /// The connection ended in another way than by unmounting.
    pub fn join(self) -> Result<(), SessionError> {
        let ended = self.session.join();
        drop(self.housekeeping);
        self.stack.overlay().clear_work();
        // Last, as it gives the upper and the work directory free for the next mount.
        drop(self.stack);
        ended
    }

    /// Returns what ends the mount from another thread.
    #[must_use]
    pub fn unmounter(&self) -> Unmounter {
        self.session.unmounter()
    }

    /// Returns what reads the statistics from another thread.
    #[must_use]
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Returns what the kernel offered and what was agreed on.
    #[must_use]
    pub fn protocol(&self) -> InitReport {
        self.session.init()
    }

    /// Returns the layers.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.stack
    }
}

/// Reads the statistics of a mount, also after its end.
#[derive(Debug, Clone)]
pub struct Observer {
    session: Arc<SessionStats>,
    overlay: Arc<Overlay>,
    fds: Arc<FdCache>,
}

/// What a mount has done and holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Requests of the kernel by name, those that came at all.
    pub operations: Vec<(&'static str, u64)>,
    /// Requests that were answered with an error, `ENOENT` of a lookup among them.
    pub errors: u64,
    /// Requests that failed by a fault of the server, and were answered `EIO`.
    pub panics: u64,
    /// Bytes of files that were sent to readers. What the page cache answers is not among them.
    pub bytes_read: u64,
    /// Bytes of files that writers sent.
    pub bytes_written: u64,
    /// References on nodes that the kernel holds.
    pub references: u64,
    /// Copy-ups, whiteouts and nodes.
    pub overlay: OverlayStats,
    /// Files of the layers that are open, their roots included.
    pub fds: usize,
}

impl Observer {
    /// Takes a snapshot.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            operations: self.session.requests().collect(),
            errors: self.session.errors(),
            panics: self.session.panics(),
            bytes_read: self.session.bytes_read(),
            bytes_written: self.session.bytes_written(),
            references: self.session.references_held(),
            overlay: self.overlay.stats(),
            fds: self.fds.open(),
        }
    }
}

/// Looks whether what `spec` says could be mounted, whatever its layers are. Programs are looked for in `path`.
///
/// # Errors
///
/// What the mount would fail with.
pub(crate) fn examine(spec: &MountSpec, path: &OsStr) -> Result<Way, MountError> {
    effect::refuse_no_effect(spec.flags)?;
    Ok(mica_fuse::examine_mount(&options_of(spec)?, path)?)
}

/// Says in the words of the FUSE crate how `spec` mounts.
///
/// # Errors
///
/// A [`MountError`]: what is asked for cannot be had by this user, or on this kernel.
fn options_of(spec: &MountSpec) -> Result<MountOptions, MountError> {
    if let Some(label) = spec.fuse.labels.first()
        && !selinux_is_on()
    {
        return Err(MountError::NoSelinux {
            option: label.option,
        });
    }
    let mut flags = mica_fuse::MountFlags::empty();
    for (ours, theirs) in [
        (MountFlags::NODEV, mica_fuse::MountFlags::NODEV),
        (MountFlags::NOSUID, mica_fuse::MountFlags::NOSUID),
        (MountFlags::NOEXEC, mica_fuse::MountFlags::NOEXEC),
        (MountFlags::NOATIME, mica_fuse::MountFlags::NOATIME),
        (MountFlags::NODIRATIME, mica_fuse::MountFlags::NODIRATIME),
        (MountFlags::STRICTATIME, mica_fuse::MountFlags::STRICTATIME),
        (MountFlags::NOSYMFOLLOW, mica_fuse::MountFlags::NOSYMFOLLOW),
        (MountFlags::SYNC, mica_fuse::MountFlags::SYNC),
    ] {
        flags.set(theirs, spec.flags.contains(ours));
    }
    Ok(MountOptions {
        source: spec.source.clone(),
        subtype: spec.fuse.subtype.clone(),
        access: match &spec.stack.upper {
            None => MountAccess::ReadOnly,
            Some(_) if spec.flags.contains(MountFlags::READ_ONLY) => MountAccess::ReadOnlyHere,
            Some(_) => MountAccess::ReadWrite,
        },
        flags,
        audience: audience_of(spec.flags)?,
        decider: match spec.stack.identity.permissions {
            Permissions::Shown => Decider::Kernel,
            Permissions::Of(_) => Decider::Filesystem,
        },
        max_read: spec.fuse.max_read,
        labels: spec.fuse.labels.clone(),
    })
}

/// Says who may use the mount. The kernel lets in everyone, or the mounter alone; who that is under `allow_root` it can
/// tell only if it is root.
fn audience_of(flags: MountFlags) -> Result<Audience, MountError> {
    let root = rustix::process::geteuid().is_root();
    if flags.contains(MountFlags::ALLOW_ROOT) {
        return if root {
            Ok(Audience::Mounter)
        } else {
            Err(MountError::AllowRoot)
        };
    }
    Ok(if flags.contains(MountFlags::ALLOW_OTHER) || root {
        Audience::Everyone
    } else {
        Audience::Mounter
    })
}

/// Tells whether the kernel runs SELinux, whose filesystem it offers only then.
fn selinux_is_on() -> bool {
    std::fs::read_to_string("/proc/filesystems").is_ok_and(|list| {
        list.split_ascii_whitespace()
            .any(|kind| kind == "selinuxfs")
    })
}

/// Runs `serve` on a thread without `CAP_SYS_RESOURCE`; the threads that it starts are without it, too. The caller
/// keeps its own.
fn without_cap_sys_resource<T: Send>(serve: impl FnOnce() -> T + Send) -> Result<T, MountError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_has_no_cap_sys_resource_and_its_caller_keeps_it() {
        let own = rustix::thread::capabilities(None).unwrap();
        let served = without_cap_sys_resource(|| rustix::thread::capabilities(None).unwrap());
        let served = served.unwrap().effective;
        assert_eq!(
            served,
            own.effective.difference(CapabilitySet::SYS_RESOURCE)
        );
        assert_eq!(rustix::thread::capabilities(None).unwrap(), own);
    }

    #[test]
    fn a_mountpoint_is_an_existing_directory() {
        let dir = tempfile::tempdir().unwrap();
        let found = Mountpoint::find(dir.path()).unwrap();
        assert!(found.path().is_absolute());
        let missing = Mountpoint::find(&dir.path().join("none"));
        assert!(matches!(missing, Err(MountError::MountpointMissing)));
        std::fs::write(dir.path().join("f"), "").unwrap();
        let file = Mountpoint::find(&dir.path().join("f"));
        assert!(matches!(file, Err(MountError::MountpointNotDirectory)));
    }
}
