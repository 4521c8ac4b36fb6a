//! Filling a file from another filesystem.
//!
//! No lock of the tree is held while the other filesystem is asked: it may be this one.

use mica_vfs::{CopyMethod, Errno, Filesystem, KillPriv, NodeId, SeekFrom, SetAttr, invent};

use crate::Tmpfs;

/// How much is read at once.
const CHUNK: u64 = 1 << 20;

/// Copies the first `len` bytes of `from` into the empty file `to`. What the source knows as a hole is not read, and
/// a page of zeros is not written.
pub(crate) fn copy_from(
    target: &Tmpfs,
    to: NodeId,
    source: &dyn Filesystem,
    from: NodeId,
    len: u64,
) -> Result<CopyMethod, Errno> {
    let mut chunk = vec![0; usize::try_from(len.min(CHUNK)).map_err(|_| Errno::NOMEM)?];
    let mut at = 0;
    while let Some((start, end)) = next_data(source, from, at, len)? {
        at = start;
        while at < end {
            let want = usize::try_from((end - at).min(CHUNK)).map_err(|_| Errno::NOMEM)?;
            let buffer = chunk.get_mut(..want).ok_or(Errno::IO)?;
            let got = source.read(from, at, buffer)?;
            if got == 0 {
                return Err(invent!(
                    Errno::IO,
                    "a file is shorter than its size",
                    at = at
                ));
            }
            write_data(target, to, at, buffer.get(..got).ok_or(Errno::IO)?)?;
            at += u64::try_from(got).map_err(|_| Errno::IO)?;
        }
    }
    let size = SetAttr {
        size: Some(len),
        ..SetAttr::default()
    };
    target.set_attr(to, &size)?;
    Ok(CopyMethod::Bytes)
}

/// Finds the next range of data at or after `at` and before `len`.
fn next_data(
    source: &dyn Filesystem,
    from: NodeId,
    at: u64,
    len: u64,
) -> Result<Option<(u64, u64)>, Errno> {
    if at >= len {
        return Ok(None);
    }
    let start = match source.seek(from, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // A filesystem that knows no holes: all of it is data.
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => return Ok(Some((at, len))),
        Err(errno) => return Err(errno),
    };
    if start >= len {
        return Ok(None);
    }
    let end = source.seek(from, SeekFrom::Hole(start))?.min(len);
    if end <= start {
        return Err(invent!(
            Errno::IO,
            "data ends before it starts",
            start = start
        ));
    }
    Ok(Some((start, end)))
}

/// Writes `data` but for its pages of zeros.
fn write_data(target: &Tmpfs, to: NodeId, offset: u64, data: &[u8]) -> Result<(), Errno> {
    let mut at = offset;
    for block in data.chunks(4096) {
        if block.iter().any(|&byte| byte != 0) {
            let mut rest = block;
            let mut place = at;
            while !rest.is_empty() {
                let done = target.write(to, place, rest, KillPriv::Keep)?;
                place += u64::try_from(done).map_err(|_| Errno::IO)?;
                rest = rest.get(done..).unwrap_or_default();
            }
        }
        at += u64::try_from(block.len()).map_err(|_| Errno::IO)?;
    }
    Ok(())
}
