//! The late copy of data: a metacopy of the upper becomes a whole file, before the first change of its data.
//!
//! The data goes into the upper file where it is, as the kernel does it (ovl_copy_up_meta_inode_data): it may have several
//! names, and who has it open keeps the same file. Until the mark is removed, which is the last step, nobody reads what was
//! copied, so a copy that ended half-way is made again from the start (OVL-106).

use std::sync::atomic::Ordering::Relaxed;

use mica_vfs::{
    Attr, Errno, FallocateMode, KillPriv, SetAttr, SyncScope, XattrMode, XattrName, met,
};

use super::{CopyUpStep, set_times, step};
use crate::durability::Durability;
use crate::lower_data::DataObject;
use crate::node::Node;
use crate::overlay::Overlay;
use crate::stack::LayerNode;

/// The attribute that a change of data takes away.
const CAPABILITY: &[u8] = b"security.capability";

/// A multiple of the blocks of all filesystems.
const BLOCK: u64 = 1 << 16;

/// One late copy under way.
struct LateCopy<'a> {
    overlay: &'a Overlay,
    node: &'a Node,
    upper: &'a LayerNode,
    data: DataObject<'a>,
    /// Attributes of the metacopy.
    attr: Attr,
    capability: Option<Vec<u8>>,
}

impl Overlay {
    /// Copies the data of a metacopy of the upper, all of it, also before a truncation: to cut it while the mark is there shows
    /// another size with the old data to whoever comes after a crash, and to cut it later shows a hole.
    ///
    /// # Errors
    ///
    /// What a layer answers (`ENOSPC`, `EDQUOT`, `EIO`): the file is still a metacopy, and what was copied is freed.
    ///
    /// # Locks
    ///
    /// The caller is in the copying gate of the node.
    pub(super) fn copy_lower_data(&self, node: &Node, upper: &LayerNode) -> Result<(), Errno> {
        let data = step(node, CopyUpStep::Read, self.data_of(node))?;
        let attr = step(node, CopyUpStep::Read, upper.attr())?;
        let capability = step(node, CopyUpStep::Read, capability_of(upper))?;
        let late = LateCopy {
            overlay: self,
            node,
            upper,
            data,
            attr,
            capability,
        };
        late.run().inspect_err(|_| late.undo())?;
        met!(106);
        node.set_metacopy(false);
        // A whole file needs its place no more, nor its parent.
        self.table.move_to(node, None)
    }
}

impl LateCopy<'_> {
    fn run(&self) -> Result<(), Errno> {
        let copied = step(self.node, CopyUpStep::LateData, self.copy())?;
        if copied > 0 {
            step(self.node, CopyUpStep::LateMetadata, self.restore())?;
        }
        let durability = self.overlay.config.durability;
        if copied > 0 && durability != Durability::Volatile || durability == Durability::Strict {
            let synced = self.upper.fs().fsync(self.upper.id, SyncScope::All);
            step(self.node, CopyUpStep::Sync, synced)?;
        }
        let unmarked = self.overlay.remove_mark(self.upper, "metacopy");
        step(self.node, CopyUpStep::Unmark, unmarked)?;
        self.overlay
            .counters
            .copied_bytes
            .fetch_add(copied, Relaxed);
        Ok(())
    }

    /// Copies the data and returns how much of it there was.
    fn copy(&self) -> Result<u64, Errno> {
        let lower = self.data.node.attr()?;
        let size = self.attr.size.min(self.data.end.unwrap_or(u64::MAX));
        let len = size.min(lower.size);
        if self.attr.blocks > 0 {
            self.free();
        }
        if len > 0 {
            let (to, from) = (self.upper, self.data.node);
            to.fs().copy_from(to.id, from.fs(), from.id, len)?;
            self.overlay.expect_unchanged(from, &lower, self.node)?;
        }
        Ok(len)
    }

    /// Makes the metadata again what they were before the data came.
    fn restore(&self) -> Result<(), Errno> {
        let (upper, before) = (self.upper, &self.attr);
        let change = difference(&upper.attr()?, before);
        if change != SetAttr::default() {
            upper.fs().set_attr(upper.id, &change)?;
        }
        if let Some(value) = &self.capability {
            let (name, mode) = (XattrName::new(CAPABILITY)?, XattrMode::Set);
            upper
                .fs()
                .set_xattr(upper.id, name, value, mode, KillPriv::Keep)?;
        }
        set_times(upper, before)
    }

    /// Frees what a copy left in the file; its size stays. What cannot be freed is written over by the next.
    fn free(&self) {
        let (upper, size) = (self.upper, self.attr.size);
        // Of a block that is freed in part only, nothing is.
        let len = size.checked_next_multiple_of(BLOCK).unwrap_or(size);
        let mode = FallocateMode::PUNCH_HOLE | FallocateMode::KEEP_SIZE;
        if size > 0
            && let Err(errno) = upper.fs().fallocate(upper.id, mode, 0, len)
        {
            tracing::debug!(%errno, path = self.node.path(), "an unfinished copy was not freed");
        }
    }

    /// Takes back what a copy did that failed. The mark is there still, so the data is what it was.
    fn undo(&self) {
        self.free();
        if let Err(errno) = self.restore() {
            tracing::debug!(%errno, path = self.node.path(), "an unfinished copy was not undone");
        }
    }
}

/// Returns what makes attributes that are `now` what they were `before`, but for the times.
fn difference(now: &Attr, before: &Attr) -> SetAttr {
    SetAttr {
        size: (now.size != before.size).then_some(before.size),
        uid: (now.uid != before.uid).then_some(before.uid),
        gid: (now.gid != before.gid).then_some(before.gid),
        mode: (now.mode != before.mode).then_some(before.mode),
        ..SetAttr::default()
    }
}

/// Reads the file capability of a file.
fn capability_of(node: &LayerNode) -> Result<Option<Vec<u8>>, Errno> {
    match node.xattr(XattrName::new(CAPABILITY)?) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno),
    }
}
