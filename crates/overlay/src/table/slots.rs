//! What the lock of the table guards: the nodes, and by which keys they are found.

use std::collections::HashMap;
use std::sync::Arc;

use hashbrown::HashTable;
use mica_vfs::{Coherence, Errno, NodeId, Slab, slot_of};

use super::Key;
use crate::node::{NewNode, Node};

/// A hash table of fewer keys than this is not worth shrinking.
const KEYS_MIN: usize = 1024;

#[derive(Debug)]
pub(super) struct Slot {
    node: Arc<Node>,
    pub(super) key: Option<Key>,
}

#[derive(Debug, Default)]
pub(super) struct Slots {
    pub(super) slots: Slab<Slot>,
    /// The slots with a key, by that. Of two with one key the younger is found.
    by_key: HashTable<u32>,
    /// Keys that nodes will have when their copy-up is published. Rarely more than one for each thread.
    pub(super) early: Vec<(Key, NodeId)>,
    /// The nodes of copies of lower files with several names, by what they were copied from.
    pub(super) copied: HashMap<Key, NodeId>,
    /// How many of these this mount made: they are referenced, so that names which only the lower has show the copy until the
    /// mount ends (OVL-32).
    pub(super) kept: usize,
    /// Whether others change the lowers.
    coherence: Coherence,
}

impl Slots {
    pub(super) fn new(coherence: Coherence) -> Self {
        Self {
            coherence,
            ..Self::default()
        }
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.slots.get(id).map(|slot| &slot.node)
    }

    pub(super) fn by_key(&self, key: Key) -> Option<&Arc<Node>> {
        let early = self.early.iter().find(|(early, _)| *early == key);
        if let Some(node) = early.and_then(|&(_, id)| self.get(id)) {
            return Some(node);
        }
        let same = |&slot: &u32| self.slots.at(slot).is_some_and(|s| s.key == Some(key));
        match self.by_key.find(key.mixed(), same) {
            Some(&slot) => self.slots.at(slot).map(|slot| &slot.node),
            None if self.copied.is_empty() => None,
            None => self.copied.get(&key).and_then(|&id| self.get(id)),
        }
    }

    pub(super) fn insert(&mut self, key: Option<Key>, new: NewNode) -> Result<Arc<Node>, Errno> {
        let coherence = self.coherence;
        let id = self.slots.insert_with(|id| Slot {
            node: Arc::new(Node::new(id, new, coherence)),
            key,
        })?;
        self.enter(id);
        self.get(id).cloned().ok_or(Errno::IO)
    }

    /// Makes a node known by the key in its slot.
    pub(super) fn enter(&mut self, id: NodeId) {
        let Self { slots, by_key, .. } = self;
        let key_of = |slot: u32| slots.at(slot).and_then(|slot| slot.key);
        let key = slots.get(id).and_then(|slot| slot.key);
        let (Some(slot), Some(key)) = (slot_of(id), key) else {
            return;
        };
        let mixed = |&slot: &u32| key_of(slot).map_or(0, Key::mixed);
        match by_key.find_mut(key.mixed(), |&other| key_of(other) == Some(key)) {
            Some(other) => *other = slot,
            None => drop(by_key.insert_unique(key.mixed(), slot, mixed)),
        }
    }

    /// Makes a node unknown by the key in its slot.
    fn leave(&mut self, id: NodeId) {
        let Self { slots, by_key, .. } = self;
        let key_of = |slot: u32| slots.at(slot).and_then(|slot| slot.key);
        let key = slots.get(id).and_then(|slot| slot.key);
        let (Some(slot), Some(key)) = (slot_of(id), key) else {
            return;
        };
        if let Ok(entry) = by_key.find_entry(key.mixed(), |&other| other == slot) {
            entry.remove();
        }
        if by_key.capacity() > KEYS_MIN && by_key.len() < by_key.capacity() / 8 {
            let mixed = |&slot: &u32| key_of(slot).map_or(0, Key::mixed);
            by_key.shrink_to(by_key.len() * 2, mixed);
        }
    }

    pub(super) fn remove(&mut self, id: NodeId) -> Option<Arc<Node>> {
        self.get(id)?;
        self.leave(id);
        self.slots.remove(id).map(|slot| slot.node)
    }

    /// Makes a node known by `key` instead of the key in its slot; [`enter`](Self::enter) does the rest.
    pub(super) fn set_key(&mut self, id: NodeId, key: Option<Key>) {
        self.leave(id);
        if let Some(slot) = self.slots.get_mut(id) {
            slot.key = key;
        }
    }

    /// Lets `key` lead to node `id` no more that was copied from it. Returns the node if the table had a reference on it, which the
    /// caller ends.
    pub(super) fn release_copied(&mut self, key: Key, id: NodeId) -> Option<Arc<Node>> {
        if self.copied.get(&key) != Some(&id) {
            return None;
        }
        self.copied.remove(&key);
        let node = self.get(id).filter(|node| node.set_kept(false)).cloned()?;
        self.kept -= 1;
        Some(node)
    }

    pub(super) fn drop_early(&mut self, id: NodeId, key: Key) {
        self.early.retain(|&early| early != (key, id));
    }
}
