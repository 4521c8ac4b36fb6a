//! Filling a new file from another filesystem in the cheapest way: sharing blocks, copying in the kernel, bytes.

use std::os::fd::{AsFd, OwnedFd};

use mica_vfs::{Access, CopyMethod, Errno, Filesystem, NodeId, SeekFrom as VfsSeek, invent};
use rustix::fs::{OFlags, SeekFrom, copy_file_range, ftruncate, ioctl_ficlone, seek};
use rustix::io::{pread, pwrite};

use crate::HostFs;
use crate::attr::{Ids, stat_fd};

/// What is read at once.
const BLOCK: usize = 1 << 20;
/// What is left out if it is all zeros.
const GRAIN: usize = 1 << 16;

impl HostFs {
    pub(crate) fn fill(
        &self,
        to: NodeId,
        source: &dyn Filesystem,
        from: NodeId,
        len: u64,
    ) -> Result<CopyMethod, Errno> {
        let target = self.data_fd(to, Access::Write)?;
        if len == 0 {
            return Ok(CopyMethod::Bytes);
        }
        match source.host_file(from, Access::Read)? {
            Some(file) => self.fill_from_file(&target, &file.0, len),
            None => fill_from_node(&target, source, from, len),
        }
    }

    fn fill_from_file(
        &self,
        target: &OwnedFd,
        file: &OwnedFd,
        len: u64,
    ) -> Result<CopyMethod, Errno> {
        let attr = stat_fd(file.as_fd(), Ids::Devices)?;
        if attr.size < len {
            return Err(short(attr.size, len));
        }
        if ioctl_ficlone(target, file).is_ok() {
            if attr.size != len {
                ftruncate(target, len)?;
            }
            return Ok(CopyMethod::Reflink);
        }
        let mut method = CopyMethod::CopyFileRange;
        // Units of 512 bytes. Where all is allocated there is nothing to skip.
        if attr.blocks.saturating_mul(512) >= attr.size {
            copy_segment(target, file, 0, len, &mut method)?;
            return Ok(method);
        }
        // Searching moves the position of the open file, which is not ours to move.
        let private = self.reopen(file, OFlags::RDONLY)?;
        let mut at = 0;
        while at < len {
            let data = match seek(&private, SeekFrom::Data(at)) {
                Err(Errno::NXIO) => break,
                // No idea of holes: all is data.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
                found => found?,
            };
            if data >= len {
                break;
            }
            let hole = seek(&private, SeekFrom::Hole(data)).unwrap_or(len).min(len);
            copy_segment(target, &private, data, hole, &mut method)?;
            at = hole;
        }
        ftruncate(target, len)?;
        Ok(method)
    }
}

fn short(size: u64, len: u64) -> Errno {
    invent!(
        Errno::IO,
        "a file shrank while it was copied",
        size = size,
        expected = len
    )
}

/// Copies `start..end` in the kernel, and as soon as that is not possible by hand, which `method` then says.
fn copy_segment(
    target: &OwnedFd,
    source: &OwnedFd,
    start: u64,
    end: u64,
    method: &mut CopyMethod,
) -> Result<(), Errno> {
    let mut at = start;
    while at < end && *method == CopyMethod::CopyFileRange {
        let (mut from, mut to) = (at, at);
        let count = usize::try_from(end - at).unwrap_or(usize::MAX);
        match copy_file_range(source, Some(&mut from), target, Some(&mut to), count) {
            Ok(0) => return Err(short(at, end)),
            Ok(count) => at += count as u64,
            Err(Errno::INTR) => {}
            // Two kinds of filesystem, or one that cannot; EPERM is a filter's way to say ENOSYS.
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                *method = CopyMethod::Bytes;
            }
            Err(errno) => return Err(errno),
        }
    }
    if at < end {
        copy_bytes(target, at, end, |at, block| pread(source, block, at))?;
    }
    Ok(())
}

/// Copies through the trait, for data that is in no host file.
fn fill_from_node(
    target: &OwnedFd,
    source: &dyn Filesystem,
    from: NodeId,
    len: u64,
) -> Result<CopyMethod, Errno> {
    let mut at = 0;
    while at < len {
        let data = match source.seek(from, VfsSeek::Data(at)) {
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            found => found?,
        };
        if data >= len {
            break;
        }
        let hole = source
            .seek(from, VfsSeek::Hole(data))
            .unwrap_or(len)
            .min(len);
        copy_bytes(target, data, hole, |at, block| source.read(from, at, block))?;
        at = hole;
    }
    // A hole at the end and a file that ends early look the same from here.
    let size = source.get_attr(from)?.size;
    if size < len {
        return Err(short(size, len));
    }
    ftruncate(target, len)?;
    Ok(CopyMethod::Bytes)
}

/// Copies `start..end`, leaving out what is all zeros.
fn copy_bytes(
    target: &OwnedFd,
    start: u64,
    end: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<usize, Errno>,
) -> Result<(), Errno> {
    let size = usize::try_from(end - start).unwrap_or(BLOCK).min(BLOCK);
    let mut buffer = vec![0; size];
    let mut at = start;
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(size).min(size);
        let block = buffer.get_mut(..want).unwrap_or_default();
        let count = match read(at, block) {
            Ok(0) => return Err(short(at, end)),
            Err(Errno::INTR) => continue,
            count => count?,
        };
        for grain in block.get(..count).unwrap_or_default().chunks(GRAIN) {
            if grain.iter().any(|&byte| byte != 0) {
                write_all(target, grain, at)?;
            }
            at += grain.len() as u64;
        }
    }
    // Zeros at the end were left out, too.
    if stat_fd(target.as_fd(), Ids::Devices)?.size < end {
        ftruncate(target, end)?;
    }
    Ok(())
}

fn write_all(target: &OwnedFd, mut data: &[u8], mut at: u64) -> Result<(), Errno> {
    while !data.is_empty() {
        match pwrite(target, data, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                at += count as u64;
                data = data.get(count..).unwrap_or_default();
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
