//! What the table keeps of one object.

use mica_vfs::{Access, Attr, DevId, FileName, FileNameBuf, FileType, Ino};

use crate::fd_cache::{Held, Token};

/// Tells one inode from all others of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectId {
    dev: u64,
    ino: u64,
}

impl ObjectId {
    #[cfg(test)]
    pub(crate) const fn new(dev: u64, ino: u64) -> Self {
        Self { dev, ino }
    }

    pub(crate) fn of(attr: &Attr) -> Self {
        Self {
            dev: attr.dev.0,
            ino: attr.ino.0,
        }
    }

    /// Tells whether both are on one device, or through one mount where those are told apart.
    pub(crate) fn same_dev(self, other: Self) -> bool {
        self.dev == other.dev
    }

    pub(crate) fn dev(self) -> DevId {
        DevId(self.dev)
    }

    pub(crate) fn ino(self) -> Ino {
        Ino(self.ino)
    }

    /// Spreads inode numbers, which are mostly consecutive, over all bits.
    pub(crate) fn hash(self) -> u64 {
        let mixed = (self.ino ^ self.dev.rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 32)
    }
}

/// What a descriptor can be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FdSort {
    /// `O_PATH`.
    Path,
    /// Open for reading, perhaps for writing.
    File,
}

/// The descriptor of a node that is not reached by a name.
#[derive(Debug)]
pub(crate) struct Pin {
    pub(crate) held: Held,
    pub(crate) sort: FdSort,
}

/// Where a node is found: a name in a parent node.
#[derive(Debug)]
pub(crate) struct Place {
    /// The slot of the parent.
    pub(crate) parent: u32,
    pub(crate) name: FileNameBuf,
}

impl Place {
    pub(crate) fn is(&self, parent: u32, name: FileName<'_>) -> bool {
        self.parent == parent && self.name.as_name() == name
    }
}

/// Whether a node outlives its references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Referenced,
    Permanent,
}

/// How far the changes of names in a directory have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) begun: u32,
    pub(crate) done: u32,
}

impl Stamp {
    /// Tells whether a place in the directory meant what it said all the time from `self` to `later`.
    pub(crate) fn settled(self, later: Self) -> bool {
        self.begun == self.done && self.begun == later.begun
    }
}

/// One known object. All fields are guarded by the lock of the table.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) object: ObjectId,
    pub(crate) place: Option<Place>,
    /// More names that were seen to lead to it, for when the place is removed. Only ever of what has several links.
    #[expect(clippy::box_collection, reason = "8 bytes of every node instead of 24")]
    pub(crate) others: Option<Box<Vec<Place>>>,
    pub(crate) pin: Option<Box<Pin>>,
    pub(crate) refs: u64,
    /// The cached descriptor: `O_PATH` of a directory, open with `access` of a regular file.
    pub(crate) fd: Token,
    pub(crate) children: u32,
    pub(crate) stamp: Stamp,
    pub(crate) kind: FileType,
    pub(crate) access: Access,
    pub(crate) life: Life,
}

impl Node {
    /// Takes out one of the other names.
    pub(crate) fn take_other(&mut self, is: impl Fn(&Place) -> bool) -> Option<Place> {
        let others = self.others.as_mut()?;
        let at = others.iter().position(is)?;
        let other = others.swap_remove(at);
        if others.is_empty() {
            self.others = None;
        }
        Some(other)
    }
}
