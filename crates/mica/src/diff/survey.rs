//! The walk through an upper, each object with what was at its name.
//!
//! A directory of the upper stands for one of the tree: of the same name, or of the name that it had before it was moved.
//! An opaque one stands for nothing, but what was at its name is gone, and so compared with it.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use mica_overlay::{Redirect, parse_redirect};
use mica_vfs::{Errno, FileType};

use super::Aspects;
use super::compare::{compare, data_of};
use super::sides::Sides;
use crate::offline::{Marks, Node, is_whiteout};
use crate::options::path as path_of;
use crate::session::DoError;

/// What became of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Added,
    /// What was there is gone.
    Deleted,
    /// It is the same object, changed.
    Modified,
    /// A directory that merges with what is there, and may differ in its attributes.
    Merged,
    /// A directory in the place of another one.
    Replaced,
    Retyped,
    /// A directory that was elsewhere in the tree.
    Moved {
        from: PathBuf,
    },
}

/// One object of the upper, or a name that is gone.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// In the view.
    pub(crate) path: PathBuf,
    /// What the same name is in the tree, whose directories may have been moved.
    pub(crate) below: PathBuf,
    pub(crate) what: What,
    pub(crate) aspects: Aspects,
    pub(crate) new: Option<Node>,
    /// What has its data, if it is a metacopy: a file of the tree.
    pub(crate) data: Option<Node>,
    /// What it was before; of a directory that was moved, where it was.
    pub(crate) old: Option<Node>,
    /// What is hidden by a directory that was moved here.
    pub(crate) covered: Option<Node>,
    /// Whether what was there has been moved elsewhere.
    pub(crate) vacated: bool,
    /// Whether its directory merges with nothing.
    pub(crate) in_new: bool,
    /// The directory of the tree that was moved and that it is in, or is.
    pub(crate) source: Option<PathBuf>,
    /// The same of its directory.
    pub(crate) in_source: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) entries: Vec<Entry>,
    pub(crate) unreadable: Vec<(PathBuf, Errno)>,
    /// Where directories were that have been moved.
    pub(crate) moved: HashSet<PathBuf>,
}

/// A directory whose names are being looked at.
#[derive(Debug)]
struct Frame {
    node: Node,
    path: PathBuf,
    /// What it is compared with, and where that is in the tree.
    old: Option<Node>,
    below: PathBuf,
    /// Whether it merges with that.
    merges: bool,
    source: Option<PathBuf>,
    names: std::vec::IntoIter<Box<[u8]>>,
    /// Names that the upper has.
    seen: BTreeSet<Box<[u8]>>,
}

impl Survey {
    /// Walks through the upper.
    pub(crate) fn of(sides: &Sides) -> Result<Self, DoError> {
        let mut survey = Self::default();
        let root = PathBuf::from("/");
        let names = sides.upper.names().map_err(|source| DoError::Directory {
            path: root.clone(),
            source,
        })?;
        let old = Some(sides.lower.clone());
        let aspects = compare(sides, &sides.lower, &sides.upper, None);
        // The root of the upper is made with the session and is no copy: it has an owner by need, and no attributes.
        let no_copy = Aspects::XATTR | Aspects::OWNER;
        let aspects = survey.noted(&root, aspects).unwrap_or_default() - no_copy;
        survey.entries.push(Entry {
            path: root.clone(),
            below: root.clone(),
            what: What::Merged,
            aspects,
            new: Some(sides.upper.clone()),
            data: None,
            old: old.clone(),
            covered: None,
            vacated: false,
            in_new: false,
            source: None,
            in_source: None,
        });
        let mut stack = vec![Frame {
            node: sides.upper.clone(),
            path: root.clone(),
            old,
            below: root,
            merges: true,
            source: None,
            names: names.into_iter(),
            seen: BTreeSet::new(),
        }];
        while let Some(frame) = stack.last_mut() {
            let Some(name) = frame.names.next() else {
                if let Some(frame) = stack.pop() {
                    let gone = survey.gone_in(sides, &frame);
                    survey.noted(&frame.path, gone);
                }
                continue;
            };
            let path = frame.path.join(path_of(name.to_vec()));
            let next = survey.enter(sides, frame, name);
            if let Some(Some(next)) = survey.noted(&path, next) {
                stack.push(next);
            }
        }
        survey.drop_moved();
        Ok(survey)
    }

    fn noted<T>(&mut self, path: &Path, result: Result<T, Errno>) -> Option<T> {
        match result {
            Ok(found) => Some(found),
            Err(errno) => {
                self.unreadable.push((path.to_owned(), errno));
                None
            }
        }
    }

    /// Looks at a name of the upper; returns a directory to go on with.
    fn enter(
        &mut self,
        sides: &Sides,
        frame: &mut Frame,
        name: Box<[u8]>,
    ) -> Result<Option<Frame>, Errno> {
        let Some(new) = frame.node.child(&name)? else {
            return Ok(None);
        };
        let word = path_of(name.to_vec());
        if sides.ignores(&frame.path.join(&word)) {
            frame.seen.insert(name);
            return Ok(None);
        }
        let mut entry = Entry {
            path: frame.path.join(&word),
            below: frame.below.join(&word),
            what: What::Added,
            aspects: Aspects::empty(),
            new: None,
            data: None,
            old: match &frame.old {
                Some(old) if !sides.left_out.contains(&frame.below) => old.child(&name)?,
                _ => None,
            },
            covered: None,
            vacated: false,
            in_new: !frame.merges,
            source: frame.source.clone(),
            in_source: frame.source.clone(),
        };
        if is_whiteout(&new, sides.xattrs)? {
            // In a directory that merges with nothing it hides nothing; what is gone from there is found at its end.
            if frame.merges && entry.old.is_some() {
                entry.what = What::Deleted;
                self.entries.push(entry);
            }
            return Ok(None);
        }
        frame.seen.insert(name);
        if new.kind() == FileType::Directory {
            return self.directory(sides, entry, new);
        }
        entry.data = data_of(sides, &new, &entry.below)?;
        if let Some(old) = &entry.old {
            entry.what = if old.kind() == new.kind() {
                What::Modified
            } else {
                What::Retyped
            };
            entry.aspects = compare(sides, old, &new, entry.data.as_ref())?;
        }
        entry.new = Some(new);
        self.entries.push(entry);
        Ok(None)
    }

    fn directory(
        &mut self,
        sides: &Sides,
        mut entry: Entry,
        new: Node,
    ) -> Result<Option<Frame>, Errno> {
        if entry.old.is_none() && is_lent(sides, &entry.path, &new)? {
            return Ok(None);
        }
        let marks = Marks::read(&new, sides.xattrs)?;
        let mut below = entry.below.clone();
        let moved = if marks.is_opaque() {
            None
        } else {
            moved_from(sides, &entry, &marks)?
        };
        if let Some((from, old)) = moved {
            if let Some(old) = &old {
                entry.aspects = compare(sides, old, &new, None)?;
            }
            entry.covered = std::mem::replace(&mut entry.old, old);
            below.clone_from(&from);
            self.moved.insert(from.clone());
            entry.source = Some(from.clone());
            entry.what = What::Moved { from };
        } else if let Some(old) = &entry.old {
            let is_dir = old.kind() == FileType::Directory;
            entry.aspects = if is_dir {
                compare(sides, old, &new, None)?
            } else {
                Aspects::empty()
            };
            entry.what = match is_dir {
                false => What::Retyped,
                true if entry.in_new || marks.is_opaque() => What::Replaced,
                true => What::Merged,
            };
        }
        let merges = match entry.what {
            What::Merged => true,
            // Its source may be gone.
            What::Moved { .. } => entry.old.is_some(),
            _ => false,
        };
        entry.new = Some(new.clone());
        let frame = Frame {
            names: new
                .names()
                .map(Vec::into_iter)
                .inspect_err(|_| self.entries.push(entry.clone()))?,
            node: new,
            path: entry.path.clone(),
            old: entry
                .old
                .clone()
                .filter(|old| old.kind() == FileType::Directory),
            below,
            merges,
            source: entry.source.clone(),
            seen: BTreeSet::new(),
        };
        self.entries.push(entry);
        Ok(Some(frame))
    }

    /// Notes what a directory that stands for nothing does not have any more.
    fn gone_in(&mut self, sides: &Sides, frame: &Frame) -> Result<(), Errno> {
        let (false, Some(old)) = (frame.merges, &frame.old) else {
            return Ok(());
        };
        for name in old.names()? {
            let ignored = || sides.ignores(&frame.path.join(path_of(name.to_vec())));
            if frame.seen.contains(&name) || ignored() {
                continue;
            }
            let Some(gone) = old.child(&name)? else {
                continue;
            };
            let word = path_of(name.to_vec());
            self.entries.push(Entry {
                path: frame.path.join(&word),
                below: frame.below.join(&word),
                what: What::Deleted,
                aspects: Aspects::empty(),
                new: None,
                data: None,
                old: Some(gone),
                covered: None,
                vacated: false,
                in_new: true,
                source: frame.source.clone(),
                in_source: frame.source.clone(),
            });
        }
        Ok(())
    }

    /// Takes away what was found of directories at the names that they had before they were moved.
    fn drop_moved(&mut self) {
        if self.moved.is_empty() {
            return;
        }
        let moved = &self.moved;
        let is_elsewhere = |below: &Path, source: Option<&PathBuf>| {
            let mut above = below.ancestors().filter(|dir| moved.contains(*dir));
            above.any(|from| !source.is_some_and(|source| source.starts_with(from)))
        };
        self.entries.retain_mut(|entry| match &entry.what {
            What::Moved { .. } => {
                if is_elsewhere(&entry.below, entry.in_source.as_ref()) {
                    entry.covered = None;
                    entry.vacated = true;
                }
                true
            }
            _ if !is_elsewhere(&entry.below, entry.source.as_ref()) => true,
            What::Deleted => false,
            _ => {
                entry.what = What::Added;
                entry.aspects = Aspects::empty();
                entry.old = None;
                entry.vacated = true;
                true
            }
        });
    }
}

/// Whether a directory was made for the kernel's view alone, and all that is in it.
fn is_lent(sides: &Sides, path: &Path, dir: &Node) -> Result<bool, Errno> {
    if !sides.lent.has(path) {
        return Ok(false);
    }
    for name in dir.names()? {
        let Some(child) = dir.child(&name)? else {
            continue;
        };
        let path = path.join(path_of(name.to_vec()));
        if child.kind() != FileType::Directory || !is_lent(sides, &path, &child)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Finds where a directory was before it was moved, and what is there if that still is one.
fn moved_from(
    sides: &Sides,
    entry: &Entry,
    marks: &Marks,
) -> Result<Option<(PathBuf, Option<Node>)>, Errno> {
    let from = match marks.get("redirect").map(parse_redirect) {
        Some(Ok(Redirect::Path(path))) => path_of(path.to_vec()),
        Some(Ok(Redirect::Name(name))) => entry.below.with_file_name(path_of(name.to_vec())),
        Some(Err(_)) | None => return Ok(None),
    };
    if from == entry.below {
        // It came back.
        return Ok(None);
    }
    let found = sides
        .find(&from)?
        .filter(|old| old.kind() == FileType::Directory);
    Ok(Some((from, found)))
}
