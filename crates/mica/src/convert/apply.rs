//! Carrying out a plan. Each step does what is left of it to do.

use std::path::PathBuf;

use mica_overlay::XattrNamespace;
use mica_vfs::{
    Errno, FileName, FileType, KillPriv, Mode, Rdev, RenameFlags, SetAttr, SyncScope, XattrMode,
    XattrName,
};

use super::copying::{self, clear, copy, maker, publish, set_capability, set_times};
use super::plan::{DirPlan, Mark, Names, Plan, Source, Step};
use super::survey::is_copied;
use super::{Failure, Pace};
use crate::offline::{Node, is_device_whiteout};
use crate::options::path as path_of;

/// Where a plan is carried out.
#[derive(Debug)]
pub(super) struct Site<'a> {
    pub(super) upper: &'a Node,
    pub(super) scratch: &'a Node,
    pub(super) lowers: &'a [Node],
    /// The prefix of the marks of the lowers.
    pub(super) xattrs: XattrNamespace,
}

/// Carries out all steps.
pub(super) fn apply(site: &Site<'_>, plan: &Plan, pace: &mut Pace<'_>) -> Result<(), Failure> {
    for dir in &plan.dirs {
        let failed = |source| Failure::at(path(&dir.path, None), source);
        let node = resolve(site.upper, &dir.path).map_err(failed)?;
        for step in &dir.steps {
            pace.step()?;
            site.carry_out(&node, step)
                .map_err(|source| Failure::at(path(&dir.path, Some(step.name())), source))?;
        }
        pace.check()?;
        set_times(&node, dir.times).map_err(failed)?;
    }
    Ok(())
}

/// Checks that all attributes that directories are to have fit, on one that is made for it.
///
/// # Errors
///
/// The path of the first directory that has no room, and the errno.
pub(super) fn rehearse(site: &Site<'_>, plan: &Plan) -> Result<(), (PathBuf, Errno)> {
    for dir in &plan.dirs {
        let grows = dir.steps.iter().any(
            |step| matches!(step, Step::Xattr { name, value: Some(_), .. } if name.is_empty()),
        );
        if grows {
            site.rehearse_directory(dir)
                .map_err(|errno| (path(&dir.path, None), errno))?;
        }
    }
    Ok(())
}

/// Shows a path of the upper.
fn path(dir: &Names, name: Option<&[u8]>) -> PathBuf {
    let names = dir.iter().map(|name| &**name).chain(name);
    names
        .filter(|name| !name.is_empty())
        .fold(PathBuf::from("/"), |path, name| {
            path.join(path_of(name.to_vec()))
        })
}

/// Finds an object by names that lead through directories alone.
fn resolve(root: &Node, path: &Names) -> Result<Node, Errno> {
    let mut node = root.clone();
    for name in path {
        node = node.child(name)?.ok_or(Errno::NOENT)?;
    }
    Ok(node)
}

impl Site<'_> {
    fn carry_out(&self, dir: &Node, step: &Step) -> Result<(), Errno> {
        match step {
            Step::Xattr {
                name,
                attribute,
                value,
            } => {
                let node = if name.is_empty() {
                    Some(dir.clone())
                } else {
                    dir.child(name)?
                };
                match node {
                    Some(node) => set(&node, attribute, value.as_deref()),
                    None => Err(Errno::NOENT),
                }
            }
            Step::Put { name, mark } => self.put(dir, name, mark),
            Step::Remove { name } => match dir.child(name)? {
                None => Ok(()),
                Some(node) if may_go(&node) => dir.fs().unlink(dir.id(), FileName::new(name)?),
                Some(_) => Err(Errno::EXIST),
            },
            Step::Copy { name, source, data } => {
                let from = self.lower(source)?;
                let data = data.as_ref().map(|data| self.lower(data)).transpose()?;
                let data = data.as_ref().unwrap_or(&from);
                let keeps = |name: &[u8]| is_copied(name, self.xattrs);
                copy((&from, data), self.scratch, (dir, name), &keeps)
            }
            Step::Link { name, to } => {
                let node = resolve(self.upper, to)?;
                match dir.fs().link(node.id(), dir.id(), FileName::new(name)?) {
                    Ok(entry) => {
                        drop(dir.adopt(entry.node, entry.attr));
                        Ok(())
                    }
                    Err(Errno::EXIST) => Ok(()),
                    // Names of their own are better than none.
                    Err(Errno::MLINK) => {
                        let keeps = |_: &[u8]| true;
                        copy((&node, &node), self.scratch, (dir, name), &keeps)
                    }
                    Err(errno) => Err(errno),
                }
            }
            Step::Fill {
                name,
                data,
                marks,
                times,
                capability,
            } => {
                let node = dir.child(name)?.ok_or(Errno::NOENT)?;
                let first = marks.first().ok_or(Errno::INVAL)?;
                if node.xattr(first)?.is_some() {
                    self.fill(&node, data)?;
                    if let Some(value) = capability {
                        set_capability(&node, value)?;
                    }
                    set_times(&node, *times)?;
                    node.fs().fsync(node.id(), SyncScope::Data)?;
                }
                // The mark that tells of missing data goes last.
                marks
                    .iter()
                    .rev()
                    .try_for_each(|mark| set(&node, mark, None))
            }
        }
    }

    fn lower(&self, source: &Source) -> Result<Node, Errno> {
        let layer = usize::try_from(source.layer).map_err(|_| Errno::INVAL)?;
        resolve(self.lowers.get(layer).ok_or(Errno::INVAL)?, &source.path)
    }

    /// Puts a whiteout in the place of another one or of nothing, by one rename.
    fn put(&self, dir: &Node, name: &[u8], mark: &Mark) -> Result<(), Errno> {
        if let Some(there) = dir.child(name)? {
            if is_mark(&there, mark)? {
                return Ok(());
            }
            if !may_go(&there) {
                return Err(Errno::EXIST);
            }
        }
        clear(self.scratch)?;
        let (fs, id) = (self.scratch.fs(), self.scratch.id());
        let temporary = FileName::new(copying::TEMPORARY)?;
        let none = Mode::empty();
        let made = match mark {
            Mark::Device => {
                let kind = FileType::CharDevice;
                fs.mknod(&maker(), id, temporary, kind, none, Rdev::WHITEOUT)?
            }
            Mark::File(_) => fs.create(&maker(), id, temporary, none)?,
        };
        let made = self.scratch.adopt(made.node, made.attr);
        if let Mark::File(Some(attribute)) = mark {
            set(&made, attribute, Some(b"y"))?;
        }
        publish(self.scratch, dir, name, RenameFlags::empty())
    }

    /// Fills a metacopy with its data. A hole stays one, and what an interrupted attempt wrote is written again.
    fn fill(&self, node: &Node, data: &Source) -> Result<(), Errno> {
        let (from, size) = (self.lower(data)?, node.attr().size);
        let length = size.min(from.attr().size);
        let fs = node.fs();
        fs.copy_from(node.id(), &**from.fs(), from.id(), length)?;
        let size = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        fs.set_attr(node.id(), &size).map(drop)
    }

    fn rehearse_directory(&self, dir: &DirPlan) -> Result<(), Errno> {
        // One that is not there yet will have what its steps give it, and what its lower one has, which fitted there.
        let Ok(node) = resolve(self.upper, &dir.path) else {
            return Ok(());
        };
        clear(self.scratch)?;
        let (fs, id) = (self.scratch.fs(), self.scratch.id());
        let name = FileName::new(copying::TEMPORARY)?;
        let made = fs.mkdir(&maker(), id, name, Mode::new(0o700))?;
        let made = self.scratch.adopt(made.node, made.attr);
        let fits = self.fits(&node, &made, dir);
        drop(made);
        clear(self.scratch)?;
        fits
    }

    fn fits(&self, node: &Node, made: &Node, dir: &DirPlan) -> Result<(), Errno> {
        for name in node.xattr_names()? {
            let value = node.xattr(&name)?.unwrap_or_default();
            set(made, &name, Some(&value))?;
        }
        for step in &dir.steps {
            if let Step::Xattr {
                name,
                attribute,
                value,
            } = step
                && name.is_empty()
            {
                set(made, attribute, value.as_deref())?;
            }
        }
        Ok(())
    }
}

fn set(node: &Node, attribute: &[u8], value: Option<&[u8]>) -> Result<(), Errno> {
    let (fs, id, name) = (node.fs(), node.id(), XattrName::new(attribute)?);
    match value {
        Some(value) => fs.set_xattr(id, name, value, XattrMode::Set, KillPriv::Keep),
        None => match fs.remove_xattr(id, name) {
            Err(Errno::NODATA) => Ok(()),
            done => done,
        },
    }
}

/// Whether an object is a whiteout, or an empty file as one: nothing else is ever removed or replaced.
fn may_go(node: &Node) -> bool {
    let attr = node.attr();
    is_device_whiteout(attr) || (attr.kind == FileType::Regular && attr.size == 0)
}

fn is_mark(node: &Node, mark: &Mark) -> Result<bool, Errno> {
    let is_file = node.kind() == FileType::Regular && node.attr().size == 0;
    Ok(match mark {
        Mark::Device => is_device_whiteout(node.attr()),
        Mark::File(None) => is_file,
        Mark::File(Some(attribute)) => is_file && node.xattr(attribute)?.is_some(),
    })
}
