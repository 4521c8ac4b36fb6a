//! A layer whose Nth change fails.
//!
//! A change is a call of any method that changes the filesystem, and of `fsync`: each is a place where a disk, a limit or
//! a kill can strike. Changes are counted from 1, and each is noted by name, so that a test can print the steps.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mica_vfs::{
    Access, Attr, Caller, Cookie, CopyMethod, DirEntry, Entry, Errno, FallocateMode, FileFlags,
    FileHandle, FileName, FileType, Filesystem, Flow, HostFile, KillPriv, ListedNode, Mode, NodeId,
    Rdev, RenameFlags, SeekFrom, SetAttr, StatFs, SyncScope, Uuid, XattrMode, XattrName,
};

/// What happens at the chosen change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not made and fails; the changes after it succeed.
    Fail(Errno),
    /// It and all after it fail with `EIO` and change nothing, as if the process had died before it.
    Stop,
    /// A write takes half of its data, a copy fails with `ENOSPC` after half of its data, and the next change fails with
    /// `ENOSPC`. Any other change fails with `ENOSPC`.
    Short,
}

/// What is to be done about one change.
enum Verdict {
    Go,
    Half,
}

#[derive(Debug, Default)]
struct State {
    steps: Vec<String>,
    plan: Option<(usize, Fault)>,
}

/// A filesystem with faults in its changes. Reading always works.
#[derive(Debug)]
pub struct FaultLayer {
    inner: Arc<dyn Filesystem>,
    state: Mutex<State>,
}

impl FaultLayer {
    /// Wraps a filesystem; nothing fails yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Filesystem>) -> Self {
        Self {
            inner,
            state: Mutex::default(),
        }
    }

    /// Forgets the steps, and lets the `nth` change from here fail. The first change is 1.
    pub fn arm(&self, nth: usize, fault: Fault) {
        let mut state = self.state();
        state.steps.clear();
        state.plan = Some((nth, fault));
    }

    /// Lets every further change succeed.
    pub fn heal(&self) {
        self.state().plan = None;
    }

    /// Forgets the steps, lets every further change succeed, and counts from here.
    pub fn reset(&self) {
        *self.state() = State::default();
    }

    /// Returns the changes so far by name, those that failed among them.
    #[must_use]
    pub fn steps(&self) -> Vec<String> {
        self.state().steps.clone()
    }

    /// Returns how many changes there were.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.state().steps.len()
    }

    /// Tells whether the fault has struck.
    #[must_use]
    pub fn struck(&self) -> bool {
        let state = self.state();
        state.plan.is_some_and(|(nth, _)| state.steps.len() >= nth)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a change and finds whether it is made.
    fn change(&self, step: String) -> Result<Verdict, Errno> {
        let mut state = self.state();
        state.steps.push(step);
        let number = state.steps.len();
        match state.plan {
            Some((nth, Fault::Fail(errno))) if number == nth => Err(errno),
            Some((nth, Fault::Stop)) if number >= nth => Err(Errno::IO),
            Some((nth, Fault::Short)) if number == nth => Ok(Verdict::Half),
            Some((nth, Fault::Short)) if number == nth + 1 => Err(Errno::NOSPC),
            _ => Ok(Verdict::Go),
        }
    }

    /// Notes a change that is made or not.
    fn whole(&self, step: String) -> Result<(), Errno> {
        match self.change(step)? {
            Verdict::Go => Ok(()),
            Verdict::Half => Err(Errno::NOSPC),
        }
    }
}

impl Filesystem for FaultLayer {
    fn lookup(&self, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
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
        self.inner.read_dir(dir, from, sink)
    }

    fn read_dir_plus(
        &self,
        dir: NodeId,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>, &ListedNode) -> Flow,
    ) -> Result<(), Errno> {
        self.inner.read_dir_plus(dir, from, sink)
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, Errno> {
        self.inner.read_link(node)
    }

    fn get_attr(&self, node: NodeId) -> Result<Attr, Errno> {
        self.inner.get_attr(node)
    }

    fn set_attr(&self, node: NodeId, change: &SetAttr) -> Result<Attr, Errno> {
        self.whole(format!("set_attr {}", attr_fields(change)))?;
        self.inner.set_attr(node, change)
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
        self.whole(format!("set_xattr {name}"))?;
        self.inner.set_xattr(node, name, value, mode, kill)
    }

    fn remove_xattr(&self, node: NodeId, name: XattrName<'_>) -> Result<(), Errno> {
        self.whole(format!("remove_xattr {name}"))?;
        self.inner.remove_xattr(node, name)
    }

    fn file_flags(&self, node: NodeId) -> Result<FileFlags, Errno> {
        self.inner.file_flags(node)
    }

    fn set_file_flags(&self, node: NodeId, flags: FileFlags) -> Result<(), Errno> {
        self.whole("set_file_flags".into())?;
        self.inner.set_file_flags(node, flags)
    }

    fn create(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        self.whole(format!("create {name}"))?;
        self.inner.create(caller, dir, name, mode)
    }

    fn mkdir(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        self.whole(format!("mkdir {name}"))?;
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
        self.whole(format!("mknod {name}"))?;
        self.inner.mknod(caller, dir, name, kind, mode, rdev)
    }

    fn symlink(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        target: &[u8],
    ) -> Result<Entry, Errno> {
        self.whole(format!("symlink {name}"))?;
        self.inner.symlink(caller, dir, name, target)
    }

    fn tmpfile(&self, caller: &Caller, dir: NodeId, mode: Mode) -> Result<Entry, Errno> {
        self.whole("tmpfile".into())?;
        self.inner.tmpfile(caller, dir, mode)
    }

    fn link(&self, node: NodeId, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
        self.whole(format!("link {name}"))?;
        self.inner.link(node, dir, name)
    }

    fn unlink(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        self.whole(format!("unlink {name}"))?;
        self.inner.unlink(dir, name)
    }

    fn rmdir(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        self.whole(format!("rmdir {name}"))?;
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
        self.whole(format!("rename {from} -> {to} {flags:?}"))?;
        self.inner.rename(from_dir, from, to_dir, to, flags)
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
        let take = match self.change(format!("write {}", data.len()))? {
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
        self.whole(format!("fallocate {mode:?}"))?;
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
        let len = match self.change("copy_range".into())? {
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
        match self.change("copy_from".into())? {
            Verdict::Go => self.inner.copy_from(to, source, from, len),
            Verdict::Half => {
                self.inner.copy_from(to, source, from, len / 2)?;
                Err(Errno::NOSPC)
            }
        }
    }

    fn fsync(&self, node: NodeId, scope: SyncScope) -> Result<(), Errno> {
        self.whole("fsync".into())?;
        self.inner.fsync(node, scope)
    }

    /// A file to write to is not offered: what is written there would be no change that is counted.
    fn host_file(&self, node: NodeId, access: Access) -> Result<Option<HostFile>, Errno> {
        match access {
            Access::Read => self.inner.host_file(node, access),
            Access::Write => Ok(None),
        }
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

#[cfg(test)]
mod tests;
