//! File names: checked once at the edge, bytes afterwards.

use std::fmt;

use crate::Errno;

/// Longest file name in bytes, `NAME_MAX` of `limits.h`.
pub const NAME_MAX: usize = 255;

/// One component of a path: not empty, no `/`, no NUL, neither `.` nor `..`, at most [`NAME_MAX`] bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName<'a>(&'a [u8]);

impl<'a> FileName<'a> {
    /// Checks `bytes` as a file name.
    ///
    /// # Errors
    ///
    /// - `ENAMETOOLONG`: more than [`NAME_MAX`] bytes.
    /// - `EINVAL`: empty, `.`, `..`, or it contains `/` or NUL.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Errno> {
        if bytes.len() > NAME_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        if matches!(bytes, b"" | b"." | b"..") || bytes.iter().any(|&b| b == b'/' || b == 0) {
            return Err(Errno::INVAL);
        }
        Ok(Self(bytes))
    }

    /// Returns the bytes of the name.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Returns an owned copy.
    #[must_use]
    pub fn to_owned(self) -> FileNameBuf {
        FileNameBuf(self.0.into())
    }
}

impl fmt::Display for FileName<'_> {
    /// Writes the name escaped, safe for a terminal and a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for FileName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// An owned [`FileName`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileNameBuf(Box<[u8]>);

impl FileNameBuf {
    /// Checks `bytes` as a file name and keeps them.
    ///
    /// # Errors
    ///
    /// As [`FileName::new`].
    pub fn new(bytes: &[u8]) -> Result<Self, Errno> {
        FileName::new(bytes).map(FileName::to_owned)
    }

    /// Borrows the name.
    #[must_use]
    pub fn as_name(&self) -> FileName<'_> {
        FileName(&self.0)
    }
}

impl fmt::Debug for FileNameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_name().fmt(f)
    }
}

impl std::borrow::Borrow<[u8]> for FileNameBuf {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_component() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0"] {
            assert_eq!(FileName::new(bad), Err(Errno::INVAL), "{bad:?}");
        }
        for good in [&b"a"[..], b"...", b".wh.x", b"\xff", b" "] {
            assert_eq!(FileName::new(good).unwrap().as_bytes(), good);
        }
    }

    #[test]
    fn a_name_of_255_bytes_fits_and_one_of_256_does_not() {
        assert!(FileName::new(&[b'x'; 255]).is_ok());
        assert_eq!(FileName::new(&[b'x'; 256]), Err(Errno::NAMETOOLONG));
    }

    #[test]
    fn a_printed_name_carries_no_control_bytes() {
        assert_eq!(
            FileName::new(b"a\x1b[1m\n").unwrap().to_string(),
            "a\\x1b[1m\\n"
        );
    }
}
