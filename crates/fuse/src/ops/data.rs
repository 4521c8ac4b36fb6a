//! The data of files. Every request works from the node alone: there are no open files.

use mica_vfs::{Errno, FallocateMode, KillPriv, NodeId, SeekFrom, SyncScope};

use crate::connection::Connection;
use crate::reply::Reply;
use crate::request::Request;
use crate::wire::{
    CopyFileRangeIn, CopyFileRangeOut, FSYNC_FDATASYNC, FallocateIn, FsyncIn, LseekIn, LseekOut,
    ReadIn, WRITE_CACHE, WRITE_KILL_SUIDGID, WriteIn, WriteOut,
};

/// `SEEK_DATA` and `SEEK_HOLE` of lseek(2).
const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

/// What a program stores into at a time is written back in these.
const PAGE_SIZE: usize = 4096;
const PAGE: u64 = PAGE_SIZE as u64;

/// The most that FUSE_COPY_FILE_RANGE can say it copied: its answer has 32 bits. Whole pages, as the kernel asks.
const COPY_MAX: u64 = 0xffff_f000;

/// Reads, straight into the reply.
pub(crate) fn read(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let wire: ReadIn = request.take()?;
    let size = usize::try_from(wire.size).map_err(|_| Errno::INVAL)?;
    let node = request.node();
    let read = reply.fill(size, |data| cx.fs.read(node, wire.offset, data))?;
    cx.stats.read(read);
    Ok(())
}

/// Writes, straight from the request.
pub(crate) fn write(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let wire: WriteIn = request.take()?;
    let data = request.bytes(usize::try_from(wire.size).map_err(|_| Errno::INVAL)?)?;
    let kill = if wire.write_flags & WRITE_KILL_SUIDGID != 0 {
        KillPriv::Clear
    } else {
        KillPriv::Keep
    };
    let node = request.node();
    let written = if wire.write_flags & WRITE_CACHE != 0 {
        write_back(cx, node, wire.offset, data, kill)?
    } else {
        cx.fs.write(node, wire.offset, data, kill)?
    };
    cx.stats.wrote(written);
    reply.put(&WriteOut {
        size: u32::try_from(written).unwrap_or(wire.size).min(wire.size),
        padding: 0,
    })
}

/// Writes pages that programs stored into through a shared mapping (OVL-86).
///
/// The kernel drops them, whatever becomes of them: of an answer it reads the error alone, not the count. So a page that does
/// not fit is stepped over and every other is kept, and the first error is the answer for all of them, which the kernel
/// keeps for the next msync, fsync or close.
fn write_back(
    cx: &Connection,
    node: NodeId,
    offset: u64,
    data: &[u8],
    kill: KillPriv,
) -> Result<usize, Errno> {
    let (mut at, mut failed) = (0, None);
    while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
        let place = offset.saturating_add(at as u64);
        at = at.saturating_add(match cx.fs.write(node, place, rest, kill) {
            Ok(count) if count > 0 => count,
            refused => {
                if failed.is_none() {
                    // Was it the copy-up? What that needs and cannot have it would need anew for each page.
                    cx.fs.write(node, offset, &[], KillPriv::Keep)?;
                    failed = Some(refused.err().unwrap_or(Errno::IO));
                }
                let in_page = usize::try_from(place % PAGE).unwrap_or_default();
                PAGE_SIZE.saturating_sub(in_page)
            }
        });
    }
    failed.map_or(Ok(data.len()), Err)
}

/// Puts a file or a directory on stable storage.
pub(crate) fn fsync(cx: &Connection, mut request: Request<'_>) -> Result<(), Errno> {
    let wire: FsyncIn = request.take()?;
    let scope = if wire.fsync_flags & FSYNC_FDATASYNC != 0 {
        SyncScope::Data
    } else {
        SyncScope::All
    };
    cx.fs.fsync(request.node(), scope)
}

/// Allocates, frees or zeroes a range.
pub(crate) fn fallocate(cx: &Connection, mut request: Request<'_>) -> Result<(), Errno> {
    let wire: FallocateIn = request.take()?;
    let mode = FallocateMode::from_bits(wire.mode).ok_or(Errno::OPNOTSUPP)?;
    cx.fs
        .fallocate(request.node(), mode, wire.offset, wire.length)
}

/// Finds data or a hole.
pub(crate) fn lseek(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let wire: LseekIn = request.take()?;
    let from = match wire.whence {
        SEEK_DATA => SeekFrom::Data(wire.offset),
        SEEK_HOLE => SeekFrom::Hole(wire.offset),
        _ => return Err(Errno::INVAL),
    };
    let offset = cx.fs.seek(request.node(), from)?;
    reply.put(&LseekOut { offset })
}

/// Copies within the filesystem, with an answer of 32 bits.
pub(crate) fn copy_file_range(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let copied = copy(cx, &mut request, COPY_MAX)?;
    reply.put(&WriteOut {
        size: u32::try_from(copied).map_err(|_| Errno::OVERFLOW)?,
        padding: 0,
    })
}

/// Copies within the filesystem.
pub(crate) fn copy_file_range_64(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let bytes_copied = copy(cx, &mut request, u64::MAX)?;
    reply.put(&CopyFileRangeOut { bytes_copied })
}

fn copy(cx: &Connection, request: &mut Request<'_>, max: u64) -> Result<u64, Errno> {
    let wire: CopyFileRangeIn = request.take()?;
    if wire.flags != 0 {
        return Err(Errno::INVAL);
    }
    let (from, to) = (request.node(), NodeId(wire.nodeid_out));
    let len = wire.len.min(max);
    cx.fs.copy_range(from, wire.off_in, to, wire.off_out, len)
}
