//! The calls of a [`FaultLayer`]: each is counted, then fails or is passed on.

use mica_vfs::{
    Access, Attr, Caller, Cookie, CopyMethod, DataVersion, DirEntry, Entry, Errno, FallocateMode,
    FileFlags, FileHandle, FileName, FileType, Filesystem, Flow, HostFile, KillPriv, Mode, NodeId,
    Opened, Rdev, RenameFlags, SeekFrom, SetAttr, StatFs, SyncScope, Uuid, XattrMode, XattrName,
};

use super::{Call, FaultLayer, Lacks, Verdict};

impl Filesystem for FaultLayer {
    fn lookup(&self, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
        self.reading(Call::Lookup)?;
        self.inner.lookup(dir, name)
    }

    fn forget(&self, node: NodeId, count: u64) {
        self.inner.forget(node, count);
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>) -> Flow,
    ) -> Result<(), Errno> {
        self.reading(Call::ReadDir)?;
        self.inner.read_dir(dir, from, sink)
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, Errno> {
        self.reading(Call::ReadLink)?;
        self.inner.read_link(node)
    }

    fn get_attr(&self, node: NodeId) -> Result<Attr, Errno> {
        self.reading(Call::GetAttr)?;
        self.inner.get_attr(node)
    }

    fn set_attr(&self, node: NodeId, change: &SetAttr) -> Result<Attr, Errno> {
        self.whole(Call::SetAttr, &attr_fields(change))?;
        self.inner.set_attr(node, change)
    }

    fn get_xattr(
        &self,
        node: NodeId,
        name: XattrName<'_>,
        value: &mut [u8],
    ) -> Result<usize, Errno> {
        self.reading(Call::GetXattr)?;
        self.inner.get_xattr(node, name, value)
    }

    fn list_xattr(&self, node: NodeId, names: &mut [u8]) -> Result<usize, Errno> {
        self.reading(Call::ListXattr)?;
        self.inner.list_xattr(node, names)
    }

    fn set_xattr(
        &self,
        node: NodeId,
        name: XattrName<'_>,
        value: &[u8],
        mode: XattrMode,
        kill: KillPriv,
    ) -> Result<(), Errno> {
        self.whole(Call::SetXattr, &name)?;
        self.inner.set_xattr(node, name, value, mode, kill)
    }

    fn remove_xattr(&self, node: NodeId, name: XattrName<'_>) -> Result<(), Errno> {
        self.whole(Call::RemoveXattr, &name)?;
        self.inner.remove_xattr(node, name)
    }

    fn file_flags(&self, node: NodeId) -> Result<FileFlags, Errno> {
        self.reading(Call::FileFlags)?;
        self.inner.file_flags(node)
    }

    fn set_file_flags(&self, node: NodeId, flags: FileFlags) -> Result<(), Errno> {
        self.whole(Call::SetFileFlags, &"")?;
        self.inner.set_file_flags(node, flags)
    }

    fn create(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        self.whole(Call::Create, &name)?;
        self.inner.create(caller, dir, name, mode)
    }

    fn mkdir(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        self.whole(Call::Mkdir, &name)?;
        self.inner.mkdir(caller, dir, name, mode)
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
        self.whole(Call::Mknod, &name)?;
        self.inner.mknod(caller, dir, name, kind, mode, rdev)
    }

    fn symlink(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        target: &[u8],
    ) -> Result<Entry, Errno> {
        self.whole(Call::Symlink, &name)?;
        self.inner.symlink(caller, dir, name, target)
    }

    fn tmpfile(&self, caller: &Caller, dir: NodeId, mode: Mode) -> Result<Entry, Errno> {
        self.lacking(Lacks::TMPFILE, Errno::OPNOTSUPP)?;
        self.whole(Call::Tmpfile, &"")?;
        self.inner.tmpfile(caller, dir, mode)
    }

    fn link(&self, node: NodeId, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
        if self.lacks().contains(Lacks::WHITEOUT_LINKS)
            && self.inner.get_attr(node)?.kind == FileType::CharDevice
        {
            return Err(Errno::MLINK);
        }
        self.whole(Call::Link, &name)?;
        self.inner.link(node, dir, name)
    }

    fn unlink(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        self.whole(Call::Unlink, &name)?;
        self.inner.unlink(dir, name)
    }

    fn rmdir(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        self.whole(Call::Rmdir, &name)?;
        self.inner.rmdir(dir, name)
    }

    fn rename(
        &self,
        from_dir: NodeId,
        from: FileName<'_>,
        to_dir: NodeId,
        to: FileName<'_>,
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        for (flag, lack) in [
            (RenameFlags::EXCHANGE, Lacks::EXCHANGE),
            (RenameFlags::WHITEOUT, Lacks::WHITEOUT),
        ] {
            if flags.contains(flag) {
                self.lacking(lack, Errno::INVAL)?;
            }
        }
        self.whole(Call::Rename, &format_args!("{from} -> {to} {flags:?}"))?;
        self.inner.rename(from_dir, from, to_dir, to, flags)
    }

    fn read(&self, node: NodeId, offset: u64, data: &mut [u8]) -> Result<usize, Errno> {
        self.reading(Call::Read)?;
        self.inner.read(node, offset, data)
    }

    fn write(
        &self,
        node: NodeId,
        offset: u64,
        data: &[u8],
        kill: KillPriv,
    ) -> Result<usize, Errno> {
        let take = match self.change(Call::Write, &data.len())? {
            Verdict::Go => data.len(),
            Verdict::Half if data.len() < 2 => return Err(Errno::NOSPC),
            Verdict::Half => data.len() / 2,
        };
        self.inner.write(node, offset, &data[..take], kill)
    }

    fn fallocate(
        &self,
        node: NodeId,
        mode: FallocateMode,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        self.whole(Call::Fallocate, &format_args!("{mode:?}"))?;
        self.inner.fallocate(node, mode, offset, len)
    }

    fn seek(&self, node: NodeId, from: SeekFrom) -> Result<u64, Errno> {
        self.reading(Call::Seek)?;
        self.inner.seek(node, from)
    }

    fn copy_range(
        &self,
        from: NodeId,
        from_offset: u64,
        to: NodeId,
        to_offset: u64,
        len: u64,
    ) -> Result<u64, Errno> {
        let len = match self.change(Call::CopyRange, &"")? {
            Verdict::Go => len,
            Verdict::Half if len < 2 => return Err(Errno::NOSPC),
            Verdict::Half => len / 2,
        };
        self.inner.copy_range(from, from_offset, to, to_offset, len)
    }

    fn copy_from(
        &self,
        to: NodeId,
        source: &dyn Filesystem,
        from: NodeId,
        len: u64,
    ) -> Result<CopyMethod, Errno> {
        match self.change(Call::CopyFrom, &"")? {
            Verdict::Go => self.inner.copy_from(to, source, from, len),
            Verdict::Half => {
                self.inner.copy_from(to, source, from, len / 2)?;
                Err(Errno::NOSPC)
            }
        }
    }

    fn fsync(&self, node: NodeId, scope: SyncScope) -> Result<(), Errno> {
        self.whole(Call::Fsync, &"")?;
        self.inner.fsync(node, scope)
    }

    /// A file to write to is not offered: what is written there would be no change that is counted.
    fn host_file(&self, node: NodeId, access: Access) -> Result<Option<HostFile>, Errno> {
        self.reading(Call::HostFile)?;
        match access {
            Access::Read if !self.lacks().contains(Lacks::HOST_FILE) => {
                self.inner.host_file(node, access)
            }
            Access::Read | Access::Write => Ok(None),
        }
    }

    fn open(&self, node: NodeId, known: Option<DataVersion>) -> Result<Opened, Errno> {
        self.inner.open(node, known)
    }

    fn keeps_name(&self, node: NodeId) -> bool {
        self.inner.keeps_name(node)
    }

    fn nameless(&self) -> usize {
        self.inner.nameless()
    }

    fn stat_fs(&self) -> Result<StatFs, Errno> {
        self.reading(Call::StatFs)?;
        self.inner.stat_fs()
    }

    fn uuid(&self) -> Uuid {
        match self.lacking(Lacks::UUID, Errno::OPNOTSUPP) {
            Ok(()) => self.inner.uuid(),
            Err(_) => Uuid::default(),
        }
    }

    fn file_handle(&self, node: NodeId) -> Result<FileHandle, Errno> {
        self.lacking(Lacks::HANDLES, Errno::OPNOTSUPP)?;
        self.reading(Call::FileHandle)?;
        self.inner.file_handle(node)
    }

    fn attr_by_handle(&self, handle: &FileHandle) -> Result<Attr, Errno> {
        self.lacking(Lacks::HANDLES, Errno::OPNOTSUPP)?;
        self.reading(Call::AttrByHandle)?;
        self.inner.attr_by_handle(handle)
    }
}

/// Names the attributes that a change sets.
fn attr_fields(change: &SetAttr) -> String {
    let fields = [
        ("size", change.size.is_some()),
        ("owner", change.uid.is_some() || change.gid.is_some()),
        ("mode", change.mode.is_some()),
        ("times", change.atime.is_some() || change.mtime.is_some()),
    ];
    let named: Vec<_> = fields
        .into_iter()
        .filter_map(|(name, set)| set.then_some(name))
        .collect();
    named.join("+")
}
