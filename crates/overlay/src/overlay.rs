//! The overlay as a [`Filesystem`]: each method names the operation that does it.

use std::sync::Arc;

use mica_vfs::{
    Access, Attr, Caller, Cookie, CopyMethod, DevId, DirEntry, Entry, Errno, FallocateMode,
    FileFlags, FileName, FileType, Filesystem, Flow, HostFile, KillPriv, ListedNode, Mode, NodeId,
    Rdev, RenameFlags, SeekFrom, SetAttr, StatFs, SyncScope, XattrMode, XattrName,
};

use crate::attr::next_dev;
use crate::config::{Config, XattrNamespace};
use crate::create::Make;
use crate::error::SetupError;
use crate::gate::Gates;
use crate::ino::{Filesystems, Numbering};
use crate::listing::{Listings, NAMES_MAX, hash_name};
use crate::marks::{Marks, Opaque};
use crate::node::{Lower, NewNode, XattrWhiteouts};
use crate::stack::{LAYERS_MAX, Layer, LayerIdx, LayerInfo, LayerNode, Position, Upper};
use crate::stats::{Counters, OverlayStats};
use crate::table::Table;
use crate::work::Work;

/// A union of filesystems.
#[derive(Debug)]
pub struct Overlay {
    pub(crate) config: Config,
    /// The lower layers, topmost first.
    pub(crate) lowers: Vec<Arc<LayerInfo>>,
    pub(crate) numbering: Numbering,
    /// `st_dev` of every object.
    pub(crate) dev: DevId,
    pub(crate) table: Table,
    pub(crate) listings: Listings,
    /// One copy-up of a node at a time. Before `names`.
    pub(crate) copying: Gates,
    /// One change of a directory at a time.
    pub(crate) names: Gates,
    pub(crate) counters: Counters,
    /// The upper's work directory; `None`: the overlay is read-only.
    work: Option<Work>,
}

impl Overlay {
    /// Makes the overlay of `lowers`, topmost first, under `upper`, and prepares its work directory.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: nothing was changed but the work directory.
    pub fn new(
        upper: Option<Upper>,
        lowers: Vec<Layer>,
        config: Config,
    ) -> Result<Self, SetupError> {
        if lowers.is_empty() {
            return Err(SetupError::NoLower);
        }
        if lowers.len() > LAYERS_MAX {
            return Err(SetupError::TooManyLayers {
                count: lowers.len(),
                max: LAYERS_MAX,
            });
        }
        let mut filesystems = Filesystems::default();
        let (upper, work) = match upper {
            Some(Upper { layer, work }) => {
                let fs_of = |dev| filesystems.index(dev);
                let info = LayerInfo::new(layer, LayerIdx::UPPER, Position::Above, fs_of)?;
                let work = Work::prepare(&info, work, &config.mounter)?;
                (Some(info), Some(work))
            }
            None => (None, None),
        };
        let count = lowers.len();
        let lowers = lowers
            .into_iter()
            .zip(1..)
            .map(|(layer, idx)| {
                let position = if usize::from(idx) == count {
                    Position::Bottom
                } else {
                    Position::Above
                };
                LayerInfo::new(layer, LayerIdx(idx), position, |dev| filesystems.index(dev))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let numbering = filesystems.numbering();
        let root = root_of(upper.as_ref(), &lowers, numbering, config.xattrs)?;
        let table = Table::new(root).map_err(|source| SetupError::Root {
            label: "overlay".to_owned(),
            source,
        })?;
        Ok(Self {
            config,
            numbering,
            dev: next_dev(),
            table,
            listings: Listings::new(NAMES_MAX),
            copying: Gates::default(),
            names: Gates::default(),
            counters: Counters::default(),
            work,
            lowers,
        })
    }

    /// Returns what the overlay has done and holds.
    #[must_use]
    pub fn stats(&self) -> OverlayStats {
        self.counters.snapshot(self.table.len())
    }

    /// Removes what the mount keeps in the work directory, at the end of its life. A drop does the same, but the overlay
    /// may be shared by who only reads its counters.
    pub fn clear_work(&self) {
        if let Some(work) = &self.work
            && let Err(errno) = work.clear()
        {
            // The next mount empties it.
            tracing::debug!(%errno, "work directory not emptied");
        }
    }

    /// Returns the work directory, `EROFS` if there is no upper.
    pub(crate) fn work(&self) -> Result<&Work, Errno> {
        self.work.as_ref().ok_or(Errno::ROFS)
    }

    pub(crate) fn hash(&self, name: FileName<'_>) -> u64 {
        hash_name(self.config.cookie_key, name)
    }

    /// The layer that answers for the whole: the upper, else the topmost lower.
    fn top(&self) -> Result<&LayerInfo, Errno> {
        let upper = self.work.as_ref().map(|work| &work.dir.layer);
        upper
            .or_else(|| self.lowers.first())
            .map(|layer| &**layer)
            .ok_or(Errno::STALE)
    }
}

/// Collects the root: the roots of all layers merge, whatever opaque marks they carry.
fn root_of(
    upper: Option<&Arc<LayerInfo>>,
    lowers: &[Arc<LayerInfo>],
    numbering: Numbering,
    namespace: XattrNamespace,
) -> Result<NewNode, SetupError> {
    let mut merged = Vec::with_capacity(lowers.len());
    let mut ino = None;
    for layer in lowers {
        let failed = |source| SetupError::Root {
            label: layer.label.clone(),
            source,
        };
        let node = LayerNode::root(layer);
        let attr = node.attr().map_err(failed)?;
        let own = || numbering.number(layer.fs_idx, attr.ino);
        ino = ino
            .or_else(own)
            .or_else(|| Some(numbering.foreign(attr.dev, attr.ino)));
        let xattr_whiteouts = root_whiteouts(&node, namespace).map_err(failed)?;
        merged.push(Lower {
            node,
            xattr_whiteouts,
        });
    }
    Ok(NewNode {
        kind: FileType::Directory,
        ino: ino.ok_or(SetupError::NoLower)?,
        upper: upper.map(LayerNode::root),
        lowers: merged,
        place: None,
    })
}

/// Reads whether the root of a lower holds whiteouts in the xattr form; the mark means nothing on the lowest (OVL-6).
fn root_whiteouts(root: &LayerNode, namespace: XattrNamespace) -> Result<XattrWhiteouts, Errno> {
    if root.layer.position == Position::Bottom {
        return Ok(XattrWhiteouts::None);
    }
    match Marks::read(root, namespace)?.opaque(root, namespace)? {
        Opaque::XattrWhiteouts => Ok(XattrWhiteouts::Possible),
        Opaque::Stop | Opaque::No => Ok(XattrWhiteouts::None),
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        self.clear_work();
    }
}

impl Filesystem for Overlay {
    fn lookup(&self, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
        let dir = self.table.get(dir)?;
        let (node, attr) = self.lookup_at(&dir, name, None)?;
        Ok(Entry {
            node: node.id,
            attr,
        })
    }

    fn forget(&self, node: NodeId, count: u64) {
        self.table.forget(node, count);
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>) -> Flow,
    ) -> Result<(), Errno> {
        self.dir_read(&self.dir(dir)?, from, sink)
    }

    fn read_dir_plus(
        &self,
        dir: NodeId,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>, &ListedNode) -> Flow,
    ) -> Result<(), Errno> {
        self.dir_read_plus(&self.dir(dir)?, from, sink)
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, Errno> {
        let node = self.table.get(node)?;
        let real = node.real()?;
        real.fs().read_link(real.id)
    }

    fn get_attr(&self, node: NodeId) -> Result<Attr, Errno> {
        let node = self.table.get(node)?;
        self.attr_of(&node)
    }

    fn set_attr(&self, node: NodeId, change: &SetAttr) -> Result<Attr, Errno> {
        self.attr_set(node, change)
    }

    fn get_xattr(
        &self,
        node: NodeId,
        name: XattrName<'_>,
        value: &mut [u8],
    ) -> Result<usize, Errno> {
        let node = self.table.get(node)?;
        self.xattr_get(&node, name, value)
    }

    fn list_xattr(&self, node: NodeId, names: &mut [u8]) -> Result<usize, Errno> {
        let node = self.table.get(node)?;
        self.xattr_list(&node, names)
    }

    fn set_xattr(
        &self,
        node: NodeId,
        name: XattrName<'_>,
        value: &[u8],
        mode: XattrMode,
        kill: KillPriv,
    ) -> Result<(), Errno> {
        self.xattr_set(node, name, value, mode, kill)
    }

    fn remove_xattr(&self, node: NodeId, name: XattrName<'_>) -> Result<(), Errno> {
        self.xattr_remove(node, name)
    }

    fn file_flags(&self, node: NodeId) -> Result<FileFlags, Errno> {
        self.flags_get(node)
    }

    fn set_file_flags(&self, node: NodeId, flags: FileFlags) -> Result<(), Errno> {
        self.flags_set(node, flags)
    }

    fn create(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        self.make(caller, dir, name, Make::File(mode))
    }

    fn mkdir(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        self.make(caller, dir, name, Make::Directory(mode))
    }

    fn mknod(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        kind: FileType,
        mode: Mode,
        rdev: Rdev,
    ) -> Result<Entry, Errno> {
        self.make(caller, dir, name, Make::Node(kind, mode, rdev))
    }

    fn symlink(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        target: &[u8],
    ) -> Result<Entry, Errno> {
        self.make(caller, dir, name, Make::Symlink(target))
    }

    fn tmpfile(&self, caller: &Caller, dir: NodeId, mode: Mode) -> Result<Entry, Errno> {
        self.make_tmpfile(caller, dir, mode)
    }

    fn link(&self, node: NodeId, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
        self.link_at(node, dir, name)
    }

    fn unlink(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        self.remove_file(dir, name)
    }

    fn rmdir(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        self.remove_dir(dir, name)
    }

    fn rename(
        &self,
        from_dir: NodeId,
        from: FileName<'_>,
        to_dir: NodeId,
        to: FileName<'_>,
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        self.rename_at((from_dir, from), (to_dir, to), flags)
    }

    fn read(&self, node: NodeId, offset: u64, data: &mut [u8]) -> Result<usize, Errno> {
        self.data_read(node, offset, data)
    }

    fn write(
        &self,
        node: NodeId,
        offset: u64,
        data: &[u8],
        kill: KillPriv,
    ) -> Result<usize, Errno> {
        self.data_write(node, offset, data, kill)
    }

    fn fallocate(
        &self,
        node: NodeId,
        mode: FallocateMode,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        self.data_allocate(node, mode, offset, len)
    }

    fn seek(&self, node: NodeId, from: SeekFrom) -> Result<u64, Errno> {
        self.data_seek(node, from)
    }

    fn copy_range(
        &self,
        from: NodeId,
        from_offset: u64,
        to: NodeId,
        to_offset: u64,
        len: u64,
    ) -> Result<u64, Errno> {
        self.data_copy_range((from, from_offset), (to, to_offset), len)
    }

    fn copy_from(
        &self,
        to: NodeId,
        source: &dyn Filesystem,
        from: NodeId,
        len: u64,
    ) -> Result<CopyMethod, Errno> {
        self.data_copy_from(to, source, from, len)
    }

    fn fsync(&self, node: NodeId, scope: SyncScope) -> Result<(), Errno> {
        self.data_sync(node, scope)
    }

    fn host_file(&self, node: NodeId, access: Access) -> Result<Option<HostFile>, Errno> {
        self.data_host_file(node, access)
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        self.top()?.fs.stat_fs()
    }
}
