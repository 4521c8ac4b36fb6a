//! Making, removing and renaming names.

use mica_vfs::{Entry, Errno, FileName, FileType, Mode, NodeId, Rdev, RenameFlags};

use crate::connection::Connection;
use crate::reply::Reply;
use crate::request::Request;
use crate::wire::{
    CreateIn, FOPEN_KEEP_CACHE, LinkIn, MkdirIn, MknodIn, OpenOut, Rename2In, RenameIn,
};

/// `O_EXCL` on the architectures of Linux that have FUSE.
const O_EXCL: u32 = 0o200;

/// Makes a symbolic link.
pub(crate) fn symlink(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let caller = request.caller(0)?;
    let (name, target) = (request.file_name()?, request.string()?);
    let entry = cx.fs.symlink(&caller, request.node(), name, target)?;
    put_entry(cx, reply, &entry)
}

/// Makes a file, a FIFO, a socket or a device.
pub(crate) fn mknod(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let wire: MknodIn = request.take()?;
    let caller = request.caller(wire.umask)?;
    let name = request.file_name()?;
    let kind = match FileType::from_mode(wire.mode) {
        // mknod(2): no type is a regular file.
        None if wire.mode & 0o170_000 == 0 => FileType::Regular,
        None | Some(FileType::Directory | FileType::Symlink) => return Err(Errno::INVAL),
        Some(kind) => kind,
    };
    let (mode, rdev) = (Mode::new(wire.mode), Rdev::from_u32(wire.rdev));
    let entry = cx
        .fs
        .mknod(&caller, request.node(), name, kind, mode, rdev)?;
    put_entry(cx, reply, &entry)
}

/// Makes a directory.
pub(crate) fn mkdir(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let wire: MkdirIn = request.take()?;
    let caller = request.caller(wire.umask)?;
    let name = request.file_name()?;
    let entry = cx
        .fs
        .mkdir(&caller, request.node(), name, Mode::new(wire.mode))?;
    put_entry(cx, reply, &entry)
}

/// Makes a regular file and opens it.
pub(crate) fn create(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let wire: CreateIn = request.take()?;
    let caller = request.caller(wire.umask)?;
    let name = request.file_name()?;
    let made = cx
        .fs
        .create(&caller, request.node(), name, Mode::new(wire.mode));
    match made {
        Ok(entry) => put_opened(cx, reply, &entry),
        // The name came up after the kernel looked. Serving it here would skip the kernel's permission check and its
        // truncation, which it does not do for a file that CREATE made. ESTALE makes it look the name up again and open
        // what is there.
        Err(Errno::EXIST) if wire.flags & O_EXCL == 0 => Err(Errno::STALE),
        Err(errno) => Err(errno),
    }
}

/// Makes a regular file without a name and opens it. The name in the request means nothing.
pub(crate) fn tmpfile(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let wire: CreateIn = request.take()?;
    let caller = request.caller(wire.umask)?;
    let entry = cx
        .fs
        .tmpfile(&caller, request.node(), Mode::new(wire.mode))?;
    put_opened(cx, reply, &entry)
}

/// Gives a node one more name.
pub(crate) fn link(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let node = NodeId(request.take::<LinkIn>()?.oldnodeid);
    let name = request.file_name()?;
    let entry = cx.fs.link(node, request.node(), name)?;
    put_entry(cx, reply, &entry)
}

/// Removes a name.
pub(crate) fn unlink(cx: &Connection, mut request: Request<'_>) -> Result<(), Errno> {
    let name = request.file_name()?;
    cx.fs.unlink(request.node(), name)
}

/// Removes a directory.
pub(crate) fn rmdir(cx: &Connection, mut request: Request<'_>) -> Result<(), Errno> {
    let name = request.file_name()?;
    cx.fs.rmdir(request.node(), name)
}

/// Renames without flags.
pub(crate) fn rename(cx: &Connection, mut request: Request<'_>) -> Result<(), Errno> {
    let to_dir = NodeId(request.take::<RenameIn>()?.newdir);
    move_name(cx, request, to_dir, RenameFlags::empty())
}

/// Renames with flags.
pub(crate) fn rename2(cx: &Connection, mut request: Request<'_>) -> Result<(), Errno> {
    let wire: Rename2In = request.take()?;
    let flags = RenameFlags::from_bits(wire.flags).ok_or(Errno::INVAL)?;
    move_name(cx, request, NodeId(wire.newdir), flags)
}

fn move_name(
    cx: &Connection,
    mut request: Request<'_>,
    to_dir: NodeId,
    flags: RenameFlags,
) -> Result<(), Errno> {
    let (from, to): (FileName<'_>, FileName<'_>) = (request.file_name()?, request.file_name()?);
    cx.fs.rename(request.node(), from, to_dir, to, flags)
}

fn put_entry(cx: &Connection, reply: &mut Reply<'_>, entry: &Entry) -> Result<(), Errno> {
    reply.put(&cx.entry_out(entry))
}

/// Puts a node that the kernel holds open from then on.
///
/// The handle is 0, as that of every file: once OPEN was ENOSYS the kernel sends no RELEASE, not even for these, so a
/// handle of their own would never be closed.
fn put_opened(cx: &Connection, reply: &mut Reply<'_>, entry: &Entry) -> Result<(), Errno> {
    put_entry(cx, reply, entry)?;
    reply.put(&OpenOut {
        fh: 0,
        open_flags: FOPEN_KEEP_CACHE,
        backing_id: 0,
    })
}
