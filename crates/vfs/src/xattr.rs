//! Extended attributes: names and how they are set.

use std::fmt;

use crate::Errno;

/// Longest name of an extended attribute in bytes, `XATTR_NAME_MAX`.
pub const XATTR_NAME_MAX: usize = 255;
/// Largest value of an extended attribute in bytes, `XATTR_SIZE_MAX`.
pub const XATTR_SIZE_MAX: usize = 65536;

/// The full name of an extended attribute, with its namespace: not empty, no NUL, at most 255 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct XattrName<'a>(&'a [u8]);

impl<'a> XattrName<'a> {
    /// Checks `bytes` as a name.
    ///
    /// # Errors
    ///
    /// `ERANGE`, as the kernel answers: empty, longer than [`XATTR_NAME_MAX`], or it contains NUL.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Errno> {
        if bytes.is_empty() || bytes.len() > XATTR_NAME_MAX || bytes.contains(&0) {
            return Err(Errno::RANGE);
        }
        Ok(Self(bytes))
    }

    /// Returns the bytes of the name.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Display for XattrName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for XattrName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// Whether an attribute may or must exist when it is set, the flags of setxattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrMode {
    /// Create or replace.
    Set,
    /// `XATTR_CREATE`: `EEXIST` if it exists.
    Create,
    /// `XATTR_REPLACE`: `ENODATA` if it does not.
    Replace,
}
