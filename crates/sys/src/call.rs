//! What a raw system call returned, as a `Result`.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

/// Turns the return value of a libc call into a `Result`, reading `errno` of this thread.
pub(crate) fn ret(value: libc::c_long) -> Result<usize, Errno> {
    usize::try_from(value)
        .map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// Remembers that the kernel lacks a system call, so that it is asked once.
#[derive(Debug, Default)]
pub(crate) struct Missing(AtomicBool);

impl Missing {
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Has the fallback tested on a kernel that lacks nothing.
    #[cfg(test)]
    pub(crate) fn pretend(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Runs `call`; `None` where the kernel lacks it.
    pub(crate) fn attempt<T>(
        &self,
        call: impl FnOnce() -> Result<T, Errno>,
    ) -> Option<Result<T, Errno>> {
        if self.0.load(Ordering::Relaxed) {
            return None;
        }
        match call() {
            Err(Errno::NOSYS) => {
                self.0.store(true, Ordering::Relaxed);
                None
            }
            result => Some(result),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_call_is_asked_once() {
        let missing = Missing::new();
        let mut asked = 0;
        for _ in 0..3 {
            let call = || -> Result<(), Errno> {
                asked += 1;
                Err(Errno::NOSYS)
            };
            assert_eq!(missing.attempt(call), None);
        }
        assert_eq!(asked, 1);
    }

    #[test]
    fn another_error_does_not_make_a_call_missing() {
        let missing = Missing::new();
        assert_eq!(
            missing.attempt(|| Err::<(), _>(Errno::PERM)),
            Some(Err(Errno::PERM))
        );
        assert_eq!(missing.attempt(|| Ok(2)), Some(Ok(2)));
    }
}
