//! The lock of a session, by flock(2): whoever runs or changes it has it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mica_vfs::Errno;
use rustix::fs::FlockOperation;

use super::error::DoError;
use super::joining::connect;
use super::link::Link;
use super::store::failed;

/// Where the lock of a session is.
pub(super) fn lock_in(dir: &Path) -> PathBuf {
    dir.join("lock")
}

/// Makes the lock of a new session, and takes it.
pub(super) fn make(dir: &Path) -> Result<OwnedFd, DoError> {
    let path = lock_in(dir);
    let opened = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let lock = OwnedFd::from(opened.map_err(failed("make", &path))?);
    // Who looks for a session of this name has it for a moment, and then finds that there is none.
    let locked = rustix::fs::flock(&lock, FlockOperation::LockExclusive);
    locked.map_err(|errno| failed("lock", &path)(errno.into()))?;
    // Or takes it for what is left of one.
    match is_at(&lock, &path) {
        true => Ok(lock),
        false => Err(failed("make", &path)(io::ErrorKind::NotFound.into())),
    }
}

/// Whether what is open is what a path leads to.
fn is_at(file: &OwnedFd, path: &Path) -> bool {
    let is = rustix::fs::fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
    let found = rustix::fs::stat(path).map(|stat| (stat.st_dev, stat.st_ino));
    is.is_ok() && is == found
}

/// Takes the lock of the session in `dir`.
///
/// # Errors
///
/// [`DoError::Running`]: somebody else has it. [`DoError::Missing`]: there is none.
pub(super) fn take(dir: &Path) -> Result<OwnedFd, DoError> {
    let (path, name) = (lock_in(dir), dir.file_name().unwrap_or_default());
    let lock = match File::options().write(true).open(&path) {
        Ok(lock) => OwnedFd::from(lock),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(DoError::Missing { name: name.into() });
        }
        Err(error) => return Err(failed("open", &path)(error)),
    };
    let running = || DoError::Running { name: name.into() };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(running()),
        Err(errno) => return Err(failed("lock", &path)(errno.into())),
    }
    // The session may have been removed, and another one made of this name, since the lock was opened.
    match is_at(&lock, &path) {
        true => Ok(lock),
        false => Err(running()),
    }
}

/// How long a session that nobody listens at may take to begin, or another command to have done with it. A list holds the lock for
/// a moment, too.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How long what ran may take to end. All that programs have written may still have to go to a slow disk.
const END: Duration = Duration::from_secs(60);

/// Waits for a session whose lock others have.
#[derive(Debug)]
pub(super) struct Patience {
    since: Instant,
}

impl Patience {
    pub(super) fn new() -> Self {
        let since = Instant::now();
        Self { since }
    }

    /// Waits a moment, or comes to what listens there, at the end of patience to nobody.
    pub(super) fn wait(&self, dir: &Path) -> Result<Option<Link>, Errno> {
        match connect(dir) {
            Ok(link) => Ok(Some(link)),
            // The socket stays until what ran has ended, and somebody has the session (`Session::shut`).
            Err(Errno::CONNREFUSED) if self.since.elapsed() < END => {
                pause();
                Ok(None)
            }
            Err(_) if self.since.elapsed() < PATIENCE => {
                pause();
                Ok(None)
            }
            Err(errno) => Err(errno),
        }
    }
}

/// Waits before a session is looked at again: that it listens, or is gone, tells nobody.
pub(super) fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_lock_is_had_once() {
        let dir = tempfile::tempdir().unwrap();
        let missing = take(dir.path());
        assert!(
            matches!(missing, Err(DoError::Missing { .. })),
            "{missing:?}"
        );
        let made = make(dir.path()).unwrap();
        let again = take(dir.path());
        assert!(matches!(again, Err(DoError::Running { .. })), "{again:?}");
        drop(made);
        take(dir.path()).unwrap();
    }

    #[test]
    fn the_lock_of_a_session_that_is_gone_is_not_that_of_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let gone = make(dir.path()).unwrap();
        fs::remove_file(lock_in(dir.path())).unwrap();
        let _next = make(dir.path()).unwrap();
        drop(gone);
        let taken = take(dir.path());
        assert!(matches!(taken, Err(DoError::Running { .. })), "{taken:?}");
    }
}
