//! An entry of an archive: an object with its path.

use mica_vfs::{FileType, Mode, Rdev, Time};

use super::sparse::Map;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// An object that needs nothing more, or a regular file.
    Plain(FileType),
    Symlink(Vec<u8>),
    /// Another name of an entry before.
    Link(Vec<u8>),
    Device(FileType, Rdev),
}

/// An entry without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// As it stands in the archive.
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: Mode,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    /// The length of the file.
    pub(super) size: u64,
    /// Where it has data, if it has holes.
    pub(super) map: Option<Map>,
    /// Extended attributes with their full names.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether it has an ACL in words, which is not read.
    pub(super) has_text_acl: bool,
}

impl Entry {
    /// Returns how many bytes of data follow, beside the map.
    pub(super) fn stored(&self) -> u64 {
        self.map.as_ref().map_or(self.size, Map::stored)
    }
}
