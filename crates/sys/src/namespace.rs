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
