//! Namespaces of this process.

#![allow(unsafe_code, reason = "rustix has no safe unshare")]

use rustix::io::Errno;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves the calling thread, and those that it starts from now on, into a copy of its mount namespace.
///
/// # Errors
///
/// As unshare(2): `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` where there are too many.
pub fn copy_mounts() -> Result<(), Errno> {
    // SAFETY: only unsharing the descriptor table would be unsound.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
}

/// Moves this process into new namespaces, of those that unshare(2) makes at once: all but a PID namespace, which is
/// for the next child ([`crate::process::fork`]).
///
/// # Errors
///
/// As unshare(2): `EPERM` where namespaces are not permitted, `ENOSPC` where there are too many, `EINVAL` for a user
/// namespace when there are threads.
pub fn enter(new: Namespaces) -> Result<(), Errno> {
    // SAFETY: only unsharing the descriptor table would be unsound, and `Namespaces` has no flag for it.
    unsafe { unshare_unsafe(UnshareFlags::from_bits_retain(new.bits())) }
}

/// Namespaces to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespaces(u32);

impl Namespaces {
    /// Users and capabilities.
    pub const USER: Self = Self(UnshareFlags::NEWUSER.bits());
    /// Mounts.
    pub const MOUNT: Self = Self(UnshareFlags::NEWNS.bits());
    /// System V and POSIX message queues, semaphores and shared memory.
    pub const IPC: Self = Self(UnshareFlags::NEWIPC.bits());
    /// Network devices, addresses, abstract sockets.
    pub const NET: Self = Self(UnshareFlags::NEWNET.bits());
    /// Host name.
    pub const UTS: Self = Self(UnshareFlags::NEWUTS.bits());

    /// Returns both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn bits(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gets_mounts_of_its_own_and_the_others_keep_theirs() {
        let mounts = || std::fs::read_link("/proc/thread-self/ns/mnt").unwrap();
        let here = mounts();
        let there = std::thread::spawn(move || copy_mounts().map(|()| mounts()));
        match there.join().unwrap() {
            // What an ordinary user gets.
            Err(errno) => assert_eq!(errno, Errno::PERM),
            Ok(there) => assert_ne!(there, here),
        }
        assert_eq!(mounts(), here);
    }
}
