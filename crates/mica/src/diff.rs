//! What a session changed: its upper against the tree under it, read as they lie on disk.
//!
//! Only what the upper has is looked at, so that the time it takes is in proportion to the change. Nothing is mounted, no
//! symbolic link is followed, and what lies below is found here once more and not by the engine.

mod compare;
mod globs;
mod pairs;
mod patch;
mod sides;
mod survey;
mod trees;

use std::path::{Path, PathBuf};

use bitflags::bitflags;
use mica_host::LayerAccess;
use mica_vfs::{Attr, Errno, FileType};

pub(crate) use compare::plain_name;
pub use globs::{Glob, GlobError};
pub(crate) use pairs::pairs;
pub use patch::{Lines, Patch};
pub(crate) use sides::{Sides, descend};
pub(crate) use survey::{Entry, Survey, What};

use crate::offline::Node;
use crate::session::{Changes, DoError, Session};

bitflags! {
    /// In what an object differs from what it was.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Aspects: u8 {
        /// The data of a file, the target of a symbolic link, the number of a device.
        const CONTENT = 1;
        /// Permissions.
        const MODE = 2;
        /// Owner or group.
        const OWNER = 4;
        /// Extended attributes, ACLs among them.
        const XATTR = 8;
        /// The time of the last change of what is no directory.
        const TIME = 16;
    }
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone, with all that was below it.
    Deleted,
    /// It is another one, or differs in the aspects that are given.
    Modified,
    /// It has another name, and may differ, too.
    Renamed,
    /// Something of another type is in its place.
    Retyped,
}

/// One change. Paths begin at the root of the session's view.
#[derive(Debug, Clone)]
pub struct Change {
    /// Where it is, or was.
    pub path: PathBuf,
    /// Where it was, if it was renamed.
    pub from: Option<PathBuf>,
    /// What became of it.
    pub kind: ChangeKind,
    /// In what it differs, if it was there before.
    pub aspects: Aspects,
    old: Option<Node>,
    new: Option<Node>,
    /// What has the data of what is there now, if that is another one.
    data: Option<Node>,
}

impl Change {
    /// Returns the attributes of what was there.
    #[must_use]
    pub fn before(&self) -> Option<&Attr> {
        self.old.as_ref().map(Node::attr)
    }

    /// Returns the attributes of what is there now.
    #[must_use]
    pub fn after(&self) -> Option<&Attr> {
        self.new.as_ref().map(Node::attr)
    }

    /// Whether it is one of a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        let attr = self.after().or_else(|| self.before());
        attr.is_some_and(|attr| attr.kind == FileType::Directory)
    }

    /// Whether it is at `path` or below it, or was.
    #[must_use]
    pub fn concerns(&self, path: &Path) -> bool {
        let from = self.from.as_deref();
        self.path.starts_with(path) || from.is_some_and(|from| from.starts_with(path))
    }
}

/// How far a [`Diff`] goes into directories that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deleted {
    /// A directory is one change.
    #[default]
    AsOne,
    /// All that was in it is listed, too.
    Whole,
}

/// All changes of a session, in the order of paths.
#[derive(Debug)]
pub struct Diff {
    /// The changes.
    pub changes: Vec<Change>,
    /// What could not be looked at, and why.
    pub unreadable: Vec<(PathBuf, Errno)>,
}

impl Diff {
    /// Counts the changes.
    #[must_use]
    pub fn count(&self) -> Changes {
        let mut counted = Changes {
            unreadable: self.unreadable.len() as u64,
            ..Changes::default()
        };
        for change in &self.changes {
            let of_kind = match change.kind {
                ChangeKind::Added => &mut counted.added,
                ChangeKind::Deleted => &mut counted.deleted,
                _ => &mut counted.modified,
            };
            *of_kind += 1;
            let files = change.after().filter(|new| new.kind == FileType::Regular);
            counted.bytes += files.map_or(0, |new| new.size);
        }
        counted
    }
}

impl Session {
    /// Finds what the session changed, but for names that are [ignored](Session::ignore). Where the session has ids of its own, it is best called in a process that has them,
    /// too ([`Session::within`]): another one may not be allowed to read all of it.
    ///
    /// # Errors
    ///
    /// The session's directory, or the tree under it, cannot be read.
    pub fn diff(&self, deleted: Deleted) -> Result<Diff, DoError> {
        let sides = Sides::open(self, LayerAccess::ReadOnly)?;
        let Survey {
            entries,
            mut unreadable,
            ..
        } = Survey::of(&sides)?;
        let mut changes = pairs::changes(entries, &sides);
        if deleted == Deleted::Whole {
            trees::list_deleted(&mut changes, &mut unreadable, &sides);
        }
        changes.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Diff {
            changes,
            unreadable,
        })
    }
}
