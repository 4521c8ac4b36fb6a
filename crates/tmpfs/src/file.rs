//! The data of regular files.

use mica_vfs::{Errno, FallocateMode, FileType, KillPriv, NodeId, SeekFrom, Time};

use crate::inode::{Body, Inode};
use crate::limits::Budget;
use crate::pages::{Pages, SIZE_MAX};
use crate::tree::{Index, Tree};

/// One end of a copy within the filesystem.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    pub(crate) node: NodeId,
    pub(crate) offset: u64,
}

impl Inode {
    /// # Errors
    ///
    /// `EISDIR` for a directory, `EINVAL` for all else that has no data.
    fn data(&self) -> Result<&Pages, Errno> {
        match &self.body {
            Body::Regular(data) => Ok(data),
            _ => Err(no_data(self.kind())),
        }
    }

    fn data_mut(&mut self) -> Result<&mut Pages, Errno> {
        let kind = self.kind();
        match &mut self.body {
            Body::Regular(data) => Ok(data),
            _ => Err(no_data(kind)),
        }
    }
}

const fn no_data(kind: FileType) -> Errno {
    match kind {
        FileType::Directory => Errno::ISDIR,
        _ => Errno::INVAL,
    }
}

impl Tree {
    /// Reads.
    pub(crate) fn read(&self, node: NodeId, offset: u64, data: &mut [u8]) -> Result<usize, Errno> {
        Ok(self.inode(self.find(node)?)?.data()?.read(offset, data))
    }

    /// Writes.
    pub(crate) fn write(
        &mut self,
        now: Time,
        node: NodeId,
        offset: u64,
        data: &[u8],
        kill: KillPriv,
    ) -> Result<usize, Errno> {
        let index = self.find(node)?;
        let (inode, pages) = self.inode_and_pages(index)?;
        let file = inode.data_mut()?;
        if data.is_empty() {
            return Ok(0);
        }
        let done = file.write(pages, offset, data)?;
        inode.touch_data(now, kill);
        Ok(done)
    }

    /// Allocates, frees or zeroes a range.
    ///
    /// # Errors
    ///
    /// `EISDIR`, `ENODEV` where there is no data; `EINVAL` for an empty range; `EOPNOTSUPP` for a mode that there is
    /// not; `EFBIG`, `ENOSPC`.
    pub(crate) fn fallocate(
        &mut self,
        now: Time,
        node: NodeId,
        mode: FallocateMode,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        let index = self.find(node)?;
        let (inode, pages) = self.inode_and_pages(index)?;
        let action = Allocation::of(mode, len)?;
        match inode.kind() {
            FileType::Regular => {}
            FileType::Directory => return Err(Errno::ISDIR),
            FileType::Fifo => return Err(Errno::SPIPE),
            _ => return Err(Errno::NODEV),
        }
        let end = offset.checked_add(len).filter(|&end| end <= SIZE_MAX);
        let end = end.ok_or(Errno::FBIG)?;
        action.apply(inode.data_mut()?, pages, offset, len)?;
        if !mode.contains(FallocateMode::KEEP_SIZE) {
            inode.data_mut()?.grow(end);
        }
        inode.touch_data(now, KillPriv::Keep);
        Ok(())
    }

    /// Finds data or a hole.
    pub(crate) fn seek(&self, node: NodeId, from: SeekFrom) -> Result<u64, Errno> {
        let inode = self.inode(self.find(node)?)?;
        let data = inode.data().map_err(|_| Errno::INVAL)?;
        match from {
            SeekFrom::Data(offset) => data.seek_data(offset),
            SeekFrom::Hole(offset) => data.seek_hole(offset),
        }
    }

    /// Copies a range between two files, or within one.
    ///
    /// # Errors
    ///
    /// `EISDIR`, `EINVAL` where there is no data; `EINVAL` if the ranges of one file overlap; `ENOSPC`, `EFBIG`.
    pub(crate) fn copy_range(
        &mut self,
        now: Time,
        from: Position,
        to: Position,
        len: u64,
    ) -> Result<u64, Errno> {
        let (source, target) = (self.find(from.node)?, self.find(to.node)?);
        let size = self.inode(source)?.data()?.size();
        self.inode(target)?.data()?;
        let len = len.min(size.saturating_sub(from.offset));
        if len == 0 {
            return Ok(0);
        }
        let done = if source == target {
            if from.offset.abs_diff(to.offset) < len {
                return Err(Errno::INVAL);
            }
            let (inode, pages) = self.inode_and_pages(source)?;
            inode
                .data_mut()?
                .copy_within(from.offset, to.offset, len, pages)?
        } else {
            self.copy_between((source, from.offset), (target, to.offset), len)?
        };
        self.inode_mut(target)?.touch_data(now, KillPriv::Keep);
        Ok(done)
    }

    fn copy_between(
        &mut self,
        (source, from): (Index, u64),
        (target, to): (Index, u64),
        len: u64,
    ) -> Result<u64, Errno> {
        // The target's data is taken out of the table for the time: two inodes of it cannot be borrowed at once.
        let mut data = std::mem::take(self.inode_mut(target)?.data_mut()?);
        let copied = match self.source_and_pages(source) {
            Ok((source, pages)) => source.copy_to(from, &mut data, to, len, pages),
            Err(errno) => Err(errno),
        };
        *self.inode_mut(target)?.data_mut()? = data;
        copied
    }

    fn source_and_pages(&mut self, index: Index) -> Result<(&Pages, &mut Budget), Errno> {
        let (inode, pages) = self.inode_and_pages(index)?;
        Ok((inode.data()?, pages))
    }
}

/// What a fallocate does to the pages.
#[derive(Debug, Clone, Copy)]
enum Allocation {
    /// They exist afterwards.
    Allocate,
    /// They read as zeros and need no room.
    Punch,
    /// They read as zeros and exist.
    Zero,
}

impl Allocation {
    fn of(mode: FallocateMode, len: u64) -> Result<Self, Errno> {
        let action = match mode.difference(FallocateMode::KEEP_SIZE) {
            FallocateMode::PUNCH_HOLE if mode.contains(FallocateMode::KEEP_SIZE) => Self::Punch,
            FallocateMode::ZERO_RANGE => Self::Zero,
            rest if rest.is_empty() => Self::Allocate,
            _ => return Err(Errno::OPNOTSUPP),
        };
        if len == 0 {
            return Err(Errno::INVAL);
        }
        Ok(action)
    }

    fn apply(
        self,
        data: &mut Pages,
        pages: &mut Budget,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        match self {
            Self::Allocate => data.allocate(pages, offset, len)?,
            Self::Punch => data.zero(pages, offset, len),
            Self::Zero => {
                // Allocated before anything is zeroed, so that ENOSPC changes nothing.
                data.allocate(pages, offset, len)?;
                data.zero(pages, offset, len);
                data.allocate(pages, offset, len)?;
            }
        }
        Ok(())
    }
}
