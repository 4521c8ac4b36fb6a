//! Keeping a second mount away from an upper and its work directory.
//!
//! Two overlays that write to one upper would each be wrong about what is there. Both directories carry an exclusive
//! flock(2) while a mount of Mica uses them; it goes away with the process, however that ends. Other overlays do not look
//! at it, so they are looked for (`super::others`).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use mica_vfs::Errno;
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::Opened;
use super::error::StackError;
use super::holder::{self, Holder, Overlayer};
use super::others::{Other, Use, ask_kernel, others};
use super::place::{DirId, Place};
use super::warning::StackWarning;

/// How long a directory may stay in use by a mount that is seen nowhere. umount(2) returns before the server has ended, so
/// the next mount of the same directories meets the last moments of the one before.
const GRACE: Duration = Duration::from_secs(5);
/// How long by one that is still mounted in another namespace, which may be about to end.
const GRACE_MOUNTED: Duration = Duration::from_secs(1);
/// The time between two attempts.
const PAUSE: Duration = Duration::from_millis(5);
/// The time between two looks at who it is.
const LOOK: Duration = Duration::from_millis(250);
/// The time between two looks at the mounts of other programs.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Holds a directory as in use until dropped.
#[derive(Debug)]
pub(super) struct InUse {
    locked: OwnedFd,
}

impl InUse {
    /// Marks a directory as in use.
    pub(super) fn claim(opened: &Opened) -> Result<Self, StackError> {
        match lock(opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(locked) => Ok(Self { locked }),
            Err(Refusal::Held(by)) => Err(StackError::InUse {
                dir: opened.dir.clone(),
                by,
            }),
            Err(Refusal::Failed(source)) => Err(StackError::Lock {
                dir: opened.dir.clone(),
                source,
            }),
        }
    }
}

impl InUse {
    /// Puts all of the directory's filesystem on disk.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        rustix::fs::syncfs(&self.locked)
    }
}

/// Why a directory is not locked.
#[derive(Debug)]
enum Refusal {
    Held(Box<Holder>),
    Failed(Errno),
}

/// Locks a directory, and gives a mount that is about to end the time for that.
fn lock(opened: &Opened, how: FlockOperation) -> Result<OwnedFd, Refusal> {
    let dir = reopen(&opened.fd).map_err(Refusal::Failed)?;
    let started = Instant::now();
    let mut look = started;
    loop {
        match rustix::fs::flock(&dir, how) {
            Ok(()) => return Ok(dir),
            Err(Errno::INTR) => continue,
            Err(Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(Refusal::Failed(errno)),
        }
        if Instant::now() >= look {
            look = Instant::now() + LOOK;
            let by = holder::of_lock(opened.place.id);
            if started.elapsed() >= patience_with(&by) {
                return Err(Refusal::Held(Box::new(by)));
            }
        }
        // A flock(2) that waits has no time limit.
        thread::sleep(PAUSE);
    }
}

/// Returns how long to wait for a mount to end.
fn patience_with(holder: &Holder) -> Duration {
    let itself = holder.server == Some(std::process::id());
    match (&holder.mountpoint, holder.namespace) {
        _ if itself => Duration::ZERO,
        (Some(_), None) => Duration::ZERO,
        (Some(_), Some(_)) => GRACE_MOUNTED,
        (None, _) => GRACE,
    }
}

/// Opens a directory of the stack through the mount that everybody uses, which the kernel compares.
fn by_path(opened: &Opened, path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    (Place::of(&dir).ok()?.id == opened.place.id).then_some(dir)
}

/// Opens a layer once more: its own descriptor may be `O_PATH`, which cannot be locked.
fn reopen(dir: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, c".", flags, Mode::empty())
}

/// Finds the mounts of other programs. One in another namespace that writes to one of `dirs` gets the time to end: whoever
/// makes a namespace, a server on its way into its cage among them, has a copy of every mount there for a moment.
pub(super) fn settled(dirs: &[&Opened]) -> Vec<Other> {
    let ids: Vec<DirId> = dirs.iter().map(|dir| dir.place.id).collect();
    settle(others, &ids, GRACE_MOUNTED)
}

/// Does so with what `look` finds, within `grace`.
fn settle(mut look: impl FnMut() -> Vec<Other>, dirs: &[DirId], grace: Duration) -> Vec<Other> {
    let started = Instant::now();
    loop {
        let found = look();
        let elsewhere = found.iter().any(|other| {
            let uses = |id: &DirId| other.uses(*id, Path::new("")) == Use::Yes;
            other.holder.namespace.is_some() && dirs.iter().any(uses)
        });
        if !elsewhere || started.elapsed() >= grace {
            return found;
        }
        // There is nothing to wait on: a mountinfo that is open for poll(2) keeps its namespace alive, and this mount in it.
        thread::sleep(LOOK_AGAIN);
    }
}

/// Refuses a directory that an overlay of another program writes to. Where that cannot be told for sure, warns.
pub(super) fn refuse_shared(
    opened: &Opened,
    others: &[Other],
    warnings: &mut Vec<StackWarning>,
) -> Result<(), StackError> {
    // Not of the descriptor: that may be open in a private copy of the mount, whose paths begin elsewhere.
    let path = opened.dir.path.canonicalize().unwrap_or_default();
    for other in others {
        let asked = || by_path(opened, &path).and_then(|dir| ask_kernel(&dir));
        let used = match other.uses(opened.place.id, &path) {
            Use::Maybe => asked(),
            // A path may have come to mean another directory since the kernel followed it. The kernel knows.
            Use::Yes if other.holder.program == Overlayer::Kernel => asked().or(Some(true)),
            Use::Yes => Some(true),
            Use::No => Some(false),
        };
        let (dir, by) = (opened.dir.clone(), Box::new(other.holder.clone()));
        match used {
            Some(false) => {}
            Some(true) => return Err(StackError::InUse { dir, by }),
            None => warnings.push(StackWarning::MaybeInUse { dir, by }),
        }
    }
    Ok(())
}

/// Finds who writes to an open directory whose path is `path`, without waiting for a mount that is about to end.
pub(crate) fn used_by(dir: &OwnedFd, path: &Path, others: &[Other]) -> Option<Box<Holder>> {
    let id = Place::of(dir).ok()?.id;
    let path = path.canonicalize().unwrap_or_default();
    let other = others
        .iter()
        .find(|other| other.uses(id, &path) == Use::Yes);
    if let Some(other) = other {
        return Some(Box::new(other.holder.clone()));
    }
    // Locked by a mount of Mica, and by nobody else.
    let own = reopen(dir).ok()?;
    match rustix::fs::flock(&own, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Some(Box::new(holder::of_lock(id))),
        _ => None,
    }
}

/// Warns of a lower that another mount writes to, as the kernel does: what both see is undefined.
pub(super) fn warn_of_shared_lower(
    lower: &Opened,
    others: &[Other],
    warnings: &mut Vec<StackWarning>,
) {
    let id = lower.place.id;
    let no_path = std::path::Path::new("");
    let other = others
        .iter()
        .find(|other| other.uses(id, no_path) == Use::Yes);
    let by = match other {
        Some(other) => Box::new(other.holder.clone()),
        // A lock that cannot be had at all is nobody's.
        None => match lock(lower, FlockOperation::NonBlockingLockShared) {
            Err(Refusal::Held(by)) => by,
            Ok(_) | Err(Refusal::Failed(_)) => return,
        },
    };
    warnings.push(StackWarning::LowerInUse {
        dir: lower.dir.clone(),
        by,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_that_is_about_to_end_elsewhere_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let id = Place::of(std::fs::File::open(dir.path()).unwrap())
            .unwrap()
            .id;
        let copy = |namespace| vec![Other::writing_to(id, namespace)];
        let looks = |held: usize, namespace, grace| {
            let mut looks = 0;
            let look = || {
                looks += 1;
                if looks <= held {
                    copy(namespace)
                } else {
                    Vec::new()
                }
            };
            let found = settle(look, &[id], grace).len();
            (looks, found)
        };
        let (long, none) = (Duration::from_secs(60), Duration::ZERO);
        assert_eq!(looks(3, Some(7), long), (4, 0));
        assert_eq!(looks(3, Some(7), none), (1, 1));
        // One that is mounted here is not about to end.
        assert_eq!(looks(3, None, long), (1, 1));
        // Nor does one that writes elsewhere matter.
        assert_eq!(settle(|| copy(Some(7)), &[], long).len(), 1);
    }
}
