//! What an archive or an upper cannot hold, and is left out.

use std::fmt;
use std::path::PathBuf;

/// Something that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The object, from the root of the layer.
    pub path: PathBuf,
    /// What is missing of it.
    pub what: LeftOut,
}

/// What is left out of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftOut {
    /// The object: a socket is of use to whoever made it, and no archive holds one.
    Socket,
    /// An attribute that is of this machine or would become a mark of an overlay.
    Attribute(Vec<u8>),
    /// The flags that protect it, as chattr(1) sets them.
    Flags,
    /// An ACL in words.
    TextAcl,
    /// Owner, mode and time of a directory that the archive has no entry of.
    Directory,
    /// An attribute that this user may not set.
    Forbidden(Vec<u8>),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket => f.write_str("a socket is left out"),
            Self::Attribute(name) => {
                write!(f, "the attribute `{}` is left out", name.escape_ascii())
            }
            Self::Flags => f.write_str("the flags of chattr(1) are left out"),
            Self::TextAcl => f.write_str("an ACL in words is left out"),
            Self::Directory => {
                f.write_str("the archive has no entry of it: made as root's, mode 0755")
            }
            Self::Forbidden(name) => write!(
                f,
                "the attribute `{}` is left out, as this user may not set it",
                name.escape_ascii()
            ),
        }
    }
}
