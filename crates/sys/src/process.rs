//! Processes that are made without running a program at once.

#![allow(unsafe_code, reason = "rustix has no safe fork")]

use std::convert::Infallible;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::call::ret;

/// Where a child is born.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Born {
    /// In the PID namespace of this process.
    Here,
    /// As the first process of a new one, which ends with it. Linux kills all others in it then.
    FirstOfItsOwn,
}

impl Born {
    /// Returns twice: 0 in the child. For a process that has one thread.
    fn split(self) -> libc::c_long {
        match self {
            // SAFETY: the child has memory of its own, and as there is one thread, no lock in it is held by another. The C library
            // knows of this child, which may have threads.
            Self::Here => libc::c_long::from(unsafe { libc::fork() }),
            Self::FirstOfItsOwn => {
                let flags = libc::c_long::from(libc::CLONE_NEWPID | libc::SIGCHLD);
                let none: libc::c_long = 0;
                // SAFETY: without CLONE_VM it is the same as fork(3). All other arguments are 0 on every architecture: no stack,
                // no pointers.
                unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) }
            }
        }
    }
}

/// Makes a child that runs `child`, which ends by running a program or by an exit status, and returns its id.
///
/// The child has copies of all memory and of all descriptors. It never returns into its caller's code, so nothing that
/// the caller owns is dropped twice.
///
/// # Errors
///
/// - `EBUSY`: this process has other threads, whose locks nobody would ever release in the child.
/// - As clone(2): `EPERM`, `EAGAIN`, `ENOSPC`.
pub fn fork(born: Born, child: impl FnOnce() -> Result<Infallible, u8>) -> Result<Pid, Errno> {
    wait_until_alone()?;
    match ret(born.split())? {
        0 => {
            let status = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)) {
                Ok(Ok(never)) => match never {},
                Ok(Err(status)) => status,
                Err(_) => 101,
            };
            // SAFETY: ends this process at once; what belongs to the parent (buffers, temporary files) is left alone.
            unsafe { libc::_exit(status.into()) }
        }
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            pid.ok_or(Errno::SRCH)
        }
    }
}

/// Makes a child as [`fork`] does that has of this process's descriptors the standard three and `fds`, and calls `child` with these and
/// `told`. In this process they are closed.
///
/// # Errors
///
/// As [`fork`].
pub fn fork_with<const N: usize, T: Copy + 'static>(
    born: Born,
    fds: [OwnedFd; N],
    told: T,
    child: fn([OwnedFd; N], T) -> Result<Infallible, u8>,
) -> Result<Pid, Errno> {
    fork(born, || {
        let mut kept: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        kept.sort_unstable();
        close_but(&kept).map_err(|_| 1)?;
        child(fds, told)
    })
}

/// Closes all descriptors from 3 on but those, which are in order. It is for [`fork_with`] alone.
fn close_but(kept: &[RawFd]) -> Result<(), Errno> {
    let mut first = 3;
    for &fd in kept {
        if first < fd {
            close_range(first, fd.saturating_sub(1))?;
        }
        first = first.max(fd.saturating_add(1));
    }
    close_range(first, RawFd::MAX)
}

fn close_range(first: RawFd, last: RawFd) -> Result<(), Errno> {
    let flags: libc::c_uint = 0;
    // SAFETY: whoever owns one of these in the parent's code is never gone back to in this child, and what runs here is a function
    // without captures, which has what is kept, and what can be copied, as no owner of a descriptor can.
    let value = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    ret(value).map(drop)
}

/// How often it is looked whether a thread that was joined is gone, and how long is waited each time.
const PATIENCE: (u32, Duration) = (500, Duration::from_micros(200));

/// Tells whether this process has one thread, and may [`fork`].
///
/// # Errors
///
/// There is no /proc.
pub fn is_alone() -> Result<bool, Errno> {
    Ok(threads()? == 1)
}

/// Fails with `EBUSY` if there are other threads. One that was joined may still be seen for a moment, whose end tells nobody.
fn wait_until_alone() -> Result<(), Errno> {
    let (times, pause) = PATIENCE;
    for _ in 0..times {
        if threads()? == 1 {
            return Ok(());
        }
        std::thread::sleep(pause);
    }
    Err(Errno::BUSY)
}

/// Counts the threads of this process.
fn threads() -> Result<usize, Errno> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let stat = rustix::fs::open("/proc/self/stat", flags, rustix::fs::Mode::empty())?;
    let mut text = [0; 1024];
    let len = rustix::io::read(&stat, &mut text)?;
    let text = text.get(..len).unwrap_or_default();
    // After the name, which is in parentheses and may hold anything.
    let after = text.rsplit(|&byte| byte == b')').next().unwrap_or_default();
    let fields = after.split(|&byte| byte == b' ').filter(|f| !f.is_empty());
    // proc_pid_stat(5): state is field 3, num_threads field 20.
    let threads = fields
        .skip(17)
        .map(|field| std::str::from_utf8(field).ok()?.parse().ok());
    threads.take(1).flatten().next().ok_or(Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use rustix::process::{WaitOptions, waitpid};

    use super::*;

    #[test]
    fn a_process_with_threads_does_not_fork() {
        // The test runner's own thread is a second one.
        assert!(threads().unwrap() > 1);
        assert_eq!(is_alone(), Ok(false));
        assert_eq!(fork(Born::Here, || Err(0)), Err(Errno::BUSY));
        assert_eq!(waitpid(None, WaitOptions::NOHANG).err(), Some(Errno::CHILD));
    }
}
