//! The layers of an overlay.

use std::fmt;
use std::sync::Arc;

use mica_vfs::{
    Attr, DevId, Entry, Errno, FileName, FileType, Filesystem, Ino, NodeId, Uuid, XATTR_SIZE_MAX,
    XattrName,
};

use crate::error::SetupError;
use crate::ino::FsIdx;

/// The most lower layers that an overlay can have, `OVL_MAX_STACK` of fs/overlayfs.
pub const LAYERS_MAX: usize = 500;

/// A directory of a filesystem that takes part in an overlay.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The filesystem.
    pub fs: Arc<dyn Filesystem>,
    /// The directory. The overlay borrows the caller's reference on it for its whole life.
    pub root: NodeId,
    /// What messages call it: its path, as the user typed it.
    pub label: String,
}

/// The layer that takes the changes.
#[derive(Debug, Clone)]
pub struct Upper {
    /// The directory that shows them.
    pub layer: Layer,
    /// A directory of the same filesystem in which changes are prepared.
    pub work: NodeId,
}

/// The place of a layer in a stack: 0 is the upper, lowers count from 1, topmost first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LayerIdx(pub(crate) u16);

impl LayerIdx {
    pub(crate) const UPPER: Self = Self(0);
}

impl fmt::Display for LayerIdx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("upper"),
            n => write!(f, "lower {n}"),
        }
    }
}

/// A layer of a mounted overlay. Immutable.
#[derive(Debug)]
pub(crate) struct LayerInfo {
    pub(crate) idx: LayerIdx,
    pub(crate) fs: Arc<dyn Filesystem>,
    pub(crate) root: NodeId,
    pub(crate) label: String,
    /// Device of the root: objects of other devices in the layer get numbers of their own.
    pub(crate) dev: DevId,
    /// Number of the root on it.
    pub(crate) ino: Ino,
    /// Which of the stack's filesystems it lies on.
    pub(crate) fs_idx: FsIdx,
    pub(crate) uuid: Uuid,
    /// Whether nothing lies below: what would only stop a merge is not asked of this layer.
    pub(crate) position: Position,
}

/// Whether more layers lie below one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    Bottom,
    Above,
}

impl LayerInfo {
    /// Reads the root of `layer`.
    pub(crate) fn new(
        layer: Layer,
        idx: LayerIdx,
        position: Position,
        fs_of: impl FnOnce(DevId) -> FsIdx,
    ) -> Result<Arc<Self>, SetupError> {
        let Layer { fs, root, label } = layer;
        let attr = match fs.get_attr(root) {
            Ok(attr) => attr,
            Err(source) => return Err(SetupError::Root { label, source }),
        };
        if attr.kind != FileType::Directory {
            return Err(SetupError::NotADirectory { label });
        }
        let (dev, ino, uuid) = (attr.dev, attr.ino, fs.uuid());
        Ok(Arc::new(Self {
            idx,
            root,
            label,
            dev,
            ino,
            fs_idx: fs_of(dev),
            uuid,
            fs,
            position,
        }))
    }
}

/// A reference on an object of a layer, ended on drop. On the layer's root there is none: the mounter keeps it.
#[derive(Debug)]
pub(crate) struct LayerNode {
    pub(crate) layer: Arc<LayerInfo>,
    pub(crate) id: NodeId,
}

impl LayerNode {
    /// Takes over the reference of an entry that `layer` gave.
    pub(crate) fn adopt(layer: &Arc<LayerInfo>, entry: &Entry) -> Self {
        Self {
            layer: Arc::clone(layer),
            id: entry.node,
        }
    }

    /// The root of `layer`.
    pub(crate) fn root(layer: &Arc<LayerInfo>) -> Self {
        Self {
            layer: Arc::clone(layer),
            id: layer.root,
        }
    }

    /// Whether it is one of the upper.
    pub(crate) fn is_upper(&self) -> bool {
        self.layer.idx == LayerIdx::UPPER
    }

    pub(crate) fn fs(&self) -> &dyn Filesystem {
        &*self.layer.fs
    }

    pub(crate) fn attr(&self) -> Result<Attr, Errno> {
        self.fs().get_attr(self.id)
    }

    /// Finds `name` below; `None` where the layer has none.
    ///
    /// A layer with shorter names than another does not have the longer ones (`ENAMETOOLONG` is absence, ovl_lookup_single).
    pub(crate) fn child(&self, name: FileName<'_>) -> Result<Option<(Self, Attr)>, Errno> {
        match self.fs().lookup(self.id, name) {
            Ok(entry) => Ok(Some((Self::adopt(&self.layer, &entry), entry.attr))),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl LayerNode {
    /// Calls `each` for every attribute name; a filesystem without attributes has none.
    pub(crate) fn for_each_xattr(&self, each: &mut dyn FnMut(&[u8])) -> Result<(), Errno> {
        let mut small = [0; 512];
        let mut large;
        let names = match self.fs().list_xattr(self.id, &mut small) {
            Ok(len) => small.get(..len).ok_or(Errno::IO)?,
            Err(Errno::OPNOTSUPP) => return Ok(()),
            Err(Errno::RANGE) => {
                large = vec![0; XATTR_SIZE_MAX];
                let len = self.fs().list_xattr(self.id, &mut large)?;
                large.get(..len).ok_or(Errno::IO)?
            }
            Err(errno) => return Err(errno),
        };
        names
            .split(|&b| b == 0)
            .filter(|name| !name.is_empty())
            .for_each(each);
        Ok(())
    }

    /// Reads the whole value of an attribute.
    pub(crate) fn xattr(&self, name: XattrName<'_>) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; 256];
        loop {
            match self.fs().get_xattr(self.id, name, &mut value) {
                Ok(len) => {
                    value.truncate(len);
                    return Ok(value);
                }
                Err(Errno::RANGE) if value.len() < XATTR_SIZE_MAX => {
                    value.resize(XATTR_SIZE_MAX, 0);
                }
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl Drop for LayerNode {
    fn drop(&mut self) {
        // A name that leads back to the root (a bind mount) leaves references there: a root is never forgotten anyway.
        if self.id != self.layer.root {
            self.layer.fs.forget(self.id, 1);
        }
    }
}
