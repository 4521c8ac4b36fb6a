//! What nodes are found by.

use std::hash::{Hash as _, Hasher};

use mica_vfs::{Attr, DevId, FileType, Ino};

use crate::stack::LayerIdx;

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
    pub(super) fn mixed(self) -> u64 {
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
