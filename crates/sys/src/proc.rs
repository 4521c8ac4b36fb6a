//! The path by which procfs names an open descriptor of this process.
//!
//! Following it leads to the very object the descriptor has open, whatever its names are by then; it is how an
//! `O_PATH` descriptor is reopened, and how calls that take no descriptor are given one.

use std::ffi::CStr;
use std::fmt;
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `/proc/self/fd/`, a number, `/`, a name of 255 bytes and NUL fit.
const CAPACITY: usize = 14 + 11 + 1 + 255 + 1;

/// A path on the stack, ended by NUL.
pub struct FdPath<'fd> {
    bytes: [u8; CAPACITY],
    /// The path means what it says only while the descriptor is open.
    _fd: BorrowedFd<'fd>,
}

impl<'fd> FdPath<'fd> {
    /// Names the object that `fd` has open.
    #[must_use]
    pub fn new(fd: BorrowedFd<'fd>) -> Self {
        Self::print(fd, b"")
    }

    /// Names the entry `name` of the directory that `fd` has open.
    #[must_use]
    pub fn entry(fd: BorrowedFd<'fd>, name: &CStr) -> Self {
        Self::print(fd, name.to_bytes())
    }

    fn print(fd: BorrowedFd<'fd>, name: &[u8]) -> Self {
        let mut bytes = [0; CAPACITY];
        // The last byte stays NUL; a name that does not fit is cut, and so is longer than NAME_MAX anyway.
        let (room, _) = bytes.split_at_mut(CAPACITY - 1);
        let mut rest = room;
        let slash: &[u8] = if name.is_empty() { b"" } else { b"/" };
        write!(rest, "/proc/self/fd/{}", fd.as_raw_fd())
            .and_then(|()| rest.write_all(slash))
            .and_then(|()| rest.write_all(name))
            .ok();
        Self { bytes, _fd: fd }
    }

    /// Returns the path.
    #[must_use]
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

impl fmt::Debug for FdPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_c_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_path_of_a_descriptor_leads_to_its_object() {
        let file = tempfile::tempfile().unwrap();
        let path = FdPath::new(file.as_fd());
        let by_path = rustix::fs::stat(path.as_c_str()).unwrap();
        let by_fd = rustix::fs::fstat(&file).unwrap();
        assert_eq!(
            (by_path.st_dev, by_path.st_ino),
            (by_fd.st_dev, by_fd.st_ino)
        );
    }

    #[test]
    fn the_longest_name_fits() {
        let dir = std::fs::File::open("/").unwrap();
        let name = std::ffi::CString::new(vec![b'n'; 255]).unwrap();
        let path = FdPath::entry(dir.as_fd(), &name);
        assert!(path.as_c_str().to_bytes().ends_with(name.as_bytes()));
    }
}
