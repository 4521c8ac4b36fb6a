//! The calls of a filesystem with a fault.

use mica_vfs::{
    Access, Attr, Caller, Cookie, CopyMethod, DataVersion, DirEntry, Entry, Errno, FallocateMode,
    FileFlags, FileHandle, FileName, FileType, Filesystem, Flow, HostFile, Ino, KillPriv,
    ListedNode, Mode, NodeId, Observer, Opened, Rdev, RenameFlags, SeekFrom, SetAttr, SetTime,
    StatFs, SyncScope, Uuid, XattrMode, XattrName,
};

use super::{Plant, Planted};

impl Planted {
    fn is(&self, plant: Plant) -> bool {
        self.plant == plant
    }

    /// Corrects a name that is about to be listed.
    fn listed<'a>(&self, mut entry: DirEntry<'a>) -> DirEntry<'a> {
        if self.is(Plant::ListedInoWrong) && entry.kind == Some(FileType::Regular) {
            entry.ino = Ino(entry.ino.0 ^ 1);
        }
        if self.is(Plant::ListedKindWrong) && entry.kind == Some(FileType::Fifo) {
            entry.kind = Some(FileType::Regular);
        }
        entry
    }

    /// Tells whether the `count`th name from `from` on is kept silent.
    fn skips(&self, from: Cookie, count: usize) -> bool {
        self.is(Plant::ListingResumesLate) && from != Cookie::START && count == 0
    }

    fn attr(&self, mut attr: Attr) -> Attr {
        if self.is(Plant::LowerLinksWrong) && attr.kind == FileType::Regular {
            attr.nlink += 1;
        }
        attr
    }

    fn entry(&self, entry: Entry) -> Entry {
        Entry {
            attr: self.attr(entry.attr),
            ..entry
        }
    }

    /// What becomes of an attribute that is set: `None` if it is dropped.
    fn value(&self, name: XattrName<'_>, value: &[u8]) -> Option<Vec<u8>> {
        let name = name.as_bytes();
        let mark = |mark: &str| name.ends_with(format!(".overlay.{mark}").as_bytes());
        let user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
        let lost = match self.plant {
            Plant::OpaqueLost => mark("opaque"),
            Plant::OriginLost => mark("origin"),
            Plant::ImpureLost => mark("impure"),
            Plant::RedirectLost => mark("redirect"),
            Plant::ProtectionLost => mark("protattr"),
            Plant::XattrLost => user,
            Plant::CapabilityLost => name == b"security.capability",
            Plant::AclLost => name == b"system.posix_acl_access",
            _ => false,
        };
        if lost {
            return None;
        }
        let mut value = value.to_vec();
        match self.plant {
            Plant::OpaqueWrong if mark("opaque") => value = b"x".to_vec(),
            Plant::RedirectWrong if mark("redirect") => value.push(b'x'),
            Plant::LinksWrong if mark("nlink") => value = b"U+1".to_vec(),
            _ => {}
        }
        Some(value)
    }

    fn flags(&self, flags: RenameFlags) -> RenameFlags {
        flags.difference(match self.plant {
            Plant::WhiteoutMissed => RenameFlags::WHITEOUT,
            Plant::ExchangeMissed => RenameFlags::EXCHANGE,
            _ => RenameFlags::empty(),
        })
    }
}

impl Filesystem for Planted {
    fn lookup(&self, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
        Ok(self.entry(self.inner.lookup(dir, name)?))
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
        if self.is(Plant::LowerListingShort) {
            let mut names = Vec::new();
            self.inner.read_dir(dir, from, &mut |entry| {
                names.push((entry.name.to_owned(), entry.ino, entry.kind, entry.cookie));
                Flow::Continue
            })?;
            names.pop();
            for (name, ino, kind, cookie) in &names {
                let (name, ino, kind, cookie) = (name.as_name(), *ino, *kind, *cookie);
                let listed = DirEntry {
                    name,
                    ino,
                    kind,
                    cookie,
                };
                if sink(listed) == Flow::Stop {
                    break;
                }
            }
            return Ok(());
        }
        let mut count = 0;
        self.inner.read_dir(dir, from, &mut |entry| {
            count += 1;
            if self.skips(from, count - 1) {
                return Flow::Continue;
            }
            sink(self.listed(entry))
        })
    }

    fn read_dir_plus(
        &self,
        dir: NodeId,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>, &ListedNode) -> Flow,
    ) -> Result<(), Errno> {
        let mut count = 0;
        self.inner.read_dir_plus(dir, from, &mut |entry, node| {
            count += 1;
            if self.skips(from, count - 1) {
                if let Some(found) = node {
                    self.inner.forget(found.node, 1);
                }
                return Flow::Continue;
            }
            sink(self.listed(entry), node)
        })
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, Errno> {
        let mut target = self.inner.read_link(node)?;
        if self.is(Plant::TargetShort) && target.len() > 1 {
            target.pop();
        }
        Ok(target)
    }

    fn get_attr(&self, node: NodeId) -> Result<Attr, Errno> {
        Ok(self.attr(self.inner.get_attr(node)?))
    }

    fn set_attr(&self, node: NodeId, change: &SetAttr) -> Result<Attr, Errno> {
        let before = self.inner.get_attr(node)?;
        let mut change = *change;
        match self.plant {
            Plant::ModeLost => change.mode = change.mode.map(|mode| Mode::new(mode.bits() & 0o777)),
            Plant::OwnerLost => change.gid = None,
            Plant::TimeLost => {
                change.mtime = change.mtime.filter(|time| !matches!(time, SetTime::At(_)));
            }
            _ => {}
        }
        let mut after = self.inner.set_attr(node, &change)?;
        if self.is(Plant::SizeStale) && change.size.is_some() {
            after.size = before.size;
        }
        if self.is(Plant::InoMoves) && change.mode.is_some() {
            after.ino = Ino(after.ino.0 ^ (1 << 40));
        }
        Ok(after)
    }

    fn get_xattr(
        &self,
        node: NodeId,
        name: XattrName<'_>,
        value: &mut [u8],
    ) -> Result<usize, Errno> {
        self.inner.get_xattr(node, name, value)
    }

    fn list_xattr(&self, node: NodeId, names: &mut [u8]) -> Result<usize, Errno> {
        if self.is(Plant::LowerXattrsMissed) {
            return Ok(0);
        }
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
        let mode = match mode {
            XattrMode::Create if self.is(Plant::CreateMissed) => XattrMode::Set,
            mode => mode,
        };
        match self.value(name, value) {
            Some(value) => self.inner.set_xattr(node, name, &value, mode, kill),
            None => Ok(()),
        }
    }

    fn remove_xattr(&self, node: NodeId, name: XattrName<'_>) -> Result<(), Errno> {
        if self.is(Plant::MetacopyKept) && name.as_bytes().ends_with(b".overlay.metacopy") {
            return Ok(());
        }
        self.inner.remove_xattr(node, name)
    }

    fn file_flags(&self, node: NodeId) -> Result<FileFlags, Errno> {
        self.inner.file_flags(node)
    }

    fn set_file_flags(&self, node: NodeId, flags: FileFlags) -> Result<(), Errno> {
        self.inner.set_file_flags(node, flags)
    }

    fn create(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        self.inner.create(caller, dir, name, mode)
    }

    fn mkdir(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        self.inner.mkdir(caller, dir, name, mode)
    }

    fn mknod(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        kind: FileType,
        mode: Mode,
        mut rdev: Rdev,
    ) -> Result<Entry, Errno> {
        if self.is(Plant::DeviceWrong) && rdev != Rdev::WHITEOUT {
            rdev.minor += 1;
        }
        self.inner.mknod(caller, dir, name, kind, mode, rdev)
    }

    fn symlink(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        target: &[u8],
    ) -> Result<Entry, Errno> {
        self.inner.symlink(caller, dir, name, target)
    }

    fn tmpfile(&self, caller: &Caller, dir: NodeId, mode: Mode) -> Result<Entry, Errno> {
        self.inner.tmpfile(caller, dir, mode)
    }

    fn link(&self, node: NodeId, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
        let mut entry = self.inner.link(node, dir, name)?;
        if self.is(Plant::LinksOff) {
            entry.attr.nlink -= 1;
        }
        Ok(entry)
    }

    fn unlink(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        if self.is(Plant::UnlinkMissed) {
            let entry = self.inner.lookup(dir, name)?;
            self.inner.forget(entry.node, 1);
            return Ok(());
        }
        self.inner.unlink(dir, name)
    }

    fn rmdir(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        match self.inner.rmdir(dir, name) {
            Err(Errno::NOTEMPTY) if self.is(Plant::NotEmptyWrong) => Err(Errno::EXIST),
            result => result,
        }
    }

    fn rename(
        &self,
        from_dir: NodeId,
        from: FileName<'_>,
        to_dir: NodeId,
        to: FileName<'_>,
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        self.inner
            .rename(from_dir, from, to_dir, to, self.flags(flags))
    }

    fn read(&self, node: NodeId, offset: u64, data: &mut [u8]) -> Result<usize, Errno> {
        self.inner.read(node, offset, data)
    }

    fn write(
        &self,
        node: NodeId,
        offset: u64,
        data: &[u8],
        kill: KillPriv,
    ) -> Result<usize, Errno> {
        // No program of a comparison writes a whole page by itself.
        if self.is(Plant::StoreLost) && data.len().is_multiple_of(4096) {
            return Ok(data.len());
        }
        let kill = if self.is(Plant::PrivilegesKept) {
            KillPriv::Keep
        } else {
            kill
        };
        if self.is(Plant::WriteShort) && data.len() > 1 {
            let written = self
                .inner
                .write(node, offset, &data[..data.len() - 1], kill)?;
            return Ok(written + 1);
        }
        self.inner.write(node, offset, data, kill)
    }

    fn fallocate(
        &self,
        node: NodeId,
        mode: FallocateMode,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        if self.is(Plant::PunchMissed) && mode.contains(FallocateMode::PUNCH_HOLE) {
            return Ok(());
        }
        self.inner.fallocate(node, mode, offset, len)
    }

    fn seek(&self, node: NodeId, from: SeekFrom) -> Result<u64, Errno> {
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
        self.inner.copy_range(from, from_offset, to, to_offset, len)
    }

    fn copy_from(
        &self,
        to: NodeId,
        source: &dyn Filesystem,
        from: NodeId,
        len: u64,
    ) -> Result<CopyMethod, Errno> {
        if self.is(Plant::DataShort) {
            return self.inner.copy_from(to, source, from, len - 1);
        }
        let method = self.inner.copy_from(to, source, from, len)?;
        if self.is(Plant::DataWrong) {
            self.inner.write(to, 0, b"?", KillPriv::Keep)?;
        }
        Ok(method)
    }

    fn fsync(&self, node: NodeId, scope: SyncScope) -> Result<(), Errno> {
        self.inner.fsync(node, scope)
    }

    fn host_file(&self, node: NodeId, access: Access) -> Result<Option<HostFile>, Errno> {
        self.inner.host_file(node, access)
    }

    fn observe(&self, observer: Box<dyn Observer>) {
        self.inner.observe(observer);
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
        self.inner.stat_fs()
    }

    fn uuid(&self) -> Uuid {
        self.inner.uuid()
    }

    fn file_handle(&self, node: NodeId) -> Result<FileHandle, Errno> {
        self.inner.file_handle(node)
    }

    fn attr_by_handle(&self, handle: &FileHandle) -> Result<Attr, Errno> {
        Ok(self.attr(self.inner.attr_by_handle(handle)?))
    }
}
