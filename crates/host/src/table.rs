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
//! - A [`NodeId`] is an index and the generation of its slot: an id that was forgotten finds nothing.
//! - `begun != done` in a directory while a name in it is being removed or renamed: what a place in it says and
//!   what lies there may differ until then.

use hashbrown::HashTable;
use mica_vfs::{Access, Errno, FileName, FileType, NodeId};

use crate::fd_cache::{FdCache, Token};
use crate::node::{Life, Node, ObjectId, Pin, Place, Stamp};

#[derive(Debug)]
enum Slot {
    Free { next: u32, generation: u32 },
    Used(Node),
}

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
    /// Names of the directory changed since it was seen: look again.
    LookAgain,
}

/// The nodes of one layer.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    free: u32,
    live: usize,
    by_object: HashTable<u32>,
}

const NONE: u32 = u32::MAX;
/// How many names of one object are remembered besides its place. One that loses more is pinned.
const OTHERS_MAX: usize = 64;

fn split(id: NodeId) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = id.0.to_be_bytes();
    (
        u32::from_be_bytes([e, f, g, h]),
        u32::from_be_bytes([a, b, c, d]),
    )
}

fn join(index: u32, generation: u32) -> NodeId {
    NodeId((u64::from(generation) << 32) | u64::from(index))
}

impl Table {
    /// Makes a table that holds a permanent root with [`NodeId::ROOT`].
    pub(crate) fn new(root: ObjectId, pin: Pin) -> Result<Self, Errno> {
        // Slot 0 stays empty: a node id is never 0, and the root is 1.
        let unused = Slot::Free {
            next: NONE,
            generation: 0,
        };
        let mut table = Self {
            slots: vec![unused],
            free: NONE,
            live: 0,
            by_object: HashTable::new(),
        };
        table.add_root(root, pin)?;
        Ok(table)
    }

    /// Returns how many nodes are known, roots included.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    fn at(&self, index: u32) -> Option<&Node> {
        match self.slots.get(usize::try_from(index).ok()?)? {
            Slot::Used(node) => Some(node),
            Slot::Free { .. } => None,
        }
    }

    fn at_mut(&mut self, index: u32) -> Option<&mut Node> {
        match self.slots.get_mut(usize::try_from(index).ok()?)? {
            Slot::Used(node) => Some(node),
            Slot::Free { .. } => None,
        }
    }

    /// Finds a node that is in the table, referenced or not.
    pub(crate) fn known(&self, id: NodeId) -> Result<&Node, Errno> {
        let (index, generation) = split(id);
        let node = self.at(index).filter(|node| node.generation == generation);
        node.ok_or(Errno::STALE)
    }

    pub(crate) fn known_mut(&mut self, id: NodeId) -> Result<&mut Node, Errno> {
        let (index, generation) = split(id);
        let node = self
            .at_mut(index)
            .filter(|node| node.generation == generation);
        node.ok_or(Errno::STALE)
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
    ) -> Result<(NodeId, &'a Node, &'a [u8]), Errno> {
        let place = node.place.as_ref().ok_or(Errno::STALE)?;
        let parent = self.at(place.parent).ok_or(Errno::STALE)?;
        Ok((join(place.parent, parent.generation), parent, &place.name))
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
        Ok(join(index, node.generation))
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
        let seen = place.map(|(dir, name, _)| (split(dir).0, name));
        let place = || {
            place.map(|(dir, name, _)| Place {
                parent: split(dir).0,
                name: name.as_bytes().into(),
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
            return Ok(Interned::Node(join(index, node.generation), None));
        };
        let node = self.at_mut(index).ok_or(Errno::STALE)?;
        node.refs += 1;
        let id = join(index, node.generation);
        let lost = node.place.is_none() && node.life == Life::Referenced;
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

    /// Ends `count` references.
    pub(crate) fn forget(&mut self, id: NodeId, count: u64) -> Discard {
        let mut discard = Discard::default();
        if let Ok(node) = self.known_mut(id) {
            node.refs = node.refs.saturating_sub(count);
            self.release(split(id).0, &mut discard);
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
        let parent = split(dir).0;
        let node = self.find(object).and_then(|index| self.at_mut(index));
        let Some(node) = node.filter(|node| {
            let here = node
                .place
                .as_ref()
                .is_some_and(|place| place.is(parent, name.as_bytes()));
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
        let parent = split(dir).0;
        let Some(index) = self.find(object) else {
            return discard;
        };
        let Some(node) = self.at_mut(index) else {
            return discard;
        };
        let is = |place: &Place| place.is(parent, name.as_bytes());
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
        let known = |place: &Place| place.is(parent, name.as_bytes());
        if node.kind == FileType::Directory || node.place.as_ref().is_none_or(known) {
            return;
        }
        let others = node.others.get_or_insert_default();
        if others.len() >= OTHERS_MAX || others.iter().any(known) {
            return;
        }
        others.push(Place {
            parent,
            name: name.as_bytes().into(),
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
        let (old_parent, new_parent) = (split(from.0).0, split(to.0).0);
        let Some(index) = self.find(object) else {
            return discard;
        };
        let Some(node) = self.at_mut(index) else {
            return discard;
        };
        let here = |place: &Place| place.is(old_parent, from.1.as_bytes());
        if node.place.as_ref().is_some_and(here) {
            // A lookup may have seen the new name before this.
            let there = |place: &Place| place.is(new_parent, to.1.as_bytes());
            if node.take_other(there).is_some() {
                self.drop_child(new_parent, &mut discard);
            }
            let place = Place {
                parent: new_parent,
                name: to.1.as_bytes().into(),
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
        let index = match self.free {
            NONE => u32::try_from(self.slots.len())
                .ok()
                .filter(|&i| i < NONE)
                .ok_or(Errno::NOMEM)?,
            free => free,
        };
        let at = usize::try_from(index).map_err(|_| Errno::NOMEM)?;
        let (next, generation) = match self.slots.get(at) {
            Some(&Slot::Free { next, generation }) => (next, generation),
            _ => (NONE, 0),
        };
        if let Some(parent) = place.as_ref().and_then(|place| self.at_mut(place.parent)) {
            parent.children += 1;
        }
        let node = Slot::Used(Node {
            object,
            place,
            others: None,
            pin: None,
            refs: 1,
            fd: Token::NONE,
            children: 0,
            generation,
            stamp: Stamp { begun: 0, done: 0 },
            kind,
            access: Access::Read,
            life: Life::Referenced,
        });
        match self.slots.get_mut(at) {
            Some(slot) => *slot = node,
            None => self.slots.push(node),
        }
        self.free = next;
        self.live += 1;
        self.hash(index);
        Ok(index)
    }

    /// Frees a slot. Its generation is a new one from then on.
    fn remove(&mut self, index: u32) -> Option<Node> {
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        let Slot::Used(node) = slot else { return None };
        let generation = node.generation.wrapping_add(1);
        let next = self.free;
        let Slot::Used(node) = std::mem::replace(slot, Slot::Free { next, generation }) else {
            return None;
        };
        self.free = index;
        self.live -= 1;
        Some(node)
    }

    fn find(&self, object: ObjectId) -> Option<u32> {
        let same = |&index: &u32| self.at(index).is_some_and(|node| node.object == object);
        self.by_object.find(object.hash(), same).copied()
    }

    fn hash(&mut self, index: u32) {
        let Self {
            slots, by_object, ..
        } = self;
        let object = |index: u32| match usize::try_from(index).ok().and_then(|i| slots.get(i)) {
            Some(Slot::Used(node)) => node.object.hash(),
            _ => 0,
        };
        by_object.insert_unique(object(index), index, |&index| object(index));
    }

    fn unhash(&mut self, index: u32) {
        let Some(object) = self.at(index).map(|node| node.object) else {
            return;
        };
        let entry = self
            .by_object
            .find_entry(object.hash(), |&other| other == index);
        if let Ok(entry) = entry {
            entry.remove();
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
        // A million known files without their names; what the hash table adds is 5 bytes each.
        assert!(size_of::<Slot>() <= 104, "{}", size_of::<Slot>());
    }

    fn id(result: Result<Interned, Errno>) -> NodeId {
        match result.unwrap() {
            Interned::Node(id, _) => id,
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

    #[test]
    fn an_id_is_an_index_and_a_generation() {
        for (index, generation) in [(1, 0), (7, 9), (u32::MAX, u32::MAX)] {
            assert_eq!(split(join(index, generation)), (index, generation));
        }
        assert_eq!(join(1, 0), NodeId::ROOT);
    }
}
