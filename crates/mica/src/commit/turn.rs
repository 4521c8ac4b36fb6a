//! Who commits to a tree does so alone: of two at once neither would find what the other is about to change.
//!
//! The directory of the tree is locked (flock(2)), and those above it are shared with who commits to other trees there: a commit
//! to a tree above would need one of them for itself. All take them from the root on, so nobody waits for who waits for him.
//! A directory that cannot be opened, and one of a filesystem without locks, keeps nobody out.

use std::fmt;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mica_vfs::Errno;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, major, minor, open};

use super::error::CommitError;

/// How long to wait before a lock is tried again.
const PAUSE: Duration = Duration::from_millis(2);

/// The locks, held until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _locks: Vec<OwnedFd>,
}

/// A process that has a lock, as far as this one can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedBy {
    /// Its number.
    pub pid: u32,
    /// What it runs.
    pub name: String,
}

impl fmt::Display for LockedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.name.escape_default())
    }
}

impl Turn {
    /// Takes the locks for `tree`, an absolute path without links.
    ///
    /// # Errors
    ///
    /// [`CommitError::Busy`]: others have one of them when `wait` is over.
    pub(super) fn take(tree: &Path, wait: Duration) -> Result<Self, CommitError> {
        let deadline = Instant::now() + wait;
        let mut above: Vec<_> = tree.ancestors().collect();
        above.reverse();
        let mut locks = Vec::new();
        for dir in above {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let Ok(fd) = open(dir, flags, Mode::empty()) else {
                continue;
            };
            let own = dir == tree;
            while let Err(Errno::WOULDBLOCK | Errno::INTR) = lock(&fd, own) {
                if Instant::now() >= deadline {
                    let holder = holder(&fd, own);
                    let path = dir.to_owned();
                    return Err(CommitError::Busy { path, holder });
                }
                sleep(PAUSE);
            }
            locks.push(fd);
        }
        Ok(Self { _locks: locks })
    }
}

fn lock(dir: &OwnedFd, alone: bool) -> Result<(), Errno> {
    let operation = if alone {
        FlockOperation::NonBlockingLockExclusive
    } else {
        FlockOperation::NonBlockingLockShared
    };
    flock(dir, operation)
}

/// Finds a process whose lock is in the way. The kernel numbers some filesystems (btrfs) in another way here, and shows no
/// process that is not in this one's namespace.
fn holder(dir: &OwnedFd, alone: bool) -> Option<LockedBy> {
    let stat = fstat(dir).ok()?;
    let (major, minor) = (major(stat.st_dev), minor(stat.st_dev));
    let object = format!("{major:02x}:{minor:02x}:{}", stat.st_ino);
    let table = fs::read_to_string("/proc/locks").ok()?;
    table.lines().find_map(|line| held(line, &object, alone))
}

/// Reads a line of `/proc/locks`: number, type, manner, mode, process, object, range.
fn held(line: &str, object: &str, alone: bool) -> Option<LockedBy> {
    let mut words = line.split_whitespace().skip(1);
    let (kind, _, mode) = (words.next()?, words.next()?, words.next()?);
    let (pid, locked) = (words.next()?.parse().ok()?, words.next()?);
    if kind != "FLOCK" || locked != object || pid == 0 || !(alone || mode == "WRITE") {
        return None;
    }
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let name = name.trim_end().to_owned();
    Some(LockedBy { pid, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_lock_is_found() {
        let pid = std::process::id();
        let line = |kind, mode| format!("7: {kind} ADVISORY  {mode} {pid} fe:0a:131 0 EOF");
        let found =
            |kind, mode, alone| held(&line(kind, mode), "fe:0a:131", alone).map(|found| found.pid);
        assert_eq!(found("FLOCK ", "WRITE", false), Some(pid));
        assert_eq!(found("FLOCK ", "READ", true), Some(pid));
        assert_eq!(found("FLOCK ", "READ", false), None);
        // Who waits for it, too, and others.
        assert_eq!(found("-> FLOCK ", "WRITE", true), None);
        assert_eq!(found("POSIX ", "WRITE", true), None);
        assert_eq!(
            held(&line("FLOCK ", "WRITE"), "fe:0a:132", true),
            None::<LockedBy>
        );
    }
}
