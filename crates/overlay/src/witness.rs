//! Who keeps a record of the lower objects that stop showing as they are.
//!
//! Whoever wants to apply an upper to its lower later has to know what was there when it was copied or hidden. An overlay with a
//! [`Witness`] tells it before the change is seen; it has nothing to do with what is written to the upper.

use std::fmt;

use mica_vfs::{Errno, FileName, FileType, NodeId};

use crate::node::Node;
use crate::overlay::Overlay;
use crate::stack::LayerNode;

/// Is told of lower objects before the view of them changes.
pub trait Witness: Send + Sync + fmt::Debug {
    /// `object` of the lower, of which there is one, is about to be copied up, hidden or moved. What became of an earlier change that
    /// failed is told again.
    ///
    /// # Errors
    ///
    /// Fails the change.
    fn see(&self, object: NodeId, fate: Fate) -> Result<(), Errno>;

    /// `object` of the lower, a socket or a FIFO, was looked up: who opens it in the view meets nobody.
    fn meet(&self, object: NodeId, kind: FileType);

    /// `object` of the lower, a directory that may not be listed, was to be listed.
    fn miss(&self, object: NodeId);
}

/// What happens to a lower object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// A copy takes its place.
    Copied,
    /// It shows no more: it was removed, or another object was put in its place.
    Hidden,
    /// A directory shows at another place, with all that is below it.
    Moved,
}

impl Overlay {
    /// Tells the witness of an object, if there is one.
    pub(crate) fn witness(&self, object: &LayerNode, fate: Fate) -> Result<(), Errno> {
        let Some(witness) = &self.config.witness else {
            return Ok(());
        };
        witness.see(object.id, fate)
    }

    /// Tells the witness that a name of `node` is about to be hidden.
    pub(crate) fn witness_hidden(&self, node: &Node) -> Result<(), Errno> {
        match node.first_lower() {
            Some(lower) => self.witness(lower, Fate::Hidden),
            None => Ok(()),
        }
    }

    /// Tells the witness that `name` is about to lead to `node` no more, if that is the copy of a file with several names: what
    /// comes to be called so later is no copy, and must not be taken for the file that has the other names.
    pub(crate) fn witness_unnamed(
        &self,
        dir: &Node,
        name: FileName<'_>,
        node: &Node,
    ) -> Result<(), Errno> {
        if self.config.witness.is_none() || !node.is_shared() || node.upper().is_none() {
            return Ok(());
        }
        for lower in dir.lowers() {
            // Looked up by this name: by which it is recorded.
            if let Some((file, attr)) = lower.node.child(name)? {
                return match attr.kind {
                    FileType::Directory => Ok(()),
                    _ => self.witness(&file, Fate::Hidden),
                };
            }
        }
        Ok(())
    }

    /// Tells the witness that `node` is about to get another name, if more moves than a copy.
    pub(crate) fn witness_moved(&self, node: &Node) -> Result<(), Errno> {
        match node.lowers().first() {
            Some(lower) if node.kind == FileType::Directory => {
                self.witness(&lower.node, Fate::Moved)
            }
            _ => Ok(()),
        }
    }
}
