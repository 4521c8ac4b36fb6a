//! Extended attributes.

use mica_vfs::{Errno, KillPriv, XATTR_SIZE_MAX, XattrMode};

use crate::connection::Connection;
use crate::init::InitFlags;
use crate::reply::Reply;
use crate::request::Request;
use crate::wire::{GetxattrIn, GetxattrOut, SETXATTR_ACL_KILL_SGID, SetxattrIn, SetxattrInLegacy};

/// `XATTR_CREATE` and `XATTR_REPLACE` of setxattr(2), and both at once.
const XATTR_CREATE: u32 = 1;
const XATTR_REPLACE: u32 = 2;
const XATTR_BOTH: u32 = XATTR_CREATE | XATTR_REPLACE;

/// Sets an attribute.
pub(crate) fn setxattr(cx: &Connection, mut request: Request<'_>) -> Result<(), Errno> {
    let wire = if cx.uses(InitFlags::SETXATTR_EXT) {
        request.take::<SetxattrIn>()?
    } else {
        let SetxattrInLegacy { size, flags } = request.take()?;
        SetxattrIn {
            size,
            flags,
            setxattr_flags: 0,
            padding: 0,
        }
    };
    let mode = match wire.flags {
        0 => XattrMode::Set,
        XATTR_CREATE | XATTR_BOTH => XattrMode::Create,
        XATTR_REPLACE => XattrMode::Replace,
        _ => return Err(Errno::INVAL),
    };
    let kill = if wire.setxattr_flags & SETXATTR_ACL_KILL_SGID != 0 {
        KillPriv::Clear
    } else {
        KillPriv::Keep
    };
    let name = request.xattr_name()?;
    let value = request.bytes(usize::try_from(wire.size).map_err(|_| Errno::INVAL)?)?;
    if value.len() > XATTR_SIZE_MAX {
        return Err(Errno::TOOBIG);
    }
    let node = request.node();
    if wire.flags == XATTR_BOTH {
        // What must be there and must not is always wrong: of what is not there it is `ENODATA`.
        cx.fs.get_xattr(node, name, &mut [])?;
    }
    cx.fs.set_xattr(node, name, value, mode, kill)
}

/// Reads an attribute, or its length.
pub(crate) fn getxattr(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let size = request.take::<GetxattrIn>()?.size;
    let name = request.xattr_name()?;
    let node = request.node();
    answer(size, reply, |value| cx.fs.get_xattr(node, name, value))
}

/// Reads the names of all attributes, or their length.
pub(crate) fn listxattr(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let size = request.take::<GetxattrIn>()?.size;
    let node = request.node();
    // `trusted.*` is among them for whoever asks. The kernel's overlayfs leaves it out for who may not read it; a server
    // is not told who that is: with ALLOW_IDMAP only requests that make objects carry a user.
    answer(size, reply, |names| cx.fs.list_xattr(node, names))
}

/// Removes an attribute.
pub(crate) fn removexattr(cx: &Connection, mut request: Request<'_>) -> Result<(), Errno> {
    let name = request.xattr_name()?;
    cx.fs.remove_xattr(request.node(), name)
}

/// Puts what `read` gives into a caller's buffer of `size` bytes; of 0 bytes, the length alone.
fn answer(
    size: u32,
    reply: &mut Reply<'_>,
    read: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
) -> Result<(), Errno> {
    if size == 0 {
        let len = read(&mut [])?;
        return reply.put(&GetxattrOut {
            size: u32::try_from(len).map_err(|_| Errno::TOOBIG)?,
            padding: 0,
        });
    }
    let size = usize::try_from(size).map_err(|_| Errno::INVAL)?;
    reply.fill(size.min(XATTR_SIZE_MAX), read)?;
    Ok(())
}
