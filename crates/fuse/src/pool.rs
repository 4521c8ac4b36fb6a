//! How many threads read the device.
//!
//! The kernel hands requests to its readers in turn, so each idle reader costs the caches and wake-ups of the others:
//! as many as there are concurrent callers serve best, and ten of them take twice the processor time of two. But while
//! all readers are in slow operations (an fsync, a copy-up), another one is needed, or everybody waits.
//!
//! So a *keeper* looks every [`TICK`] while there is a shortage: it starts a reader when all of them have been busy for
//! a whole tick, or when they run out of idle ones often and there are processors left. When that has not happened for
//! some time it has the surplus end, and sleeps until there is a shortage. A reader pays a few atomics per request.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::connection::Connection;
use crate::session::Threads;
use crate::worker::{Buffers, End, serve};

/// How often the keeper looks: the longest that a request waits because all readers are in slow operations is two.
const TICK: Duration = Duration::from_millis(5);
/// Shortages within a tick from which on there are too few readers.
const CROWD: u32 = 16;
/// Ticks without a shortage after which there are too many readers.
const QUIET: u32 = 40;

/// What the threads of a session share.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Atomic, or set once.
    pub(crate) connection: Connection,
    /// Immutable. Apart from the pool, so that a thread that waits for a connection holds no filesystem.
    pub(crate) device: Arc<OwnedFd>,
    /// Immutable.
    threads: Threads,
    /// Processors of this process. Asked when it mounts: later there may be no /sys any more. Immutable.
    processors: usize,
    /// Readers that are there. Atomic.
    total: AtomicUsize,
    /// Readers that wait for a request, or end references and will then. Atomic.
    idle: AtomicUsize,
    /// How often the last idle reader took a request, since the keeper looked. Atomic.
    shortages: AtomicU32,
    /// Readers that are to end. Atomic.
    surplus: AtomicUsize,
    /// Set once.
    keeper: OnceLock<Thread>,
    /// The keeper waits for a shortage. Atomic.
    asleep: AtomicBool,
    /// The connection is over. Atomic.
    ended: Arc<AtomicBool>,
}

impl Pool {
    pub(crate) fn new(
        connection: Connection,
        device: OwnedFd,
        threads: Threads,
        ended: Arc<AtomicBool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            connection,
            device: Arc::new(device),
            threads,
            processors: processors(threads.least),
            total: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            shortages: AtomicU32::new(0),
            surplus: AtomicUsize::new(0),
            keeper: OnceLock::new(),
            asleep: AtomicBool::new(false),
            ended,
        })
    }

    /// Starts the keeper, which starts the readers besides the first.
    ///
    /// # Errors
    ///
    /// The system has no thread. The first reader can go on alone.
    pub(crate) fn start_keeper(pool: &Arc<Self>, ends: &Sender<End>) -> io::Result<()> {
        let (pool, ends) = (Arc::clone(pool), ends.clone());
        let named = thread::Builder::new().name("mica-fuse-keep".to_owned());
        named.spawn(move || {
            pool.keeper.get_or_init(thread::current);
            keep(&pool, &ends);
            // As with the readers: whoever learns of the end finds that the filesystem is let go of.
            drop(pool);
            // The session may have been dropped.
            let _ = ends.send(End::Surplus);
        })?;
        Ok(())
    }

    /// Counts the calling thread as a reader.
    pub(crate) fn enter(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.idle.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells whether there are no more readers than those that stay.
    pub(crate) fn is_new(&self) -> bool {
        self.total.load(Ordering::Relaxed) <= self.threads.least
    }

    /// Notes that the calling reader took a request.
    pub(crate) fn took(&self) {
        if self.idle.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.shortages.fetch_add(1, Ordering::SeqCst);
            if self.asleep.load(Ordering::SeqCst) {
                self.wake_keeper();
            }
        }
    }

    /// Notes that the calling reader has answered; true if it is one too many and was taken off the count.
    pub(crate) fn answered(&self) -> bool {
        self.idle.fetch_add(1, Ordering::Relaxed);
        if self.surplus.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let order = Ordering::Relaxed;
        let less = |surplus: usize| surplus.checked_sub(1);
        let leaves = self.surplus.fetch_update(order, order, less).is_ok();
        if leaves {
            self.idle.fetch_sub(1, order);
            self.total.fetch_sub(1, order);
        }
        leaves
    }

    /// Notes that the connection is over.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.wake_keeper();
    }

    fn wake_keeper(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.unpark();
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Starts one more reader.
    fn grow(pool: &Arc<Self>, ends: &Sender<End>) {
        let buffers = match Buffers::new() {
            Ok(buffers) => buffers,
            Err(error) => {
                tracing::warn!(%error, "no memory for another thread; the others go on");
                return;
            }
        };
        let (shared, ends) = (Arc::clone(pool), ends.clone());
        // Counted here and not by the thread, or the next look would start another one.
        pool.enter();
        let started = thread::Builder::new()
            .name("mica-fuse".to_owned())
            .spawn(move || serve(shared, buffers, &ends));
        if let Err(error) = started {
            pool.idle.fetch_sub(1, Ordering::Relaxed);
            pool.total.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(%error, "cannot start another thread; the others go on");
        }
    }
}

/// Counts the processors for this process, or those that it may run on if there are no more of them than `least`: then no limit of
/// a cgroup matters, and to find it takes a while.
fn processors(least: usize) -> usize {
    let affinity = rustix::thread::sched_getaffinity(None);
    let there = affinity.map_or(usize::MAX, |set| {
        usize::try_from(set.count()).unwrap_or(usize::MAX)
    });
    if there <= least {
        return there;
    }
    thread::available_parallelism().map_or(1, usize::from)
}

/// The life of the keeper.
fn keep(pool: &Arc<Pool>, ends: &Sender<End>) {
    let Threads { least, most } = pool.threads;
    let processors = pool.processors;
    for _ in pool.total.load(Ordering::Relaxed)..least {
        Pool::grow(pool, ends);
    }
    let mut quiet = 0;
    while !pool.has_ended() {
        if quiet >= QUIET {
            // Those who are too many leave with the next requests, which need no look.
            let total = pool.total.load(Ordering::Relaxed);
            let surplus = total.saturating_sub(least);
            pool.surplus.store(surplus, Ordering::Relaxed);
            sleep(pool);
            pool.surplus.store(0, Ordering::Relaxed);
        } else {
            thread::park_timeout(TICK);
        }
        let total = pool.total.load(Ordering::Relaxed);
        let shortages = pool.shortages.swap(0, Ordering::SeqCst);
        // No reader took a request and left none idle since the last look, and none is idle: they have all been busy
        // since then.
        let stuck = shortages == 0 && pool.idle.load(Ordering::Relaxed) == 0;
        quiet = if shortages == 0 && !stuck {
            quiet + 1
        } else {
            0
        };
        let crowded = shortages >= CROWD && total < processors;
        if (stuck || crowded) && total < most {
            Pool::grow(pool, ends);
        }
    }
}

/// Waits for a shortage, or the end.
fn sleep(pool: &Pool) {
    pool.asleep.store(true, Ordering::SeqCst);
    // A shortage from before the flag was seen woke nobody.
    if pool.shortages.load(Ordering::SeqCst) == 0 && !pool.has_ended() {
        thread::park();
    }
    pool.asleep.store(false, Ordering::SeqCst);
}
