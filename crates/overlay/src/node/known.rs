//! What a node knows of what its user may do with it.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use bitflags::bitflags;
use mica_vfs::Rights;

bitflags! {
    /// What the user of [`Permissions::Of`](crate::Permissions::Of) may do with an object, as far as it is known without a call.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Known: u8 {
        /// The three lowest bits are [`Rights`] that he has.
        const RIGHTS = Rights::all().bits();
        /// It is somebody else's.
        const FOREIGN = 8;
        /// Of a lower object: the layer may let him do more.
        const ASK = 16;
        /// Of a directory: what is in it may be removed by its owner only.
        const STICKY = 32;
        /// The other bits say something.
        const VALID = 64;
        /// The mark of the copy was looked for, or is not needed. With `FOREIGN`: the rights are for good, as nobody but its owner
        /// could change them.
        const LOOKED = 128;
    }
}

impl Known {
    pub(crate) fn rights(self) -> Rights {
        Rights::from_bits_truncate(self.bits())
    }

    pub(crate) fn with(self, rights: Rights) -> Self {
        self | Self::from_bits_truncate(rights.bits())
    }

    /// Of the copy of what is somebody else's: what the layers let the user do with that.
    pub(crate) fn recorded(rights: Rights) -> Self {
        (Self::FOREIGN | Self::VALID | Self::LOOKED).with(rights)
    }

    /// Whether rights are known that do not change.
    pub(crate) fn is_recorded(self) -> bool {
        self.contains(Self::FOREIGN.union(Self::LOOKED))
    }
}

/// [`Known`], shared.
#[derive(Debug)]
pub(super) struct Cell(AtomicU8);

impl Cell {
    pub(super) const fn new(known: Known) -> Self {
        Self(AtomicU8::new(known.bits()))
    }

    pub(super) fn get(&self) -> Known {
        Known::from_bits_retain(self.0.load(Relaxed))
    }

    /// Sets what was worked out from `before`, unless another thread knows more by now.
    pub(super) fn learn(&self, before: Known, now: Known) {
        let (before, now) = (before.bits(), now.bits());
        if before != now {
            _ = self.0.compare_exchange(before, now, Relaxed, Relaxed);
        }
    }

    pub(super) fn set(&self, known: Known) {
        self.0.store(known.bits(), Relaxed);
    }
}
