//! The threads that read requests and write replies.
//!
//! Each thread reads, serves and replies by itself, with a buffer for the request and one for the reply: there is no
//! queue of our own between the kernel's and the filesystem. How many there are is the [`Pool`]'s business.
//!
//! A thread that has nothing to do sleeps in read(2) at once. Polling the device for 10 to 50 us before made creating,
//! removing and missing names 1.2 to 2 times slower on a busy machine of two CPUs; an idle guest polls in its kernel.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;

use mica_sys::pages::Pages;
use mica_vfs::Errno;

use crate::dispatch::{Outcome, dispatch, undo};
use crate::error::MountError;
use crate::init::{MAX_WRITE, PAGE};
use crate::pool::Pool;
use crate::wire::{InHeader, Opcode, take};

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

/// Starts the first reader, and the keeper that starts the others.
///
/// The receiver gets one message per thread that ends, and is closed when the last one has.
///
/// # Errors
///
/// The system has no thread, or no memory.
pub(crate) fn start(pool: &Arc<Pool>) -> io::Result<Receiver<End>> {
    let (tell_end, ends) = channel();
    let (shared, told) = (Arc::clone(pool), tell_end.clone());
    let buffers = Buffers::new()?;
    // Counted before it starts, or the keeper would start one more.
    pool.enter();
    let named = thread::Builder::new().name("mica-fuse".to_owned());
    named.spawn(move || serve(shared, buffers, &told))?;
    if let Err(error) = Pool::start_keeper(pool, &tell_end) {
        tracing::warn!(%error, "cannot start more than one thread");
    }
    Ok(ends)
}

/// What stays of a buffer that was used to its end: the largest of the frequent messages, a reply to a read-ahead.
const KEPT: usize = (128 << 10) + PAGE;
/// So many messages that fit in [`KEPT`] mean that a large one is not followed by others.
const CALM: u32 = 16;

/// A request and the reply to it, each with room for the largest: its data and a page for what comes before.
///
/// The system gives the memory by the page when it is touched. After a large message it is given back, unless another
/// large one comes soon.
#[derive(Debug)]
pub(crate) struct Buffers {
    request: Pages,
    reply: Pages,
    /// More than [`KEPT`] of a buffer was touched.
    swollen: bool,
    /// Messages since then that were not large.
    small: u32,
}

impl Buffers {
    const LEN: usize = MAX_WRITE + PAGE;

    /// # Errors
    ///
    /// The system has no memory.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            request: Pages::new(Self::LEN)?,
            reply: Pages::new(Self::LEN)?,
            swollen: false,
            small: 0,
        })
    }

    /// Takes the memory that frequent replies need, which comes page by page otherwise, while somebody waits.
    fn warm(&mut self) {
        self.reply.touch_before(KEPT);
    }

    /// Notes how much a message took, and gives back what the next ones will not take.
    fn used(&mut self, message: Message, len: usize) {
        if len > KEPT {
            (self.swollen, self.small) = (true, 0);
        } else if self.swollen {
            self.small += 1;
        }
        // Thousands of references end at once when the kernel drops its caches, and then nothing comes for long.
        if self.swollen && (message == Message::Forget || self.small >= CALM) {
            self.request.release_after(KEPT);
            self.reply.release_after(KEPT);
            self.swollen = false;
        }
    }
}

/// What a message is to a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    /// The end of references: nobody waits for it.
    Forget,
    Request,
}

/// Answers requests until INIT was among them. It is the first one, and comes twice from a kernel with a newer major
/// version.
///
/// # Errors
///
/// `NoAnswer`: the connection ended before.
pub(crate) fn answer_init(pool: &Pool) -> Result<(), MountError> {
    let mut buffers = Buffers::new().map_err(|source| MountError::Thread { source })?;
    while pool.connection.init().is_none() {
        let read = next_request(&pool.device, buffers.request.bytes());
        let len = read.map_err(|_| MountError::NoAnswer)?;
        answer(pool, &mut buffers, len);
    }
    Ok(())
}

/// As [`answer_init`], where the filesystem may never be made: the pool is only held from the first request on.
pub(crate) fn answer_init_on(device: &Arc<OwnedFd>, pool: &Weak<Pool>) -> Result<(), MountError> {
    let mut buffers = Buffers::new().map_err(|source| MountError::Thread { source })?;
    let read = next_request(device, buffers.request.bytes());
    let (Ok(len), Some(pool)) = (read, pool.upgrade()) else {
        return Err(MountError::NoAnswer);
    };
    answer(&pool, &mut buffers, len);
    answer_init(&pool)
}

/// The life of a reader, which is counted in the pool before it starts.
pub(crate) fn serve(pool: Arc<Pool>, mut buffers: Buffers, ends: &Sender<End>) {
    if pool.is_new() {
        buffers.warm();
    }
    let end = serve_with(&pool, &mut buffers);
    drop(buffers);
    leave(pool, ends, end);
}

/// Serves requests until there are no more, or this thread is one too many.
fn serve_with(pool: &Pool, buffers: &mut Buffers) -> End {
    loop {
        let len = match next_request(&pool.device, buffers.request.bytes()) {
            Ok(len) => len,
            Err(end) => return end,
        };
        // A FORGET waits for nobody. One comes beside the next request of a program that removes files, which would
        // look like a shortage.
        if is_forget(buffers.request.bytes()) {
            answer(pool, buffers, len);
            buffers.used(Message::Forget, len);
            continue;
        }
        pool.took();
        let replied = answer(pool, buffers, len);
        buffers.used(Message::Request, len.max(replied));
        if pool.answered() {
            return End::Surplus;
        }
    }
}

/// Tells that a thread ends.
fn leave(pool: Arc<Pool>, ends: &Sender<End>, end: End) {
    if end != End::Surplus {
        pool.end();
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

/// Tells whether a message ends references.
fn is_forget(message: &[u8]) -> bool {
    let header = take::<InHeader>(message).map(|(header, _)| header.opcode);
    let opcode = header.and_then(Opcode::from_wire);
    matches!(opcode, Some(Opcode::Forget | Opcode::BatchForget))
}

/// Serves the request in the first `len` bytes of the buffer, and returns the length of the reply.
fn answer(pool: &Pool, buffers: &mut Buffers, len: usize) -> usize {
    let message = buffers.request.bytes();
    let message = message.get(..len).unwrap_or_default();
    let reply = buffers.reply.bytes();
    let Outcome::Reply(len) = dispatch(&pool.connection, message, reply) else {
        return 0;
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
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swollen() -> Buffers {
        let mut buffers = Buffers::new().unwrap();
        buffers.request.bytes().fill(1);
        buffers.used(Message::Request, Buffers::LEN);
        buffers
    }

    fn is_kept(buffers: &mut Buffers) -> bool {
        let bytes = buffers.request.bytes();
        assert_eq!(bytes[KEPT - 1], 1);
        bytes[KEPT] == 1
    }

    #[test]
    fn a_stream_of_large_messages_keeps_its_memory() {
        let mut buffers = swollen();
        for _ in 0..100 {
            buffers.used(Message::Request, 100);
            buffers.used(Message::Request, Buffers::LEN);
        }
        assert!(is_kept(&mut buffers));
    }

    #[test]
    fn small_messages_after_a_large_one_give_its_memory_back() {
        let mut buffers = swollen();
        for _ in 0..CALM {
            assert!(is_kept(&mut buffers));
            buffers.used(Message::Request, 100);
        }
        assert!(!is_kept(&mut buffers));
    }

    #[test]
    fn the_end_of_references_gives_memory_back_at_once() {
        let mut buffers = swollen();
        buffers.used(Message::Forget, Buffers::LEN);
        assert!(!is_kept(&mut buffers));
    }
}
