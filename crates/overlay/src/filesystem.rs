//! The overlay as a [`Filesystem`]: each method names the operation that does it.

use mica_vfs::{
    Access, Attr, Caller, Cookie, CopyMethod, DataVersion, DirEntry, Entry, Errno, FallocateMode,
    FileFlags, FileName, FileType, Filesystem, Flow, HostFile, KillPriv, ListedNode, Mode, NodeId,
    Observer, Opened, Rdev, RenameFlags, Rights, SeekFrom, SetAttr, StatFs, SyncScope, XattrMode,
    XattrName,
};

use crate::create::Make;
use crate::overlay::Overlay;

impl Filesystem for Overlay {
    fn lookup(&self, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
        let dir = self.table.get(dir)?;
        let found = self
            .expect_searchable(&dir)
            .and_then(|()| self.with_fresh(&dir, || self.lookup_at(&dir, name, None)));
        let (node, attr) = match found {
            Err(Errno::ACCESS) if self.is_blank(&dir) => return Err(Errno::NOENT),
            found => found?,
        };
        Ok(Entry {
            node: node.id,
            attr,
        })
    }

    fn open(&self, node: NodeId, known: Option<DataVersion>) -> Result<Opened, Errno> {
        let node = self.table.get(node)?;
        self.opened(&node, known)
    }

    fn keeps_name(&self, node: NodeId) -> bool {
        // The upper gets the name that was looked up last (OVL-111), and in shared mode that is the one that is looked at again.
        (self.index.is_none() && !self.is_shared())
            || !self.table.get(node).is_ok_and(|node| node.is_shared())
    }

    fn forget(&self, node: NodeId, count: u64) {
        let ended = self.table.forget(node, count);
        // A listing ends with its directory. One that children keep in the table is left to the limit, and so is all after a
        // poisoned lock.
        if ended.is_some_and(|node| node.kind == FileType::Directory) {
            _ = self.listings.drop_dir(node);
        }
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
        let dir = self.dir(dir)?;
        if self.expect_searchable(&dir).is_err() {
            // Its names can be read, and nothing else of it.
            return self.dir_read(&dir, from, &mut |listed| sink(listed, &None));
        }
        self.dir_read_plus(&dir, from, sink)
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
        self.expect_changeable(node, change)?;
        self.attr_set(node, change)
    }

    fn get_xattr(
        &self,
        node: NodeId,
        name: XattrName<'_>,
        value: &mut [u8],
    ) -> Result<usize, Errno> {
        let node = self.table.get(node)?;
        self.expect_attribute_read(&node, name.as_bytes())?;
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
        self.expect_attribute(node, name.as_bytes())?;
        self.xattr_set(node, name, value, mode, kill)
    }

    fn remove_xattr(&self, node: NodeId, name: XattrName<'_>) -> Result<(), Errno> {
        self.expect_attribute(node, name.as_bytes())?;
        self.xattr_remove(node, name)
    }

    fn file_flags(&self, node: NodeId) -> Result<FileFlags, Errno> {
        self.flags_get(node)
    }

    fn set_file_flags(&self, node: NodeId, flags: FileFlags) -> Result<(), Errno> {
        let known = self.table.get(node)?;
        self.expect_own(&known)?;
        self.flags_set(node, flags)
    }

    fn access(&self, node: NodeId, wanted: Rights) -> Result<(), Errno> {
        let node = self.table.get(node)?;
        let told = self.expect_rights(&node, wanted);
        if told != Err(Errno::ACCESS) {
            return told;
        }
        if wanted.contains(Rights::READ) {
            self.tell_closed(&node);
        }
        match !wanted.contains(Rights::WRITE) && self.is_blank(&node) {
            true => Ok(()),
            false => told,
        }
    }

    fn create(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        self.expect_names(dir)?;
        self.made_by(caller, |maker| {
            self.make(maker, dir, name, Make::File(mode))
        })
    }

    fn mkdir(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        self.expect_names(dir)?;
        self.made_by(caller, |maker| {
            self.make(maker, dir, name, Make::Directory(mode))
        })
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
        self.expect_names(dir)?;
        self.made_by(caller, |maker| {
            self.make(maker, dir, name, Make::Node(kind, mode, rdev))
        })
    }

    fn symlink(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        target: &[u8],
    ) -> Result<Entry, Errno> {
        self.expect_names(dir)?;
        self.made_by(caller, |maker| {
            self.make(maker, dir, name, Make::Symlink(target))
        })
    }

    fn tmpfile(&self, caller: &Caller, dir: NodeId, mode: Mode) -> Result<Entry, Errno> {
        self.expect_names(dir)?;
        self.made_by(caller, |maker| self.make_tmpfile(maker, dir, mode))
    }

    fn link(&self, node: NodeId, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
        self.expect_linkable(node)?;
        self.expect_names(dir)?;
        self.link_at(node, dir, name)
    }

    fn unlink(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        self.expect_loss(dir, name)?;
        self.remove_file(dir, name)
    }

    fn rmdir(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        self.expect_loss(dir, name)?;
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
        let (from, to) = ((from_dir, from), (to_dir, to));
        self.expect_renamable(from, to, flags)?;
        if flags.contains(RenameFlags::WHITEOUT) {
            return self.rename_for_nested(from, to, flags);
        }
        self.rename_at(from, to, flags)
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

    fn observe(&self, observer: Box<dyn Observer>) {
        if self.observer.set(observer).is_err() {
            tracing::warn!("an overlay has one front; the second is not told of changes");
        }
    }

    fn nameless(&self) -> usize {
        self.top().map_or(0, |layer| layer.fs.nameless())
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        self.top()?.fs.stat_fs()
    }
}
