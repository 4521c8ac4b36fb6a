//! OPEN, OPENDIR and RELEASE, which only a mount that shares its layers answers (OVL-138), and ACCESS, which only one answers that
//! decides itself what a user may do.
//!
//! `ENOSYS` makes the kernel open from its own caches for the life of the connection. In either case every request works from
//! the node; an open file at most keeps a file of the host open.

use mica_vfs::{Coherence, Errno, Opened, Rights};

use crate::connection::Connection;
use crate::opens::Pages;
use crate::reply::Reply;
use crate::request::Request;
use crate::session::Decider;
use crate::wire::{AccessIn, FOPEN_KEEP_CACHE, OpenIn, OpenOut, ReleaseIn};

/// `O_ACCMODE`.
const ACCESS_MODE: u32 = 3;
/// `O_WRONLY`.
const WRITE_ONLY: u32 = 1;
/// `O_RDWR`.
const READ_WRITE: u32 = 2;
/// `O_TRUNC`.
const TRUNCATE: u32 = 0o1000;
/// `FMODE_EXEC` of the kernel: it is opened to be run.
const EXECUTE: u32 = 0x20;

/// What must be allowed of a file for opening it so.
const fn wanted(flags: u32) -> Rights {
    let mode = match flags & ACCESS_MODE {
        _ if flags & EXECUTE != 0 => Rights::EXEC,
        WRITE_ONLY => Rights::WRITE,
        READ_WRITE => Rights::READ.union(Rights::WRITE),
        _ => Rights::READ,
    };
    if flags & TRUNCATE != 0 {
        mode.union(Rights::WRITE)
    } else {
        mode
    }
}

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
    cx.expect(node, wanted(asked.flags))?;
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
pub(crate) fn opendir(
    cx: &Connection,
    request: &Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    match cx.coherence {
        Coherence::Exclusive => Err(Errno::NOSYS),
        Coherence::Shared => {
            cx.expect(request.node(), Rights::READ)?;
            reply.put(&OpenOut {
                fh: 0,
                open_flags: 0,
                backing_id: 0,
            })
        }
    }
}

/// Answers access(2) and chdir(2).
pub(crate) fn access(cx: &Connection, mut request: Request<'_>) -> Result<(), Errno> {
    if cx.decider == Decider::Kernel {
        return Err(Errno::NOSYS);
    }
    let mask = request.take::<AccessIn>()?.mask;
    let wanted = u8::try_from(mask & 7).map_err(|_| Errno::INVAL)?;
    cx.expect(request.node(), Rights::from_bits_truncate(wanted))
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
