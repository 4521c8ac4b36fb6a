//! The threads that read requests and write replies.
//!
//! Each thread reads, serves and replies by itself, with a buffer for the request and one for the reply: there is no
//! queue of our own between the kernel's and the filesystem. While all threads are busy another one is started, so a
//! request that waits for another one (a layer may be a mount of ours) cannot wait for ever.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;

use mica_vfs::Errno;

use crate::connection::Connection;
use crate::dispatch::{Outcome, dispatch, undo};
use crate::init::{MAX_WRITE, PAGE};
use crate::session::Threads;

/// How many requests in a row a thread has to be one too many before it ends.
const SURPLUS_PATIENCE: u32 = 1000;

/// Why a thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The mount is gone.
    Unmounted,
    /// The connection was aborted.
    Aborted,
    /// There were more threads than work.
    Surplus,
    /// Reading the device failed.
    Failed(Errno),
}

/// What the threads of a session share.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Atomic, or set once.
    pub(crate) connection: Connection,
    /// Immutable. Apart from the pool, so that a thread that waits for a connection holds no filesystem.
    device: Arc<OwnedFd>,
    /// Immutable.
    threads: Threads,
    /// Threads that are there. Atomic.
    total: AtomicUsize,
    /// Threads that wait for a request. Atomic.
    idle: AtomicUsize,
    /// The connection is over. Atomic.
    ended: Arc<AtomicBool>,
}

/// The first thread of a session, as the mounting thread sees it.
#[derive(Debug)]
pub(crate) struct First {
    /// Gets one message when INIT was answered; closed if that will not happen.
    pub(crate) up: Receiver<()>,
    /// Gets one message per thread that ends; closed when the last one has.
    pub(crate) ends: Receiver<End>,
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
            total: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            ended,
        })
    }

    /// Starts the thread that answers INIT. It starts the others.
    pub(crate) fn serve_first(pool: &Arc<Self>) -> io::Result<First> {
        let (tell_up, up) = channel();
        let (tell_end, ends) = channel();
        let (device, pool) = (Arc::clone(&pool.device), Arc::downgrade(pool));
        thread::Builder::new()
            .name("mica-fuse".to_owned())
            .spawn(move || wait_for_connection(&device, &pool, &tell_up, tell_end))?;
        Ok(First { up, ends })
    }

    /// Starts one more thread, unless there are enough.
    fn grow(pool: &Arc<Self>, ends: &Sender<End>) {
        let most = pool.threads.most;
        let room = |total| (total < most).then_some(total + 1);
        let order = Ordering::Relaxed;
        if pool.total.fetch_update(order, order, room).is_err() {
            return;
        }
        let (shared, ends) = (Arc::clone(pool), ends.clone());
        let started = thread::Builder::new()
            .name("mica-fuse".to_owned())
            .spawn(move || serve(shared, ends, Buffers::new()));
        if let Err(error) = started {
            pool.total.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(%error, "cannot start another thread; the others go on");
        }
    }

    /// Ends the calling thread's part, if there are enough others.
    fn shrink(&self) -> bool {
        let least = self.threads.least;
        let room = |total| (total > least).then_some(total - 1);
        let order = Ordering::Relaxed;
        self.total.fetch_update(order, order, room).is_ok()
    }
}

/// A request and the reply to it, in memory that is aligned to pages and used again.
struct Buffers {
    request: PageBuffer,
    reply: PageBuffer,
}

impl Buffers {
    fn new() -> Self {
        Self {
            request: PageBuffer::new(),
            reply: PageBuffer::new(),
        }
    }
}

/// Room for the largest message: its data and a page for what comes before.
struct PageBuffer {
    memory: Vec<u8>,
    start: usize,
}

impl PageBuffer {
    const LEN: usize = MAX_WRITE + PAGE;

    /// Takes zeroed memory, which the kernel gives by the page when it is first written to.
    fn new() -> Self {
        let memory = vec![0; Self::LEN + PAGE];
        let start = memory.as_ptr().align_offset(PAGE);
        Self { memory, start }
    }

    fn bytes(&mut self) -> &mut [u8] {
        let pages = self.memory.get_mut(self.start..).unwrap_or_default();
        let len = pages.len().min(Self::LEN);
        pages.get_mut(..len).unwrap_or_default()
    }
}

/// The life of the first thread: INIT, then as every other.
///
/// Before the kernel has made the filesystem, reading waits, and where that fails it waits for as long as the process
/// lives; so the filesystem and the pool are only held from the first request on.
fn wait_for_connection(
    device: &Arc<OwnedFd>,
    pool: &Weak<Pool>,
    up: &Sender<()>,
    ends: Sender<End>,
) {
    let mut buffers = Buffers::new();
    loop {
        let read = next_request(device, buffers.request.bytes());
        let Some(pool) = pool.upgrade() else {
            return;
        };
        match read {
            Ok(len) => answer(&pool, &mut buffers, len),
            Err(end) => {
                pool.ended.store(true, Ordering::Release);
                drop(pool);
                let _ = ends.send(end);
                return;
            }
        }
        if pool.connection.init().is_some() {
            // The mounting thread may have given up.
            let _ = up.send(());
            pool.total.store(1, Ordering::Relaxed);
            return serve(pool, ends, buffers);
        }
    }
}

/// The life of a thread.
fn serve(pool: Arc<Pool>, ends: Sender<End>, mut buffers: Buffers) {
    let mut surplus = 0;
    let end = loop {
        pool.idle.fetch_add(1, Ordering::Relaxed);
        spin(&pool);
        let read = next_request(&pool.device, buffers.request.bytes());
        let waiting = pool.idle.fetch_sub(1, Ordering::Relaxed);
        let len = match read {
            Ok(len) => len,
            Err(end) => break end,
        };
        if waiting == 1 {
            Pool::grow(&pool, &ends);
        }
        answer(&pool, &mut buffers, len);
        surplus = if pool.idle.load(Ordering::Relaxed) >= pool.threads.least {
            surplus + 1
        } else {
            0
        };
        if surplus > SURPLUS_PATIENCE && pool.shrink() {
            break End::Surplus;
        }
    };
    if end != End::Surplus {
        pool.ended.store(true, Ordering::Release);
    }
    // Whoever learns that the last thread has ended finds that the filesystem is let go of.
    drop(pool);
    // The session may have been dropped.
    let _ = ends.send(end);
}

/// Waits for a request.
fn next_request(device: &OwnedFd, buffer: &mut [u8]) -> Result<usize, End> {
    loop {
        return match rustix::io::read(device, &mut *buffer) {
            Ok(len) => Ok(len),
            // ENOENT: the request was interrupted while it was read.
            Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => continue,
            Err(Errno::NODEV) => Err(End::Unmounted),
            Err(Errno::CONNABORTED) => Err(End::Aborted),
            Err(errno) => Err(End::Failed(errno)),
        };
    }
}

/// Serves the request in the first `len` bytes of the buffer.
fn answer(pool: &Pool, buffers: &mut Buffers, len: usize) {
    let message = buffers.request.bytes();
    let message = message.get(..len).unwrap_or_default();
    let reply = buffers.reply.bytes();
    let Outcome::Reply(len) = dispatch(&pool.connection, message, reply) else {
        return;
    };
    let reply = reply.get(..len).unwrap_or_default();
    let written = loop {
        match rustix::io::write(&pool.device, reply) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            written => break written,
        }
    };
    match written {
        Ok(_) => {}
        // ENOENT: nobody waits for the reply any more. ENODEV: the mount is gone.
        Err(errno) => {
            if !matches!(errno, Errno::NOENT | Errno::NODEV) {
                tracing::error!(%errno, len, "the kernel does not take a reply");
            }
            undo(&pool.connection, message, reply);
        }
    }
}

fn spin(pool: &Pool) {
    static SPINNING: AtomicBool = AtomicBool::new(false);
    static US: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    let us = *US.get_or_init(|| std::env::var("SPIN").map_or(0, |v| v.parse().unwrap_or(0)));
    if us == 0 || SPINNING.swap(true, Ordering::Acquire) {
        return;
    }
    let start = std::time::Instant::now();
    let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        let mut fds = [rustix::event::PollFd::new(&pool.device, rustix::event::PollFlags::IN)];
        if rustix::event::poll(&mut fds, Some(&zero)) != Ok(0) {
            break;
        }
        if start.elapsed().as_micros() as u64 > us {
            break;
        }
    }
    SPINNING.store(false, Ordering::Release);
}
