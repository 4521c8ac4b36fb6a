//! Values of the overlay's attributes that mean nothing (OVL-68).
//!
//! Whoever wrote such a value meant to say where data lies or what is hidden. To guess would show files that were removed, or
//! bytes that are not the file's, so the object is an error, and only the object.

use mica_vfs::{Errno, invent};

use crate::stack::LayerNode;

/// What is wrong with the value of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadMark {
    /// `opaque` is neither `y` nor `x`.
    #[error("`opaque` is neither `y` nor `x`")]
    Opaque,
    /// `redirect` is empty.
    #[error("`redirect` is empty")]
    RedirectEmpty,
    /// `redirect` does not begin with a slash, and has one.
    #[error("`redirect` is a relative path of several names")]
    RedirectRelative,
    /// `redirect` begins with a slash, and has nothing before or after one.
    #[error("`redirect` has an empty name in its path")]
    RedirectComponent,
    /// `redirect` has `.` or `..` in it.
    #[error("`redirect` has `.` or `..` in it")]
    RedirectDots,
    /// `redirect` holds a NUL byte.
    #[error("`redirect` holds a NUL byte")]
    RedirectNul,
    /// `metacopy` is shorter than its header.
    #[error("`metacopy` is shorter than its header")]
    MetacopyShort,
    /// `metacopy` is of another version.
    #[error("`metacopy` is of an unknown version")]
    MetacopyVersion,
    /// `metacopy` is of another length than it says, or longer than any.
    #[error("`metacopy` is of another length than it says")]
    MetacopyLength,
    /// `origin` is no file handle.
    #[error("`origin` is no file handle")]
    Origin,
}

/// Why an attribute of the overlay cannot be used.
#[derive(Debug)]
pub(crate) enum MarkError {
    /// The layer cannot read it.
    Layer(Errno),
    /// It can be read and means nothing.
    Bad(BadMark),
}

impl From<Errno> for MarkError {
    fn from(errno: Errno) -> Self {
        Self::Layer(errno)
    }
}

impl From<BadMark> for MarkError {
    fn from(bad: BadMark) -> Self {
        Self::Bad(bad)
    }
}

impl MarkError {
    /// Turns it into what the operation answers: `EIO` for a value that means nothing, and the log says where it is.
    pub(crate) fn errno(self, node: &LayerNode, path: &dyn Fn() -> String) -> Errno {
        match self {
            Self::Layer(errno) => errno,
            Self::Bad(reason) => invent!(
                Errno::IO,
                "malformed mark of the overlay",
                layer = node.layer.label,
                path = path(),
                reason = reason,
            ),
        }
    }
}
