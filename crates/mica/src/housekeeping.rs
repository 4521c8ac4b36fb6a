//! A thread that lets go of what nobody uses any more: open files, listings of directories, freed memory.
//!
//! The layers keep files open and the overlay keeps listings, so that the next request need not get them again. When the
//! work is over there is no next request, and nothing on the request path to notice that: this thread does.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mica_host::FdCache;
use mica_overlay::Overlay;
use mica_sys::heap;

/// How many remembered things must have gone before their memory is worth the walk through the heap.
const DROP_MIN: usize = 4096;

/// The times that the thread goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// How long a file stays open, and a directory listed, without being used.
    idle: Duration,
    /// How often the thread looks while nothing is open or listed but what was so at its start.
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
    pub(crate) fn start(fds: Arc<FdCache>, overlay: Arc<Overlay>, pace: Pace) -> io::Result<Self> {
        let end = Arc::new(End::default());
        let seen = Arc::clone(&end);
        let rounds = Rounds::new(fds, overlay, pace);
        let thread = thread::Builder::new()
            .name("mica-idle".into())
            .spawn(move || rounds.go_until(&seen))?;
        Ok(Self {
            end,
            thread: Some(thread),
        })
    }
}

/// What the thread looks at.
#[derive(Debug)]
struct Rounds {
    fds: Arc<FdCache>,
    overlay: Arc<Overlay>,
    pace: Pace,
    /// Files that were open at its start.
    fds_at_rest: usize,
    /// The most that the overlay remembered since memory was given back.
    peak: usize,
    /// What it remembered at the last look.
    last: usize,
    /// Memory was given back while things went on going: what lay beside them is owed.
    owes: bool,
}

impl Rounds {
    fn new(fds: Arc<FdCache>, overlay: Arc<Overlay>, pace: Pace) -> Self {
        Self {
            fds_at_rest: fds.open(),
            peak: overlay.remembered(),
            last: overlay.remembered(),
            owes: false,
            fds,
            overlay,
            pace,
        }
    }

    fn go_until(mut self, end: &End) {
        let mut pause = self.pace.quiet;
        while end.not_within(pause) {
            pause = self.go();
        }
    }

    /// Looks once, and says when to look again.
    fn go(&mut self) -> Duration {
        let busy = self.fds.open() > self.fds_at_rest;
        self.fds.trim_idle(self.pace.idle);
        self.overlay.trim_idle(self.pace.idle);
        self.give_back(self.overlay.remembered());
        if busy || self.owes || self.peak >= DROP_MIN {
            self.pace.idle
        } else {
            self.pace.quiet
        }
    }

    /// Gives freed memory back when much was forgotten: each time half has gone, and once more when no more goes.
    fn give_back(&mut self, remembered: usize) {
        let half_went = remembered <= self.peak / 2 && self.peak - remembered >= DROP_MIN;
        if half_went || (self.owes && remembered == self.last) {
            heap::trim();
            self.peak = remembered;
            self.owes = half_went;
        }
        self.peak = self.peak.max(remembered);
        self.last = remembered;
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

    use mica_vfs::{
        Caller, Cookie, DirEntry, FileName, Filesystem as _, Flow, KillPriv, Mode, NodeId,
    };

    use super::*;
    use crate::{Stack, StackSpec, UpperSpec, XattrNamespace};

    #[test]
    fn dropping_it_ends_the_thread_at_once() {
        let (_dir, stack) = empty_stack();
        let (fds, overlay) = (Arc::clone(stack.fds()), Arc::clone(stack.overlay()));
        let holders = (Arc::strong_count(&fds), Arc::strong_count(&overlay));
        drop(Housekeeping::start(Arc::clone(&fds), Arc::clone(&overlay), Pace::default()).unwrap());
        let left = (Arc::strong_count(&fds), Arc::strong_count(&overlay));
        assert_eq!(left, holders);
    }

    /// Makes a stack of one lower, an upper and a work directory without files.
    fn empty_stack() -> (tempfile::TempDir, Stack) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["l", "u", "w"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        let stack = Stack::open(&StackSpec {
            upper: Some(UpperSpec {
                dir: at("u"),
                work: at("w"),
            }),
            xattrs: XattrNamespace::User,
            redirects: crate::RedirectDir::Off,
            uuid: crate::OverlayUuid::Null,
            ..StackSpec::new(vec![at("l")])
        });
        (dir, stack.unwrap())
    }

    #[test]
    fn files_that_nobody_uses_are_closed() {
        let (_dir, stack) = empty_stack();
        let at_rest = stack.fds().open();
        let pace = Pace {
            idle: Duration::from_millis(1),
            quiet: Duration::from_millis(1),
        };
        let (fds, overlay) = (Arc::clone(stack.fds()), Arc::clone(stack.overlay()));
        let _housekeeping = Housekeeping::start(fds, overlay, pace).unwrap();
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
    #[test]
    fn a_directory_that_nobody_reads_is_not_kept_listed() {
        let (dir, stack) = empty_stack();
        for n in 0..100 {
            std::fs::write(dir.path().join(format!("l/{n}")), b"").unwrap();
        }
        let at_rest = stack.overlay().remembered();
        let mut listed = 0;
        let count = &mut |_: DirEntry<'_>| {
            listed += 1;
            Flow::Continue
        };
        let overlay = stack.overlay();
        overlay
            .read_dir(NodeId::ROOT, Cookie::START, count)
            .unwrap();
        assert_eq!(listed, 100);
        assert_eq!(overlay.remembered(), at_rest + 100);
        let pace = Pace {
            idle: Duration::ZERO,
            quiet: Duration::ZERO,
        };
        let mut rounds = Rounds::new(Arc::clone(stack.fds()), Arc::clone(overlay), pace);
        rounds.go();
        assert_eq!(overlay.remembered(), at_rest);
    }
    fn resident_kib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        let kib = line.unwrap().split_ascii_whitespace().nth(1).unwrap();
        kib.parse().unwrap()
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn memory_of_what_was_forgotten_goes_back() {
        const COUNT: usize = 200_000;
        let (_dir, stack) = empty_stack();
        let (fds, overlay) = (Arc::clone(stack.fds()), Arc::clone(stack.overlay()));
        let mut rounds = Rounds::new(fds, overlay, Pace::default());
        let mut nodes: Vec<Box<[u8]>> = (0..COUNT).map(|_| vec![1; 120].into()).collect();
        rounds.give_back(COUNT);
        let full = resident_kib();
        // The last one keeps the end of the heap.
        nodes.drain(..COUNT - 1);
        nodes.shrink_to_fit();
        rounds.give_back(nodes.len());
        let left = resident_kib();
        assert!(left + 15_000 < full, "{full} KiB before, {left} after");
    }

    #[test]
    fn memory_is_given_back_once_more_when_no_more_goes() {
        let (_dir, stack) = empty_stack();
        let (fds, overlay) = (Arc::clone(stack.fds()), Arc::clone(stack.overlay()));
        let mut rounds = Rounds::new(fds, overlay, Pace::default());
        rounds.give_back(100_000);
        rounds.give_back(90_000);
        assert!(!rounds.owes);
        for remembered in [50_000, 10_000, 2000, 1] {
            rounds.give_back(remembered);
            assert!(rounds.owes, "{remembered}");
        }
        rounds.give_back(1);
        assert!(!rounds.owes);
    }
}
