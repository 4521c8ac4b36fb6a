//! A thread that closes files which nobody uses any more.
//!
//! The layers keep files open so that the next request need not open them again. When the work is over there is no
//! next request, and nothing on the request path to notice that: this thread does.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mica_host::FdCache;

/// The times that the thread goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// How long a file stays open without being used.
    idle: Duration,
    /// How often the thread looks while nothing is open but what was open at its start.
    quiet: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(1),
            quiet: Duration::from_secs(3),
        }
    }
}

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
    pub(crate) fn start(fds: Arc<FdCache>, pace: Pace) -> io::Result<Self> {
        let end = Arc::new(End::default());
        let seen = Arc::clone(&end);
        let at_rest = fds.open();
        let thread = thread::Builder::new()
            .name("mica-idle".into())
            .spawn(move || {
                let mut pause = pace.quiet;
                while seen.not_within(pause) {
                    pause = if fds.open() <= at_rest {
                        pace.quiet
                    } else {
                        pace.idle
                    };
                    fds.trim_idle(pace.idle);
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
        let waited = self
            .changed
            .wait_timeout_while(ended, pause, |ended| !*ended);
        let (ended, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !*ended
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        *self
            .end
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.end.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended, too.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use mica_vfs::{Caller, FileName, Filesystem as _, KillPriv, Mode, NodeId};

    use super::*;
    use crate::{Durability, Stack, StackSpec, UpperSpec, XattrNamespace};

    #[test]
    fn dropping_it_ends_the_thread_at_once() {
        let fds = FdCache::new(4);
        drop(Housekeeping::start(Arc::clone(&fds), Pace::default()).unwrap());
        assert_eq!(Arc::strong_count(&fds), 1);
    }

    #[test]
    fn files_that_nobody_uses_are_closed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["l", "u", "w"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        let stack = Stack::open(&StackSpec {
            lower: vec![at("l")],
            upper: Some(UpperSpec {
                dir: at("u"),
                work: at("w"),
            }),
            xattrs: XattrNamespace::User,
            durability: Durability::Auto,
            identity: crate::Identity::default(),
        })
        .unwrap();
        let at_rest = stack.fds().open();
        let pace = Pace {
            idle: Duration::from_millis(1),
            quiet: Duration::from_millis(1),
        };
        let _housekeeping = Housekeeping::start(Arc::clone(stack.fds()), pace).unwrap();
        let caller = Caller {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            umask: 0,
        };
        for n in 0..10 {
            let name = n.to_string();
            let name = FileName::new(name.as_bytes()).unwrap();
            let made = stack
                .overlay()
                .create(&caller, NodeId::ROOT, name, Mode::new(0o644));
            let made = made.unwrap();
            stack
                .overlay()
                .write(made.node, 0, b"x", KillPriv::Keep)
                .unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while stack.fds().open() > at_rest {
            assert!(Instant::now() < deadline, "{} are open", stack.fds().open());
            thread::yield_now();
        }
    }
}
