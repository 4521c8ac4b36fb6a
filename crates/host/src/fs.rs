//! The layer: its roots, its node table, and the trait, method by method.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use mica_vfs::lock::{Rank, RwLock};
use mica_vfs::{
    Access, Attr, Caller, Coherence, Cookie, CopyMethod, DirEntry, Entry, Errno, FallocateMode,
    FileFlags, FileHandle, FileName, FileType, Filesystem, Flow, HostFile, KillPriv, Mode, NodeId,
    Rdev, RenameFlags, Rights, SeekFrom, SetAttr, StatFs, SyncScope, Uuid, XattrMode, XattrName,
};
use rustix::fs::{AtFlags, FileType as HostType};

use crate::attr::{Ids, mount_of, stat_fd};
use crate::create::Birth;
use crate::fd_cache::{FdCache, Held};
use crate::handle::uuid_of;
use crate::layer::LayerAccess;
use crate::node::{FdSort, ObjectId, Pin};
use crate::owners::Owners;
use crate::recorded::Stage;
use crate::table::Table;
use crate::tree::Tree;

/// A directory of the host as a filesystem.
#[derive(Debug)]
pub struct HostFs {
    /// `O_PATH` or better. Immutable.
    pub(crate) root: Arc<OwnedFd>,
    /// Immutable.
    pub(crate) access: LayerAccess,
    /// Immutable.
    pub(crate) fds: Arc<FdCache>,
    /// Immutable.
    pub(crate) owners: Owners,
    /// Immutable.
    pub(crate) ids: Ids,
    /// The mounts, if there may be several. Immutable.
    pub(crate) tree: Option<Box<Tree>>,
    pub(crate) coherence: Coherence,
    /// Where objects get their owners before they are seen, if those are not real. Set once.
    pub(crate) stage: OnceLock<Stage>,
    /// Immutable.
    uuid: Uuid,
    /// The root open for reading, as file handles need it. Set once.
    pub(crate) mount: OnceLock<OwnedFd>,
    pub(crate) table: RwLock<Table>,
}

impl HostFs {
    /// Makes a layer of the directory that `root` has open, `O_PATH` or `O_RDONLY`.
    ///
    /// # Errors
    ///
    /// `ENOTDIR`; what statx(2) answers.
    pub fn new(root: OwnedFd, access: LayerAccess, fds: Arc<FdCache>) -> Result<Self, Errno> {
        Self::with_ids(root, access, fds, Ids::Devices)
    }

    pub(crate) fn with_ids(
        root: OwnedFd,
        access: LayerAccess,
        fds: Arc<FdCache>,
        ids: Ids,
    ) -> Result<Self, Errno> {
        let attr = stat_fd(root.as_fd(), ids)?;
        if attr.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        let uuid = uuid_of(root.as_fd());
        let root = Arc::new(root);
        let pin = Pin {
            held: Held::root(Arc::clone(&root), &fds),
            sort: FdSort::Path,
        };
        let table = Table::new(ObjectId::of(&attr), pin)?;
        Ok(Self {
            root,
            access,
            fds,
            owners: Owners::Real,
            ids,
            tree: None,
            coherence: Coherence::Exclusive,
            stage: OnceLock::new(),
            uuid,
            mount: OnceLock::new(),
            table: RwLock::new(Rank(210), table),
        })
    }

    /// Keeps the owners and modes of this layer's objects elsewhere. New objects are prepared in the first directory that
    /// is [attached](Self::attach) afterwards; without one none can be made.
    #[must_use]
    pub fn with_owners(mut self, owners: Owners) -> Self {
        self.owners = owners;
        self
    }

    /// Lets others change the directory while it is in use: what a name leads to is compared each time, and an object is
    /// reached by the name that it was seen by last. `ESTALE` is what is gone then, and nothing to log.
    ///
    /// # Errors
    ///
    /// `EIO` after a panic.
    pub fn shared(mut self) -> Result<Self, Errno> {
        self.coherence = Coherence::Shared;
        self.table.write()?.coherence = Coherence::Shared;
        Ok(self)
    }

    /// Adds another directory of the same filesystem and mount as a root of its own, which is never forgotten.
    ///
    /// # Errors
    ///
    /// `ENOTDIR`; `EXDEV` if the directory lies on another filesystem, or is reached through another mount of it,
    /// as renames between the two would be.
    pub fn attach(&self, dir: OwnedFd) -> Result<NodeId, Errno> {
        let (attr, root) = (
            stat_fd(dir.as_fd(), self.ids)?,
            stat_fd(self.root.as_fd(), self.ids)?,
        );
        if attr.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        if attr.dev != root.dev || mount_of(dir.as_fd())? != mount_of(self.root.as_fd())? {
            return Err(Errno::XDEV);
        }
        let dir = Arc::new(dir);
        if self.owners != Owners::Real {
            self.stage_in(&dir)?;
        }
        let pin = Pin {
            held: Held::root(dir, &self.fds),
            sort: FdSort::Path,
        };
        self.table.write()?.add_root(ObjectId::of(&attr), pin)
    }

    /// Returns how many nodes are known, roots included.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.table.read().map_or(0, |table| table.live())
    }

    /// Fails with `EROFS` unless the layer may be changed.
    pub(crate) fn writable(&self) -> Result<(), Errno> {
        match self.access {
            LayerAccess::ReadOnly => Err(Errno::ROFS),
            LayerAccess::ReadWrite => Ok(()),
        }
    }
}

impl Filesystem for HostFs {
    fn lookup(&self, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
        self.find(dir, name)
    }

    fn forget(&self, node: NodeId, count: u64) {
        if let Ok(mut table) = self.table.write() {
            let discard = table.forget(node, count);
            drop(table);
            discard.close(&self.fds);
        }
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>) -> Flow,
    ) -> Result<(), Errno> {
        self.list(dir, from, sink)
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, Errno> {
        self.link_target(node)
    }

    fn get_attr(&self, node: NodeId) -> Result<Attr, Errno> {
        self.attr(node)
    }

    fn set_attr(&self, node: NodeId, change: &SetAttr) -> Result<Attr, Errno> {
        self.writable()?;
        self.change_attr(node, change)
    }

    fn get_xattr(
        &self,
        node: NodeId,
        name: XattrName<'_>,
        value: &mut [u8],
    ) -> Result<usize, Errno> {
        self.xattr(node, name, value)
    }

    fn list_xattr(&self, node: NodeId, names: &mut [u8]) -> Result<usize, Errno> {
        self.xattr_names(node, names)
    }

    fn set_xattr(
        &self,
        node: NodeId,
        name: XattrName<'_>,
        value: &[u8],
        mode: XattrMode,
        kill: KillPriv,
    ) -> Result<(), Errno> {
        self.writable()?;
        self.change_xattr(node, name, value, mode, kill)
    }

    fn remove_xattr(&self, node: NodeId, name: XattrName<'_>) -> Result<(), Errno> {
        self.writable()?;
        self.drop_xattr(node, name)
    }

    fn file_flags(&self, node: NodeId) -> Result<FileFlags, Errno> {
        self.flags(node)
    }

    fn set_file_flags(&self, node: NodeId, flags: FileFlags) -> Result<(), Errno> {
        self.writable()?;
        self.change_flags(node, flags)
    }

    fn access(&self, node: NodeId, wanted: Rights) -> Result<(), Errno> {
        self.may(node, wanted)
    }

    fn create(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        self.writable()?;
        self.bear_file(caller, dir, name, mode)
    }

    fn mkdir(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        self.writable()?;
        self.bear(caller, dir, name, Birth::Directory(mode))
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
        self.writable()?;
        let kind = match kind {
            FileType::Regular => HostType::RegularFile,
            FileType::CharDevice => HostType::CharacterDevice,
            FileType::BlockDevice => HostType::BlockDevice,
            FileType::Fifo => HostType::Fifo,
            FileType::Socket => HostType::Socket,
            FileType::Directory | FileType::Symlink => return Err(Errno::INVAL),
        };
        self.bear(caller, dir, name, Birth::Node(kind, mode, rdev))
    }

    fn symlink(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        target: &[u8],
    ) -> Result<Entry, Errno> {
        self.writable()?;
        self.bear(caller, dir, name, Birth::Symlink(target))
    }

    fn tmpfile(&self, caller: &Caller, dir: NodeId, mode: Mode) -> Result<Entry, Errno> {
        self.writable()?;
        self.bear_nameless(caller, dir, mode)
    }

    fn link(&self, node: NodeId, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
        self.writable()?;
        self.add_name(node, dir, name)
    }

    fn unlink(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        self.writable()?;
        self.remove(dir, name, AtFlags::empty())
    }

    fn rmdir(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        self.writable()?;
        self.remove(dir, name, AtFlags::REMOVEDIR)
    }

    fn rename(
        &self,
        from_dir: NodeId,
        from: FileName<'_>,
        to_dir: NodeId,
        to: FileName<'_>,
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        self.writable()?;
        self.move_name((from_dir, from), (to_dir, to), flags)
    }

    fn read(&self, node: NodeId, offset: u64, data: &mut [u8]) -> Result<usize, Errno> {
        self.read_at(node, offset, data)
    }

    fn write(
        &self,
        node: NodeId,
        offset: u64,
        data: &[u8],
        kill: KillPriv,
    ) -> Result<usize, Errno> {
        self.writable()?;
        self.write_at(node, offset, data, kill)
    }

    fn fallocate(
        &self,
        node: NodeId,
        mode: FallocateMode,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        self.writable()?;
        self.allocate(node, mode, offset, len)
    }

    fn seek(&self, node: NodeId, from: SeekFrom) -> Result<u64, Errno> {
        self.search(node, from)
    }

    fn copy_range(
        &self,
        from: NodeId,
        from_offset: u64,
        to: NodeId,
        to_offset: u64,
        len: u64,
    ) -> Result<u64, Errno> {
        self.writable()?;
        self.copy_within((from, from_offset), (to, to_offset), len)
    }

    fn copy_from(
        &self,
        to: NodeId,
        source: &dyn Filesystem,
        from: NodeId,
        len: u64,
    ) -> Result<CopyMethod, Errno> {
        self.writable()?;
        self.fill(to, source, from, len)
    }

    fn fsync(&self, node: NodeId, scope: SyncScope) -> Result<(), Errno> {
        match self.access {
            // Nothing here is waiting to be written by us.
            LayerAccess::ReadOnly => Ok(()),
            LayerAccess::ReadWrite => self.sync(node, scope),
        }
    }

    fn host_file(&self, node: NodeId, access: Access) -> Result<Option<HostFile>, Errno> {
        self.data_fd(node, access).map(|fd| Some(HostFile(fd)))
    }

    fn nameless(&self) -> usize {
        self.fds.nameless()
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        self.space()
    }

    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn file_handle(&self, node: NodeId) -> Result<FileHandle, Errno> {
        self.handle(node)
    }

    fn attr_by_handle(&self, handle: &FileHandle) -> Result<Attr, Errno> {
        self.attr_of_handle(handle)
    }
}
