//! OPEN, OPENDIR and RELEASE, which only a mount that shares its layers answers (OVL-138).
//!
//! `ENOSYS` makes the kernel open from its own caches for the life of the connection. In either case every request works from
//! the node; an open file at most keeps a file of the host open.

use mica_vfs::{Coherence, Errno, Opened};

use crate::connection::Connection;
use crate::opens::Pages;
use crate::reply::Reply;
use crate::request::Request;
use crate::wire::{FOPEN_KEEP_CACHE, OpenIn, OpenOut, ReleaseIn};

/// `O_ACCMODE`.
const ACCESS_MODE: u32 = 3;
/// `O_WRONLY`.
const WRITE_ONLY: u32 = 1;

/// Opens a file. On `ESTALE` the kernel looks its name up again and opens what that leads to.
pub(crate) fn open(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    if cx.coherence == Coherence::Exclusive {
        return Err(Errno::NOSYS);
    }
    let asked: OpenIn = request.take()?;
    let node = request.node();
    let opened = match cx.fs.open(node, cx.opens.known(node)) {
        // To be written over a file need not be readable, and of an empty one there is nothing to read.
        Err(Errno::ACCESS)
            if asked.flags & ACCESS_MODE == WRITE_ONLY || cx.fs.get_attr(node)?.size == 0 =>
        {
            Opened::default()
        }
        opened => opened?,
    };
    let (fh, pages) = cx.opens.keep(node, opened);
    reply.put(&OpenOut {
        fh,
        open_flags: match pages {
            Pages::Stay => FOPEN_KEEP_CACHE,
            // The kernel drops the pages of the file.
            Pages::Go => 0,
        },
        backing_id: 0,
    })
}

/// Opens a directory. No `FOPEN_CACHE_DIR`: the kernel keeps no listing.
pub(crate) fn opendir(cx: &Connection, reply: &mut Reply<'_>) -> Result<(), Errno> {
    match cx.coherence {
        Coherence::Exclusive => Err(Errno::NOSYS),
        Coherence::Shared => reply.put(&OpenOut {
            fh: 0,
            open_flags: 0,
            backing_id: 0,
        }),
    }
}

/// Closes a file.
///
/// Where OPEN is `ENOSYS` this comes for files of CREATE and TMPFILE until the kernel has learnt that. They have handle 0: the end
/// of a node is FORGET.
pub(crate) fn release(cx: &Connection, mut request: Request<'_>) -> Result<(), Errno> {
    let closed: ReleaseIn = request.take()?;
    cx.opens.release(closed.fh);
    Ok(())
}
