//! From the bytes of a request to the bytes of its reply.
//!
//! [`dispatch`] is a function of the bytes, the filesystem and the state of the connection: it knows no device, so
//! tests and the fuzzer drive it without a kernel.
//!
//! # Invariants
//!
//! - Any bytes at all get a reply, or none if they are too short to say what to reply to. Nothing panics, and a
//!   filesystem that does costs one `EIO`.
//! - A reference that a filesystem gave is either in the reply or given back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mica_vfs::{Errno, NodeId, for_the_maker, invent};
use zerocopy::IntoBytes;

use crate::connection::Connection;
use crate::init::{Negotiation, PAGE, negotiate};
use crate::ops;
use crate::reply::{HEADER, Reply};
use crate::request::Request;
use crate::wire::{DirentPlus, EntryOut, Opcode, OpenOut, OutHeader, padded, take};

/// The least room for a reply: a page of body, so that everything but data and listings fits.
pub const MIN_REPLY: usize = HEADER + 2 * PAGE;

/// The highest errno that the kernel takes in a reply; it answers `EINVAL` to others and the caller hangs.
const MAX_ERRNO: i32 = 511;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// So many bytes of the buffer are the reply.
    Reply(usize),
    /// There is nothing to reply.
    Silent,
}

/// Serves one request and builds its reply in `reply`.
///
/// `reply` has room for [`MIN_REPLY`] bytes at least; a request for more data than fits gets less.
pub fn dispatch(connection: &Connection, message: &[u8], reply: &mut [u8]) -> Outcome {
    let Some(request) = Request::new(message) else {
        tracing::warn!(len = message.len(), "request is shorter than its header");
        connection.stats.came(None);
        return Outcome::Silent;
    };
    let header = request.header;
    let opcode = Opcode::from_wire(header.opcode);
    connection.stats.came(opcode);
    let Some((head, body)) = reply.split_at_mut_checked(HEADER) else {
        return Outcome::Silent;
    };
    let mut body = Reply::new(body);
    let whole = usize::try_from(header.len).is_ok_and(|len| len == message.len());
    let answer = match opcode {
        _ if !whole => Err(invent!(
            Errno::IO,
            "request is not as long as its header says",
            len = message.len()
        )),
        Some(opcode) => guarded(connection, opcode, request, &mut body),
        None => Err(Errno::NOSYS),
    };
    if opcode.is_some_and(is_silent) {
        return Outcome::Silent;
    }
    let error = answer.map_or_else(|errno| wire_errno(connection, errno), |()| 0);
    let len = HEADER + body.len();
    let out = OutHeader {
        len: u32::try_from(len).unwrap_or(u32::MAX),
        error,
        unique: header.unique,
    };
    head.copy_from_slice(out.as_bytes());
    Outcome::Reply(len)
}

/// Ends the references of a reply that the kernel did not take.
pub(crate) fn undo(connection: &Connection, message: &[u8], reply: &[u8]) {
    let opcode = Request::new(message).and_then(|request| Opcode::from_wire(request.header.opcode));
    let Some((header, body)) = take::<OutHeader>(reply) else {
        return;
    };
    if let (Some(opcode), 0) = (opcode, header.error) {
        undo_body(connection, opcode, body);
    }
}

/// Tells whether the protocol has no reply to `opcode`.
const fn is_silent(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::Forget | Opcode::BatchForget | Opcode::Interrupt | Opcode::NotifyReply
    )
}

/// Serves a request; a failure or a panic leaves the reply empty.
fn guarded(
    connection: &Connection,
    opcode: Opcode,
    request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let (node, unique) = (request.header.nodeid, request.header.unique);
    let of_maker = connection.is_of_maker(request.header.pid);
    let serve = AssertUnwindSafe(|| {
        if of_maker {
            for_the_maker(|| serve(connection, opcode, request, reply))
        } else {
            serve(connection, opcode, request, reply)
        }
    });
    let answer = catch_unwind(serve).unwrap_or_else(|_| {
        connection.stats.panicked();
        let opcode = opcode.name();
        tracing::error!(opcode, node, unique, "a request panicked");
        Err(Errno::IO)
    });
    if answer.is_err() {
        undo_body(connection, opcode, reply.sent());
        reply.clear();
    }
    answer
}

/// Writes an errno as the kernel takes it.
fn wire_errno(connection: &Connection, errno: Errno) -> i32 {
    connection.stats.failed();
    let raw = errno.raw_os_error();
    if (1..=MAX_ERRNO).contains(&raw) {
        -raw
    } else {
        -invent!(Errno::IO, "errno is none that a program may see", raw = raw).raw_os_error()
    }
}

/// Calls what serves `opcode`.
fn serve(
    cx: &Connection,
    opcode: Opcode,
    request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    if cx.negotiated().is_none() && opcode != Opcode::Init {
        return Err(invent!(
            Errno::IO,
            "request before INIT",
            opcode = opcode.name()
        ));
    }
    match opcode {
        Opcode::Lookup => ops::lookup(cx, request, reply),
        Opcode::Forget => ops::forget(cx, request),
        Opcode::BatchForget => ops::batch_forget(cx, request),
        Opcode::Readlink => ops::readlink(cx, &request, reply),
        Opcode::Getattr => ops::getattr(cx, &request, reply),
        Opcode::Setattr => ops::setattr(cx, request, reply),
        Opcode::Statx => ops::statx(cx, request, reply),
        Opcode::Statfs => ops::statfs(cx, reply),
        Opcode::Symlink => ops::symlink(cx, request, reply),
        Opcode::Mknod => ops::mknod(cx, request, reply),
        Opcode::Mkdir => ops::mkdir(cx, request, reply),
        Opcode::Create => ops::create(cx, request, reply),
        Opcode::Tmpfile => ops::tmpfile(cx, request, reply),
        Opcode::Link => ops::link(cx, request, reply),
        Opcode::Unlink => ops::unlink(cx, request),
        Opcode::Rmdir => ops::rmdir(cx, request),
        Opcode::Rename => ops::rename(cx, request),
        Opcode::Rename2 => ops::rename2(cx, request),
        Opcode::Read => ops::read(cx, request, reply),
        Opcode::Write => ops::write(cx, request, reply),
        Opcode::Fsync | Opcode::Fsyncdir => ops::fsync(cx, request),
        Opcode::Fallocate => ops::fallocate(cx, request),
        Opcode::Lseek => ops::lseek(cx, request, reply),
        Opcode::CopyFileRange => ops::copy_file_range(cx, request, reply),
        Opcode::CopyFileRange64 => ops::copy_file_range_64(cx, request, reply),
        Opcode::Ioctl => ops::ioctl(cx, request, reply),
        Opcode::Setxattr => ops::setxattr(cx, request),
        Opcode::Getxattr => ops::getxattr(cx, request, reply),
        Opcode::Listxattr => ops::listxattr(cx, request, reply),
        Opcode::Removexattr => ops::removexattr(cx, request),
        Opcode::Readdir => ops::readdir(cx, request, reply),
        Opcode::Readdirplus => ops::readdirplus(cx, request, reply),
        Opcode::Syncfs => cx.fs.fsync(NodeId::ROOT, mica_vfs::SyncScope::All),
        Opcode::Init => init(cx, request, reply),
        Opcode::Release => ops::release(cx, request),
        Opcode::Releasedir | Opcode::Destroy => Ok(()),
        // No request waits for anything but the layers, so there is nothing to interrupt. ENOSYS would be a reply.
        Opcode::Interrupt | Opcode::NotifyReply => Ok(()),
        Opcode::Open => ops::open(cx, request, reply),
        Opcode::Opendir => ops::opendir(cx, &request, reply),
        Opcode::Access => ops::access(cx, request),
        // ENOSYS makes the kernel close without a message for the life of the connection.
        Opcode::Flush => Err(Errno::NOSYS),
        // The kernel keeps locks and polls regular files itself.
        Opcode::Getlk | Opcode::Setlk | Opcode::Setlkw => Err(Errno::NOSYS),
        Opcode::Poll | Opcode::Bmap => Err(Errno::NOSYS),
        Opcode::Setupmapping | Opcode::Removemapping => Err(Errno::NOSYS),
    }
}

/// Negotiates.
fn init(cx: &Connection, mut request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Errno> {
    let (out, outcome) = match negotiate(request.rest(), cx.wanted)? {
        Negotiation::Agreed(out, report) => (out, Ok(report)),
        Negotiation::AskAgain(out) => return reply.put(&out),
        Negotiation::TooOld(version) => {
            cx.agree(Err(version));
            return Err(Errno::PROTO);
        }
    };
    if !cx.agree(outcome) {
        return Err(invent!(Errno::IO, "second INIT on one connection"));
    }
    reply.put(&out)
}

/// Ends the references in a reply's body, and what it opened.
fn undo_body(connection: &Connection, opcode: Opcode, mut body: &[u8]) {
    let entry = |node: u64| {
        if node != 0 {
            connection.take_back(NodeId(node));
        }
    };
    match opcode {
        Opcode::Lookup
        | Opcode::Symlink
        | Opcode::Mknod
        | Opcode::Mkdir
        | Opcode::Link
        | Opcode::Create
        | Opcode::Tmpfile => {
            if let Some((out, _)) = take::<EntryOut>(body) {
                entry(out.nodeid);
            }
        }
        Opcode::Open => {
            if let Some((out, _)) = take::<OpenOut>(body) {
                connection.opens.undo(out.fh);
            }
        }
        Opcode::Readdirplus => {
            while let Some((out, _)) = take::<DirentPlus>(body) {
                entry(out.entry.nodeid);
                let name = usize::try_from(out.dirent.namelen).unwrap_or(usize::MAX);
                let record = padded(size_of::<DirentPlus>().saturating_add(name));
                body = body.get(record..).unwrap_or_default();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
