//! File handles: name_to_handle_at(2) and open_by_handle_at(2).

#![allow(unsafe_code, reason = "rustix has no file handles")]

use std::ffi::CStr;
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::call::ret;

/// Most bytes of a handle, `MAX_HANDLE_SZ`.
pub const HANDLE_MAX: usize = 128;

/// `struct file_handle` with room for the largest handle.
#[repr(C)]
struct RawHandle {
    handle_bytes: u32,
    handle_type: i32,
    f_handle: [u8; HANDLE_MAX],
}

/// A handle of an object of one filesystem.
pub struct Handle {
    raw: RawHandle,
}

impl Handle {
    /// Makes a handle of bytes that were kept.
    ///
    /// # Errors
    ///
    /// `EINVAL`: more than [`HANDLE_MAX`] bytes.
    pub fn new(kind: i32, bytes: &[u8]) -> Result<Self, Errno> {
        let mut f_handle = [0; HANDLE_MAX];
        f_handle
            .get_mut(..bytes.len())
            .ok_or(Errno::INVAL)?
            .copy_from_slice(bytes);
        let handle_bytes = u32::try_from(bytes.len()).map_err(|_| Errno::INVAL)?;
        Ok(Self {
            raw: RawHandle {
                handle_bytes,
                handle_type: kind,
                f_handle,
            },
        })
    }

    /// Asks for the handle of the entry `name` of `dir`, or with an empty name of what `dir` itself has open.
    ///
    /// # Errors
    ///
    /// As name_to_handle_at(2): `EOPNOTSUPP` where the filesystem has no handles, `ENOENT`.
    pub fn of(dir: BorrowedFd<'_>, name: &CStr) -> Result<Self, Errno> {
        let mut handle = Self::new(0, &[0; HANDLE_MAX])?;
        let mut mount_id = 0i32;
        // SAFETY: `name` is NUL-terminated, `raw` is a `file_handle` with the 128 bytes that its `handle_bytes`
        // says, and `mount_id` is an int; all live across the call and nothing else refers to the two outputs.
        let value = unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                dir.as_raw_fd(),
                name.as_ptr(),
                &raw mut handle.raw,
                &raw mut mount_id,
                libc::AT_EMPTY_PATH,
            )
        };
        ret(value).map(|_| handle)
    }

    /// Opens the object on the filesystem that `mount`, which must not be `O_PATH`, lies on.
    ///
    /// # Errors
    ///
    /// As open_by_handle_at(2): `ESTALE` if the object is gone, `EPERM` without `CAP_DAC_READ_SEARCH`.
    pub fn open(&self, mount: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
        // SAFETY: `raw` is a `file_handle` whose `handle_bytes` is at most the 128 bytes it holds; the kernel only
        // reads it.
        let value = unsafe {
            libc::syscall(
                libc::SYS_open_by_handle_at,
                mount.as_raw_fd(),
                &raw const self.raw,
                (flags | OFlags::CLOEXEC).bits(),
            )
        };
        let fd = RawFd::try_from(ret(value)?).map_err(|_| Errno::BADF)?;
        // SAFETY: the call has just returned `fd` as a new descriptor, which nothing else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Returns the filesystem's type of handle.
    #[must_use]
    pub const fn kind(&self) -> i32 {
        self.raw.handle_type
    }

    /// Returns the opaque bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let len = usize::try_from(self.raw.handle_bytes).unwrap_or(0);
        self.raw.f_handle.get(..len).unwrap_or_default()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({}: {:?})", self.kind(), self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_handle_finds_its_object_again() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), b"").unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        let handle = match Handle::of(fd.as_fd(), c"f") {
            Err(Errno::OPNOTSUPP) => return,
            handle => handle.unwrap(),
        };
        let kept = Handle::new(handle.kind(), handle.bytes()).unwrap();
        match kept.open(fd.as_fd(), OFlags::PATH) {
            // What an ordinary user gets.
            Err(errno) => assert_eq!(errno, Errno::PERM),
            Ok(found) => {
                let found = rustix::fs::fstat(&found).unwrap();
                let named = rustix::fs::stat(dir.path().join("f")).unwrap();
                assert_eq!(found.st_ino, named.st_ino);
            }
        }
    }

    #[test]
    fn a_handle_holds_128_bytes_and_no_more() {
        assert_eq!(
            Handle::new(1, &[7; HANDLE_MAX]).unwrap().bytes(),
            [7; HANDLE_MAX]
        );
        assert_eq!(
            Handle::new(1, &[7; HANDLE_MAX + 1]).err(),
            Some(Errno::INVAL)
        );
    }
}
