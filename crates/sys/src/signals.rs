//! Signals that wait, for this thread and for the programs that it starts, and what a process that runs no program forgets of them.

#![allow(
    unsafe_code,
    reason = "rustix changes neither masks nor handlers of signals"
)]

use std::mem::MaybeUninit;

use rustix::io::Errno;
use rustix::process::Signal;

/// Signals that the calling thread does not get while this lives. A program that is started meanwhile does not get them for as
/// long as it runs (signal(7)): the mask outlives execve(2).
#[derive(Debug)]
pub struct Blocked {
    before: libc::sigset_t,
    /// A mask belongs to a thread.
    _of_this_thread: std::marker::PhantomData<*const ()>,
}

impl Blocked {
    /// Blocks `signals`.
    ///
    /// # Errors
    ///
    /// `EINVAL`: one of them is no signal.
    pub fn these(signals: &[Signal]) -> Result<Self, Errno> {
        let set = set_of(signals)?;
        let mut before = set;
        // SAFETY: both pointers are those of sets that live longer than the call.
        let number =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before) };
        match number {
            0 => Ok(Self {
                before,
                _of_this_thread: std::marker::PhantomData,
            }),
            errno => Err(Errno::from_raw_os_error(errno)),
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the pointer is that of a set which the kernel wrote; a null pointer for the old one is allowed.
        let _ = unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.before,
                std::ptr::null_mut(),
            )
        };
    }
}

/// Has this process take all signals as execve(2) would leave it with them: those that it handles do again what they do by default, those
/// that it ignores stay ignored. None waits. It is for a child that runs no program. A library that keeps account of its handlers does
/// not hear of it.
///
/// Handlers of SIGSEGV and SIGBUS stay: Rust's own tell of an overflow of the stack.
///
/// # Errors
///
/// None is known.
pub fn forget() -> Result<(), Errno> {
    for number in 1..=libc::SIGRTMAX() {
        let of_rust = matches!(number, libc::SIGSEGV | libc::SIGBUS);
        // The C library keeps some to itself, and says that they are none.
        if !of_rust && is_handled(number) == Ok(true) {
            // SAFETY: nothing of this process runs when the signal comes.
            let before = unsafe { libc::signal(number, libc::SIG_DFL) };
            if before == libc::SIG_ERR {
                return Err(Errno::INVAL);
            }
        }
    }
    let none = set_of(&[])?;
    // SAFETY: the pointer is that of a set that lives longer than the call; a null pointer for the old one is allowed.
    let number =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) };
    match number {
        0 => Ok(()),
        errno => Err(Errno::from_raw_os_error(errno)),
    }
}

/// Tells whether a function runs when a signal comes.
fn is_handled(number: i32) -> Result<bool, Errno> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the pointer is valid for writes of an action, and that for a new one is null: nothing is changed.
    let asked = unsafe { libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) };
    known(asked)?;
    // SAFETY: the call did not fail, and has initialised it.
    let action = unsafe { action.assume_init() };
    Ok(!matches!(
        action.sa_sigaction,
        libc::SIG_DFL | libc::SIG_IGN
    ))
}

/// Makes a set.
fn set_of(signals: &[Signal]) -> Result<libc::sigset_t, Errno> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the pointer is valid for writes of a set, and the call initialises it.
    let emptied = unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    known(emptied)?;
    // SAFETY: sigemptyset initialised it, and did not fail.
    let mut set: libc::sigset_t = unsafe { set.assume_init() };
    for signal in signals {
        // SAFETY: the pointer is that of an initialised set.
        let added = unsafe { libc::sigaddset(&raw mut set, signal.as_raw()) };
        known(added)?;
    }
    Ok(set)
}

/// The calls on sets fail for what is no signal, and for nothing else.
fn known(value: i32) -> Result<(), Errno> {
    if value == 0 {
        Ok(())
    } else {
        Err(Errno::INVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("SigBlk:"));
        u64::from_str_radix(line.unwrap()["SigBlk:".len()..].trim(), 16).unwrap()
    }

    #[test]
    fn signals_are_blocked_for_a_time_and_for_programs_for_good() {
        let term = 1 << (Signal::TERM.as_raw() - 1);
        let before = blocked();
        assert_eq!(before & term, 0);
        let held = Blocked::these(&[Signal::TERM, Signal::HUP]).unwrap();
        assert_eq!(blocked() & term, term);
        let shown = std::process::Command::new("grep")
            .args(["SigBlk", "/proc/self/status"])
            .output()
            .unwrap();
        drop(held);
        assert_eq!(blocked(), before);
        let text = String::from_utf8(shown.stdout).unwrap();
        let mask = u64::from_str_radix(text.trim_start_matches("SigBlk:").trim(), 16).unwrap();
        assert_eq!(mask & term, term);
    }
}
