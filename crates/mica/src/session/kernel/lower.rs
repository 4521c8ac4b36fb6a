//! Directories in memory or in the upper that stand for one of the machine, with its attributes as far as this process may
//! give them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use mica_overlay::OVERFLOW_ID;
use mica_vfs::Errno;
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod,
    fremovexattr, fsetxattr, fstat, futimens, getxattr, listxattr, mkdirat, open, openat, setxattr,
    unlinkat,
};

/// Longest list of names and longest value of an attribute.
const LONGEST: usize = 65536;

/// A directory that stands for one of the machine.
#[derive(Debug)]
pub(super) struct Like {
    pub(super) dir: OwnedFd,
    /// What it was made with; `None`: it was there.
    pub(super) made: Option<Dress>,
    /// Whether an attribute of one's own directory is missing: by a commit the machine's would lose it, too.
    pub(super) lacks: Option<Errno>,
}

/// Attributes of a directory without times and marks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dress {
    mode: u32,
    owner: (u32, u32),
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Dress {
    fn of(dir: BorrowedFd<'_>) -> Result<Self, Errno> {
        let stat = fstat(dir)?;
        Ok(Self {
            mode: stat.st_mode,
            owner: (stat.st_uid, stat.st_gid),
            xattrs: xattrs(&own_path(dir)),
        })
    }
}

/// Makes the directory `name` in `dir` like the one of the machine at `path`, or opens the one that is there. What cannot be made
/// so is not left there.
pub(super) fn like(dir: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<Like, Errno> {
    match mkdirat(dir, name, Mode::RWXU) {
        // What the session made of it may be closed to its own user.
        Err(Errno::EXIST) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let dir = openat(dir, name, flags, Mode::empty())?;
            return Ok(Like {
                dir,
                made: None,
                lacks: None,
            });
        }
        made => made?,
    }
    fresh(dir, name, path).inspect_err(|_| {
        if let Err(errno) = unlinkat(dir, name, AtFlags::REMOVEDIR) {
            tracing::debug!(?name, %errno, "a directory is left that was not finished");
        }
    })
}

fn fresh(dir: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<Like, Errno> {
    let dir = openat(dir, name, READ, Mode::empty())?;
    let stat = rustix::fs::lstat(path)?;
    let lacks = dress(dir.as_fd(), path, &stat)?.filter(|_| !is_foreign(&stat));
    let made = Some(Dress::of(dir.as_fd())?);
    Ok(Like { dir, made, lacks })
}

const READ: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Removes a directory of the upper that was made for a cell, if nothing has become of it.
pub(super) fn take_back(path: &Path, made: &Dress) -> Result<(), Errno> {
    let dir = open(path, READ, Mode::empty())?;
    match Dress::of(dir.as_fd())? == *made {
        true => rustix::fs::rmdir(path),
        false => Ok(()),
    }
}

/// Gives an object the attributes of another one. Owners that this user namespace does not have are those of who makes it; returns
/// why an extended attribute was not given, if one was not: an ACL may name others.
pub(super) fn dress(
    object: BorrowedFd<'_>,
    path: &Path,
    like: &Stat,
) -> Result<Option<Errno>, Errno> {
    let (uid, gid) = owner(like);
    match chownat(object, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH) {
        // With one id there is no other to give.
        Err(Errno::INVAL | Errno::PERM) => {}
        changed => changed?,
    }
    let mut lacks = None;
    let wanted = xattrs(path);
    // The default ACL of the directory that it was made in.
    for name in xattrs(&own_path(object)).keys() {
        if !wanted.contains_key(name) {
            lacks = fremovexattr(object, OsStr::from_bytes(name))
                .err()
                .or(lacks);
        }
    }
    for (name, value) in &wanted {
        let set = fsetxattr(object, OsStr::from_bytes(name), value, XattrFlags::empty());
        lacks = set.err().or(lacks);
    }
    fchmod(object, Mode::from_raw_mode(like.st_mode & 0o7777))?;
    futimens(object, &times(like))?;
    Ok(lacks)
}

/// Returns a path of an object that is open.
fn own_path(object: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", object.as_raw_fd()).into()
}

/// Returns the times of an object.
pub(super) fn times(like: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: like.st_atime,
            tv_nsec: i64::try_from(like.st_atime_nsec).unwrap_or(0),
        },
        last_modification: Timespec {
            tv_sec: like.st_mtime,
            tv_nsec: i64::try_from(like.st_mtime_nsec).unwrap_or(0),
        },
    }
}

/// Who is to own what stands for an object: of what nobody here has, root.
fn owner(like: &Stat) -> (Uid, Gid) {
    let known = |id| if id == OVERFLOW_ID { 0 } else { id };
    (
        Uid::from_raw(known(like.st_uid)),
        Gid::from_raw(known(like.st_gid)),
    )
}

/// Whether an object belongs to an id that this user namespace does not have.
pub(super) fn is_foreign(like: &Stat) -> bool {
    like.st_uid == OVERFLOW_ID || like.st_gid == OVERFLOW_ID
}

/// Reads what can be read of attributes; marks of overlays are none of the object's.
fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; LONGEST];
    let len = listxattr(path, &mut names).unwrap_or(0);
    names.truncate(len);
    let is_mark =
        |name: &[u8]| name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    let names = names.split(|&byte| byte == 0);
    let names = names.filter(|name| !name.is_empty() && !is_mark(name));
    let read = names.filter_map(|name| {
        let mut value = vec![0; LONGEST];
        let len = getxattr(path, OsStr::from_bytes(name), &mut value).ok()?;
        value.truncate(len);
        Some((name.to_vec(), value))
    });
    read.collect()
}

/// Tries a mark of overlays on a directory.
pub(super) fn takes_marks(path: &Path, prefix: &[u8]) -> Result<(), Errno> {
    let name = [prefix, b"opaque"].concat();
    setxattr(path, OsStr::from_bytes(&name), b"y", XattrFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_meanwhile_leaves_nothing_in_the_upper() {
        let place = tempfile::tempdir().unwrap();
        let upper = std::fs::File::open(place.path()).unwrap();
        let make = |path: &str| like(upper.as_fd(), OsStr::new("d"), Path::new(path));
        assert_eq!(make("/no/such/directory").err(), Some(Errno::NOENT));
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        let there = tempfile::tempdir().unwrap();
        let made = make(there.path().to_str().unwrap()).unwrap().made.unwrap();
        // Whatever the machine has then.
        drop(there);
        take_back(&place.path().join("d"), &made).unwrap();
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_the_session_changed_is_not_taken_back() {
        let (place, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let upper = std::fs::File::open(place.path()).unwrap();
        let made = like(upper.as_fd(), OsStr::new("d"), there.path())
            .unwrap()
            .made
            .unwrap();
        let path = place.path().join("d");
        std::fs::write(path.join("f"), "").unwrap();
        assert_eq!(take_back(&path, &made), Err(Errno::NOTEMPTY));
        std::fs::remove_file(path.join("f")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(&path, mode).unwrap();
        assert_eq!(take_back(&path, &made), Ok(()));
        assert!(path.exists());
    }
}
