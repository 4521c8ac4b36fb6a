//! A thread that closes files which nobody uses any more.
//!
//! The layers keep files open so that the next request need not open them again. When the work is over there is no
//! next request, and nothing on the request path to notice that: this thread does.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mica_host::FdCache;

/// How long a file stays open without being used.
const IDLE: Duration = Duration::from_secs(2);
/// How often the thread looks while nothing is open but the layers themselves.
const QUIET: Duration = Duration::from_secs(8);

/// Ends the thread when dropped.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    end: Arc<End>,
    thread: Option<JoinHandle<()>>,
}

/// Tells the thread to end.
#[derive(Debug, Default)]
struct End {
    // Not a ranked lock: a condition variable needs the plain one, and nothing is taken under it.
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Housekeeping {
    /// Starts the thread.
    pub(crate) fn start(fds: Arc<FdCache>) -> io::Result<Self> {
        let end = Arc::new(End::default());
        let seen = Arc::clone(&end);
        let at_rest = fds.open();
        let thread = thread::Builder::new()
            .name("mica-idle".into())
            .spawn(move || {
                let mut pause = QUIET;
                while seen.not_within(pause) {
                    pause = if fds.open() <= at_rest { QUIET } else { IDLE };
                    fds.trim_idle(IDLE);
                }
            })?;
        Ok(Self {
            end,
            thread: Some(thread),
        })
    }
}

impl End {
    /// Waits, and tells whether the end did not come meanwhile.
    fn not_within(&self, pause: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(ended, pause, |ended| !*ended);
        let (ended, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !*ended
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        *self.end.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.end.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended, too.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_it_ends_the_thread_at_once() {
        let fds = FdCache::new(4);
        drop(Housekeeping::start(Arc::clone(&fds)).unwrap());
        assert_eq!(Arc::strong_count(&fds), 1);
    }
}
