//! The nodes of a layer: which objects are known, and by which name each is reached.
//!
//! A node is one inode, told by device and inode number, so two names of one object are one node. It keeps one
//! place (a parent node and a name) by which the object is opened when it has to be; the place is followed when a
//! rename moves it. When that name goes away another that was seen takes its place; a node without any is *pinned*: it
//! holds a descriptor.
//!
//! The table does no I/O; what has to be closed is handed back in a [`Discard`].
//!
//! # Invariants
//!
//! - A node lives while it is referenced, has children, or is permanent (a root).
//! - An id that was forgotten finds nothing, whatever else is in its slot ([`Slab`]).
//! - `begun != done` in a directory while a name in it is being removed or renamed: what a place in it says and
//!   what lies there may differ until then.

use hashbrown::HashTable;
use mica_vfs::{Access, Coherence, Errno, FileName, FileType, NodeId, Slab, slot_of};

use crate::fd_cache::{FdCache, Token};
use crate::node::{Life, Node, ObjectId, Pin, Place, Stamp};

/// What to close once the table is unlocked.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Discard {
    pins: Vec<Pin>,
    tokens: Vec<Token>,
}

impl Discard {
    /// Closes everything. The table must not be locked.
    pub(crate) fn close(self, fds: &FdCache) {
        drop(self.pins);
        for token in self.tokens {
            fds.remove(token);
        }
    }
}

/// What [`Table::intern`] made of an object that was seen.
#[derive(Debug)]
pub(crate) enum Interned {
    /// The node, with one more reference; and the pin it no longer needs, as it got a name again.
    Node(NodeId, Option<Box<Pin>>),
    /// The node of a layer that others change, with one more reference; its place is where it was seen.
    Followed(NodeId, Discard),
    /// Names of the directory changed since it was seen: look again.
    LookAgain,
}

/// The nodes of one layer.
#[derive(Debug)]
pub(crate) struct Table {
    nodes: Slab<Node>,
    /// Slots, by what is in them.
    by_object: HashTable<u32>,
    /// Whether others move what is here.
    pub(crate) coherence: Coherence,
}

/// A hash table of fewer objects than this is not worth shrinking.
const OBJECTS_MIN: usize = 1024;
/// How many names of one object are remembered besides its place. One that loses more is pinned.
const OTHERS_MAX: usize = 64;

impl Table {
    /// Makes a table that holds a permanent root with [`NodeId::ROOT`].
    pub(crate) fn new(root: ObjectId, pin: Pin) -> Result<Self, Errno> {
        let mut table = Self {
            nodes: Slab::default(),
            by_object: HashTable::new(),
            coherence: Coherence::Exclusive,
        };
        table.add_root(root, pin)?;
        Ok(table)
    }

    /// Returns how many nodes are known, roots included.
    pub(crate) fn live(&self) -> usize {
        self.nodes.len()
    }

    fn at(&self, slot: u32) -> Option<&Node> {
        self.nodes.at(slot)
    }

    fn at_mut(&mut self, slot: u32) -> Option<&mut Node> {
        self.nodes.at_mut(slot)
    }

    fn id_at(&self, slot: u32) -> Result<NodeId, Errno> {
        self.nodes.id_at(slot).ok_or(Errno::STALE)
    }

    /// Finds a node that is in the table, referenced or not.
    pub(crate) fn known(&self, id: NodeId) -> Result<&Node, Errno> {
        self.nodes.get(id).ok_or(Errno::STALE)
    }

    pub(crate) fn known_mut(&mut self, id: NodeId) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(id).ok_or(Errno::STALE)
    }

    /// Finds a node that somebody holds a reference on.
    pub(crate) fn node(&self, id: NodeId) -> Result<&Node, Errno> {
        let node = self.known(id)?;
        if node.refs > 0 || node.life == Life::Permanent {
            Ok(node)
        } else {
            Err(Errno::STALE)
        }
    }

    /// Returns the place of `node`: its parent and its name in it. `ESTALE` if it has none.
    pub(crate) fn place<'a>(
        &'a self,
        node: &'a Node,
    ) -> Result<(NodeId, &'a Node, FileName<'a>), Errno> {
        let place = node.place.as_ref().ok_or(Errno::STALE)?;
        let parent = self.at(place.parent).ok_or(Errno::STALE)?;
        Ok((self.id_at(place.parent)?, parent, place.name.as_name()))
    }

    /// Returns the names that lead from a root to a node, each after a slash; of the root that is nothing.
    ///
    /// # Errors
    ///
    /// `ESTALE`: no name leads to it. `EIO`: renames that were seen in the wrong order closed a circle.
    pub(crate) fn path(&self, id: NodeId) -> Result<Vec<u8>, Errno> {
        let mut names = Vec::new();
        let mut node = self.known(id)?;
        while node.life != Life::Permanent {
            if names.len() > self.live() {
                return Err(Errno::IO);
            }
            let (_, parent, name) = self.place(node)?;
            names.push(name);
            node = parent;
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name.as_bytes());
        }
        Ok(path)
    }

    /// Adds a directory that is reached by its own descriptor and never forgotten, or makes a known one such.
    pub(crate) fn add_root(&mut self, object: ObjectId, pin: Pin) -> Result<NodeId, Errno> {
        let index = match self.find(object) {
            Some(index) => index,
            None => self.insert(object, FileType::Directory, None)?,
        };
        let node = self.at_mut(index).ok_or(Errno::STALE)?;
        node.life = Life::Permanent;
        node.pin = Some(Box::new(pin));
        self.id_at(index)
    }

    /// Gives one reference on the node of an object that was seen as `name` in `dir` when that had `seen`.
    ///
    /// With a `pin` the node is usable whatever became of the name meanwhile.
    pub(crate) fn intern(
        &mut self,
        (object, kind): (ObjectId, FileType),
        place: Option<(NodeId, FileName<'_>, Stamp)>,
        pin: Option<Box<Pin>>,
    ) -> Result<Interned, Errno> {
        let unchanged = match place {
            Some((dir, _, seen)) => self.known(dir)?.stamp.done == seen.done,
            None => true,
        };
        // The object may be gone by now, and its number another's. What is open keeps its number.
        if !unchanged && pin.is_none() {
            return Ok(Interned::LookAgain);
        }
        let seen = place.and_then(|(dir, name, _)| Some((slot_of(dir)?, name)));
        let place = || {
            seen.map(|(parent, name)| Place {
                parent,
                name: name.to_owned(),
            })
        };
        let known = self.find(object);
        // Another type under the same number: the object that was known is gone, and its inode used again.
        let known = known.filter(|&index| match self.at(index) {
            Some(node) if node.kind == kind => true,
            _ => {
                self.unhash(index);
                false
            }
        });
        let Some(index) = known else {
            let index = self.insert(object, kind, place())?;
            let node = self.at_mut(index).ok_or(Errno::NOMEM)?;
            node.pin = pin;
            return Ok(Interned::Node(self.id_at(index)?, None));
        };
        let node = self.at_mut(index).ok_or(Errno::STALE)?;
        node.refs += 1;
        let lost = node.place.is_none() && node.life == Life::Referenced;
        let id = self.id_at(index)?;
        if self.coherence == Coherence::Shared && !lost {
            let mut discard = Discard::default();
            self.follow(index, seen, &mut discard);
            return Ok(Interned::Followed(id, discard));
        }
        let released = match (lost, unchanged) {
            (true, true) => place().and_then(|place| self.set_place(index, place)),
            (false, true) => {
                self.note_other(index, seen);
                None
            }
            (_, false) => None,
        };
        Ok(Interned::Node(id, released))
    }

    /// Lets a node be reached by the name that it was seen by last: the one before may lead elsewhere by now.
    fn follow(&mut self, index: u32, seen: Option<(u32, FileName<'_>)>, discard: &mut Discard) {
        let (Some((parent, name)), Some(node)) = (seen, self.at_mut(index)) else {
            return;
        };
        let is = |place: &Place| place.is(parent, name);
        if node.life == Life::Permanent || node.place.as_ref().is_none_or(is) {
            return;
        }
        let place = Place {
            parent,
            name: name.to_owned(),
        };
        let before = node.place.replace(place);
        // The parent first, which may be the one before: it is in use by who saw the name.
        if let Some(parent) = self.at_mut(parent) {
            parent.children += 1;
        }
        if let Some(before) = before {
            self.drop_child(before.parent, discard);
        }
    }

    /// Ends `count` references.
    pub(crate) fn forget(&mut self, id: NodeId, count: u64) -> Discard {
        let mut discard = Discard::default();
        if let (Some(slot), Ok(node)) = (slot_of(id), self.known_mut(id)) {
            node.refs = node.refs.saturating_sub(count);
            self.release(slot, &mut discard);
        }
        discard
    }

    /// Notes that a name in `dir` is about to be removed or renamed.
    pub(crate) fn begin(&mut self, dir: NodeId) {
        if let Ok(node) = self.known_mut(dir) {
            node.stamp.begun = node.stamp.begun.wrapping_add(1);
        }
    }

    /// Notes that the table says what became of the name.
    pub(crate) fn end(&mut self, dir: NodeId) {
        if let Ok(node) = self.known_mut(dir) {
            node.stamp.done = node.stamp.done.wrapping_add(1);
        }
    }

    /// Gives the node of `object` a descriptor if `name` in `dir` is what it is reached by. Tells whether it did.
    pub(crate) fn pin(
        &mut self,
        object: ObjectId,
        (dir, name): (NodeId, FileName<'_>),
        pin: impl FnOnce() -> Pin,
    ) -> bool {
        let Some(parent) = slot_of(dir) else {
            return false;
        };
        let node = self.find(object).and_then(|index| self.at_mut(index));
        let Some(node) = node.filter(|node| {
            let here = node
                .place
                .as_ref()
                .is_some_and(|place| place.is(parent, name));
            here && node.refs > 0 && node.pin.is_none()
        }) else {
            return false;
        };
        node.pin = Some(Box::new(pin()));
        true
    }

    /// Takes the descriptor back that [`pin`](Self::pin) gave, as the name stayed.
    pub(crate) fn unpin(&mut self, object: ObjectId) -> Option<Box<Pin>> {
        let index = self.find(object)?;
        let node = self.at_mut(index)?;
        if node.place.is_some() {
            node.pin.take()
        } else {
            None
        }
    }

    /// Notes that `name` in `dir` does not lead to `object` any more. A node that has another name is reached by that from
    /// then on, and needs no pin.
    pub(crate) fn detach(
        &mut self,
        object: ObjectId,
        (dir, name): (NodeId, FileName<'_>),
        pin: impl FnOnce() -> Pin,
    ) -> Discard {
        let mut discard = Discard::default();
        let (Some(parent), Some(index)) = (slot_of(dir), self.find(object)) else {
            return discard;
        };
        let Some(node) = self.at_mut(index) else {
            return discard;
        };
        let is = |place: &Place| place.is(parent, name);
        if !node.place.as_ref().is_some_and(is) {
            if node.take_other(is).is_some() {
                self.drop_child(parent, &mut discard);
            }
            return discard;
        }
        // The parent of the other name counts it already.
        node.place = node.take_other(|_| true);
        if node.place.is_some() {
            discard.pins.extend(node.pin.take().map(|pin| *pin));
        } else {
            // Looked up between the removal's first step and the removal itself.
            if node.refs > 0 && node.pin.is_none() {
                node.pin = Some(Box::new(pin()));
            }
            // Without a pin its number can come back as another object's.
            if node.pin.is_none() {
                self.unhash(index);
            }
        }
        self.drop_child(parent, &mut discard);
        discard
    }

    /// Remembers that `name` in the node `parent` leads to a node, too, up to [`OTHERS_MAX`] names.
    fn note_other(&mut self, index: u32, seen: Option<(u32, FileName<'_>)>) {
        let (Some((parent, name)), Some(node)) = (seen, self.at_mut(index)) else {
            return;
        };
        let known = |place: &Place| place.is(parent, name);
        if node.kind == FileType::Directory || node.place.as_ref().is_none_or(known) {
            return;
        }
        let others = node.others.get_or_insert_default();
        if others.len() >= OTHERS_MAX || others.iter().any(known) {
            return;
        }
        others.push(Place {
            parent,
            name: name.to_owned(),
        });
        if let Some(parent) = self.at_mut(parent) {
            parent.children += 1;
        }
    }

    /// Notes that what was `from` is `to`.
    pub(crate) fn moved(
        &mut self,
        object: ObjectId,
        from: (NodeId, FileName<'_>),
        to: (NodeId, FileName<'_>),
    ) -> Discard {
        let mut discard = Discard::default();
        let (Some(old_parent), Some(new_parent)) = (slot_of(from.0), slot_of(to.0)) else {
            return discard;
        };
        let Some(index) = self.find(object) else {
            return discard;
        };
        let Some(node) = self.at_mut(index) else {
            return discard;
        };
        let here = |place: &Place| place.is(old_parent, from.1);
        if node.place.as_ref().is_some_and(here) {
            // A lookup may have seen the new name before this.
            let there = |place: &Place| place.is(new_parent, to.1);
            if node.take_other(there).is_some() {
                self.drop_child(new_parent, &mut discard);
            }
            let place = Place {
                parent: new_parent,
                name: to.1.to_owned(),
            };
            let pin = self.set_place(index, place);
            discard.pins.extend(pin.map(|pin| *pin));
        } else if node.take_other(here).is_some() {
            self.note_other(index, Some((new_parent, to.1)));
        } else {
            return discard;
        }
        self.drop_child(old_parent, &mut discard);
        discard
    }

    /// Gives a node a place, which ends its pin.
    fn set_place(&mut self, index: u32, place: Place) -> Option<Box<Pin>> {
        if let Some(parent) = self.at_mut(place.parent) {
            parent.children += 1;
        }
        let node = self.at_mut(index)?;
        node.place = Some(place);
        node.pin.take()
    }

    fn drop_child(&mut self, parent: u32, discard: &mut Discard) {
        if let Some(node) = self.at_mut(parent) {
            node.children = node.children.saturating_sub(1);
            self.release(parent, discard);
        }
    }

    /// Frees a node that nothing holds, and then its parents that only it held.
    fn release(&mut self, index: u32, discard: &mut Discard) {
        let mut next = Some(index);
        while let Some(index) = next.take() {
            let Some(node) = self.at(index) else { return };
            if node.refs > 0 || node.children > 0 || node.life == Life::Permanent {
                return;
            }
            self.unhash(index);
            let Some(node) = self.remove(index) else {
                return;
            };
            discard.pins.extend(node.pin.map(|pin| *pin));
            if node.fd != Token::NONE {
                discard.tokens.push(node.fd);
            }
            for other in node.others.into_iter().flat_map(|others| *others) {
                self.drop_child(other.parent, discard);
            }
            if let Some(place) = node.place
                && let Some(parent) = self.at_mut(place.parent)
            {
                parent.children = parent.children.saturating_sub(1);
                next = Some(place.parent);
            }
        }
    }

    /// Adds a node with one reference.
    fn insert(
        &mut self,
        object: ObjectId,
        kind: FileType,
        place: Option<Place>,
    ) -> Result<u32, Errno> {
        let parent = place.as_ref().map(|place| place.parent);
        let id = self.nodes.insert(Node {
            object,
            place,
            others: None,
            pin: None,
            refs: 1,
            fd: Token::NONE,
            children: 0,
            stamp: Stamp { begun: 0, done: 0 },
            kind,
            access: Access::Read,
            life: Life::Referenced,
        })?;
        if let Some(parent) = parent.and_then(|parent| self.at_mut(parent)) {
            parent.children += 1;
        }
        let slot = slot_of(id).ok_or(Errno::STALE)?;
        self.hash(slot);
        Ok(slot)
    }

    /// Frees a slot. Its id finds nothing from then on.
    fn remove(&mut self, slot: u32) -> Option<Node> {
        self.nodes.remove(self.nodes.id_at(slot)?)
    }

    fn find(&self, object: ObjectId) -> Option<u32> {
        let same = |&index: &u32| self.at(index).is_some_and(|node| node.object == object);
        self.by_object.find(object.hash(), same).copied()
    }

    fn hash(&mut self, slot: u32) {
        let Self {
            nodes, by_object, ..
        } = self;
        let hash = |slot: u32| nodes.at(slot).map_or(0, |node| node.object.hash());
        by_object.insert_unique(hash(slot), slot, |&slot| hash(slot));
    }

    fn unhash(&mut self, slot: u32) {
        let Self {
            nodes, by_object, ..
        } = self;
        let hash = |slot: u32| nodes.at(slot).map_or(0, |node| node.object.hash());
        if let Ok(entry) = by_object.find_entry(hash(slot), |&other| other == slot) {
            entry.remove();
        }
        if by_object.capacity() > OBJECTS_MIN && by_object.len() < by_object.capacity() / 8 {
            by_object.shrink_to(by_object.len() * 2, |&slot| hash(slot));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fd_cache::Held;
    use crate::node::FdSort;

    #[test]
    fn a_node_is_small() {
        // A million known files. What the slab and the hash table add is 15 bytes each.
        let size = size_of::<Option<Node>>();
        assert!(size <= 96, "{size}");
    }

    fn id(result: Result<Interned, Errno>) -> NodeId {
        match result.unwrap() {
            Interned::Node(id, _) | Interned::Followed(id, _) => id,
            Interned::LookAgain => panic!("nothing changed"),
        }
    }

    fn pin(fds: &Arc<FdCache>) -> Pin {
        let fd = std::fs::File::open("/dev/null").unwrap();
        Pin {
            held: Held::new(Arc::new(fd.into()), fds),
            sort: FdSort::Path,
        }
    }

    fn name(name: &'static str) -> FileName<'static> {
        FileName::new(name.as_bytes()).unwrap()
    }

    /// A name of the root that is looked at now.
    fn seen(table: &Table, as_name: &'static str) -> Option<(NodeId, FileName<'static>, Stamp)> {
        let stamp = table.known(NodeId::ROOT).unwrap().stamp;
        Some((NodeId::ROOT, name(as_name), stamp))
    }

    #[test]
    fn a_name_that_was_seen_before_its_rename_was_noted_is_kept_once() {
        let fds = FdCache::new(8);
        let (dir, file) = (ObjectId::new(1, 1), ObjectId::new(1, 2));
        let mut table = Table::new(dir, pin(&fds)).unwrap();
        let regular = (file, FileType::Regular);
        let place = seen(&table, "a");
        let node = id(table.intern(regular, place, None));
        table.begin(NodeId::ROOT);
        // The rename is done, and a lookup comes before the table knows.
        let place = seen(&table, "b");
        assert_eq!(id(table.intern(regular, place, None)), node);
        let (a, b) = ((NodeId::ROOT, name("a")), (NodeId::ROOT, name("b")));
        table.moved(file, a, b).close(&fds);
        table.end(NodeId::ROOT);
        assert_eq!(table.known(NodeId::ROOT).unwrap().children, 1);
        table.detach(file, b, || pin(&fds)).close(&fds);
        let lost = table.known(node).unwrap();
        assert!(lost.place.is_none() && lost.pin.is_some(), "{lost:?}");
        assert_eq!(table.known(NodeId::ROOT).unwrap().children, 0);
    }

    #[test]
    fn an_old_look_at_a_number_that_is_used_again_is_no_look_at_its_new_file() {
        for then in [FileType::CharDevice, FileType::Regular] {
            let fds = FdCache::new(8);
            let (dir, file) = (ObjectId::new(1, 1), ObjectId::new(1, 2));
            let mut table = Table::new(dir, pin(&fds)).unwrap();
            let old = seen(&table, "a");
            table.begin(NodeId::ROOT);
            table.end(NodeId::ROOT);
            let place = seen(&table, "b");
            let node = id(table.intern((file, FileType::Regular), place, None));
            let looked = table.intern((file, then), old, None).unwrap();
            assert!(matches!(looked, Interned::LookAgain), "{looked:?}");
            let b = (NodeId::ROOT, name("b"));
            assert!(table.pin(file, b, || pin(&fds)), "the new file is lost");
            assert_eq!(table.known(node).unwrap().refs, 1);
        }
    }
}
