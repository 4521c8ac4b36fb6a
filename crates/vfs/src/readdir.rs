//! Reading a directory: cookies and entries.

use crate::{Entry, FileName, FileType, Ino};

/// A place in a directory: "after the entry that carries this".
///
/// A cookie names an entry, not a position: whatever is created and deleted meanwhile, a reader that
/// goes on from it gets every entry that existed throughout exactly once. [`Cookie::START`] is the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub u64);

impl Cookie {
    /// Before the first entry.
    pub const START: Self = Self(0);
}

/// One name in a directory. `.` and `..` are not listed: a front adds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// The name.
    pub name: FileName<'a>,
    /// Inode number, equal to `st_ino` of the object.
    pub ino: Ino,
    /// Type; `None` where the filesystem does not tell (`DT_UNKNOWN`).
    pub kind: Option<FileType>,
    /// Where to go on after this entry. Never [`Cookie::START`].
    pub cookie: Cookie,
}

/// Whether the reader of a directory takes more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The entry was taken; go on.
    Continue,
    /// The entry did not fit: it was not taken, and the reading ends.
    Stop,
}

/// What [`crate::Filesystem::read_dir_plus`] knows of a listed name.
///
/// `Some` holds a reference on the node, as a lookup does; it is the reader's when the entry is taken.
/// `None`: the lookup failed (the name went away, or its attributes cannot be read); the name is listed
/// all the same.
pub type ListedNode = Option<Entry>;
