//! Carrying out a sealed plan. Each step does what is left of it to do.

use std::path::{Path, PathBuf};

use mica_vfs::{
    Errno, FileName, FileType, KillPriv, RenameFlags, SetAttr, SetTime, SyncScope, XattrMode,
    XattrName,
};

use super::Pace;
use super::build::last;
use super::error::CommitError;
use super::plan::{Id, Plan, Step, TEMPORARY};
use super::prepare::{copy_times, is_sparse};
use super::sync::Unsynced;
use crate::diff::{Aspects, Sides, descend, plain_name};
use crate::offline::Node;

/// Carries out all steps.
pub(super) fn apply(sides: &Sides, plan: &Plan, pace: &mut Pace<'_>) -> Result<(), CommitError> {
    let mut unsynced = Unsynced::default();
    for step in &plan.steps {
        pace.step()?;
        let done = match step {
            Step::Rename { from, to, id } => rename(sides, &from.to_path(), &to.to_path(), *id),
            Step::Link { from, to } => link(sides, &from.to_path(), &to.to_path()),
            Step::Remove { path, id } => remove(sides, &path.to_path(), *id),
            Step::Fill { path, changed } => with(sides, (path.to_path(), changed.to_path()), fill),
            Step::Attributes {
                path,
                changed,
                aspects,
            } => with(sides, (path.to_path(), changed.to_path()), |new, there| {
                attributes(sides, new, there, Aspects::from_bits_truncate(*aspects))
            }),
            Step::Times { path, changed } => {
                with(sides, (path.to_path(), changed.to_path()), |new, there| {
                    match copy_times(new, there) {
                        // What belongs to somebody else has the times of the change.
                        Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::ROFS) => {}
                        Err(errno) => return Err(errno),
                    }
                    unsynced.add(there)
                })
            }
        };
        done.map_err(|source| CommitError::Begun {
            path: step.path(),
            source,
        })?;
    }
    unsynced.sync().map_err(|source| CommitError::Begun {
        path: "/".into(),
        source,
    })
}

impl Step {
    /// Returns where it is carried out.
    fn path(&self) -> PathBuf {
        match self {
            Self::Rename { to: path, .. }
            | Self::Link { to: path, .. }
            | Self::Remove { path, .. }
            | Self::Fill { path, .. }
            | Self::Attributes { path, .. }
            | Self::Times { path, .. } => path.to_path(),
        }
    }
}

/// Finds both sides of an object. What is not there any more has been dealt with.
fn with(
    sides: &Sides,
    (path, changed): (PathBuf, PathBuf),
    act: impl FnOnce(&Node, &Node) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let both = descend(&sides.upper, &changed)?.zip(sides.find(&path)?);
    both.map_or(Ok(()), |(new, there)| act(&new, &there))
}

fn parent(sides: &Sides, path: &Path) -> Result<Option<Node>, Errno> {
    sides.find(path.parent().unwrap_or(path))
}

/// Whether an object is the one that a step is about.
///
/// # Errors
///
/// ESTALE if it may be: a temporary name that something else has, or a number on a device of another number, which a filesystem
/// may have after a restart.
fn is(there: &Node, name: &[u8], id: Id) -> Result<bool, Errno> {
    let found = Id::of(there.attr());
    if found == id {
        return Ok(true);
    }
    if found.ino == id.ino || name.starts_with(TEMPORARY.as_bytes()) {
        return Err(Errno::STALE);
    }
    Ok(false)
}

fn rename(sides: &Sides, from: &Path, to: &Path, id: Id) -> Result<(), Errno> {
    let Some(from_dir) = parent(sides, from)? else {
        return Ok(());
    };
    match from_dir.child(last(from))? {
        Some(there) if is(&there, last(from), id)? => {}
        _ => return Ok(()),
    }
    let to_dir = parent(sides, to)?.ok_or(Errno::NOENT)?;
    let (from, to) = (FileName::new(last(from))?, FileName::new(last(to))?);
    // Two names of one file stay two: the temporary one is no use then.
    let fs = from_dir.fs();
    fs.rename(from_dir.id(), from, to_dir.id(), to, RenameFlags::empty())?;
    match from_dir.child(from.as_bytes())? {
        Some(there) if Id::of(there.attr()) == id && there.kind() != FileType::Directory => {
            fs.unlink(from_dir.id(), from)
        }
        _ => Ok(()),
    }
}

/// Gives a file another name, unless it has that.
fn link(sides: &Sides, from: &Path, to: &Path) -> Result<(), Errno> {
    let (Some(node), Some(dir)) = (sides.find(from)?, parent(sides, to)?) else {
        return Ok(());
    };
    match dir.fs().link(node.id(), dir.id(), FileName::new(last(to))?) {
        Ok(entry) => {
            drop(dir.adopt(entry.node, entry.attr));
            Ok(())
        }
        Err(Errno::EXIST) => {
            let same = dir.child(last(to))?;
            if same.is_none_or(|there| there.attr().ino != node.attr().ino) {
                tracing::warn!(path = ?to, "somebody made an object of this name while the session was committed");
            }
            Ok(())
        }
        Err(errno) => Err(errno),
    }
}

fn remove(sides: &Sides, path: &Path, id: Id) -> Result<(), Errno> {
    match parent(sides, path)? {
        Some(dir) => remove_tree(&dir, last(path), Some(id)),
        None => Ok(()),
    }
}

/// Removes an object and all that is in it, but for what is mounted there.
pub(super) fn remove_tree(dir: &Node, name: &[u8], id: Option<Id>) -> Result<(), Errno> {
    let Some(node) = dir.child(name)? else {
        return Ok(());
    };
    if let Some(id) = id
        && !is(&node, name, id)?
    {
        return Ok(());
    }
    if node.kind() != FileType::Directory {
        return gone(dir.fs().unlink(dir.id(), FileName::new(name)?));
    }
    if node.attr().dev != dir.attr().dev {
        return Err(Errno::BUSY);
    }
    // Of a directory, what is left in it and its name in the one above.
    let mut stack = vec![(dir.clone(), name.to_vec(), node.clone(), node.names()?)];
    while let Some((above, name, node, names)) = stack.last_mut() {
        let Some(next) = names.pop() else {
            gone(above.fs().rmdir(above.id(), FileName::new(name)?))?;
            stack.pop();
            continue;
        };
        let Some(child) = node.child(&next)? else {
            continue;
        };
        if child.kind() != FileType::Directory {
            gone(node.fs().unlink(node.id(), FileName::new(&next)?))?;
        } else if child.attr().dev == node.attr().dev {
            let names = child.names()?;
            let above = node.clone();
            stack.push((above, next.to_vec(), child, names));
        } else {
            return Err(Errno::BUSY);
        }
    }
    Ok(())
}

fn gone(removed: Result<(), Errno>) -> Result<(), Errno> {
    match removed {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

/// Writes the data of a changed file into the one that is there.
fn fill(new: &Node, there: &Node) -> Result<(), Errno> {
    let (fs, id, size) = (there.fs(), there.id(), new.attr().size);
    let to_size = |size| {
        let change = SetAttr {
            size: Some(size),
            kill: KillPriv::Keep,
            ..SetAttr::default()
        };
        fs.set_attr(id, &change).map(drop)
    };
    if is_sparse(new.attr()) {
        // What is a hole now had data.
        to_size(0)?;
    }
    fs.copy_from(id, &**new.fs(), new.id(), size)?;
    to_size(size)?;
    fs.fsync(id, SyncScope::Data)
}

const fn privileged(mode: u32) -> bool {
    mode & 0o6000 != 0
}

/// Gives an object the attributes that differ: owner first, which takes others away, times last.
fn attributes(sides: &Sides, new: &Node, there: &Node, aspects: Aspects) -> Result<(), Errno> {
    let (fs, id) = (there.fs(), there.id());
    if aspects.contains(Aspects::OWNER) {
        let (is, wanted) = (there.attr(), new.attr());
        let owner = SetAttr {
            uid: (is.uid != wanted.uid).then_some(wanted.uid),
            gid: (is.gid != wanted.gid).then_some(wanted.gid),
            ..SetAttr::default()
        };
        fs.set_attr(id, &owner)?;
    }
    // Writing and a new owner take capabilities and setuid away.
    let lost = aspects.intersects(Aspects::OWNER | Aspects::CONTENT);
    if lost || aspects.contains(Aspects::XATTR) {
        xattrs(sides, new, there)?;
    }
    let mode = new.attr().mode;
    let again = lost && privileged(mode.bits());
    let mode = Some(mode)
        .filter(|_| again || aspects.contains(Aspects::MODE))
        .filter(|_| there.kind() != FileType::Symlink);
    let times = aspects.intersects(Aspects::TIME | Aspects::CONTENT);
    let rest = SetAttr {
        mode,
        atime: times.then_some(SetTime::At(new.attr().atime)),
        mtime: times.then_some(SetTime::At(new.attr().mtime)),
        ..SetAttr::default()
    };
    match fs.set_attr(id, &rest) {
        // A file of somebody else's that may be written to: its times are those of the writing.
        Err(Errno::PERM) if mode.is_none() => Ok(()),
        set => set.map(drop),
    }
}

fn xattrs(sides: &Sides, new: &Node, there: &Node) -> Result<(), Errno> {
    let (fs, id) = (there.fs(), there.id());
    let mut wanted = Vec::new();
    for stored in new.xattr_names()? {
        if let (Some(name), Some(value)) =
            (plain_name(&stored, Some(sides.xattrs)), new.xattr(&stored)?)
        {
            if there.xattr(&name)?.as_ref() != Some(&value) {
                fs.set_xattr(
                    id,
                    XattrName::new(&name)?,
                    &value,
                    XattrMode::Set,
                    KillPriv::Keep,
                )?;
            }
            wanted.push(name);
        }
    }
    for name in there.xattr_names()? {
        if !wanted.contains(&name) {
            match fs.remove_xattr(id, XattrName::new(&name)?) {
                Ok(()) | Err(Errno::NODATA) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}
