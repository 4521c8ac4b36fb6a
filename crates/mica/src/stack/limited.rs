//! An upper that takes no more than it may.
//!
//! What is in it is counted when it is opened, and what each call adds or takes away afterwards: blocks and objects. An object without
//! a name counts until nobody has it open.
//!
//! # Locks
//!
//! `gate` is held while data is changed: two that write to one file at once could not tell whose blocks are new.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mica_vfs::{
    Access, Attr, Caller, Cookie, CopyMethod, DataVersion, DirEntry, Entry, Errno, FallocateMode,
    FileFlags, FileHandle, FileName, FileType, Filesystem, Flow, HostFile, KillPriv, Mode, NodeId,
    Observer, Opened, Rdev, RenameFlags, Rights, SeekFrom, SetAttr, StatFs, SyncScope, Uuid,
    XattrMode, XattrName,
};

use crate::offline::Node;

/// The most that an upper takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Bytes of data, as blocks on disk; `None`: any.
    pub bytes: Option<u64>,
    /// Objects, whiteouts among them; `None`: any.
    pub inodes: Option<u64>,
}

/// A block of `st_blocks`.
const BLOCK: u64 = 512;

/// What is known of an object that is referenced.
#[derive(Debug, Default)]
struct Held {
    references: u64,
    /// Whether it has no name any more.
    gone: bool,
}

/// The layer of an upper, with limits.
#[derive(Debug)]
pub(super) struct Limited {
    inner: Arc<dyn Filesystem>,
    limits: Limits,
    bytes: AtomicU64,
    inodes: AtomicU64,
    held: Mutex<HashMap<NodeId, Held>>,
    gate: Mutex<()>,
}

impl Limited {
    /// Counts what is in `inner`.
    pub(super) fn over(inner: Arc<dyn Filesystem>, limits: Limits) -> Result<Self, Errno> {
        let (mut bytes, mut inodes) = (0, 0);
        let mut seen = HashSet::new();
        let mut left = vec![Node::root(Arc::clone(&inner), NodeId::ROOT)?];
        while let Some(dir) = left.pop() {
            for name in dir.names()? {
                let Some(node) = dir.child(&name)? else {
                    continue;
                };
                if node.attr().nlink > 1 && !seen.insert(node.attr().ino) {
                    continue;
                }
                bytes += size(node.attr());
                inodes += 1;
                if node.kind() == FileType::Directory {
                    left.push(node);
                }
            }
        }
        Ok(Self {
            inner,
            limits,
            bytes: AtomicU64::new(bytes),
            inodes: AtomicU64::new(inodes),
            held: Mutex::default(),
            gate: Mutex::default(),
        })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<NodeId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a reference that a call has given.
    fn refer(&self, entry: Entry) -> Entry {
        self.held().entry(entry.node).or_default().references += 1;
        entry
    }

    /// Makes an object, if there may be one more.
    fn make(&self, make: impl FnOnce() -> Result<Entry, Errno>) -> Result<Entry, Errno> {
        let before = self.inodes.fetch_add(1, SeqCst);
        if self.limits.inodes.is_some_and(|most| before >= most) {
            take(&self.inodes, 1);
            return Err(Errno::NOSPC);
        }
        match make() {
            Ok(entry) => {
                self.bytes.fetch_add(size(&entry.attr), SeqCst);
                Ok(self.refer(entry))
            }
            Err(errno) => {
                take(&self.inodes, 1);
                Err(errno)
            }
        }
    }

    /// Changes data of `node`, if there is room for as many bytes as it may need.
    fn change<T>(
        &self,
        node: NodeId,
        need: impl FnOnce(&Attr) -> u64,
        change: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.inner.get_attr(node)?;
        let need = need(&before);
        let used = self.bytes.load(SeqCst);
        if need > 0
            && self
                .limits
                .bytes
                .is_some_and(|most| used.saturating_add(need) > most)
        {
            return Err(Errno::NOSPC);
        }
        let done = change();
        let (was, is) = (size(&before), size(&self.inner.get_attr(node)?));
        if is > was {
            self.bytes.fetch_add(is - was, SeqCst);
        } else {
            take(&self.bytes, was - is);
        }
        done
    }

    /// Takes a name away by `remove`, and counts no more what has none then.
    fn lose(
        &self,
        (dir, name): (NodeId, FileName<'_>),
        remove: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let Ok(entry) = self.lookup(dir, name) else {
            return remove();
        };
        let done = remove();
        let last = entry.attr.kind == FileType::Directory || entry.attr.nlink < 2;
        if done.is_ok() && last {
            self.held().entry(entry.node).or_default().gone = true;
        }
        self.forget(entry.node, 1);
        done
    }
}

fn size(attr: &Attr) -> u64 {
    attr.blocks.saturating_mul(BLOCK)
}

fn take(from: &AtomicU64, count: u64) {
    let less = |now: u64| Some(now.saturating_sub(count));
    // It always has a new value.
    let _before = from.fetch_update(SeqCst, SeqCst, less);
}

/// What a write needs beyond what the file has: nothing where it has all blocks already.
fn new_bytes(attr: &Attr, offset: u64, len: u64) -> u64 {
    let end = offset.saturating_add(len);
    match end <= attr.size && size(attr) >= attr.size {
        true => 0,
        false => len,
    }
}

impl Filesystem for Limited {
    fn lookup(&self, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
        Ok(self.refer(self.inner.lookup(dir, name)?))
    }

    fn forget(&self, node: NodeId, count: u64) {
        let ended = {
            let mut held = self.held();
            let ended = held.get_mut(&node).is_some_and(|held| {
                held.references = held.references.saturating_sub(count);
                held.references == 0
            });
            ended.then(|| held.remove(&node)).flatten()
        };
        if ended.is_some_and(|ended| ended.gone) {
            let blocks = self.inner.get_attr(node).map_or(0, |attr| size(&attr));
            take(&self.bytes, blocks);
            take(&self.inodes, 1);
        }
        self.inner.forget(node, count);
    }

    fn read_dir(
        &self,
        dir: NodeId,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>) -> Flow,
    ) -> Result<(), Errno> {
        self.inner.read_dir(dir, from, sink)
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, Errno> {
        self.inner.read_link(node)
    }

    fn get_attr(&self, node: NodeId) -> Result<Attr, Errno> {
        self.inner.get_attr(node)
    }

    fn set_attr(&self, node: NodeId, change: &SetAttr) -> Result<Attr, Errno> {
        if change.size.is_none() {
            return self.inner.set_attr(node, change);
        }
        self.change(node, |_| 0, || self.inner.set_attr(node, change))
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
        self.inner.set_xattr(node, name, value, mode, kill)
    }

    fn remove_xattr(&self, node: NodeId, name: XattrName<'_>) -> Result<(), Errno> {
        self.inner.remove_xattr(node, name)
    }

    fn file_flags(&self, node: NodeId) -> Result<FileFlags, Errno> {
        self.inner.file_flags(node)
    }

    fn set_file_flags(&self, node: NodeId, flags: FileFlags) -> Result<(), Errno> {
        self.inner.set_file_flags(node, flags)
    }

    fn access(&self, node: NodeId, wanted: Rights) -> Result<(), Errno> {
        self.inner.access(node, wanted)
    }

    fn create(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        self.make(|| self.inner.create(caller, dir, name, mode))
    }

    fn mkdir(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        self.make(|| self.inner.mkdir(caller, dir, name, mode))
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
        self.make(|| self.inner.mknod(caller, dir, name, kind, mode, rdev))
    }

    fn symlink(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        target: &[u8],
    ) -> Result<Entry, Errno> {
        self.make(|| self.inner.symlink(caller, dir, name, target))
    }

    fn tmpfile(&self, caller: &Caller, dir: NodeId, mode: Mode) -> Result<Entry, Errno> {
        let entry = self.make(|| self.inner.tmpfile(caller, dir, mode))?;
        self.held().entry(entry.node).or_default().gone = true;
        Ok(entry)
    }

    fn link(&self, node: NodeId, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
        let entry = self.refer(self.inner.link(node, dir, name)?);
        self.held().entry(entry.node).or_default().gone = false;
        Ok(entry)
    }

    fn unlink(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        self.lose((dir, name), || self.inner.unlink(dir, name))
    }

    fn rmdir(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        self.lose((dir, name), || self.inner.rmdir(dir, name))
    }

    fn rename(
        &self,
        from_dir: NodeId,
        from: FileName<'_>,
        to_dir: NodeId,
        to: FileName<'_>,
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let rename = || self.inner.rename(from_dir, from, to_dir, to, flags);
        if flags.contains(RenameFlags::EXCHANGE) {
            return rename();
        }
        self.lose((to_dir, to), rename)?;
        if flags.contains(RenameFlags::WHITEOUT) {
            self.inodes.fetch_add(1, SeqCst);
        }
        Ok(())
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
        let need = |attr: &Attr| new_bytes(attr, offset, data.len() as u64);
        self.change(node, need, || self.inner.write(node, offset, data, kill))
    }

    fn fallocate(
        &self,
        node: NodeId,
        mode: FallocateMode,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        let need = |attr: &Attr| match mode.contains(FallocateMode::PUNCH_HOLE) {
            true => 0,
            false => new_bytes(attr, offset, len),
        };
        self.change(node, need, || self.inner.fallocate(node, mode, offset, len))
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
        let need = |attr: &Attr| new_bytes(attr, to_offset, len);
        self.change(to, need, || {
            self.inner.copy_range(from, from_offset, to, to_offset, len)
        })
    }

    fn copy_from(
        &self,
        to: NodeId,
        source: &dyn Filesystem,
        from: NodeId,
        len: u64,
    ) -> Result<CopyMethod, Errno> {
        let need = size(&source.get_attr(from)?).min(len);
        self.change(to, |_| need, || self.inner.copy_from(to, source, from, len))
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
        let mut told = self.inner.stat_fs()?;
        if let Some(most) = self.limits.bytes {
            let unit = u64::from(told.fragment_size).max(1);
            let free = most.saturating_sub(self.bytes.load(SeqCst)) / unit;
            told.blocks = (most / unit).min(told.blocks);
            told.blocks_free = free.min(told.blocks_free);
            told.blocks_available = free.min(told.blocks_available);
        }
        if let Some(most) = self.limits.inodes {
            let free = most.saturating_sub(self.inodes.load(SeqCst));
            // Some filesystems do not say how many they may have.
            let any = told.files == 0;
            told.files = if any { most } else { most.min(told.files) };
            told.files_free = if any { free } else { free.min(told.files_free) };
        }
        Ok(told)
    }

    fn uuid(&self) -> Uuid {
        self.inner.uuid()
    }

    fn file_handle(&self, node: NodeId) -> Result<FileHandle, Errno> {
        self.inner.file_handle(node)
    }

    fn attr_by_handle(&self, handle: &FileHandle) -> Result<Attr, Errno> {
        self.inner.attr_by_handle(handle)
    }
}
