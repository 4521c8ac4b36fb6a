//! LOOKUP and its end, FORGET; READLINK.

use mica_vfs::{Coherence, Errno, FileType, NodeId, invent};

use crate::connection::Connection;
use crate::init::PAGE;
use crate::reply::Reply;
use crate::request::Request;
use crate::wire::{BatchForgetIn, ForgetIn, ForgetOne};

/// Finds a name. One that does not exist is a reply, too: the kernel remembers it, as it does not remember `ENOENT`.
pub(crate) fn lookup(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let name = request.file_name()?;
    match cx.fs.lookup(request.node(), name) {
        Ok(entry) => {
            if entry.attr.kind != FileType::Directory {
                cx.advice.looked_up(request.node(), name);
            }
            reply.put(&cx.entry_out(&entry))
        }
        Err(Errno::NOENT) => reply.put(&cx.no_entry()),
        Err(errno) => Err(errno),
    }
}

/// Ends references on one node.
pub(crate) fn forget(cx: &Connection, mut request: Request<'_>) -> Result<(), Errno> {
    let count = request.take::<ForgetIn>()?.nlookup;
    forget_node(cx, request.node(), count);
    Ok(())
}

/// Ends references on several nodes.
pub(crate) fn batch_forget(cx: &Connection, mut request: Request<'_>) -> Result<(), Errno> {
    let count = request.take::<BatchForgetIn>()?.count;
    for _ in 0..count {
        let one = request.take::<ForgetOne>()?;
        forget_node(cx, NodeId(one.nodeid), one.nlookup);
    }
    Ok(())
}

fn forget_node(cx: &Connection, node: NodeId, count: u64) {
    // The root needs no reference, and the kernel never forgets it while the mount lives.
    if node != NodeId::ROOT {
        cx.stats.forgot(count);
        // Before its number can be another's.
        if cx.coherence == Coherence::Shared {
            cx.opens.forget(node);
        }
        cx.fs.forget(node, count);
    }
}

/// Reads the target of a symbolic link.
pub(crate) fn readlink(
    cx: &Connection,
    request: &Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let target = cx.fs.read_link(request.node())?;
    // The kernel has a page for it, the NUL included, and takes a longer reply for a broken server.
    if target.len() >= PAGE {
        let len = target.len();
        return Err(invent!(
            Errno::NAMETOOLONG,
            "target of a symbolic link is too long",
            len = len
        ));
    }
    reply.put_bytes(&target)
}
