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
        let mut bytes = [0; SHORT];
        let short = bytes.get_mut(..self.0.len());
        FileNameBuf(match (short, u8::try_from(self.0.len())) {
            (Some(short), Ok(len)) => {
                short.copy_from_slice(self.0);
                Repr::Short { len, bytes }
            }
            _ => Repr::Long(self.0.into()),
        })
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

/// The longest name that an owned one keeps in itself.
const SHORT: usize = 22;

/// An owned [`FileName`]. Most names are short: those cost no allocation.
#[derive(Clone)]
pub struct FileNameBuf(Repr);

#[derive(Clone)]
enum Repr {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

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
        FileName(self.as_bytes())
    }

    fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Repr::Long(bytes) => bytes,
        }
    }
}

// All by the bytes, whichever form they are kept in.

impl PartialEq for FileNameBuf {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for FileNameBuf {}

impl PartialOrd for FileNameBuf {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FileNameBuf {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl std::hash::Hash for FileNameBuf {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for FileNameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_name().fmt(f)
    }
}

impl std::borrow::Borrow<[u8]> for FileNameBuf {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
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
    fn an_owned_name_is_small_and_the_same_whatever_its_length() {
        assert_eq!(size_of::<Option<FileNameBuf>>(), 24);
        for len in [1, SHORT - 1, SHORT, SHORT + 1, NAME_MAX] {
            let bytes = vec![b'x'; len];
            let name = FileNameBuf::new(&bytes).unwrap();
            assert_eq!(name.as_name().as_bytes(), bytes);
            let set = std::collections::HashSet::from([name.clone()]);
            assert!(set.contains(&bytes[..]), "{len}");
            assert!(name < FileNameBuf::new(b"y").unwrap());
        }
    }

    #[test]
    fn a_printed_name_carries_no_control_bytes() {
        assert_eq!(
            FileName::new(b"a\x1b[1m\n").unwrap().to_string(),
            "a\\x1b[1m\\n"
        );
    }
}
