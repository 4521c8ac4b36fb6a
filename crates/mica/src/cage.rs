//! The cage: what a server can still do when it has all that it needs open.
//!
//! A server reads what strangers wrote, into layers and into requests. [`enter_cage`] takes from this process what
//! serving does not need, so that a server that was taken over reaches its layers and little else: an empty root
//! directory, few capabilities, `no_new_privs`, and a filter that refuses all system calls but those of serving.
//!
//! It is for the whole process and for good, thus for a program that does nothing else: it comes after
//! [`Mount::attach`](crate::Mount::attach), and before [`Attached::serve`](crate::Attached::serve) starts threads,
//! which inherit it. What needs the world outside, such as unmounting, is left to another process
//! ([`UnmountHelper`](crate::UnmountHelper)). docs/security.md says who is kept from what.
//!
//! # Invariants
//!
//! - All steps are taken or an error says which one failed; what the rights of this process do not allow is no step,
//!   and [`Cage`] names it.
//! - A refused call fails with `EPERM`, and the kernel's log tells of it: a call that was forgotten here must cost one
//!   request, not the mount.

mod capabilities;
mod error;
mod root;
mod system_calls;

use std::fmt;
use std::time::{Duration, Instant};

use mica_vfs::Errno;
use rustix::thread::CapabilitySet;
use rustix::time::{ClockId, clock_gettime};

use crate::options::StackSpec;

pub use error::{CageError, CageStep};

/// How long a thread that has ended may still be seen.
const GRACE: Duration = Duration::from_secs(1);

/// What a process gave up, and what it could not give up. Its text has a line for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cage {
    root: Root,
    bounds: Bounds,
    kept: CapabilitySet,
    calls: usize,
}

/// What is left of the tree of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    Empty,
    /// Without `CAP_SYS_ADMIN` there are no other mounts to be had. A user namespace would have it, but it shows all
    /// files of other users as those of nobody.
    Whole,
}

/// Whether capabilities can come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bounds {
    /// The bounding set is cut and the securebits are locked.
    Cut,
    /// Neither is possible without `CAP_SETPCAP`; `no_new_privs` keeps them away all the same.
    Left,
}

/// Gives up what serving an overlay of `stack` does not need, for good.
///
/// # Errors
///
/// A [`CageError`]. Some steps may have been taken: what the process can do next is unmount (by a
/// [`UnmountHelper`](crate::UnmountHelper)) and end.
pub fn enter_cage(stack: &StackSpec) -> Result<Cage, CageError> {
    enter_cage_in(Mounts::Shared, stack)
}

/// Whose the mount namespace of this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mounts {
    /// Others may be in it, or mounts may come to it from another one.
    Shared,
    /// Its own, with private mounts.
    Own,
}

/// As [`enter_cage`], in a mount namespace that is left behind or emptied.
pub(crate) fn enter_cage_in(mounts: Mounts, stack: &StackSpec) -> Result<Cage, CageError> {
    be_alone()?;
    // At the first use of a clock rustix looks for the one that needs no system call, in /proc/self/auxv.
    let _now = clock_gettime(ClockId::MonotonicCoarse);
    let (held, needed) = (capabilities::held()?, capabilities::needed(stack));
    let root = if held.contains(CapabilitySet::SYS_ADMIN) {
        root::empty(mounts)?;
        Root::Empty
    } else {
        Root::Whole
    };
    let bounds = if held.contains(CapabilitySet::SETPCAP) {
        capabilities::cut_bounds(needed)?;
        Bounds::Cut
    } else {
        Bounds::Left
    };
    let kept = capabilities::keep(needed)?;
    let calls = system_calls::refuse()?;
    Ok(Cage {
        root,
        bounds,
        kept,
        calls,
    })
}

/// Makes sure that there is one thread: the steps are for the calling one, and those that it starts.
fn be_alone() -> Result<(), CageError> {
    let deadline = Instant::now() + GRACE;
    loop {
        let tasks = std::fs::read_dir("/proc/self/task").map_err(|error| CageError::Step {
            step: CageStep::Proc,
            source: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        })?;
        match tasks.count() {
            1 => return Ok(()),
            threads if Instant::now() > deadline => return Err(CageError::NotAlone { threads }),
            // One that was joined is there for another moment.
            _ => std::thread::yield_now(),
        }
    }
}

impl fmt::Display for Cage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.root {
            Root::Empty => "sandbox root: empty but for /proc/self/fd\n",
            Root::Whole => "sandbox root: that of its caller, as there is no CAP_SYS_ADMIN\n",
        })?;
        write!(f, "sandbox capabilities: ")?;
        let mut names = capabilities::names(self.kept).peekable();
        if names.peek().is_none() {
            f.write_str("none")?;
        }
        for (n, name) in names.enumerate() {
            write!(f, "{}{name}", if n == 0 { "" } else { " " })?;
        }
        f.write_str(match self.bounds {
            Bounds::Cut => "; no others for good\n",
            Bounds::Left => "; the bounding set as it was, as there is no CAP_SETPCAP\n",
        })?;
        write!(
            f,
            "sandbox system calls: {} allowed, no_new_privs",
            self.calls
        )
    }
}
