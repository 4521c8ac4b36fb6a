//! Inode numbers of the overlay.
//!
//! `st_ino` is the number of the object that a name was first: the lower one's, also after copy-up (OVL-30). On a
//! stack over one filesystem the numbers are that filesystem's. Over several, the number of the filesystem goes
//! into the high bits, as `xino=on` of the kernel does it, so that numbers stay unique under one `st_dev` (OVL-31).

use mica_vfs::{DevId, Ino};

/// Which of the stack's filesystems an object lies on; the upper's is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FsIdx(pub(crate) u16);

/// The filesystems under a stack, in the order in which layers name them.
#[derive(Debug, Default)]
pub(crate) struct Filesystems {
    devs: Vec<DevId>,
}

impl Filesystems {
    /// Returns the index of the filesystem of device `dev`, counting it if it is new.
    pub(crate) fn index(&mut self, dev: DevId) -> FsIdx {
        let at = self.devs.iter().position(|&d| d == dev).unwrap_or_else(|| {
            self.devs.push(dev);
            self.devs.len() - 1
        });
        FsIdx(u16::try_from(at).unwrap_or(u16::MAX))
    }

    /// Returns the numbering for the filesystems that were counted.
    pub(crate) fn numbering(&self) -> Numbering {
        match self.devs.len() {
            0 | 1 => Numbering::One,
            // The kernel takes one bit more than the index needs and keeps it for numbers of its own (ovl_get_layers).
            n => Numbering::Several {
                shift: 64 - ((n - 1).ilog2() + 2),
            },
        }
    }
}

/// How inode numbers of layers become numbers of the overlay. Immutable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// One filesystem: its own numbers.
    One,
    /// Several: the index above bit `shift`.
    Several { shift: u32 },
}

impl Numbering {
    /// Returns the overlay's number for `ino` of filesystem `fs`; `None` if it does not fit under the index.
    pub(crate) fn number(self, fs: FsIdx, ino: Ino) -> Option<Ino> {
        match self {
            Self::One => Some(ino),
            Self::Several { shift } if ino.0 >> shift == 0 => {
                Some(Ino(ino.0 | (u64::from(fs.0) << (shift + 1))))
            }
            Self::Several { .. } => None,
        }
    }

    /// Returns a number that no object of a layer has: the reserved bit is set.
    ///
    /// For what cannot be numbered: an object of a device that is no layer's, or a number that uses the high bits. It
    /// is derived from the two, so it is the same after a remount; different objects may collide after 2^31 of them.
    pub(crate) fn foreign(self, dev: DevId, ino: Ino) -> Ino {
        let shift = match self {
            Self::One => 62,
            Self::Several { shift } => shift,
        };
        let mixed = (ino.0 ^ dev.0.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Ino((mixed >> (64 - shift)) | (1 << shift))
    }
}

/// Returns a device number for an overlay: it must differ from those of all filesystems that it could be stacked with.
pub(crate) fn next_dev() -> DevId {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // Above the 32 bits of the kernel's device numbers.
    DevId((0x6f76_u64 << 40) + NEXT.fetch_add(1, Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbering(filesystems: u64) -> Numbering {
        let mut all = Filesystems::default();
        for dev in 0..filesystems {
            assert_eq!(u64::from(all.index(DevId(dev)).0), dev);
        }
        assert_eq!(all.index(DevId(0)), FsIdx(0));
        all.numbering()
    }

    #[test]
    fn ovl_31_one_filesystem_keeps_its_numbers() {
        assert_eq!(
            numbering(1).number(FsIdx(0), Ino(u64::MAX)),
            Some(Ino(u64::MAX))
        );
    }

    #[test]
    fn ovl_31_two_filesystems_are_numbered_as_the_kernel_does_with_xino() {
        let two = numbering(2);
        assert_eq!(two.number(FsIdx(0), Ino(3)), Some(Ino(3)));
        assert_eq!(
            two.number(FsIdx(1), Ino(3)),
            Some(Ino(9_223_372_036_854_775_811))
        );
    }

    #[test]
    fn ovl_31_a_number_that_does_not_fit_is_foreign_and_meets_no_other() {
        let two = numbering(2);
        assert_eq!(two.number(FsIdx(1), Ino(u64::MAX)), None);
        let foreign = two.foreign(DevId(1), Ino(u64::MAX));
        assert_ne!(foreign.0 & (1 << 62), 0);
        assert_eq!(foreign.0 >> 63, 0);
    }
}
