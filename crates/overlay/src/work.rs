//! The work directory: where an object is built before one rename shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use mica_vfs::lock::{Mutex, Rank};
use mica_vfs::{
    Attr, Caller, Cookie, Errno, FileName, FileNameBuf, FileType, Filesystem, Flow, Mode, NodeId,
    RenameFlags, SetAttr, XattrName, met,
};

use crate::config::Config;
use crate::durability::Durability;
use crate::error::SetupError;
use crate::incompat::{self, INCOMPAT};
use crate::stack::{LayerInfo, LayerNode};
use crate::whiteout::{SharedWhiteout, is_device_whiteout};

const SHARED_WHITEOUT: Rank = Rank(140);
/// Mode of the directory. The kernel makes it with none, which a mounter without `CAP_DAC_OVERRIDE` could not use.
pub(crate) const PRIVATE: Mode = Mode::from_bits_retain(0o700);
/// How deep leftovers in the work directory can lie.
const DEPTH_MAX: usize = 1000;

/// The prepared work directory of a mount.
#[derive(Debug)]
pub(crate) struct Work {
    /// `work/work`.
    pub(crate) dir: LayerNode,
    /// The whiteout that others are links to.
    pub(crate) whiteout: Mutex<Option<Arc<SharedWhiteout>>>,
    /// How many unfinished objects of a mount before were found and removed.
    pub(crate) recovered: usize,
    counter: AtomicU64,
}

/// A name in the work directory, removed on drop unless it was published.
#[derive(Debug)]
pub(crate) struct Temp<'a> {
    work: &'a Work,
    name: Option<FileNameBuf>,
    kind: FileType,
}

impl Work {
    /// Makes `work` in the mount's work directory, or empties the one that a mount before left (OVL-50), and marks it if this
    /// mount is volatile (OVL-66).
    pub(crate) fn prepare(
        upper: &Arc<LayerInfo>,
        work: NodeId,
        config: &Config,
    ) -> Result<Self, SetupError> {
        let failed = |action, name: &'static str| {
            move |source| SetupError::Work {
                action,
                name: name.to_owned(),
                source,
            }
        };
        let fs = &*upper.fs;
        let name = FileName::new(b"work").map_err(failed("name", "work"))?;
        let mut recovered = 0;
        match fs.lookup(work, name) {
            Ok(entry) => {
                met!(50);
                let old = LayerNode::adopt(upper, &entry);
                make_readable(&old, &entry.attr).map_err(failed("open", "work"))?;
                if entry.attr.kind == FileType::Directory {
                    incompat::refuse(&old)?;
                    recovered = unfinished(&old).map_err(failed("read", "work"))?;
                }
                remove_tree(fs, work, name, entry.attr.kind, 0).map_err(failed("empty", "work"))?;
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed("look up", "work")(errno)),
        }
        let entry = fs
            .mkdir(&config.mounter, work, name, PRIVATE)
            .map_err(failed("create", "work"))?;
        let dir = LayerNode::adopt(upper, &entry);
        inherit_nothing(&dir, &config.mounter, PRIVATE).map_err(failed("prepare", "work"))?;
        let prepared = Self {
            dir,
            whiteout: Mutex::new(SHARED_WHITEOUT, None),
            recovered,
            counter: AtomicU64::new(0),
        };
        if config.durability == Durability::Volatile {
            incompat::mark_volatile(&prepared, &config.mounter)
                .map_err(failed("create", "work/incompat/volatile/dirty"))?;
        }
        Ok(prepared)
    }

    /// Returns a name that nothing in the directory has: `#` and a number, as the kernel's are.
    pub(crate) fn temp_name(&self) -> FileNameBuf {
        let name = format!("#{:x}", self.counter.fetch_add(1, Relaxed));
        // A short ASCII name without a slash is always valid; the other arm is never reached.
        FileNameBuf::new(name.as_bytes()).unwrap_or_else(|_| self.temp_name())
    }

    /// Moves `name` of upper directory `dir` here. [`RenameFlags::WHITEOUT`] leaves one in its place.
    pub(crate) fn take(
        &self,
        dir: &LayerNode,
        name: FileName<'_>,
        kind: FileType,
        flags: RenameFlags,
    ) -> Result<Temp<'_>, Errno> {
        let temp = self.temp_name();
        dir.fs()
            .rename(dir.id, name, self.dir.id, temp.as_name(), flags)?;
        Ok(self.temp(temp, kind))
    }

    /// Takes charge of an object that was made under `name`.
    pub(crate) fn temp(&self, name: FileNameBuf, kind: FileType) -> Temp<'_> {
        Temp {
            work: self,
            name: Some(name),
            kind,
        }
    }

    /// Removes what the mount leaves behind, but for the mark of a volatile one (OVL-66).
    pub(crate) fn clear(&self) -> Result<(), Errno> {
        drop(self.whiteout.lock()?.take());
        let (fs, dir) = (self.dir.fs(), self.dir.id);
        for (name, kind) in names_in(fs, dir)? {
            if name.as_name().as_bytes() != INCOMPAT {
                remove_entry(fs, dir, name.as_name(), kind, 0)?;
            }
        }
        Ok(())
    }

    /// Removes everything, for a mount that never was.
    pub(crate) fn abandon(&self) -> Result<(), Errno> {
        drop(self.whiteout.lock()?.take());
        empty_dir(self.dir.fs(), self.dir.id, 0)
    }
}

impl Temp<'_> {
    /// Renames the object into upper directory `dir`. What was there goes away, or takes the temporary name with
    /// [`RenameFlags::EXCHANGE`] and is removed with it.
    pub(crate) fn publish(
        mut self,
        dir: &LayerNode,
        name: FileName<'_>,
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let temp = self.name.as_ref().ok_or(Errno::IO)?;
        dir.fs()
            .rename(self.work.dir.id, temp.as_name(), dir.id, name, flags)?;
        if !flags.contains(RenameFlags::EXCHANGE) {
            self.name = None;
        }
        Ok(())
    }

    /// Exchanges the object with what is at `name` of upper directory `dir`, which has the temporary name then.
    pub(crate) fn exchange(&self, dir: &LayerNode, name: FileName<'_>) -> Result<(), Errno> {
        let (fs, flags) = (dir.fs(), RenameFlags::EXCHANGE);
        fs.rename(self.work.dir.id, self.name()?, dir.id, name, flags)
    }

    /// Says what type of object [`publish`](Self::publish) with an exchange brings to the temporary name.
    pub(crate) fn exchanged_for(mut self, kind: FileType) -> Self {
        self.kind = kind;
        self
    }

    /// Returns the temporary name, which is the caller's to remove from then on.
    pub(crate) fn into_name(mut self) -> Result<FileNameBuf, Errno> {
        self.name.take().ok_or(Errno::IO)
    }

    /// The temporary name.
    pub(crate) fn name(&self) -> Result<FileName<'_>, Errno> {
        self.name
            .as_ref()
            .map(FileNameBuf::as_name)
            .ok_or(Errno::IO)
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        let Some(name) = &self.name else { return };
        let dir = &self.work.dir;
        let removed = match self.kind {
            FileType::Directory => remove_tree(dir.fs(), dir.id, name.as_name(), self.kind, 0),
            _ => dir.fs().unlink(dir.id, name.as_name()),
        };
        // What stays is out of sight, and the next mount removes it.
        if let Err(errno) = removed
            && errno != Errno::NOENT
        {
            tracing::warn!(name = %name.as_name(), %errno, "temporary stays in the work directory");
        }
    }
}

/// Takes away what the directory got from the one that it was made in: whatever is built in it would get it, too, and a copy
/// would show an owner and an ACL that its lower object does not have (ovl_workdir_create).
pub(crate) fn inherit_nothing(dir: &LayerNode, mounter: &Caller, mode: Mode) -> Result<(), Errno> {
    for acl in [&b"system.posix_acl_default"[..], b"system.posix_acl_access"] {
        match dir.fs().remove_xattr(dir.id, XattrName::new(acl)?) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    let change = SetAttr {
        gid: Some(mounter.gid),
        mode: Some(mode),
        ..SetAttr::default()
    };
    dir.fs().set_attr(dir.id, &change).map(drop)
}

/// Lets the mounter into a directory that another mount, or the kernel, closed to all but root.
pub(crate) fn make_readable(dir: &LayerNode, attr: &Attr) -> Result<(), Errno> {
    if attr.kind != FileType::Directory || attr.mode.contains(PRIVATE) {
        return Ok(());
    }
    let mode = Some(attr.mode | PRIVATE);
    dir.fs()
        .set_attr(
            dir.id,
            &SetAttr {
                mode,
                ..SetAttr::default()
            },
        )
        .map(drop)
}

/// Removes a name and all below it.
pub(crate) fn remove_tree(
    fs: &dyn Filesystem,
    dir: NodeId,
    name: FileName<'_>,
    kind: FileType,
    depth: usize,
) -> Result<(), Errno> {
    if kind != FileType::Directory {
        return fs.unlink(dir, name);
    }
    let entry = fs.lookup(dir, name)?;
    if !entry.attr.mode.contains(PRIVATE) {
        // A copy of a directory that is closed to its owner. Where it stays so, listing it says why.
        let mode = Some(entry.attr.mode | PRIVATE);
        let change = SetAttr {
            mode,
            ..SetAttr::default()
        };
        _ = fs.set_attr(entry.node, &change);
    }
    let emptied = empty_dir(fs, entry.node, depth);
    fs.forget(entry.node, 1);
    emptied?;
    fs.rmdir(dir, name)
}

/// Removes all below a directory.
pub(crate) fn empty_dir(fs: &dyn Filesystem, dir: NodeId, depth: usize) -> Result<(), Errno> {
    if depth > DEPTH_MAX {
        return Err(Errno::LOOP);
    }
    for (name, kind) in names_in(fs, dir)? {
        remove_entry(fs, dir, name.as_name(), kind, depth + 1)?;
    }
    Ok(())
}

/// Removes a listed name and all below it.
fn remove_entry(
    fs: &dyn Filesystem,
    dir: NodeId,
    name: FileName<'_>,
    kind: Option<FileType>,
    depth: usize,
) -> Result<(), Errno> {
    let kind = match kind {
        Some(kind) => kind,
        None => {
            let entry = fs.lookup(dir, name)?;
            fs.forget(entry.node, 1);
            entry.attr.kind
        }
    };
    remove_tree(fs, dir, name, kind, depth)
}

/// Lists a directory, which is about to be changed, to its end.
pub(crate) fn names_in(
    fs: &dyn Filesystem,
    dir: NodeId,
) -> Result<Vec<(FileNameBuf, Option<FileType>)>, Errno> {
    let mut names = Vec::new();
    fs.read_dir(dir, Cookie::START, &mut |entry| {
        names.push((entry.name.to_owned(), entry.kind));
        Flow::Continue
    })?;
    Ok(names)
}

/// Counts what a mount that ended without unmounting was working on.
///
/// A whiteout is none of it: the kernel leaves the one that it links to behind whenever it unmounts.
pub(crate) fn unfinished(work: &LayerNode) -> Result<usize, Errno> {
    let mut count = 0;
    for (name, _) in names_in(work.fs(), work.id)? {
        if name.as_name().as_bytes() == INCOMPAT {
            continue;
        }
        let found = work.child(name.as_name())?;
        count += usize::from(found.is_some_and(|(_, attr)| !is_device_whiteout(&attr)));
    }
    Ok(count)
}
