//! Files with holes, in GNU's format 1.0: a map of where there is data, before the data.
//!
//! ```text
//! COUNT\n OFFSET\n LENGTH\n ... padded to a block; then the data of all extents, one after the other
//! ```
//!
//! GNU tar, bsdtar, Go and Python read it. Go takes a map of at most 1 MiB; so do we, and leave the smallest holes out of
//! a map that would be longer.

use mica_vfs::{Errno, SeekFrom};

use super::block::BLOCK;
use super::error::Flaw;
use super::pax::decimal;
use crate::offline::Node;

/// The longest map, in bytes.
pub(super) const MAP_MAX: usize = 1 << 20;

/// A piece of a file that has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// Where a file has data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Map(Vec<Extent>);

impl Map {
    pub(super) fn extents(&self) -> &[Extent] {
        &self.0
    }

    /// Returns how many bytes of data there are.
    pub(super) fn stored(&self) -> u64 {
        self.0.iter().map(|extent| extent.len).sum()
    }

    /// Asks where a file has data; `None` if it has no holes.
    ///
    /// # Errors
    ///
    /// What lseek(2) answers.
    pub(super) fn of(node: &Node) -> Result<Option<Self>, Errno> {
        let size = node.attr().size;
        let mut hole_min = 1;
        while let Some(extents) = extents(node, size, hole_min)? {
            let map = Self(extents);
            if map.encode().len() <= MAP_MAX {
                return Ok(Some(map));
            }
            hole_min *= 16;
        }
        Ok(None)
    }

    /// Writes it, padded to whole blocks.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text = format!("{}\n", self.0.len());
        for Extent { offset, len } in &self.0 {
            text.push_str(&format!("{offset}\n{len}\n"));
        }
        let mut bytes = text.into_bytes();
        let whole = bytes.len().next_multiple_of(BLOCK);
        bytes.resize(whole, 0);
        bytes
    }

    /// Reads it block by block.
    ///
    /// # Errors
    ///
    /// It is no map of a file of `size` bytes, or longer than [`MAP_MAX`]; what `next` answers.
    pub(super) fn read<E: From<Flaw>>(
        size: u64,
        mut next: impl FnMut() -> Result<[u8; BLOCK], E>,
    ) -> Result<(Self, u64), E> {
        let mut text = Vec::new();
        let mut lines = 0;
        let mut wanted = None;
        loop {
            let block = next()?;
            text.extend_from_slice(&block);
            lines += block.iter().filter(|&&byte| byte == b'\n').count();
            if wanted.is_none() && lines > 0 {
                let first = text.split(|&byte| byte == b'\n').next();
                let count = first.and_then(decimal).ok_or(Flaw::Sparse)?;
                let count = usize::try_from(count).map_err(|_| Flaw::Sparse)?;
                wanted = Some(count.checked_mul(2).ok_or(Flaw::Sparse)?.saturating_add(1));
            }
            if wanted.is_some_and(|wanted| lines >= wanted) {
                break;
            }
            if text.len() >= MAP_MAX {
                return Err(Flaw::Sparse.into());
            }
        }
        let length = u64::try_from(text.len()).map_err(|_| Flaw::Sparse)?;
        let map = Self::parse(&text, wanted.unwrap_or_default(), size)?;
        Ok((map, length))
    }

    fn parse(text: &[u8], wanted: usize, size: u64) -> Result<Self, Flaw> {
        let mut lines = text.split(|&byte| byte == b'\n').take(wanted).skip(1);
        let mut extents = Vec::new();
        let mut end = 0;
        while let Some(offset) = lines.next() {
            let offset = decimal(offset).ok_or(Flaw::Sparse)?;
            let len = lines.next().and_then(decimal).ok_or(Flaw::Sparse)?;
            if offset < end {
                return Err(Flaw::Sparse);
            }
            end = offset.checked_add(len).ok_or(Flaw::Sparse)?;
            extents.push(Extent { offset, len });
        }
        if end > size {
            return Err(Flaw::Sparse);
        }
        Ok(Self(extents))
    }
}

/// Lists the extents of a file, as if it had no holes shorter than `hole_min`; `None` if it has no holes then.
fn extents(node: &Node, size: u64, hole_min: u64) -> Result<Option<Vec<Extent>>, Errno> {
    let seek = |from| match node.fs().seek(node.id(), from) {
        // Beyond the last data.
        Err(Errno::NXIO) => Ok(size),
        found => found.map(|found| found.min(size)),
    };
    let mut extents: Vec<Extent> = Vec::new();
    let mut at = 0;
    while at < size {
        let start = seek(SeekFrom::Data(at))?;
        if start >= size {
            break;
        }
        let end = seek(SeekFrom::Hole(start))?;
        match extents.last_mut() {
            Some(last) if start - (last.offset + last.len) < hole_min => {
                last.len = end - last.offset;
            }
            None if start < hole_min => extents.push(Extent {
                offset: 0,
                len: end,
            }),
            _ => extents.push(Extent {
                offset: start,
                len: end - start,
            }),
        }
        at = end;
    }
    let end = extents.last().map_or(0, |last| last.offset + last.len);
    let is_whole = matches!(extents.as_slice(), [only] if only.offset == 0 && only.len == size);
    if is_whole || size == 0 {
        return Ok(None);
    }
    if end < size {
        // So GNU tar says where the file ends.
        extents.push(Extent {
            offset: size,
            len: 0,
        });
    }
    Ok(Some(extents))
}

/// Returns how many bytes a file with this map takes in the archive, without the padding at its end.
pub(super) fn archived(map: &[u8], stored: u64) -> u64 {
    u64::try_from(map.len())
        .unwrap_or(u64::MAX)
        .saturating_add(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], size: u64) -> Result<(Map, u64), Flaw> {
        let mut bytes = text.to_vec();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        let mut blocks = bytes.chunks(BLOCK).map(|block| block.try_into().unwrap());
        Map::read(size, || blocks.next().ok_or(Flaw::Truncated))
    }

    #[test]
    fn a_map_that_was_written_is_read_as_it_was() {
        let extents = (0..100).map(|n| Extent {
            offset: n * 4096,
            len: 1024,
        });
        let map = Map(extents.collect());
        let written = map.encode();
        assert_eq!(written.len() % BLOCK, 0);
        let length = written.len() as u64;
        assert_eq!(read(&written, 1 << 20), Ok((map, length)));
    }

    #[test]
    fn a_map_that_makes_no_sense_is_refused() {
        for bad in [
            &b"x\n"[..],
            b"-1\n",
            b"1\n5\n6\n",
            b"2\n4\n4\n2\n1\n",
            b"2\n0\n4\n3\n1\n",
            b"1\n18446744073709551615\n1\n",
            b"18446744073709551615\n",
        ] {
            assert_eq!(read(bad, 10), Err(Flaw::Sparse), "{}", bad.escape_ascii());
        }
        assert_eq!(read(b"2\n0\n1\n", 10), Err(Flaw::Truncated));
        let endless = [b"600000\n".to_vec(), b"0\n".repeat(600_000)].concat();
        assert_eq!(read(&endless, 10), Err(Flaw::Sparse));
    }
}
