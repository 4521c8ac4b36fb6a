//! Copying an upper to a new directory: all but the whiteouts that a plan will make anew.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use mica_overlay::XattrNamespace;
use mica_vfs::{Errno, FileName, FileType, KillPriv, SetAttr, XattrMode, XattrName};

use super::copying::{copy, set_times};
use super::plan::{Names, Plan, Step};
use super::scratch::MARKS;
use super::{Failure, Pace};
use crate::offline::{Node, own_suffix};
use crate::options::path as path_of;

/// Copies what is in `from` to `to`, which may have a part of it from an attempt before.
pub(super) fn copy_tree(
    (from, to): (&Node, &Node),
    scratch: &Node,
    plan: &Plan,
    xattrs: XattrNamespace,
    pace: &mut Pace<'_>,
) -> Result<(), Failure> {
    let made_anew = plan.dirs.iter().flat_map(|dir| {
        let steps = dir.steps.iter();
        let whiteouts = steps.filter(|step| matches!(step, Step::Put { .. } | Step::Remove { .. }));
        whiteouts.map(|step| (&dir.path, step.name()))
    });
    let mut job = Job {
        scratch,
        xattrs,
        made_anew: made_anew.collect(),
        links: HashMap::new(),
    };
    job.root(from, to)
        .map_err(|source| Failure::at(PathBuf::from("/"), source))?;
    job.tree(from, to, pace)
}

struct Job<'a> {
    scratch: &'a Node,
    xattrs: XattrNamespace,
    made_anew: HashSet<(&'a Names, &'a [u8])>,
    /// The copies of files of several names, by number.
    links: HashMap<u64, Node>,
}

/// A directory whose entries are being copied.
struct Frame {
    from: Node,
    to: Node,
    path: Names,
    names: std::vec::IntoIter<Box<[u8]>>,
}

impl Job<'_> {
    /// Whether an attribute is copied: the index that an `nlink` counts for stays behind.
    fn keeps(&self, name: &[u8]) -> bool {
        !MARKS.contains(&name) && own_suffix(name, self.xattrs) != Some(b"nlink")
    }

    /// Gives the root owner, mode and attributes.
    fn root(&self, from: &Node, to: &Node) -> Result<(), Errno> {
        let attr = from.attr();
        let change = SetAttr {
            uid: Some(attr.uid),
            gid: Some(attr.gid),
            mode: Some(attr.mode),
            ..SetAttr::default()
        };
        to.fs().set_attr(to.id(), &change)?;
        for name in from.xattr_names()? {
            if let Some(value) = from.xattr(&name)?
                && self.keeps(&name)
            {
                let name = XattrName::new(&name)?;
                let (mode, kill) = (XattrMode::Set, KillPriv::Keep);
                to.fs().set_xattr(to.id(), name, &value, mode, kill)?;
            }
        }
        Ok(())
    }

    fn tree(&mut self, from: &Node, to: &Node, pace: &mut Pace<'_>) -> Result<(), Failure> {
        let shown = |path: &Names| {
            let names = path.iter();
            names.fold(PathBuf::from("/"), |at, name| {
                at.join(path_of(name.to_vec()))
            })
        };
        let names = from.names();
        let names = names.map_err(|source| Failure::at(PathBuf::from("/"), source))?;
        let mut stack = vec![Frame {
            from: from.clone(),
            to: to.clone(),
            path: Vec::new(),
            names: names.into_iter(),
        }];
        while let Some(frame) = stack.last_mut() {
            let Some(name) = frame.names.next() else {
                let attr = frame.from.attr();
                set_times(&frame.to, (attr.atime, attr.mtime))
                    .map_err(|source| Failure::at(shown(&frame.path), source))?;
                stack.pop();
                continue;
            };
            if self.made_anew.contains(&(&frame.path, &*name)) {
                continue;
            }
            pace.step()?;
            let mut path = frame.path.clone();
            path.push(name);
            let next = self
                .entry(frame, &path)
                .map_err(|source| Failure::at(shown(&path), source))?;
            if let Some((from, to)) = next {
                let names = from.names();
                let names = names.map_err(|source| Failure::at(shown(&path), source))?;
                let names = names.into_iter();
                stack.push(Frame {
                    from,
                    to,
                    path,
                    names,
                });
            }
        }
        Ok(())
    }

    /// Copies an entry; returns a directory with its copy, to go on in.
    fn entry(&mut self, frame: &Frame, path: &Names) -> Result<Option<(Node, Node)>, Errno> {
        let name = path.last().ok_or(Errno::INVAL)?;
        let Some(from) = frame.from.child(name)? else {
            return Ok(None);
        };
        let attr = *from.attr();
        let several = attr.kind != FileType::Directory && attr.nlink > 1;
        if several
            && let Some(first) = self.links.get(&attr.ino.0)
            && frame.to.child(name)?.is_none()
        {
            let (fs, dir) = (frame.to.fs(), frame.to.id());
            match fs.link(first.id(), dir, FileName::new(name)?) {
                Ok(entry) => {
                    drop(frame.to.adopt(entry.node, entry.attr));
                    return Ok(None);
                }
                // The next one starts another group.
                Err(Errno::MLINK) => {}
                Err(errno) => return Err(errno),
            }
        }
        let keeps = |name: &[u8]| self.keeps(name);
        copy((&from, &from), self.scratch, (&frame.to, name), &keeps)?;
        let to = frame.to.child(name)?.ok_or(Errno::NOENT)?;
        if attr.kind == FileType::Directory {
            return Ok(Some((from, to)));
        }
        if several {
            self.links.insert(attr.ino.0, to);
        }
        Ok(None)
    }
}
