//! Extended attributes of an object that is named by a directory and a name, without following a link.
//!
//! Linux 6.13 has system calls for that; before it the object is named through `/proc/self/fd`. The calls refuse
//! `O_PATH` descriptors (`EBADF`, also with `AT_EMPTY_PATH`), which therefore always go through `/proc/self/fd`.

#![allow(unsafe_code, reason = "rustix has no getxattrat and its like")]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::call::{Missing, ret};
use crate::proc::FdPath;

// The numbers are one for all architectures (the generic table); libc does not have them yet.
const SYS_SETXATTRAT: libc::c_long = 463;
const SYS_GETXATTRAT: libc::c_long = 464;
const SYS_LISTXATTRAT: libc::c_long = 465;
const SYS_REMOVEXATTRAT: libc::c_long = 466;

/// The four calls came with one kernel, so they are missing together.
static XATTRAT: Missing = Missing::new();

/// `struct xattr_args`.
#[repr(C)]
struct XattrArgs {
    value: u64,
    size: u32,
    flags: u32,
}

/// The object whose attributes are meant.
#[derive(Debug, Clone, Copy)]
pub enum Object<'a> {
    /// An entry of a directory; a symbolic link is meant itself.
    Entry(BorrowedFd<'a>, &'a CStr),
    /// What an `O_PATH` descriptor has open.
    Path(BorrowedFd<'a>),
    /// What any other descriptor has open.
    Open(BorrowedFd<'a>),
}

/// Reads an attribute into `value` and returns its length; with an empty `value`, the length alone.
///
/// # Errors
///
/// As getxattr(2): `ENODATA`, `ERANGE`, `EOPNOTSUPP`.
pub fn get(object: Object<'_>, name: &CStr, value: &mut [u8]) -> Result<usize, Errno> {
    match object {
        Object::Entry(dir, entry) => {
            if let Some(result) = XATTRAT.attempt(|| getxattrat(dir, entry, name, value)) {
                return result;
            }
            let path = FdPath::entry(dir, entry);
            if value.is_empty() {
                return rustix::fs::lgetxattr_query(path.as_c_str(), name);
            }
            rustix::fs::lgetxattr(path.as_c_str(), name, value)
        }
        Object::Path(fd) if value.is_empty() => {
            rustix::fs::getxattr_query(FdPath::new(fd).as_c_str(), name)
        }
        Object::Path(fd) => rustix::fs::getxattr(FdPath::new(fd).as_c_str(), name, value),
        Object::Open(fd) if value.is_empty() => rustix::fs::fgetxattr_query(fd, name),
        Object::Open(fd) => rustix::fs::fgetxattr(fd, name, value),
    }
}

/// Reads the names of all attributes, each ended by NUL, into `names` and returns their length; with an empty
/// `names`, the length alone.
///
/// # Errors
///
/// As listxattr(2): `ERANGE`, `EOPNOTSUPP`.
pub fn list(object: Object<'_>, names: &mut [u8]) -> Result<usize, Errno> {
    match object {
        Object::Entry(dir, entry) => {
            if let Some(result) = XATTRAT.attempt(|| listxattrat(dir, entry, names)) {
                return result;
            }
            let path = FdPath::entry(dir, entry);
            if names.is_empty() {
                return rustix::fs::llistxattr_query(path.as_c_str());
            }
            rustix::fs::llistxattr(path.as_c_str(), names)
        }
        Object::Path(fd) if names.is_empty() => {
            rustix::fs::listxattr_query(FdPath::new(fd).as_c_str())
        }
        Object::Path(fd) => rustix::fs::listxattr(FdPath::new(fd).as_c_str(), names),
        Object::Open(fd) if names.is_empty() => rustix::fs::flistxattr_query(fd),
        Object::Open(fd) => rustix::fs::flistxattr(fd, names),
    }
}

/// Sets an attribute.
///
/// # Errors
///
/// As setxattr(2): `EEXIST`, `ENODATA`, `ENOSPC`, `EPERM`, `EOPNOTSUPP`.
pub fn set(object: Object<'_>, name: &CStr, value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
    match object {
        Object::Entry(dir, entry) => XATTRAT
            .attempt(|| setxattrat(dir, entry, name, value, flags))
            .unwrap_or_else(|| {
                let path = FdPath::entry(dir, entry);
                rustix::fs::lsetxattr(path.as_c_str(), name, value, flags)
            }),
        Object::Path(fd) => rustix::fs::setxattr(FdPath::new(fd).as_c_str(), name, value, flags),
        Object::Open(fd) => rustix::fs::fsetxattr(fd, name, value, flags),
    }
}

/// Removes an attribute.
///
/// # Errors
///
/// As removexattr(2): `ENODATA`, `EPERM`, `EOPNOTSUPP`.
pub fn remove(object: Object<'_>, name: &CStr) -> Result<(), Errno> {
    match object {
        Object::Entry(dir, entry) => XATTRAT
            .attempt(|| removexattrat(dir, entry, name))
            .unwrap_or_else(|| {
                rustix::fs::lremovexattr(FdPath::entry(dir, entry).as_c_str(), name)
            }),
        Object::Path(fd) => rustix::fs::removexattr(FdPath::new(fd).as_c_str(), name),
        Object::Open(fd) => rustix::fs::fremovexattr(fd, name),
    }
}

fn getxattrat(
    dir: BorrowedFd<'_>,
    entry: &CStr,
    name: &CStr,
    value: &mut [u8],
) -> Result<usize, Errno> {
    let args = XattrArgs {
        value: value.as_mut_ptr().expose_provenance() as u64,
        size: u32::try_from(value.len()).unwrap_or(u32::MAX),
        flags: 0,
    };
    // SAFETY: both strings are NUL-terminated and `args` has the size given; `args` points to `size` bytes that are
    // borrowed mutably for the call, and to nothing the kernel touches if `size` is 0.
    let length = unsafe {
        libc::syscall(
            SYS_GETXATTRAT,
            dir.as_raw_fd(),
            entry.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            name.as_ptr(),
            &raw const args,
            size_of::<XattrArgs>(),
        )
    };
    ret(length)
}

fn listxattrat(dir: BorrowedFd<'_>, entry: &CStr, names: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: `entry` is NUL-terminated and the kernel writes at most `len` bytes to `names`, which is borrowed
    // mutably for the call.
    let length = unsafe {
        libc::syscall(
            SYS_LISTXATTRAT,
            dir.as_raw_fd(),
            entry.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            names.as_mut_ptr(),
            names.len(),
        )
    };
    ret(length)
}

fn setxattrat(
    dir: BorrowedFd<'_>,
    entry: &CStr,
    name: &CStr,
    value: &[u8],
    flags: XattrFlags,
) -> Result<(), Errno> {
    let args = XattrArgs {
        value: value.as_ptr().expose_provenance() as u64,
        size: u32::try_from(value.len()).map_err(|_| Errno::TOOBIG)?,
        flags: flags.bits(),
    };
    // SAFETY: both strings are NUL-terminated and `args` has the size given; `args` points to `size` bytes that are
    // borrowed for the call, which the kernel only reads.
    let done = unsafe {
        libc::syscall(
            SYS_SETXATTRAT,
            dir.as_raw_fd(),
            entry.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            name.as_ptr(),
            &raw const args,
            size_of::<XattrArgs>(),
        )
    };
    ret(done).map(drop)
}

fn removexattrat(dir: BorrowedFd<'_>, entry: &CStr, name: &CStr) -> Result<(), Errno> {
    // SAFETY: both strings are NUL-terminated and live across the call; no other argument is a pointer.
    let done = unsafe {
        libc::syscall(
            SYS_REMOVEXATTRAT,
            dir.as_raw_fd(),
            entry.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            name.as_ptr(),
        )
    };
    ret(done).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::fs::{Mode, OFlags, openat};

    use super::*;

    /// A file `f` with a link `l` to it; `None` where the filesystem has no user attributes.
    fn file_with_link() -> Option<(tempfile::TempDir, File)> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), b"").unwrap();
        std::os::unix::fs::symlink("f", dir.path().join("l")).unwrap();
        let fd = File::open(dir.path()).unwrap();
        let probe = set(
            Object::Entry(fd.as_fd(), c"f"),
            c"user.probe",
            b"",
            XattrFlags::empty(),
        );
        match probe {
            Err(Errno::OPNOTSUPP) => None,
            done => {
                done.unwrap();
                remove(Object::Entry(fd.as_fd(), c"f"), c"user.probe").unwrap();
                Some((dir, fd))
            }
        }
    }

    fn open(dir: &File, flags: OFlags) -> OwnedFd {
        openat(dir, c"f", flags | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn an_attribute_is_the_same_by_name_by_path_descriptor_and_by_open_file() {
        let Some((_dir, fd)) = file_with_link() else {
            return;
        };
        same_by_all_ways(&fd);
        XATTRAT.pretend();
        same_by_all_ways(&fd);
    }

    fn same_by_all_ways(fd: &File) {
        let (path, file) = (open(fd, OFlags::PATH), open(fd, OFlags::RDONLY));
        let objects = [
            Object::Entry(fd.as_fd(), c"f"),
            Object::Path(path.as_fd()),
            Object::Open(file.as_fd()),
        ];
        for (nth, writer) in objects.into_iter().enumerate() {
            let value = [b'0' + u8::try_from(nth).unwrap(); 3];
            set(writer, c"user.a", &value, XattrFlags::CREATE).unwrap();
            let again = set(writer, c"user.a", b"", XattrFlags::CREATE);
            assert_eq!(again, Err(Errno::EXIST));
            for reader in objects {
                let mut found = [0xee; 8];
                assert_eq!(get(reader, c"user.a", &mut []), Ok(3));
                assert_eq!(get(reader, c"user.a", &mut found[..2]), Err(Errno::RANGE));
                assert_eq!(found, [0xee; 8]);
                assert_eq!(get(reader, c"user.a", &mut found[..3]), Ok(3));
                assert_eq!((&found[..3], &found[3..]), (&value[..], &[0xee; 5][..]));
                let len = list(reader, &mut []).unwrap();
                let mut names = vec![0xee; len + 8];
                assert_eq!(list(reader, &mut names[..1]), Err(Errno::RANGE));
                assert_eq!(list(reader, &mut names[..len]), Ok(len));
                assert_eq!(names[len..], [0xee; 8]);
                assert!(
                    names[..len]
                        .split(|&b| b == 0)
                        .any(|name| name == b"user.a")
                );
            }
            remove(writer, c"user.a").unwrap();
            assert_eq!(remove(writer, c"user.a"), Err(Errno::NODATA));
        }
    }

    #[test]
    fn a_link_is_never_followed() {
        let Some((_dir, fd)) = file_with_link() else {
            return;
        };
        let link = Object::Entry(fd.as_fd(), c"l");
        // A link cannot carry user attributes, so a call that followed it would succeed.
        assert_eq!(
            set(link, c"user.a", b"1", XattrFlags::empty()),
            Err(Errno::PERM)
        );
        set(
            Object::Entry(fd.as_fd(), c"f"),
            c"user.a",
            b"1",
            XattrFlags::empty(),
        )
        .unwrap();
        assert!(get(link, c"user.a", &mut []).is_err());
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(&fd, c"l", flags, Mode::empty()).unwrap();
        assert!(get(Object::Path(opened.as_fd()), c"user.a", &mut []).is_err());
    }
}
