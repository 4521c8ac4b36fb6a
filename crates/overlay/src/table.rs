//! The table of live nodes.
//!
//! A node is found by its [`NodeId`], or by its [`Key`]: which inode of which layer it shows. Names are not kept, the
//! kernel does that. A node lives while it is referenced: by the front, and by children which must find their way up.

use std::collections::HashMap;
use std::hash::{Hash as _, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use hashbrown::HashTable;
use mica_vfs::lock::{Rank, RwLock};
use mica_vfs::{Attr, Coherence, DevId, Errno, FileType, Ino, NodeId, Slab, slot_of};

use crate::hard_link::HardLinks;
use crate::node::{Lower, NewNode, Node, Place, Renewed};
use crate::orphan::Orphans;
use crate::stack::{LayerIdx, LayerNode};

const TABLE: Rank = Rank(130);
/// A hash table of fewer keys than this is not worth shrinking.
const KEYS_MIN: usize = 1024;

/// What a node shows, and so what makes two lookups meet in one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// The topmost object under the node.
    Inode {
        layer: LayerIdx,
        dev: DevId,
        ino: Ino,
    },
    /// A lower file with several names, which are all one node, whatever layers they are in (OVL-32).
    Shared { dev: DevId, ino: Ino },
}

impl Key {
    fn mixed(self) -> u64 {
        let mut mixer = Mixer::default();
        self.hash(&mut mixer);
        mixer.finish()
    }

    /// Says what a lookup that found an object of `layer` meets.
    pub(crate) fn of(layer: LayerIdx, attr: &Attr) -> Self {
        let shared = attr.kind != FileType::Directory && attr.nlink > 1;
        if shared && layer != LayerIdx::UPPER {
            Self::shared(attr)
        } else {
            Self::inode(layer, attr)
        }
    }

    /// The key of a lower file with several names.
    pub(crate) const fn shared(lower: &Attr) -> Self {
        let Attr { dev, ino, .. } = *lower;
        Self::Shared { dev, ino }
    }

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

#[derive(Debug)]
struct Slot {
    node: Arc<Node>,
    key: Option<Key>,
}

#[derive(Debug, Default)]
struct Slots {
    slots: Slab<Slot>,
    /// The slots with a key, by that. Of two with one key the younger is found.
    by_key: HashTable<u32>,
    /// Keys that nodes will have when their copy-up is published. Rarely more than one for each thread.
    early: Vec<(Key, NodeId)>,
    /// The nodes of copies of lower files with several names, by what they were copied from.
    copied: HashMap<Key, NodeId>,
    /// Whether others change the lowers.
    coherence: Coherence,
    /// How many of these this mount made: they are referenced, so that names which only the lower has show the copy until the
    /// mount ends (OVL-32).
    kept: usize,
}

/// A lower file with several names that an upper object is the copy of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alias {
    /// The [`Key::Shared`] of the lower file.
    pub(crate) key: Key,
    /// How many names show it.
    pub(crate) links: u32,
    /// What [`HardLinks::changes`] was before that was read.
    pub(crate) changes: u32,
}

/// The nodes of an overlay.
#[derive(Debug)]
pub(crate) struct Table {
    inner: RwLock<Slots>,
    /// Those of the nodes that the work directory keeps; `None` without an upper.
    pub(crate) orphans: Option<Orphans>,
    pub(crate) links: HardLinks,
}

impl Slots {
    fn get(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.slots.get(id).map(|slot| &slot.node)
    }

    fn by_key(&self, key: Key) -> Option<&Arc<Node>> {
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

    fn insert(&mut self, key: Option<Key>, new: NewNode) -> Result<Arc<Node>, Errno> {
        let coherence = self.coherence;
        let id = self.slots.insert_with(|id| Slot {
            node: Arc::new(Node::new(id, new, coherence)),
            key,
        })?;
        self.enter(id);
        self.get(id).cloned().ok_or(Errno::IO)
    }

    /// Makes a node known by the key in its slot.
    fn enter(&mut self, id: NodeId) {
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

    fn remove(&mut self, id: NodeId) -> Option<Arc<Node>> {
        self.get(id)?;
        self.leave(id);
        self.slots.remove(id).map(|slot| slot.node)
    }

    fn drop_early(&mut self, id: NodeId, key: Key) {
        self.early.retain(|&early| early != (key, id));
    }
}

impl Table {
    /// Makes the table with its root.
    pub(crate) fn new(
        root: NewNode,
        orphans: Option<Orphans>,
        coherence: Coherence,
    ) -> Result<Self, Errno> {
        let mut slots = Slots {
            coherence,
            ..Slots::default()
        };
        slots.insert(None, root)?;
        Ok(Self {
            inner: RwLock::new(TABLE, slots),
            orphans,
            links: HardLinks::default(),
        })
    }

    /// Returns how many nodes live, the root included.
    pub(crate) fn len(&self) -> usize {
        self.inner.read().map_or(0, |table| table.slots.len())
    }

    /// Returns how many nodes live, and how many of them are copies of files with several names.
    pub(crate) fn count(&self) -> (usize, usize) {
        let table = self.inner.read();
        table.map_or((0, 0), |table| (table.slots.len(), table.kept))
    }

    /// Finds a node; `ESTALE` if nobody refers to it.
    pub(crate) fn get(&self, id: NodeId) -> Result<Arc<Node>, Errno> {
        self.inner.read()?.get(id).cloned().ok_or(Errno::STALE)
    }

    /// Finds the node that shows `key`, if there is one, and takes a reference on it.
    pub(crate) fn reference(&self, key: Key) -> Result<Option<Arc<Node>>, Errno> {
        let table = self.inner.read()?;
        let node = table.by_key(key).cloned();
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
        self.get_or_insert_as(key, parent, new, None)
    }

    /// Does what [`get_or_insert`](Self::get_or_insert) does with a node that `alias` leads to, too.
    pub(crate) fn get_or_insert_as(
        &self,
        key: Key,
        parent: Option<(&Node, u32)>,
        new: NewNode,
        alias: Option<Alias>,
    ) -> Result<Inserted, Errno> {
        // Dropped after the lock is free: a dropped handle calls its layer.
        let mut unused = Some(new);
        let mut table = self.inner.write()?;
        // A copy-up publishes, bumps the version and changes the key under this lock: either its key is found below,
        // or the change of version is seen here.
        if parent.is_some_and(|(dir, version)| dir.version() != version) {
            return Ok(Inserted::Raced);
        }
        if let Some(node) = table.by_key(key).cloned() {
            node.refs.fetch_add(1, Relaxed);
            drop(table);
            return Ok(Inserted::Node(node));
        }
        // Who changes the links of a file holds its node, so if there is none every change was counted.
        if alias.is_some_and(|alias| alias.changes != self.links.changes()) {
            return Ok(Inserted::Raced);
        }
        let Some(new) = unused.take() else {
            return Err(Errno::IO);
        };
        let held = new.place.as_ref().map(|p| Arc::clone(&p.parent));
        let node = table.insert(Some(key), new)?;
        if let Key::Shared { .. } = key {
            node.set_shared();
        }
        if let Some(Alias { key, links, .. }) = alias {
            self.links.insert(&node, key, links)?;
            node.set_shared();
            table.copied.insert(key, node.id);
        }
        if let Some(parent) = held {
            parent.refs.fetch_add(1, Relaxed);
        }
        Ok(Inserted::Node(node))
    }

    /// Makes `key` a second key of `node`, under which lookups meet it from when its object is published.
    pub(crate) fn add_key(&self, node: &Node, key: Key) -> Result<(), Errno> {
        let mut table = self.inner.write()?;
        table.get(node.id).ok_or(Errno::STALE)?;
        table.early.push((key, node.id));
        Ok(())
    }

    /// Takes back what [`add_key`](Self::add_key) did.
    pub(crate) fn drop_key(&self, node: &Node, key: Key) -> Result<(), Errno> {
        self.inner.write()?.drop_early(node.id, key);
        Ok(())
    }

    /// Makes `key`, or nothing, the only key of `node`, and tells lookups in `dir` that they may have seen an old state.
    pub(crate) fn rekey(
        &self,
        node: &Node,
        key: Option<Key>,
        dir: Option<&Node>,
    ) -> Result<(), Errno> {
        let mut table = self.inner.write()?;
        if let Some(key) = key {
            table.drop_early(node.id, key);
        }
        // A node that was forgotten meanwhile has lost its slot, perhaps to another.
        if let Some(old) = table.slots.get(node.id).map(|slot| slot.key)
            && old != key
        {
            table.leave(node.id);
            if let Some(slot) = table.slots.get_mut(node.id) {
                slot.key = key;
            }
            if let (Some(shared @ Key::Shared { .. }), Some(_)) = (old, key) {
                node.refs.fetch_add(1, Relaxed);
                table.copied.insert(shared, node.id);
                table.kept += 1;
                node.set_kept(true);
            }
        }
        table.enter(node.id);
        if let Some(dir) = dir {
            dir.bump_version();
        }
        Ok(())
    }

    /// Lets a copied file that lost its last name be found by what it was copied from no more.
    pub(crate) fn release_copied(&self, key: Key) -> Result<(), Errno> {
        let mut table = self.inner.write()?;
        let id = table.copied.remove(&key);
        let node = id.and_then(|id| table.get(id).cloned());
        let node = node.filter(|node| node.set_kept(false));
        table.kept -= usize::from(node.is_some());
        drop(table);
        if let Some(node) = node {
            self.put(&node, 1);
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

    /// Moves a lower `node` to `place`, where it was found when the directory had `version`.
    pub(crate) fn move_found(
        &self,
        node: &Arc<Node>,
        place: Place,
        version: u32,
    ) -> Result<Inserted, Errno> {
        let dir = Arc::clone(&place.parent);
        dir.refs.fetch_add(1, Relaxed);
        match node.set_place_found(place, version) {
            Ok(Some(before)) => {
                if let Some(before) = before {
                    self.put(&before.parent, 1);
                }
                Ok(Inserted::Node(Arc::clone(node)))
            }
            other => {
                self.put(&dir, 1);
                other.map(|_| Inserted::Raced)
            }
        }
    }

    /// Lets `node` be found by `key` no more: the object that it tells of is another.
    pub(crate) fn give_up(&self, node: &Node, key: Key) -> Result<(), Errno> {
        let mut table = self.inner.write()?;
        if table
            .slots
            .get(node.id)
            .is_some_and(|slot| slot.key == Some(key))
        {
            table.leave(node.id);
            if let Some(slot) = table.slots.get_mut(node.id) {
                slot.key = None;
            }
        }
        let copied = table.copied.get(&key) == Some(&node.id);
        drop(table);
        if copied {
            self.release_copied(key)?;
        }
        Ok(())
    }

    /// Lets directory `node` merge `lowers`, which were found under its `upper` when `dir` had `version`.
    pub(crate) fn renew(
        &self,
        node: &Node,
        (dir, version): (&Node, u32),
        upper: Option<LayerNode>,
        lowers: Vec<Lower>,
    ) -> Result<Renewed, Errno> {
        // Dropped after the lock is free: a dropped handle calls its layer.
        let (upper, mut newer) = node.renewal(upper, lowers);
        let table = self.inner.write()?;
        // As where a node is inserted: a change of names is seen here, or comes after this.
        let renewed = if dir.version() == version {
            node.renew(&mut newer)
        } else {
            Renewed::Raced
        };
        // No lookup in it inserts what it read of the lowers before.
        node.bump_version();
        drop(table);
        drop((upper, newer));
        Ok(renewed)
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
            self.drop_alias(key, removed.id);
        }
        Life::Ended
    }

    /// Lets `key` lead to a node no more that is gone.
    fn drop_alias(&self, key: Option<Key>, id: NodeId) {
        if let (Some(key), Ok(mut table)) = (key, self.inner.write())
            && table.copied.get(&key) == Some(&id)
        {
            table.copied.remove(&key);
        }
    }

    /// Ends the references that names of a file hold on their directories.
    pub(crate) fn put_parents(&self, names: Vec<Place>) {
        for Place { parent, .. } in names {
            self.put(&parent, 1);
        }
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

    /// Gives the reference to the caller.
    pub(crate) fn keep(self) {
        self.table.add_reference(&self.node);
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
