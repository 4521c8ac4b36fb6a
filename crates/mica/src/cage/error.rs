//! Why a process is not in its cage.

use std::fmt;

use mica_vfs::Errno;
use thiserror::Error;

/// A step into the cage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CageStep {
    /// Reading `/proc/self`
    Proc,
    /// unshare(2) of the mount namespace
    Unshare,
    /// setns(2), out of a chroot(2)
    LeaveChroot,
    /// mount(2), so that no mount goes back to where it came from
    Propagation,
    /// fsopen(2), fsmount(2) of the new root
    NewRoot,
    /// mkdirat(2) in the new root
    NewDirs,
    /// move_mount(2) of the new root, and of `/proc/self/fd`
    Attach,
    /// pivot_root(2)
    Pivot,
    /// umount2(2) of the old root
    OldRoot,
    /// mount(2), which makes the new root read-only
    Seal,
    /// capget(2), prctl(2), capset(2)
    Capabilities,
    /// prctl(2), `PR_SET_NO_NEW_PRIVS`
    NoNewPrivs,
    /// seccomp(2)
    SystemCalls,
}

impl fmt::Display for CageStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proc => "reading `/proc/self`",
            Self::Unshare => "a mount namespace of its own (unshare)",
            Self::LeaveChroot => "leaving the chroot (setns)",
            Self::Propagation => "making mounts its own (mount --make-rslave /)",
            Self::NewRoot => "an empty root (fsopen of tmpfs)",
            Self::NewDirs => "directories of the empty root (mkdirat)",
            Self::Attach => "mounting the empty root (move_mount)",
            Self::Pivot => "changing to the empty root (pivot_root)",
            Self::OldRoot => "detaching the old root (umount2)",
            Self::Seal => "making the empty root read-only (mount)",
            Self::Capabilities => "giving up capabilities (prctl, capset)",
            Self::NoNewPrivs => "no_new_privs (prctl)",
            Self::SystemCalls => "the filter of system calls (seccomp)",
        })
    }
}

/// Why a process is not, or not all, in its cage.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CageError {
    /// A step failed.
    #[error("the server cannot be confined: {step}")]
    Step {
        /// Which one.
        step: CageStep,
        /// Why.
        source: Errno,
    },
    /// Other threads would stay outside.
    #[error("the server cannot be confined: the process has {threads} threads, and may have one")]
    NotAlone {
        /// How many there are.
        threads: usize,
    },
}

impl CageError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        "`-o no_sandbox` mounts without confining the server".into()
    }
}
