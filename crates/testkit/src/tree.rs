//! Trees as literals.
//!
//! A literal is a list of words, parted by white space. Each word is one object: a path, what it is, and attributes in
//! any order. Directories on the way are made as they are needed.
//!
//! ```text
//! d/                     a directory
//! a='text'               a regular file; \' \\ \n \t \0 within the quotes
//! a=hole(1M)             a regular file of that size that is all hole; K, M, G
//! l->target              a symbolic link; ->'any target'
//! b=>a                   one more name (hard link) of a, which came before
//! f:fifo  s:socket       a FIFO, a socket
//! c:char(1,3)            a character device; block(8,0) a block device
//! d/x:whiteout           a whiteout: character device 0:0
//! d/x:xwhiteout          a whiteout as an empty file with the attribute PREFIX + `whiteout`
//! d:opaque               an opaque directory: PREFIX + `opaque` is `y`
//! d:whiteouts            a directory that may hold xwhiteouts: PREFIX + `opaque` is `x`
//!
//! @0640                  mode; 0755 for directories and 0644 for all else without it
//! ~1000:100              owner and group
//! !12345                 time of modification and access, in seconds
//! [user.k=v,user.l=w]    extended attributes; 'quoted' values may hold anything
//! ^aiA                   file flags, in the letters of chattr(1): append-only, immutable, no atime
//! ```

mod build;
mod parse;
mod print;

pub use build::build;

use std::str::FromStr;

use mica_vfs::{FileFlags, FileType, Rdev};

/// The prefix of the overlay's attributes that a literal means unless it is told another.
pub(crate) const PREFIX: &str = "trusted.overlay.";

/// The file flags that a literal can give.
const FLAGS: [(char, FileFlags); 3] = [
    ('a', FileFlags::APPEND),
    ('i', FileFlags::IMMUTABLE),
    ('A', FileFlags::NOATIME),
];

/// What an object of a literal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A directory.
    Directory,
    /// An opaque directory.
    Opaque,
    /// A directory that may hold whiteouts in the xattr form.
    Whiteouts,
    /// A regular file with this data.
    File(Vec<u8>),
    /// A regular file that is all hole.
    Hole(u64),
    /// A symbolic link.
    Symlink(String),
    /// Another name of the object at this path.
    Link(String),
    /// A device, FIFO or socket.
    Special(FileType, Rdev),
    /// A whiteout in the xattr form.
    XattrWhiteout,
}

impl Body {
    /// A whiteout.
    pub const WHITEOUT: Self = Self::Special(FileType::CharDevice, Rdev::WHITEOUT);

    /// Tells whether it is a directory of any kind.
    #[must_use]
    pub const fn is_dir(&self) -> bool {
        matches!(self, Self::Directory | Self::Opaque | Self::Whiteouts)
    }

    /// Tells whether it is a whiteout in either form.
    #[must_use]
    pub fn is_whiteout(&self) -> bool {
        *self == Self::WHITEOUT || *self == Self::XattrWhiteout
    }
}

/// One object of a literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The path, without a slash at either end.
    pub path: String,
    /// What it is.
    pub body: Body,
    /// Mode, where it is given.
    pub mode: Option<u32>,
    /// Owner and group, where they are given.
    pub owner: Option<(u32, u32)>,
    /// Time of modification and access in seconds, where it is given.
    pub time: Option<i64>,
    /// Extended attributes.
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// File flags.
    pub flags: FileFlags,
}

impl Item {
    /// An object without attributes.
    #[must_use]
    pub fn new(path: &str, body: Body) -> Self {
        Self {
            path: path.into(),
            body,
            mode: None,
            owner: None,
            time: None,
            xattrs: Vec::new(),
            flags: FileFlags::empty(),
        }
    }

    /// Returns the mode that it gets.
    #[must_use]
    pub const fn mode(&self) -> u32 {
        match (self.mode, &self.body) {
            (Some(mode), _) => mode,
            (None, body) if body.is_dir() => 0o755,
            (None, Body::Symlink(_)) => 0o777,
            (None, _) => 0o644,
        }
    }
}

/// A tree as a list of objects, directories before what they hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree(pub Vec<Item>);

impl FromStr for Tree {
    type Err = String;

    /// Reads a literal. The error tells the word that is wrong, and why.
    fn from_str(literal: &str) -> Result<Self, String> {
        parse::parse(literal)
    }
}

impl From<&str> for Tree {
    /// Reads a literal.
    ///
    /// # Panics
    ///
    /// If it is none, with the word that is wrong.
    fn from(literal: &str) -> Self {
        literal
            .parse()
            .unwrap_or_else(|error| panic!("tree literal: {error}"))
    }
}

#[cfg(test)]
mod tests;
