//! Attributes: what a node shows, and changing it.

use mica_vfs::{Attr, Errno, FileType, NodeId, SetAttr, met};

use crate::config::DirLinks;
use crate::copy_up::{DataLimit, Made};
use crate::node::Node;
use crate::overlay::Overlay;
use crate::stack::LayerNode;

impl Overlay {
    /// Turns the attributes of the real object into those that `node` shows.
    pub(crate) fn shown(&self, node: &Node, real: Attr) -> Attr {
        self.learn(node, &real);
        let is_dir = node.kind == FileType::Directory;
        let nlink = if node.is_merged() || (is_dir && self.config.dir_links == DirLinks::One) {
            // Subdirectories are not counted across layers; 1 tells programs so (OVL-33, OVL-76).
            met!(33);
            1
        } else if let Some(links) = self.counted_links(node) {
            links
        } else if node.is_orphan() && node.upper().is_some() {
            // The name in the work directory does not count (OVL-60).
            met!(60);
            match node.kind {
                FileType::Directory => 0,
                _ => real.nlink.saturating_sub(1),
            }
        } else if !is_dir && node.upper().is_none() && matches!(node.place(), Ok(None)) {
            // Removed from the overlay, but the lower still has it.
            met!(60);
            0
        } else {
            real.nlink
        };
        let blocks = if node.has_data_elsewhere() {
            self.data_blocks(node, &real)
        } else {
            real.blocks
        };
        Attr {
            ino: node.ino(),
            dev: self.dev,
            nlink,
            protection: node.protection(),
            blocks,
            ..self.config.ids.shown(node.shown_device(real))
        }
    }

    pub(crate) fn attr_of(&self, node: &Node) -> Result<Attr, Errno> {
        let real = node.real()?.attr()?;
        Ok(self.shown(node, real))
    }

    pub(crate) fn attr_set(&self, id: NodeId, change: &SetAttr) -> Result<Attr, Errno> {
        let node = self.table.get(id)?;
        if change.size.is_some() && node.kind != FileType::Regular {
            let is_dir = node.kind == FileType::Directory;
            return Err(if is_dir { Errno::ISDIR } else { Errno::INVAL });
        }
        node.expect_settable(change)?;
        let change = self.config.ids.stored(change);
        // What a truncation throws away is not copied first (OVL-21), and without one there may be no data to copy.
        let limit = match change.size {
            Some(_) => {
                met!(21);
                DataLimit::Cut(&change)
            }
            None => DataLimit::Metadata,
        };
        let real = match self.copy_up_data(&node, limit)? {
            // It was truncated before it was shown; what was done is not undone by an attribute that cannot be read.
            (upper, Made::Now(attr)) if change.size.is_some() => upper.attr().unwrap_or(attr),
            (upper, _) => {
                let _settled = self.settle(&node);
                self.change_attr(upper, &change)?
            }
        };
        Ok(self.shown(&node, real))
    }

    /// Changes attributes of an upper object, without the owner where that may not be set and nobody sees it (OVL-73).
    pub(crate) fn change_attr(&self, upper: &LayerNode, change: &SetAttr) -> Result<Attr, Errno> {
        let owned = change.uid.is_some() || change.gid.is_some();
        match upper.fs().set_attr(upper.id, change) {
            Err(errno) if owned && self.config.ids.forgives(errno) => {
                let rest = SetAttr {
                    uid: None,
                    gid: None,
                    ..*change
                };
                upper.fs().set_attr(upper.id, &rest)
            }
            changed => changed,
        }
    }
}
