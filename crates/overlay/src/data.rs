//! The data of files: read from where it lies, changed in the upper.
//!
//! A file is copied up by the first change of it, not by opening it: there is no open (OVL-20).

use mica_vfs::{
    Access, CopyMethod, Errno, FallocateMode, FileType, Filesystem, HostFile, KillPriv, NodeId,
    SeekFrom, SetAttr, SyncScope, met,
};

use crate::durability::Durability;
use crate::lower_data::DataObject;
use crate::node::Node;
use crate::overlay::Overlay;
use crate::stack::LayerNode;

/// How much a copy between two layers moves at a time.
const COPY_BLOCK: usize = 1 << 20;

fn expect_regular(node: &Node) -> Result<(), Errno> {
    match node.kind {
        FileType::Regular => Ok(()),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::INVAL),
    }
}

/// Whether a file has `size` bytes.
fn is_of_size(node: &LayerNode, size: u64) -> bool {
    node.attr().is_ok_and(|attr| attr.size == size)
}

impl Overlay {
    /// Drops setuid and setgid before a change of data, and tells the observer: the kernel keeps the mode of a file that it
    /// writes to, and would execute it with the bits that are gone.
    ///
    /// Of who allocates or copies a range a front knows nothing, so the bits go whoever it is.
    fn drop_privileges(&self, node: &Node, upper: &LayerNode) -> Result<(), Errno> {
        let mode = upper.attr()?.mode;
        let kept = mode.without_privileges();
        if kept == mode {
            return Ok(());
        }
        let change = SetAttr {
            mode: Some(kept),
            ..SetAttr::default()
        };
        met!(43);
        upper.fs().set_attr(upper.id, &change)?;
        if let Some(observer) = self.observer.get() {
            observer.attributes_changed(node.id);
        }
        Ok(())
    }

    pub(crate) fn data_read(
        &self,
        id: NodeId,
        offset: u64,
        data: &mut [u8],
    ) -> Result<usize, Errno> {
        let node = self.table.get(id)?;
        expect_regular(&node)?;
        let DataObject { node: real, end } = self.data_of(&node)?;
        let rest = end.map_or(u64::MAX, |end| end.saturating_sub(offset));
        let len = usize::try_from(rest).unwrap_or(usize::MAX).min(data.len());
        met!(101, end.is_some());
        let data = data.get_mut(..len).unwrap_or_default();
        real.fs().read(real.id, offset, data)
    }

    pub(crate) fn data_write(
        &self,
        id: NodeId,
        offset: u64,
        data: &[u8],
        kill: KillPriv,
    ) -> Result<usize, Errno> {
        let node = self.table.get(id)?;
        expect_regular(&node)?;
        node.expect_writable(offset)?;
        let upper = self.copy_up(&node)?;
        if kill == KillPriv::Clear {
            self.drop_privileges(&node, upper)?;
        }
        upper.fs().write(upper.id, offset, data, KillPriv::Keep)
    }

    pub(crate) fn data_allocate(
        &self,
        id: NodeId,
        mode: FallocateMode,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        let node = self.table.get(id)?;
        expect_regular(&node)?;
        node.expect_allocatable(mode)?;
        let upper = self.copy_up(&node)?;
        self.drop_privileges(&node, upper)?;
        upper.fs().fallocate(upper.id, mode, offset, len)
    }

    pub(crate) fn data_seek(&self, id: NodeId, from: SeekFrom) -> Result<u64, Errno> {
        let node = self.table.get(id)?;
        expect_regular(&node)?;
        let DataObject { node: real, end } = self.data_of(&node)?;
        let (Some(end), SeekFrom::Data(start) | SeekFrom::Hole(start)) = (end, from) else {
            return real.fs().seek(real.id, from);
        };
        if start >= end {
            return Err(Errno::NXIO);
        }
        match (from, real.fs().seek(real.id, from)) {
            (SeekFrom::Data(_), Ok(found)) if found >= end => Err(Errno::NXIO),
            (SeekFrom::Hole(_), Ok(found)) => Ok(found.min(end)),
            // What is missing at the end is a hole.
            (SeekFrom::Hole(_), Err(Errno::NXIO)) => Ok(start),
            (_, found) => found,
        }
    }

    pub(crate) fn data_copy_range(
        &self,
        from: (NodeId, u64),
        to: (NodeId, u64),
        len: u64,
    ) -> Result<u64, Errno> {
        let (source, target) = (self.table.get(from.0)?, self.table.get(to.0)?);
        expect_regular(&source)?;
        expect_regular(&target)?;
        target.expect_unprotected()?;
        let upper = self.copy_up(&target)?;
        self.drop_privileges(&target, upper)?;
        let DataObject { node: real, end } = self.data_of(&source)?;
        let len = len.min(end.map_or(u64::MAX, |end| end.saturating_sub(from.1)));
        match source.upper() {
            Some(real) if !source.is_metacopy() => {
                upper.fs().copy_range(real.id, from.1, upper.id, to.1, len)
            }
            // Two layers are two filesystems to each other; the caller asks again for what is left.
            _ => {
                let len = usize::try_from(len).unwrap_or(COPY_BLOCK).min(COPY_BLOCK);
                let mut block = vec![0; len];
                let got = real.fs().read(real.id, from.1, &mut block)?;
                let block = block.get(..got).ok_or(Errno::IO)?;
                let put = upper.fs().write(upper.id, to.1, block, KillPriv::Clear)?;
                u64::try_from(put).map_err(|_| Errno::IO)
            }
        }
    }

    /// Syncs the upper object; what lies in a lower is on disk as far as this mount can tell (ovl_fsync, OVL-53). A volatile
    /// mount syncs nothing (OVL-66).
    pub(crate) fn data_sync(&self, id: NodeId, scope: SyncScope) -> Result<(), Errno> {
        met!(53);
        let node = self.table.get(id)?;
        match node.upper() {
            Some(upper) if self.config.durability != Durability::Volatile => {
                upper.fs().fsync(upper.id, scope)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn data_host_file(
        &self,
        id: NodeId,
        access: Access,
    ) -> Result<Option<HostFile>, Errno> {
        let node = self.table.get(id)?;
        expect_regular(&node)?;
        let real = match access {
            Access::Write => {
                node.expect_unprotected()?;
                self.copy_up(&node)?
            }
            Access::Read => match self.data_of(&node)? {
                // Who reads the file itself must not see more than there is.
                DataObject { node, end } if end.is_none_or(|end| is_of_size(node, end)) => node,
                DataObject { .. } => return Ok(None),
            },
        };
        real.fs().host_file(real.id, access)
    }

    /// Fills the new file `to` from another filesystem: an overlay as the upper of an overlay.
    pub(crate) fn data_copy_from(
        &self,
        to: NodeId,
        source: &dyn Filesystem,
        from: NodeId,
        len: u64,
    ) -> Result<CopyMethod, Errno> {
        let node = self.table.get(to)?;
        expect_regular(&node)?;
        node.expect_unprotected()?;
        let upper = self.copy_up(&node)?;
        upper.fs().copy_from(upper.id, source, from, len)
    }
}
