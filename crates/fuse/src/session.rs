//! A mount, from the device to the last thread that serves it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};

use mica_vfs::{Coherence, Errno, Filesystem};
use rustix::process::Pid;

use crate::connection::{CacheTimes, Connection};
use crate::error::{MountError, SessionError};
use crate::init::InitReport;
use crate::mount::fsmount::Direct;
use crate::mount::fusermount::Unmount as How;
use crate::mount::{MountOptions, Mountpoint, fusermount, open_device};
use crate::notify::Notifier;
use crate::pool::Pool;
use crate::stats::SessionStats;
use crate::unmount::{Unmount, Unmounter};
use crate::worker::{self, End};

/// How many threads serve a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads {
    /// Threads that stay.
    pub least: usize,
    /// Threads while all of them are in slow operations.
    pub most: usize,
}

impl Default for Threads {
    /// Two, and up to ten while they wait for disks.
    fn default() -> Self {
        Self { least: 2, most: 10 }
    }
}

/// Whether the kernel checks ACLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AclChecks {
    /// It asks the filesystem for them.
    #[default]
    On,
    /// The filesystem has none, and the umask counts everywhere.
    Off,
}

/// Who decides what a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decider {
    /// The kernel, by what it is shown: `default_permissions`.
    #[default]
    Kernel,
    /// The filesystem, which is asked when a name is looked up, opened or changed. There are no ACLs then, and the mount cannot be
    /// idmapped. Only of a filesystem that others change, whose files are opened by a message.
    Filesystem,
}

/// How a mount is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionConfig {
    /// How long the kernel may cache.
    pub cache: CacheTimes,
    /// How many threads serve.
    pub threads: Threads,
    /// Whether there are ACLs.
    pub acls: AclChecks,
    /// Who changes the filesystem. If others do, `cache` should be short: [`CacheTimes::SHARED`].
    pub coherence: Coherence,
    /// Who decides what a caller may do.
    pub decider: Decider,
}

/// A mount that is visible and whose connection is up, but that nobody serves yet: requests wait in the kernel.
///
/// This process has no thread for it, so a program can still change what all its threads will inherit: ids,
/// capabilities, namespaces, a seccomp(2) filter. Dropping it leaves a mount that answers `ENOTCONN`.
#[derive(Debug)]
pub struct Attached {
    pool: Arc<Pool>,
    init: InitReport,
    unmounter: Unmounter,
}

impl Attached {
    /// Mounts `fs` on the directory `mountpoint`.
    ///
    /// Uses the kernel's mount API, mount(2) where that is missing, and `fusermount3` where this process may not mount.
    ///
    /// # Errors
    ///
    /// The step that failed. Nothing stays mounted.
    pub fn mount(
        fs: Arc<dyn Filesystem>,
        mountpoint: &Path,
        options: &MountOptions,
        config: SessionConfig,
    ) -> Result<Self, MountError> {
        let mountpoint = Mountpoint::open(mountpoint)?;
        match Self::mount_directly(&fs, &mountpoint, options, config) {
            Err(error) if error.is_lack_of_permission() => {
                let device = fusermount::mount(&mountpoint, options, error)?;
                let start = Start::new(fs, device, config);
                let attached = start.answer_init().and_then(|()| start.finish(&mountpoint));
                if attached.is_err()
                    && let Err(message) = fusermount::unmount(&mountpoint.path, How::Lazy)
                {
                    tracing::warn!(message, "cannot unmount what failed");
                }
                attached
            }
            other => other,
        }
    }

    fn mount_directly(
        fs: &Arc<dyn Filesystem>,
        mountpoint: &Mountpoint,
        options: &MountOptions,
        config: SessionConfig,
    ) -> Result<Self, MountError> {
        let device = open_device()?;
        let direct = Direct::prepare(device.as_fd(), mountpoint, options)?;
        // Where the kernel can, it makes the filesystem only when INIT is answered, so a thread has to read before.
        // Elsewhere INIT waits in the queue, and reading before there is a filesystem fails.
        let waits = match mica_sys::fuse_dev::sync_init(device.as_fd()) {
            Ok(()) => Waits::ForInit,
            Err(Errno::NOTTY | Errno::NOSYS | Errno::INVAL) => Waits::Not,
            Err(source) => return Err(MountError::Device { source }),
        };
        let start = Start::new(Arc::clone(fs), device, config);
        let (created, answered) = match waits {
            Waits::ForInit => {
                let thread = start.answer_init_aside()?;
                let created = direct.create().map_err(|error| start.named(error))?;
                // The thread has nothing to wait for any more. One that panicked has answered nothing.
                let answered = thread.join().unwrap_or(Err(MountError::NoAnswer));
                (created, answered)
            }
            Waits::Not => (direct.create()?, start.answer_init()),
        };
        match answered.and_then(|()| start.finish(mountpoint)) {
            Ok(attached) => created.show().map(|()| attached),
            Err(error) => {
                created.discard();
                Err(error)
            }
        }
    }

    /// Lets a process that has one thread do everything, where the filesystem decides: one that makes ready what others are to use.
    pub fn trust(&self, process: Pid) {
        let process = u32::try_from(process.as_raw_pid()).unwrap_or_default();
        self.pool.connection.trust(process);
    }

    /// Serves the mount by threads of this process.
    ///
    /// # Errors
    ///
    /// The system has no thread. The mount is still there, and answers `ENOTCONN`.
    pub fn serve(self) -> Result<Session, MountError> {
        let Self {
            pool,
            init,
            unmounter,
        } = self;
        let ends = worker::start(&pool).map_err(|source| MountError::Thread { source })?;
        Ok(Session {
            stats: pool.connection.stats(),
            init,
            unmounter,
            ends,
        })
    }

    /// Leaves unmounting to `by`, as a process that gave up its rights has to.
    #[must_use]
    pub fn unmounted_by(self, by: Arc<dyn Unmount>) -> Self {
        Self {
            unmounter: self.unmounter.with(by),
            ..self
        }
    }

    /// Returns what ends the mount.
    #[must_use]
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }
}

/// A mount that is served by threads of this process until it is unmounted.
///
/// Dropping it leaves mount and threads as they are.
#[derive(Debug)]
pub struct Session {
    stats: Arc<SessionStats>,
    init: InitReport,
    unmounter: Unmounter,
    /// One message per thread that ends. Closed when the last one has let go of the filesystem.
    ends: Receiver<End>,
}

impl Session {
    /// Mounts `fs` on the directory `mountpoint` and serves it: [`Attached::mount`], then [`Attached::serve`].
    ///
    /// # Errors
    ///
    /// The step that failed. Nothing stays mounted.
    pub fn mount(
        fs: Arc<dyn Filesystem>,
        mountpoint: &Path,
        options: &MountOptions,
        config: SessionConfig,
    ) -> Result<Self, MountError> {
        let attached = Attached::mount(fs, mountpoint, options, config)?;
        let unmounter = attached.unmounter();
        attached.serve().inspect_err(|_| {
            if let Err(error) = unmounter.unmount() {
                tracing::warn!(%error, "cannot unmount what failed");
            }
        })
    }

    /// Waits until the mount is gone and no thread uses the filesystem any more.
    ///
    /// # Errors
    ///
    /// The connection ended in another way than by unmounting.
    pub fn join(self) -> Result<(), SessionError> {
        let mut result = Ok(());
        for end in self.ends {
            match end {
                End::Unmounted | End::Surplus => {}
                End::Aborted => result = Err(SessionError::Aborted),
                End::Failed(source) => result = Err(SessionError::Device { source }),
            }
        }
        result
    }

    /// Returns what ends the mount from another thread.
    #[must_use]
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// Returns the counters.
    #[must_use]
    pub fn stats(&self) -> Arc<SessionStats> {
        Arc::clone(&self.stats)
    }

    /// Returns what the kernel offered and what was agreed on.
    #[must_use]
    pub const fn init(&self) -> InitReport {
        self.init
    }
}

/// Whether making the filesystem waits for the answer to INIT.
enum Waits {
    ForInit,
    Not,
}

/// A session whose connection is not up yet.
struct Start {
    pool: Arc<Pool>,
    ended: Arc<AtomicBool>,
}

impl Start {
    fn new(fs: Arc<dyn Filesystem>, device: OwnedFd, config: SessionConfig) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let connection = Connection::new(fs, config.cache);
        let connection = match config.acls {
            AclChecks::On => connection,
            AclChecks::Off => connection.without_acls(),
        };
        let connection = match config.coherence {
            Coherence::Exclusive => connection,
            Coherence::Shared => connection.shared(),
        };
        let connection = match config.decider {
            Decider::Kernel => connection,
            Decider::Filesystem => connection.deciding(),
        };
        let pool = Pool::new(connection, device, config.threads, Arc::clone(&ended));
        let notifier = Notifier::new(Arc::downgrade(&pool.device));
        pool.connection.fs.observe(Box::new(notifier));
        Self { pool, ended }
    }

    /// Answers INIT, for which the connection waits, on this thread.
    fn answer_init(&self) -> Result<(), MountError> {
        worker::answer_init(&self.pool)
    }

    /// Answers INIT on a thread that ends with that.
    ///
    /// Before the kernel has made the filesystem, reading waits, and where that fails it waits for as long as the
    /// process lives; so the thread holds the device alone until INIT comes.
    fn answer_init_aside(&self) -> Result<JoinHandle<Result<(), MountError>>, MountError> {
        let (device, pool) = (Arc::clone(&self.pool.device), Arc::downgrade(&self.pool));
        thread::Builder::new()
            .name("mica-fuse-init".to_owned())
            .spawn(move || worker::answer_init_on(&device, &pool))
            .map_err(|source| MountError::Thread { source })
    }

    /// Makes a mount of a connection on which INIT was answered.
    fn finish(&self, mountpoint: &Mountpoint) -> Result<Attached, MountError> {
        match self.pool.connection.init() {
            Some(Ok(init)) => Ok(Attached {
                pool: Arc::clone(&self.pool),
                init,
                unmounter: Unmounter::new(mountpoint.path.clone(), Arc::clone(&self.ended)),
            }),
            Some(Err(kernel)) => Err(MountError::KernelTooOld { kernel }),
            None => Err(MountError::NoAnswer),
        }
    }

    /// Gives an error of the kernel the name that the answer to INIT has for it.
    fn named(&self, error: MountError) -> MountError {
        match self.pool.connection.init() {
            Some(Err(kernel)) => MountError::KernelTooOld { kernel },
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use mica_tmpfs::Tmpfs;

    use super::*;

    /// As before Linux 5.2, and without SYNC_INIT: mount(2) first, then INIT is found in the queue.
    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test is counted by its line")]
    fn the_classic_call_mounts_too() {
        let dir = tempfile::tempdir().unwrap();
        let mountpoint = Mountpoint::open(dir.path()).unwrap();
        let Ok(device) = open_device() else {
            assert!(
                std::env::var("MICA_REQUIRE_ALL").is_err(),
                "cannot open /dev/fuse"
            );
            eprintln!("SKIPPED the_classic_call_mounts_too: cannot open /dev/fuse");
            return;
        };
        let options = MountOptions::default();
        let direct = Direct::classic(device.as_fd(), &mountpoint, &options);
        let start = Start::new(Arc::new(Tmpfs::new()), device, SessionConfig::default());
        let created = direct.create().unwrap();
        start.answer_init().unwrap();
        let attached = start.finish(&mountpoint).unwrap();
        drop(start);
        created.show().unwrap();
        let session = attached.serve().unwrap();
        let written = std::fs::write(dir.path().join("f"), "x");
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        session.unmounter().unmount().unwrap();
        session.join().unwrap();
        written.unwrap();
        assert!(mounts.contains(&format!("mica {} fuse.mica rw", mountpoint.path.display())));
    }
}
