//! The table of live nodes.
//!
//! A node is found by its [`NodeId`], or by its [`Key`]: which inode of which layer it shows. Names are not kept, the
//! kernel does that. A node lives while it is referenced: by the front, and by children which must find their way up.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use mica_vfs::lock::{Rank, RwLock};
use mica_vfs::{Attr, DevId, Errno, Ino, NodeId};

use crate::node::{NewNode, Node, Place};
use crate::orphan::Orphans;
use crate::stack::LayerIdx;

const TABLE: Rank = Rank(130);

/// What a node shows, and so what makes two lookups meet in one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// The topmost object under the node.
    Inode {
        layer: LayerIdx,
        dev: DevId,
        ino: Ino,
    },
    /// One name of a lower file with several: each is a file of its own, as it is for the kernel without an index
    /// (OVL-32).
    Alias { parent: NodeId, name_hash: u64 },
}

impl Key {
    pub(crate) fn inode(layer: LayerIdx, attr: &Attr) -> Self {
        Self::Inode {
            layer,
            dev: attr.dev,
            ino: attr.ino,
        }
    }
}

/// A hash for keys, which are numbers that nobody chooses at will: inode numbers, and hashes that have a secret already.
/// Every lookup takes one, and the default hasher was a tenth of its time.
#[derive(Debug, Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(value.into());
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value.cast_unsigned() as u64);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    node: Option<Arc<Node>>,
    key: Option<Key>,
}

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_key: HashMap<Key, u32, BuildHasherDefault<Mixer>>,
}

/// The nodes of an overlay.
#[derive(Debug)]
pub(crate) struct Table {
    inner: RwLock<Slots>,
    /// Those of the nodes that the work directory keeps; `None` without an upper.
    pub(crate) orphans: Option<Orphans>,
}

/// `generation << 32 | index + 1`: never 0, and 1 for the root, which is the first.
fn node_id(generation: u32, index: u32) -> NodeId {
    NodeId((u64::from(generation) << 32) | (u64::from(index) + 1))
}

fn index_of(id: NodeId) -> Option<u32> {
    u32::try_from((id.0 & 0xffff_ffff).checked_sub(1)?).ok()
}

impl Slots {
    fn get(&self, id: NodeId) -> Option<&Arc<Node>> {
        let slot = self.slots.get(usize::try_from(index_of(id)?).ok()?)?;
        slot.node.as_ref().filter(|node| node.id == id)
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(index).ok()?)
    }

    fn insert(&mut self, key: Option<Key>, new: NewNode) -> Result<Arc<Node>, Errno> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.slots.len()).map_err(|_| Errno::NFILE)?;
                self.slots.push(Slot::default());
                index
            }
        };
        let slot = self.slot_mut(index).ok_or(Errno::IO)?;
        let node = Arc::new(Node::new(node_id(slot.generation, index), new));
        slot.node = Some(Arc::clone(&node));
        slot.key = key;
        if let Some(key) = key {
            self.by_key.insert(key, index);
        }
        Ok(node)
    }

    fn remove(&mut self, id: NodeId) -> Option<Arc<Node>> {
        let index = index_of(id)?;
        let slot = self.slot_mut(index)?;
        slot.node.as_ref().filter(|node| node.id == id)?;
        let node = slot.node.take();
        slot.generation = slot.generation.wrapping_add(1);
        let key = slot.key.take();
        self.unkey(key, index);
        self.free.push(index);
        node
    }

    /// Drops `key` if it is still that of slot `index`.
    fn unkey(&mut self, key: Option<Key>, index: u32) {
        if let Some(key) = key
            && self.by_key.get(&key) == Some(&index)
        {
            self.by_key.remove(&key);
        }
    }
}

impl Table {
    /// Makes the table with its root.
    pub(crate) fn new(root: NewNode, orphans: Option<Orphans>) -> Result<Self, Errno> {
        let mut slots = Slots::default();
        slots.insert(None, root)?;
        Ok(Self {
            inner: RwLock::new(TABLE, slots),
            orphans,
        })
    }

    /// Returns how many nodes live, the root included.
    pub(crate) fn len(&self) -> usize {
        self.inner
            .read()
            .map_or(0, |t| t.slots.len() - t.free.len())
    }

    /// Finds a node; `ESTALE` if nobody refers to it.
    pub(crate) fn get(&self, id: NodeId) -> Result<Arc<Node>, Errno> {
        self.inner.read()?.get(id).cloned().ok_or(Errno::STALE)
    }

    /// Finds the node that shows `key`, if there is one, and takes a reference on it.
    pub(crate) fn reference(&self, key: Key) -> Result<Option<Arc<Node>>, Errno> {
        let table = self.inner.read()?;
        let Some(&index) = table.by_key.get(&key) else {
            return Ok(None);
        };
        let slot = usize::try_from(index).ok().and_then(|i| table.slots.get(i));
        let node = slot.and_then(|s| s.node.clone());
        // Under the lock: a node whose last reference ends is removed under it.
        node.iter()
            .for_each(|node| _ = node.refs.fetch_add(1, Relaxed));
        Ok(node)
    }

    /// Returns the node that shows `key` with one more reference, or makes it from `new`.
    ///
    /// `Err(Raced)` if `parent` changed since `version` was read: what `new` is made of may be out of date.
    pub(crate) fn get_or_insert(
        &self,
        key: Key,
        parent: Option<(&Node, u32)>,
        new: NewNode,
    ) -> Result<Inserted, Errno> {
        // Dropped after the lock is free: a dropped handle calls its layer.
        let mut unused = Some(new);
        let mut table = self.inner.write()?;
        // A copy-up publishes, bumps the version and changes the key under this lock: either its key is found below,
        // or the change of version is seen here.
        if parent.is_some_and(|(dir, version)| dir.version() != version) {
            return Ok(Inserted::Raced);
        }
        if let Some(&index) = table.by_key.get(&key)
            && let Some(node) = table.slot_mut(index).and_then(|s| s.node.clone())
        {
            node.refs.fetch_add(1, Relaxed);
            drop(table);
            return Ok(Inserted::Node(node));
        }
        let Some(new) = unused.take() else {
            return Err(Errno::IO);
        };
        let held = new.place.as_ref().map(|p| Arc::clone(&p.parent));
        let node = table.insert(Some(key), new)?;
        if let Some(parent) = held {
            parent.refs.fetch_add(1, Relaxed);
        }
        Ok(Inserted::Node(node))
    }

    /// Makes `key` a second key of `node`, under which lookups meet it from when its object is published.
    pub(crate) fn add_key(&self, node: &Node, key: Key) -> Result<(), Errno> {
        let index = index_of(node.id).ok_or(Errno::STALE)?;
        let mut table = self.inner.write()?;
        table.get(node.id).ok_or(Errno::STALE)?;
        table.by_key.insert(key, index);
        Ok(())
    }

    /// Takes back what [`add_key`](Self::add_key) did.
    pub(crate) fn drop_key(&self, node: &Node, key: Key) -> Result<(), Errno> {
        let index = index_of(node.id).ok_or(Errno::STALE)?;
        self.inner.write()?.unkey(Some(key), index);
        Ok(())
    }

    /// Makes `key`, or nothing, the only key of `node`, and tells lookups in `dir` that they may have seen an old state.
    pub(crate) fn rekey(
        &self,
        node: &Node,
        key: Option<Key>,
        dir: Option<&Node>,
    ) -> Result<(), Errno> {
        let index = index_of(node.id).ok_or(Errno::STALE)?;
        let mut table = self.inner.write()?;
        let Some(slot) = table.slot_mut(index) else {
            return Err(Errno::STALE);
        };
        // A node that was forgotten meanwhile has lost its slot, perhaps to another.
        if slot.node.as_ref().is_some_and(|n| n.id == node.id) {
            let old = std::mem::replace(&mut slot.key, key);
            if old != key {
                table.unkey(old, index);
            }
            if let Some(key) = key {
                table.by_key.insert(key, index);
            }
        } else if let Some(key) = key {
            table.unkey(Some(key), index);
        }
        if let Some(dir) = dir {
            dir.bump_version();
        }
        Ok(())
    }

    /// Bumps the version of `dir` so that no lookup inserts what it read before.
    pub(crate) fn bump(&self, dir: &Node) -> Result<(), Errno> {
        let _table = self.inner.write()?;
        dir.bump_version();
        Ok(())
    }

    /// Moves `node` to `place`, and the reference that it holds on its parent.
    pub(crate) fn move_to(&self, node: &Node, place: Option<Place>) -> Result<(), Errno> {
        if let Some(place) = &place {
            place.parent.refs.fetch_add(1, Relaxed);
        }
        if let Some(old) = node.set_place(place)? {
            self.put(&old.parent, 1);
        }
        Ok(())
    }

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
        Life::Ended
    }

    /// Takes a node out of the table, whoever references it.
    pub(crate) fn expel(&self, id: NodeId) -> Result<(), Errno> {
        // Dropped after the lock is free: a dropped handle calls its layer.
        let removed = self.inner.write()?.remove(id);
        drop(removed);
        Ok(())
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
}

impl<'a> Held<'a> {
    /// Takes over a reference that `table` gave.
    pub(crate) fn adopt(table: &'a Table, node: Arc<Node>) -> Self {
        Self { table, node }
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
        self.table.put(&self.node, 1);
    }
}

/// What [`Table::get_or_insert`] came to.
#[derive(Debug)]
pub(crate) enum Inserted {
    /// The node, with a reference for the caller.
    Node(Arc<Node>),
    /// The directory changed meanwhile: look again.
    Raced,
}
