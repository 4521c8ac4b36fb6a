//! Nodes: what the overlay remembers of an object that somebody refers to.

mod known;
mod made_of;
mod place;

use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicU16, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use bitflags::bitflags;
use mica_vfs::lock::{Mutex, Rank};
use mica_vfs::{Coherence, Errno, FileType, Ino, NodeId, Protection};

use crate::lower_data::LowerData;
use crate::stack::LayerNode;
use made_of::MadeOf;

pub(crate) use known::Known;
pub(crate) use made_of::{Changing, Lower, Renewed, XattrWhiteouts};
pub(crate) use place::Place;

const PLACE: Rank = Rank(120);

bitflags! {
    /// What nobody sees of a node.
    struct Hidden: u16 {
        /// Of a directory: no lower shows through any more, though the handles are kept (OVL-25).
        const LOWERS = 1;
        /// The upper object has a name in the work directory. Set by [`crate::orphan`] alone.
        const NAME = 2;
        /// A lower file with several names (OVL-32).
        const SHARED = 4;
        /// The table holds a reference on it.
        const KEPT = 8;
        /// Not hidden at all: the two bits of [`Protection`], moved up by [`PROTECTION_SHIFT`].
        const PROTECTION = 16 + 32;
        /// Of a regular file: the upper object is a metacopy, the data lies below. Set before the upper object is.
        const DATA = 64;
        /// Of a directory: the upper one is known to be marked as holding whiteouts of another overlay (OVL-130).
        const NESTED = 128;
        /// Of a directory: the upper one is known to be marked impure.
        const IMPURE = 256;
        /// The first object that it was made of is an upper one. Never changes.
        const MADE_OF_UPPER = 512;
    }
}

/// Where the bits of [`Protection`] begin in a node's bits.
const PROTECTION_SHIFT: u32 = Hidden::PROTECTION.bits().trailing_zeros();

/// An object of the overlay.
#[derive(Debug)]
pub(crate) struct Node {
    /// Immutable.
    pub(crate) id: NodeId,
    /// Immutable.
    pub(crate) kind: FileType,
    /// `st_ino`. Atomic; changes only of a directory that was to be replaced and merges no more (OVL-25).
    ino: AtomicU64,
    /// References of the front and of children. Changed by [`crate::table`] alone.
    pub(crate) refs: AtomicU64,
    /// For a directory: grows whenever a name in it comes to mean another object. Changed under the names gate.
    version: AtomicU32,
    /// Bits of [`Hidden`].
    hidden: AtomicU16,
    /// Atomic.
    known: known::Cell,
    /// The objects that it was made of. Immutable, but for a directory of a shared mount.
    made_of: MadeOf,
    /// The upper object of a node that was made without one. Set once, by copy-up.
    copy: OnceLock<Box<LayerNode>>,
    /// Where it is found: a directory, or a file that may have to be copied up. `None`: it has no name, or it never
    /// needs one again. A metacopy of the upper keeps it, as a redirect may have to say it.
    place: Mutex<Option<Place>>,
}

/// Where the data of a regular file is.
#[derive(Debug)]
pub(crate) enum Data<'n> {
    /// In this object.
    In(&'n LayerNode),
    /// Below a metacopy that a layer held when the node was made.
    Below(&'n LowerData),
}

/// What a new node is made of.
#[derive(Debug)]
pub(crate) struct NewNode {
    pub(crate) kind: FileType,
    pub(crate) ino: Ino,
    pub(crate) upper: Option<LayerNode>,
    pub(crate) lowers: Vec<Lower>,
    /// Where the data is, if the only object is a metacopy.
    pub(crate) data: Option<LowerData>,
    pub(crate) place: Option<Place>,
    pub(crate) protection: Protection,
    /// What is known already of what may be done with it.
    pub(crate) known: Known,
}

impl Node {
    /// Makes the node with one reference.
    pub(crate) fn new(id: NodeId, new: NewNode, coherence: Coherence) -> Self {
        let mut hidden = Hidden::empty();
        hidden.set(Hidden::MADE_OF_UPPER, new.upper.is_some());
        hidden.set(Hidden::DATA, new.upper.is_some() && new.data.is_some());
        let protection = u16::from(new.protection.bits()) << PROTECTION_SHIFT;
        Self {
            id,
            kind: new.kind,
            ino: AtomicU64::new(new.ino.0),
            refs: AtomicU64::new(1),
            version: AtomicU32::new(0),
            hidden: AtomicU16::new(hidden.bits() | protection),
            known: known::Cell::new(new.known),
            made_of: match (new.kind, coherence) {
                (FileType::Directory, Coherence::Shared) => {
                    MadeOf::Changing(Box::new(Changing::new(new.upper, new.lowers)))
                }
                _ => MadeOf::new(new.upper, new.lowers, new.data),
            },
            copy: OnceLock::new(),
            place: Mutex::new(PLACE, new.place),
        }
    }

    pub(crate) fn ino(&self) -> Ino {
        Ino(self.ino.load(Relaxed))
    }

    pub(crate) fn set_ino(&self, ino: Ino) {
        self.ino.store(ino.0, Relaxed);
    }

    pub(crate) fn upper(&self) -> Option<&LayerNode> {
        if self.is(Hidden::MADE_OF_UPPER) {
            self.made_of.objects().first().map(|object| &object.node)
        } else {
            self.copy.get().map(|copy| &**copy)
        }
    }

    /// Sets the upper object; the first one stays.
    pub(crate) fn set_upper(&self, upper: LayerNode) -> &LayerNode {
        match self.upper() {
            Some(first) => first,
            None => self.copy.get_or_init(|| Box::new(upper)),
        }
    }

    /// The lower objects, whether they show or not.
    fn all_lowers(&self) -> &[Lower] {
        let objects = self.made_of.objects();
        objects
            .get(usize::from(self.is(Hidden::MADE_OF_UPPER))..)
            .unwrap_or_default()
    }

    /// The topmost lower object, whether it shows or not.
    pub(crate) fn first_lower(&self) -> Option<&LayerNode> {
        self.all_lowers().first().map(|lower| &lower.node)
    }

    /// Whether these are the lower directories that merge.
    pub(crate) fn merges(&self, lowers: &[Lower]) -> bool {
        let own = self.all_lowers();
        own.len() == lowers.len() && own.iter().zip(lowers).all(|(own, other)| own.is(other))
    }

    /// Prepares [`renew`](Self::renew), and gives back the upper object if the node has another handle of it.
    pub(crate) fn renewal(
        &self,
        upper: Option<LayerNode>,
        lowers: Vec<Lower>,
    ) -> (Option<LayerNode>, Box<Changing>) {
        if self.is(Hidden::MADE_OF_UPPER) {
            (None, Box::new(Changing::new(upper, lowers)))
        } else {
            (upper, Box::new(Changing::new(None, lowers)))
        }
    }

    /// Lets a directory of a shared mount merge other lowers, and takes `newer` then. The caller holds the table's lock.
    pub(crate) fn renew(&self, newer: &mut Option<Box<Changing>>) -> Renewed {
        self.made_of.renew(newer)
    }

    /// The lower objects that show through.
    pub(crate) fn lowers(&self) -> &[Lower] {
        if self.is(Hidden::LOWERS) {
            &[]
        } else {
            self.all_lowers()
        }
    }

    fn is(&self, hidden: Hidden) -> bool {
        let bits = Hidden::from_bits_truncate(self.hidden.load(Acquire));
        bits.contains(hidden)
    }

    /// Hides the lower objects, as the upper directory's opaque mark does on disk.
    pub(crate) fn set_opaque(&self) {
        self.set(Hidden::LOWERS, true);
    }

    /// Whether [`set_opaque`](Self::set_opaque) hid them.
    pub(crate) fn is_opaque(&self) -> bool {
        self.is(Hidden::LOWERS)
    }

    /// The object that data and attributes come from: the upper one, else the topmost lower one.
    pub(crate) fn real(&self) -> Result<&LayerNode, Errno> {
        self.upper()
            .or_else(|| self.first_lower())
            .ok_or(Errno::STALE)
    }

    /// Says where the data of a regular file is.
    pub(crate) fn data(&self) -> Result<Data<'_>, Errno> {
        match (self.upper(), &self.made_of) {
            (Some(upper), _) if !self.is_metacopy() => Ok(Data::In(upper)),
            (_, MadeOf::Metacopy(metacopy)) => Ok(Data::Below(&metacopy.1)),
            _ => {
                let lower = self.first_lower().ok_or(Errno::STALE)?;
                Ok(Data::In(lower))
            }
        }
    }

    /// Whether the metadata is of another object than the data.
    pub(crate) fn has_data_elsewhere(&self) -> bool {
        self.is_metacopy() || matches!((&self.made_of, self.upper()), (MadeOf::Metacopy(_), None))
    }

    /// Whether the upper object is a metacopy. It may change to false at any time but within the node's copying gate.
    pub(crate) fn is_metacopy(&self) -> bool {
        self.is(Hidden::DATA)
    }

    pub(crate) fn set_metacopy(&self, metacopy: bool) {
        self.set(Hidden::DATA, metacopy);
    }

    /// Whether several directories show as one.
    pub(crate) fn is_merged(&self) -> bool {
        self.kind == FileType::Directory
            && self.lowers().len() + usize::from(self.upper().is_some()) > 1
    }

    /// Whether the upper object has a name in the work directory that nobody sees.
    pub(crate) fn is_orphan(&self) -> bool {
        self.is(Hidden::NAME)
    }

    pub(crate) fn set_orphan(&self, orphan: bool) {
        self.set(Hidden::NAME, orphan);
    }

    /// Sets one bit or clears it, and returns whether it was set.
    fn set(&self, hidden: Hidden, on: bool) -> bool {
        let bit = hidden.bits();
        let before = if on {
            self.hidden.fetch_or(bit, Release)
        } else {
            self.hidden.fetch_and(!bit, Release)
        };
        before & bit != 0
    }

    /// Whether it was made of a lower file with several names.
    pub(crate) fn is_shared(&self) -> bool {
        self.is(Hidden::SHARED)
    }

    pub(crate) fn set_shared(&self) {
        self.set(Hidden::SHARED, true);
    }

    /// Whether the table holds a reference on it.
    pub(crate) fn is_kept(&self) -> bool {
        self.is(Hidden::KEPT)
    }

    /// Notes whether the table holds a reference on it, and returns whether it did.
    pub(crate) fn set_kept(&self, kept: bool) -> bool {
        self.set(Hidden::KEPT, kept)
    }

    /// Whether the upper directory is known to be marked impure.
    pub(crate) fn is_impure(&self) -> bool {
        self.is(Hidden::IMPURE)
    }

    pub(crate) fn set_impure(&self) {
        self.set(Hidden::IMPURE, true);
    }

    pub(crate) fn holds_nested(&self) -> bool {
        self.is(Hidden::NESTED)
    }

    pub(crate) fn set_holds_nested(&self) {
        self.set(Hidden::NESTED, true);
    }

    /// What the node is protected from. Costs no call: it was read with the node (OVL-120).
    pub(crate) fn protection(&self) -> Protection {
        let bits = self.hidden.load(Acquire) & Hidden::PROTECTION.bits();
        let bits = u8::try_from(bits >> PROTECTION_SHIFT).unwrap_or_default();
        Protection::from_bits_truncate(bits)
    }

    /// Remembers what was written to the upper object. The caller is in the copying gate of the node.
    pub(crate) fn set_protection(&self, protection: Protection) {
        let bits = u16::from(protection.bits()) << PROTECTION_SHIFT;
        self.hidden.fetch_or(bits, Release);
        let others = Hidden::PROTECTION.complement().bits();
        self.hidden.fetch_and(bits | others, Release);
    }

    /// What is known without a call of what may be done with it.
    pub(crate) fn known(&self) -> Known {
        self.known.get()
    }

    /// Notes what was worked out from `before`.
    pub(crate) fn learn(&self, before: Known, now: Known) {
        self.known.learn(before, now);
    }

    /// Notes what holds from now on.
    pub(crate) fn set_known(&self, known: Known) {
        self.known.set(known);
    }

    pub(crate) fn expect_dir(&self) -> Result<(), Errno> {
        if self.kind == FileType::Directory {
            Ok(())
        } else {
            Err(Errno::NOTDIR)
        }
    }

    pub(crate) fn version(&self) -> u32 {
        self.version.load(Acquire)
    }

    pub(crate) fn bump_version(&self) {
        self.version.fetch_add(1, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_small() {
        // A million known files take as many of these, with two counters each.
        let size = size_of::<Node>() + 2 * size_of::<usize>();
        if !cfg!(debug_assertions) {
            assert!(size <= 128, "{size}");
        }
        assert!(size <= 136, "{size}");
    }
}
