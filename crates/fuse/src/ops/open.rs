//! OPEN and OPENDIR, which only a mount that shares its layers answers (OVL-138).
//!
//! `ENOSYS` makes the kernel open from its own caches for the life of the connection. There are no open files in either case:
//! the handle is 0, and every request works from the node.

use mica_vfs::{Coherence, Errno};

use crate::connection::Connection;
use crate::reply::Reply;
use crate::request::Request;
use crate::wire::OpenOut;

/// No `FOPEN_KEEP_CACHE`: the kernel drops the pages of the file. No `FOPEN_CACHE_DIR`: it keeps no listing.
const NOTHING_KEPT: OpenOut = OpenOut {
    fh: 0,
    open_flags: 0,
    backing_id: 0,
};

/// Opens a file. On `ESTALE` the kernel looks its name up again and opens what that leads to.
pub(crate) fn open(
    cx: &Connection,
    request: &Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    match cx.coherence {
        Coherence::Exclusive => Err(Errno::NOSYS),
        Coherence::Shared => {
            cx.fs.open(request.node())?;
            reply.put(&NOTHING_KEPT)
        }
    }
}

/// Opens a directory.
pub(crate) fn opendir(cx: &Connection, reply: &mut Reply<'_>) -> Result<(), Errno> {
    match cx.coherence {
        Coherence::Exclusive => Err(Errno::NOSYS),
        Coherence::Shared => reply.put(&NOTHING_KEPT),
    }
}
