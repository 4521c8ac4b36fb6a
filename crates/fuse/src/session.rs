//! A mount, from the device to the last thread that serves it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;

use mica_vfs::{Errno, Filesystem};

use crate::connection::{CacheTimes, Connection};
use crate::error::{MountError, SessionError};
use crate::init::InitReport;
use crate::mount::fsmount::Direct;
use crate::mount::fusermount::Unmount;
use crate::mount::{MountOptions, Mountpoint, fusermount, open_device};
use crate::notify::Notifier;
use crate::pool::Pool;
use crate::stats::SessionStats;
use crate::unmount::Unmounter;
use crate::worker::{self, End, First};

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

/// How a mount is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionConfig {
    /// How long the kernel may cache.
    pub cache: CacheTimes,
    /// How many threads serve.
    pub threads: Threads,
    /// Whether there are ACLs.
    pub acls: AclChecks,
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
    /// Mounts `fs` on the directory `mountpoint` and returns when the mount answers.
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
                let served = start
                    .serve()
                    .and_then(|first| start.wait(first, &mountpoint));
                if served.is_err()
                    && let Err(message) = fusermount::unmount(&mountpoint.path, Unmount::Lazy)
                {
                    tracing::warn!(message, "cannot unmount what failed");
                }
                served
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
        let (created, first) = match waits {
            Waits::ForInit => {
                let first = start.serve()?;
                (direct.create().map_err(|error| start.named(error))?, first)
            }
            Waits::Not => (direct.create()?, start.serve()?),
        };
        match start.wait(first, mountpoint) {
            Ok(session) => created.show().map(|()| session),
            Err(error) => {
                created.discard();
                Err(error)
            }
        }
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
        let pool = Pool::new(connection, device, config.threads, Arc::clone(&ended));
        let notifier = Notifier::new(Arc::downgrade(&pool.device));
        pool.connection.fs.observe(Box::new(notifier));
        Self { pool, ended }
    }

    /// Starts the thread that answers INIT.
    fn serve(&self) -> Result<First, MountError> {
        worker::start(&self.pool).map_err(|source| MountError::Thread { source })
    }

    /// Waits until INIT was answered.
    fn wait(&self, first: First, mountpoint: &Mountpoint) -> Result<Session, MountError> {
        // An error says that the thread has ended; what INIT brought, if it came, is in the connection.
        let _ = first.up.recv();
        let connection = &self.pool.connection;
        match connection.init() {
            Some(Ok(init)) => Ok(Session {
                stats: connection.stats(),
                init,
                unmounter: Unmounter::new(mountpoint.path.clone(), Arc::clone(&self.ended)),
                ends: first.ends,
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

    /// As before Linux 5.2, and without SYNC_INIT: mount(2) first, then a thread that finds INIT in the queue.
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
        let first = start.serve().unwrap();
        let session = start.wait(first, &mountpoint).unwrap();
        drop(start);
        created.show().unwrap();
        let written = std::fs::write(dir.path().join("f"), "x");
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        session.unmounter().unmount().unwrap();
        session.join().unwrap();
        written.unwrap();
        assert!(mounts.contains(&format!("mica {} fuse.mica rw", mountpoint.path.display())));
    }
}
