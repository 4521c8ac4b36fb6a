//! The table of live nodes.
//!
//! A node is found by its [`NodeId`], or by its [`Key`]: which inode of which layer it shows. Names are not kept, the
//! kernel does that. A node lives while it is referenced: by the front, and by children which must find their way up.

mod key;
mod references;
mod slots;

use std::sync::Arc;

use mica_vfs::lock::{Rank, RwLock};
use mica_vfs::{Coherence, Errno, NodeId};

use crate::hard_link::{HardLinks, Noted};
use crate::node::{Lower, NewNode, Node, Place, Renewed};
use crate::orphan::Orphans;
use crate::stack::LayerNode;
use slots::Slots;

pub(crate) use key::Key;
pub(crate) use references::Held;

const TABLE: Rank = Rank(130);

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

impl Table {
    /// Makes the table with its root.
    pub(crate) fn new(
        root: NewNode,
        orphans: Option<Orphans>,
        coherence: Coherence,
    ) -> Result<Self, Errno> {
        let mut slots = Slots::new(coherence);
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
        // Under the lock: a node whose last reference ends is removed under it.
        Ok(table
            .by_key(key)
            .cloned()
            .inspect(|node| self.add_reference(node)))
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
            self.add_reference(&node);
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
            self.add_reference(&parent);
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
            table.set_key(node.id, key);
            if let (Some(shared @ Key::Shared { .. }), Some(_)) = (old, key) {
                self.add_reference(node);
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

    /// Lets the copied file `id`, which lost its last name, be found by what it was copied from no more.
    pub(crate) fn release_copied(&self, key: Key, id: NodeId) -> Result<(), Errno> {
        let kept = self.inner.write()?.release_copied(key, id);
        if let Some(node) = kept {
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
            self.add_reference(&place.parent);
        }
        self.put_parents(node.set_place(place)?);
        Ok(())
    }

    /// Moves a lower `node` to `place`, where it was found when the directory had `version`.
    pub(crate) fn move_found(
        &self,
        node: &Node,
        place: Place,
        version: u32,
    ) -> Result<Noted, Errno> {
        self.add_reference(&place.parent);
        let (noted, unused) = node.set_place_found(place, version)?;
        self.put_parents(unused);
        Ok(noted)
    }

    /// Lets `node` be found by `key` no more: the object that it tells of is another.
    pub(crate) fn give_up(&self, node: &Node, key: Key) -> Result<(), Errno> {
        let mut table = self.inner.write()?;
        let slot = table.slots.get(node.id);
        if slot.is_some_and(|slot| slot.key == Some(key)) {
            table.set_key(node.id, None);
        }
        drop(table);
        self.release_copied(key, node.id)
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
        let (upper, newer) = node.renewal(upper, lowers);
        let mut newer = Some(newer);
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

    /// Takes a node out of the table, whoever references it.
    pub(crate) fn expel(&self, id: NodeId) -> Result<(), Errno> {
        // Dropped after the lock is free: a dropped handle calls its layer.
        let removed = self.inner.write()?.remove(id);
        drop(removed);
        Ok(())
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

#[cfg(test)]
mod tests {
    use mica_vfs::{DevId, FileType, Ino, Protection};

    use super::*;
    use crate::node::Known;
    use crate::stack::LayerIdx;

    fn of_kind(kind: FileType) -> NewNode {
        NewNode {
            kind,
            ino: Ino(1),
            upper: None,
            lowers: Vec::new(),
            data: None,
            place: None,
            protection: Protection::empty(),
            known: Known::empty(),
        }
    }

    /// Makes the node of a lower file that `key` is for, and copies it up.
    fn copied(table: &Table, key: Key, ino: u64) -> Arc<Node> {
        let new = of_kind(FileType::Regular);
        let Inserted::Node(node) = table.get_or_insert(key, None, new).unwrap() else {
            panic!("nothing changes here");
        };
        let own = Key::Inode {
            layer: LayerIdx::UPPER,
            dev: DevId(1),
            ino: Ino(ino),
        };
        table.rekey(&node, Some(own), None).unwrap();
        node
    }

    #[test]
    fn ovl_138_a_copy_that_gave_its_key_away_takes_it_from_no_other() {
        let root = of_kind(FileType::Directory);
        let table = Table::new(root, None, Coherence::Shared).unwrap();
        let (dev, ino) = (DevId(2), Ino(7));
        let key = Key::Shared { dev, ino };
        let first = copied(&table, key, 1);
        table.give_up(&first, key).unwrap();
        assert!(table.reference(key).unwrap().is_none());
        let second = copied(&table, key, 2);
        assert_ne!(first.id, second.id);
        // It loses its last name, or another lookup gives it up.
        table.release_copied(key, first.id).unwrap();
        let found = table.reference(key).unwrap();
        assert_eq!(found.map(|node| node.id), Some(second.id));
        assert_eq!(table.count(), (3, 1));
    }
}
