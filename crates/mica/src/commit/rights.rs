//! Whether this process may do to the machine what a session did.

use std::path::{Path, PathBuf};

use mica_overlay::OVERFLOW_ID;
use mica_vfs::{Errno, FileType, Mode, Protection};
use rustix::fs::{AtFlags, CWD, accessat};
use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities};

use super::error::Told;
use super::moves::Moves;
use crate::diff::{Aspects, Entry, Sides, What};
use crate::offline::Node;
use crate::options::path as path_of;

/// Who asks.
#[derive(Debug)]
pub(super) struct Rights<'a> {
    sides: &'a Sides,
    moves: &'a Moves,
    /// Where the tree is.
    lower: PathBuf,
    /// Whether owners do not matter to this process.
    privileged: bool,
}

/// To write names into a directory.
const NAMES: rustix::fs::Access = rustix::fs::Access::WRITE_OK.union(rustix::fs::Access::EXEC_OK);

impl<'a> Rights<'a> {
    pub(super) fn of(sides: &'a Sides, moves: &'a Moves, lower: PathBuf) -> Self {
        let held = capabilities(None).map(|sets| sets.effective);
        Self {
            sides,
            moves,
            lower,
            privileged: held.is_ok_and(|held| held.contains(CapabilitySet::FOWNER)),
        }
    }

    /// Adds to `refused` what stands against an entry.
    pub(super) fn check(&self, entry: &Entry, refused: &mut Told<Errno>) -> Result<(), Errno> {
        if let (What::Moved { from }, Some(old)) = (&entry.what, &entry.old) {
            self.may_go(from, old, refused)?;
            if self.moves.is_copied(Some(from)) {
                self.may_copy(from, old, refused)?;
            }
        }
        if self.moves.is_copied(entry.in_source.as_deref()) {
            // It is made anew. Names of it that stay change with it.
            if let (What::Modified, Some(old)) = (&entry.what, &entry.old)
                && old.attr().nlink > 1
            {
                self.may_change(entry, old, refused);
            }
            return Ok(());
        }
        if entry.in_new {
            return Ok(());
        }
        let there = match entry.what {
            What::Moved { .. } => entry.covered.as_ref(),
            _ => entry.old.as_ref(),
        };
        match (&entry.what, there) {
            (What::Merged | What::Modified, Some(old)) => self.may_change(entry, old, refused),
            (_, Some(old)) => self.may_go(&entry.below, old, refused)?,
            (_, None) => self.may_name(&entry.below, refused),
        }
        Ok(())
    }

    fn access(&self, path: &Path, access: rustix::fs::Access) -> Result<(), Errno> {
        let path = self.lower.join(path.strip_prefix("/").unwrap_or(path));
        accessat(CWD, &path, access, AtFlags::EACCESS)
    }

    fn may_name(&self, path: &Path, refused: &mut Told<Errno>) {
        let dir = path.parent().unwrap_or(path);
        let told = self
            .access(dir, NAMES)
            .and_then(|()| match self.sides.find(dir)? {
                Some(dir) if dir.attr().protection.contains(Protection::IMMUTABLE) => {
                    Err(Errno::PERM)
                }
                _ => Ok(()),
            });
        note(path, told, refused);
    }

    /// Whether the name of an object may be taken away, and all that is in it.
    fn may_go(&self, path: &Path, old: &Node, refused: &mut Told<Errno>) -> Result<(), Errno> {
        let parent = path.parent().unwrap_or(path);
        let told = self.access(parent, NAMES).and_then(|()| {
            let parent = self.sides.find(parent)?.ok_or(Errno::NOENT)?;
            if parent.attr().dev != old.attr().dev {
                return Err(Errno::BUSY);
            }
            self.may_unname(&parent, old)
        });
        note(path, told, refused);
        let mut left = vec![(path.to_owned(), old.clone())];
        while let Some((path, dir)) = left
            .pop()
            .filter(|(_, node)| node.kind() == FileType::Directory)
        {
            let names = dir.names()?;
            if !names.is_empty() {
                note(&path, self.access(&path, NAMES), refused);
            }
            for name in names {
                let Some(child) = dir.child(&name)? else {
                    continue;
                };
                let path = path.join(path_of(name.to_vec()));
                note(&path, self.may_unname(&dir, &child), refused);
                if child.kind() == FileType::Directory {
                    left.push((path, child));
                }
            }
        }
        Ok(())
    }

    /// Whether all that is in a directory may be read, and is of its filesystem.
    fn may_copy(&self, path: &Path, dir: &Node, refused: &mut Told<Errno>) -> Result<(), Errno> {
        let list = rustix::fs::Access::READ_OK | rustix::fs::Access::EXEC_OK;
        let mut left = vec![(path.to_owned(), dir.clone())];
        while let Some((path, dir)) = left.pop() {
            note(&path, self.access(&path, list), refused);
            for name in dir.names()? {
                let Some(child) = dir.child(&name)? else {
                    continue;
                };
                let path = path.join(path_of(name.to_vec()));
                if child.attr().dev != dir.attr().dev {
                    note(&path, Err(Errno::BUSY), refused);
                } else if child.kind() == FileType::Directory {
                    left.push((path, child));
                } else if child.kind() == FileType::Regular {
                    let told = self.access(&path, rustix::fs::Access::READ_OK);
                    note(&path, told, refused);
                }
            }
        }
        Ok(())
    }

    /// What stands against a removal beside the permissions of the directory.
    fn may_unname(&self, dir: &Node, node: &Node) -> Result<(), Errno> {
        let fixed = Protection::IMMUTABLE | Protection::APPEND;
        if dir.attr().protection.intersects(fixed) || node.attr().protection.intersects(fixed) {
            return Err(Errno::PERM);
        }
        let sticky = dir.attr().mode.contains(Mode::STICKY);
        let own = self.is_own(dir) || self.is_own(node);
        if sticky && !own {
            Err(Errno::PERM)
        } else {
            Ok(())
        }
    }

    fn is_own(&self, node: &Node) -> bool {
        let uid = node.attr().uid;
        uid == geteuid().as_raw() || (self.privileged && uid != OVERFLOW_ID)
    }

    fn may_change(&self, entry: &Entry, old: &Node, refused: &mut Told<Errno>) {
        if entry.aspects.is_empty() {
            return;
        }
        let fixed = Protection::IMMUTABLE | Protection::APPEND;
        let told = if old.attr().protection.intersects(fixed) {
            Err(Errno::PERM)
        } else if entry.aspects.contains(Aspects::CONTENT) {
            let parent = entry.below.parent().unwrap_or(&entry.below);
            // A file in a directory that may not be written to is written to itself.
            self.access(parent, NAMES)
                .and_then(|()| match self.sides.find(parent)? {
                    Some(dir) => self.may_unname(&dir, old),
                    None => Err(Errno::NOENT),
                })
                .or_else(|errno| match old.kind() {
                    FileType::Regular => self.access(&entry.below, rustix::fs::Access::WRITE_OK),
                    _ => Err(errno),
                })
        } else if self.is_own(old) {
            // Permissions do not matter to the owner, but a filesystem that is read-only does.
            match self.access(&entry.below, rustix::fs::Access::WRITE_OK) {
                Err(Errno::ROFS) => Err(Errno::ROFS),
                _ => Ok(()),
            }
        } else {
            Err(Errno::PERM)
        };
        note(&entry.below, told, refused);
    }
}

fn note(path: &Path, told: Result<(), Errno>, refused: &mut Told<Errno>) {
    if let Err(errno) = told {
        refused.push((path.to_owned(), errno));
    }
}
