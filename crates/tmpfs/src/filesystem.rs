//! [`Filesystem`] for [`Tmpfs`]: each method takes the time, then the lock, and calls the tree.

use mica_vfs::{
    Attr, Caller, Cookie, CopyMethod, DirEntry, Entry, Errno, FallocateMode, FileFlags, FileHandle,
    FileName, FileType, Filesystem, Flow, KillPriv, Mode, NodeId, Rdev, RenameFlags, SeekFrom,
    SetAttr, StatFs, SyncScope, Uuid, XattrMode, XattrName,
};

use crate::Tmpfs;
use crate::copy;
use crate::create::Made;
use crate::file::Position;
use crate::inode::Body;
use crate::rename::Place;

/// How many names a listing takes out of the tree at once.
const BATCH: usize = 128;

impl Filesystem for Tmpfs {
    fn lookup(&self, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
        let tree = self.tree.read()?;
        let dir = tree.find(dir)?;
        tree.entry(tree.existing(dir, name)?)
    }

    fn forget(&self, node: NodeId, count: u64) {
        let Ok(dead) = self.tree.read().map(|tree| tree.unreference(node, count)) else {
            return;
        };
        if let Some(index) = dead
            && let Ok(mut tree) = self.tree.write()
        {
            // Checked once more under this lock: a link may have come between.
            tree.release(index);
        }
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>) -> Flow,
    ) -> Result<(), Errno> {
        let mut from = from;
        loop {
            let batch = self.tree.read()?.list(dir, from, BATCH)?;
            for listed in &batch {
                from = listed.cookie;
                let entry = DirEntry {
                    name: FileName::new(&listed.name)?,
                    ino: listed.ino,
                    kind: Some(listed.kind),
                    cookie: listed.cookie,
                };
                if sink(entry) == Flow::Stop {
                    return Ok(());
                }
            }
            if batch.len() < BATCH {
                return Ok(());
            }
        }
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, Errno> {
        let tree = self.tree.read()?;
        match &tree.inode(tree.find(node)?)?.body {
            Body::Symlink(target) => Ok(target.to_vec()),
            _ => Err(Errno::INVAL),
        }
    }

    fn get_attr(&self, node: NodeId) -> Result<Attr, Errno> {
        let tree = self.tree.read()?;
        tree.attr(tree.find(node)?)
    }

    fn set_attr(&self, node: NodeId, change: &SetAttr) -> Result<Attr, Errno> {
        let now = self.clock.now();
        self.tree.write()?.set_attr(now, node, change)
    }

    fn file_flags(&self, node: NodeId) -> Result<FileFlags, Errno> {
        self.tree.read()?.file_flags(node)
    }

    fn set_file_flags(&self, node: NodeId, flags: FileFlags) -> Result<(), Errno> {
        let now = self.clock.now();
        self.tree.write()?.set_file_flags(now, node, flags)
    }

    fn get_xattr(
        &self,
        node: NodeId,
        name: XattrName<'_>,
        value: &mut [u8],
    ) -> Result<usize, Errno> {
        self.tree.read()?.get_xattr(node, name, value)
    }

    fn list_xattr(&self, node: NodeId, names: &mut [u8]) -> Result<usize, Errno> {
        self.tree.read()?.list_xattr(node, names)
    }

    fn set_xattr(
        &self,
        node: NodeId,
        name: XattrName<'_>,
        value: &[u8],
        mode: XattrMode,
        kill: KillPriv,
    ) -> Result<(), Errno> {
        let now = self.clock.now();
        self.tree
            .write()?
            .set_xattr(now, node, name, value, mode, kill)
    }

    fn remove_xattr(&self, node: NodeId, name: XattrName<'_>) -> Result<(), Errno> {
        let now = self.clock.now();
        self.tree.write()?.remove_xattr(now, node, name)
    }

    fn create(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        let now = self.clock.now();
        self.tree
            .write()?
            .make(now, caller, dir, name, Made::Regular, mode)
    }

    fn mkdir(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        let now = self.clock.now();
        self.tree
            .write()?
            .make(now, caller, dir, name, Made::Directory, mode)
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
        let made = Made::node(kind, rdev)?;
        let now = self.clock.now();
        self.tree.write()?.make(now, caller, dir, name, made, mode)
    }

    fn symlink(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        target: &[u8],
    ) -> Result<Entry, Errno> {
        let made = Made::symlink(target)?;
        let now = self.clock.now();
        self.tree
            .write()?
            .make(now, caller, dir, name, made, Mode::ALL)
    }

    fn tmpfile(&self, caller: &Caller, dir: NodeId, mode: Mode) -> Result<Entry, Errno> {
        let now = self.clock.now();
        self.tree.write()?.make_unnamed(now, caller, dir, mode)
    }

    fn link(&self, node: NodeId, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
        let now = self.clock.now();
        self.tree.write()?.link(now, node, dir, name)
    }

    fn unlink(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        let now = self.clock.now();
        self.tree.write()?.unlink(now, dir, name)
    }

    fn rmdir(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        let now = self.clock.now();
        self.tree.write()?.rmdir(now, dir, name)
    }

    fn rename(
        &self,
        from_dir: NodeId,
        from: FileName<'_>,
        to_dir: NodeId,
        to: FileName<'_>,
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let now = self.clock.now();
        let from = Place {
            dir: from_dir,
            name: from,
        };
        let to = Place {
            dir: to_dir,
            name: to,
        };
        self.tree.write()?.rename(now, from, to, flags)
    }

    fn read(&self, node: NodeId, offset: u64, data: &mut [u8]) -> Result<usize, Errno> {
        self.tree.read()?.read(node, offset, data)
    }

    fn write(
        &self,
        node: NodeId,
        offset: u64,
        data: &[u8],
        kill: KillPriv,
    ) -> Result<usize, Errno> {
        let now = self.clock.now();
        self.tree.write()?.write(now, node, offset, data, kill)
    }

    fn fallocate(
        &self,
        node: NodeId,
        mode: FallocateMode,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        let now = self.clock.now();
        self.tree.write()?.fallocate(now, node, mode, offset, len)
    }

    fn seek(&self, node: NodeId, from: SeekFrom) -> Result<u64, Errno> {
        self.tree.read()?.seek(node, from)
    }

    fn copy_range(
        &self,
        from: NodeId,
        from_offset: u64,
        to: NodeId,
        to_offset: u64,
        len: u64,
    ) -> Result<u64, Errno> {
        let now = self.clock.now();
        let from = Position {
            node: from,
            offset: from_offset,
        };
        let to = Position {
            node: to,
            offset: to_offset,
        };
        self.tree.write()?.copy_range(now, from, to, len)
    }

    fn copy_from(
        &self,
        to: NodeId,
        source: &dyn Filesystem,
        from: NodeId,
        len: u64,
    ) -> Result<CopyMethod, Errno> {
        copy::copy_from(self, to, source, from, len)
    }

    fn fsync(&self, node: NodeId, _scope: SyncScope) -> Result<(), Errno> {
        // Memory is as stable as this filesystem gets.
        self.tree.read()?.find(node).map(drop)
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        Ok(self.tree.read()?.stat_fs())
    }

    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn file_handle(&self, node: NodeId) -> Result<FileHandle, Errno> {
        self.tree.read()?.file_handle(node)
    }

    fn attr_by_handle(&self, handle: &FileHandle) -> Result<Attr, Errno> {
        self.tree.read()?.attr_by_handle(handle)
    }
}
