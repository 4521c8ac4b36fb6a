//! The merged tree as a plain map: what an overlay must show, written down without an overlay.
//!
//! A model is merged from dumps of layers, and then changed by the operations of a filesystem. It copies everything and
//! shares nothing with `mica-overlay`. Errors are those of Linux, in root's view: there are no permission checks. It
//! knows where an overlay differs from a plain filesystem:
//!
//! - The names of one lower file are one file until the mount ends; their link count is left open. From the next mount on
//!   those that the upper has are one file, and the others show what the lower has ([`Model::remount`]).
//! - A directory that a lower has cannot be renamed without `redirect_dir=on` (`EXDEV`).
//! - A device 0:0 that is made by hand, or by `RENAME_WHITEOUT`, is one, whatever the layer has for it.
//!
//! # Invariants
//!
//! - The directory of every path is in the map, and is a directory.
//! - Every inode has a name; a directory has exactly one.

mod change;
mod merge;
mod names;
mod remount;

use std::collections::{BTreeMap, BTreeSet};

use mica_vfs::{Caller, Errno, FileType, Rdev, Time};

use crate::dump::Summary;
use crate::{Detail, Dump, Object};

/// Names an object of a model for as long as it exists, under whatever paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId(u64);

/// Where an object comes from, as far as that shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The upper alone.
    Upper,
    /// A lower, merged with an upper directory or not.
    Lower,
    /// A lower file with several names. Its link count is left open.
    LowerAlias,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inode {
    kind: FileType,
    mode: u32,
    uid: u32,
    gid: u32,
    rdev: Rdev,
    data: Vec<u8>,
    target: Vec<u8>,
    xattrs: BTreeMap<String, Vec<u8>>,
    /// Known as long as nothing has set it to the time of a call.
    mtime: Option<Time>,
    atime: Option<Time>,
    origin: Origin,
    /// For a lower file with several names that was changed: what it was before.
    before: Option<Box<Self>>,
}

/// The merged tree.
#[derive(Debug, Clone)]
pub struct Model {
    names: BTreeMap<String, ModelId>,
    /// Names by which a lower file with several was changed: the upper has these.
    changed_by: BTreeSet<String>,
    inodes: BTreeMap<ModelId, Inode>,
    next: ModelId,
    caller: Caller,
    /// Directories of lowers can be renamed.
    redirects: bool,
}

impl Model {
    /// The id of the root directory.
    const ROOT: ModelId = ModelId(1);

    /// Returns the paths of all objects but the root.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.names.keys().skip(1).cloned().collect()
    }

    /// Returns the paths of all directories, the root (`""`) among them.
    #[must_use]
    pub fn dirs(&self) -> Vec<String> {
        let is_dir = |id| self.inode(id).kind == FileType::Directory;
        self.names
            .iter()
            .filter(|&(_, &id)| is_dir(id))
            .map(|(path, _)| path.clone())
            .collect()
    }

    /// Returns path and id of each object whose inode number an overlay must keep.
    #[must_use]
    pub fn lasting(&self) -> Vec<(String, ModelId)> {
        self.names
            .iter()
            .map(|(path, &id)| (path.clone(), id))
            .collect()
    }

    /// Returns the regular file at `path`, if there is one.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<ModelId> {
        let id = self.find(path).ok()?;
        (self.inode(id).kind == FileType::Regular).then_some(id)
    }

    /// Returns the content and the link count of a file, which is open for one of several names of a lower file. `None`: it
    /// has no name any more.
    #[must_use]
    pub fn state(&self, id: ModelId) -> Option<(&[u8], Option<u32>)> {
        let inode = self.inodes.get(&id)?;
        let counted = inode.origin != Origin::LowerAlias;
        Some((&inode.data, counted.then(|| self.nlink(id))))
    }

    /// Returns what a dump of an overlay with all details but change times and numbers shows, without the root.
    #[must_use]
    pub fn dump(&self) -> Dump {
        let mut first = BTreeMap::new();
        let mut dump = Dump::default();
        for (path, &id) in self.names.iter().skip(1) {
            let inode = self.inode(id);
            let first = first.entry(id).or_insert(path);
            let same_as = if *first == path { "" } else { first };
            let plain = inode.kind != FileType::Directory && inode.origin != Origin::LowerAlias;
            let is_file = inode.kind == FileType::Regular;
            let is_device = matches!(inode.kind, FileType::CharDevice | FileType::BlockDevice);
            let object = Object {
                kind: inode.kind,
                mode: inode.mode,
                uid: inode.uid,
                gid: inode.gid,
                nlink: plain.then(|| self.nlink(id)),
                same_as: (inode.kind != FileType::Directory).then(|| same_as.to_owned()),
                mtime: inode.mtime,
                atime: inode.atime,
                ctime: None,
                ino: None,
                size: is_file.then_some(inode.data.len() as u64),
                data: is_file.then(|| Summary::of(&inode.data)),
                target: (inode.kind == FileType::Symlink).then(|| inode.target.clone()),
                rdev: is_device.then_some(inode.rdev),
                xattrs: inode.xattrs.clone(),
                raw: None,
            };
            dump.0.insert(path.clone(), object);
        }
        dump
    }

    /// What to dump of an overlay to compare it with [`dump`](Self::dump).
    pub const DETAIL: Detail = Detail::NLINK
        .union(Detail::LINKS)
        .union(Detail::MTIME)
        .union(Detail::ATIME);

    /// Checks the invariants of the model.
    ///
    /// # Panics
    ///
    /// If one does not hold.
    pub fn check(&self) {
        assert_eq!(self.names.get(""), Some(&Self::ROOT));
        for (path, &id) in self.names.iter().skip(1) {
            let (dir, _) = split(path);
            let parent = self.names.get(dir).map(|&id| self.inode(id).kind);
            assert_eq!(
                parent,
                Some(FileType::Directory),
                "the directory of /{path}"
            );
            if self.inode(id).kind == FileType::Directory {
                assert_eq!(self.nlink(id), 1, "names of the directory /{path}");
            }
        }
        for id in self.inodes.keys() {
            assert_ne!(self.nlink(*id), 0, "{id:?} has no name");
        }
    }

    fn inode(&self, id: ModelId) -> &Inode {
        &self.inodes[&id]
    }

    fn inode_mut(&mut self, id: ModelId) -> &mut Inode {
        self.inodes.get_mut(&id).unwrap()
    }

    /// Counts the names of an object.
    fn nlink(&self, id: ModelId) -> u32 {
        let names = self.names.values().filter(|&&other| other == id).count();
        u32::try_from(names).unwrap()
    }

    /// Finds a path as a walk does, component by component.
    fn find(&self, path: &str) -> Result<ModelId, Errno> {
        for (at, _) in path.match_indices('/') {
            self.find_dir(&path[..at])?;
        }
        self.names.get(path).copied().ok_or(Errno::NOENT)
    }

    fn find_dir(&self, path: &str) -> Result<ModelId, Errno> {
        let id = *self.names.get(path).ok_or(Errno::NOENT)?;
        match self.inode(id).kind {
            FileType::Directory => Ok(id),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// Returns the paths below a directory.
    fn below(&self, dir: &str) -> Vec<String> {
        let inside = format!("{dir}/");
        let is_below =
            |path: &String| path.starts_with(&inside) || (dir.is_empty() && !path.is_empty());
        self.names
            .keys()
            .filter(|path| is_below(path))
            .cloned()
            .collect()
    }
}

/// Splits a path into its directory and its last name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests;
