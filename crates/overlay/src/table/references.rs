//! References on nodes: with the last a node goes.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use mica_vfs::NodeId;

use super::Table;
use crate::node::{Node, Place};

impl Table {
    /// Takes one more reference on a node that the caller knows to be referenced.
    pub(crate) fn add_reference(&self, node: &Node) {
        node.refs.fetch_add(1, Relaxed);
    }

    /// Ends `count` references on `id`. Returns the node if those were the last.
    pub(crate) fn forget(&self, id: NodeId, count: u64) -> Option<Arc<Node>> {
        let node = self.get(id).ok()?;
        (self.put(&node, count) == Life::Ended).then_some(node)
    }

    /// Ends `count` references; a node without any goes, and its hold on its parent with it.
    pub(crate) fn put(&self, node: &Arc<Node>, count: u64) -> Life {
        if self.end(node, count) == Life::GoesOn {
            return Life::GoesOn;
        }
        let mut at = node.set_place(None).ok().flatten();
        while let Some(Place { parent, .. }) = at {
            if self.end(&parent, 1) == Life::GoesOn {
                break;
            }
            at = parent.set_place(None).ok().flatten();
        }
        Life::Ended
    }

    /// Ends `count` references and takes the node out of the table if there are no more.
    fn end(&self, node: &Node, count: u64) -> Life {
        // More forgotten than was given would be the front's fault; it must not wrap to a node that lives for ever.
        let before = node
            .refs
            .fetch_update(AcqRel, Acquire, |refs| Some(refs.saturating_sub(count)))
            .unwrap_or(0);
        if before > count || node.id == NodeId::ROOT {
            if before == count + 1 && node.is_shared() {
                self.put_parents(self.links.unused(node));
            }
            return Life::GoesOn;
        }
        let removed = match self.inner.write() {
            // A lookup may have found it between the subtraction and the lock.
            Ok(mut table) if node.refs.load(Acquire) == 0 => table.remove(node.id),
            _ => None,
        };
        let Some(removed) = removed else {
            return Life::GoesOn;
        };
        if let Some(orphans) = &self.orphans {
            orphans.ended(&removed);
        }
        if removed.is_shared() {
            let (names, key) = self.links.ended(&removed);
            self.put_parents(names);
            // Where that fails nothing is found any more.
            _ = key.map(|key| self.release_copied(key, removed.id));
        }
        Life::Ended
    }

    /// Ends the references that names which are known no more hold on their directories.
    pub(crate) fn put_parents(&self, names: impl IntoIterator<Item = Place>) {
        for Place { parent, .. } in names {
            self.put(&parent, 1);
        }
    }
}

/// Whether a node is still in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    GoesOn,
    Ended,
}

/// A node with a reference that ends on drop: an operation works on a node that stays in the table.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    table: &'a Table,
    node: Arc<Node>,
    is_kept: bool,
}

impl<'a> Held<'a> {
    /// Takes over a reference that `table` gave.
    pub(crate) fn adopt(table: &'a Table, node: Arc<Node>) -> Self {
        Self {
            table,
            node,
            is_kept: false,
        }
    }

    /// Gives the reference to the caller.
    pub(crate) fn keep(mut self) -> Arc<Node> {
        self.is_kept = true;
        Arc::clone(&self.node)
    }
}

impl std::ops::Deref for Held<'_> {
    type Target = Arc<Node>;

    fn deref(&self) -> &Arc<Node> {
        &self.node
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            self.table.put(&self.node, 1);
        }
    }
}
