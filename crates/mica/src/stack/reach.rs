//! How far the descriptors of an upper and its work directory reach.
//!
//! From an open directory `..` leads up to the root of the mount through which it was opened, whatever the root
//! directory of the process is. So both are opened once more through a private copy of that mount, which begins at
//! the nearest directory that holds both (two copies would make each rename between them `EXDEV`). In it devices,
//! setuid bits and programs have no effect: what is planted in the upper is good for nothing there.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use mica_host::{LayerAccess, private_copy};
use mica_sys::proc::FdPath;
use mica_vfs::Errno;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2, readlink};

use super::Opened;
use super::place::{self, Place};

/// What lies in reach of a server through the descriptors of its upper and work directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// What is in this directory, the nearest one that holds both.
    Below(PathBuf),
    /// All of their mount, of which this process cannot make a private copy.
    Mount {
        /// Why not.
        source: Errno,
    },
}

/// Opens both directories through one private copy of their mount, if that can be had. With it comes the copy, to be kept open: the
/// kernel takes milliseconds to close a mount that is nowhere, and what has both directories reaches all of it anyway.
///
/// Without `CAP_SYS_ADMIN` it cannot, nor in a user namespace where the nearest common directory has mounts below it
/// that the namespace may not uncover.
pub(super) fn narrow(upper: &mut Opened, work: &mut Opened) -> (Reach, Option<OwnedFd>) {
    match open_in_copy(upper, work) {
        Ok((path, fds, copy)) => {
            [upper.fd, work.fd] = fds;
            (Reach::Below(path), Some(copy))
        }
        Err(source) => (Reach::Mount { source }, None),
    }
}

fn open_in_copy(upper: &Opened, work: &Opened) -> Result<(PathBuf, [OwnedFd; 2], OwnedFd), Errno> {
    let common = nearest_common(upper, work)?;
    let path = path_of(common.as_fd())?;
    let copy = private_copy(common.as_fd(), LayerAccess::ReadWrite)?;
    let reopen = |opened: &Opened| {
        let below = path_of(opened.fd.as_fd())?;
        let below = below.strip_prefix(&path).map_err(|_| Errno::STALE)?;
        let fd = open_below(&copy, below)?;
        // Found by name: it must still be what was opened first.
        if Place::of(&fd)?.id == opened.place.id {
            Ok(fd)
        } else {
            Err(Errno::STALE)
        }
    };
    let fds = [reopen(upper)?, reopen(work)?];
    Ok((path, fds, copy))
}

/// Opens the nearest directory that both lie in.
fn nearest_common(upper: &Opened, work: &Opened) -> Result<OwnedFd, Errno> {
    let above_upper: HashSet<_> = place::above(&upper.fd)?
        .into_iter()
        .chain([upper.place.id])
        .collect();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = openat(&work.fd, c".", flags, Mode::empty())?;
    loop {
        let here = Place::of(&dir)?;
        if above_upper.contains(&here.id) {
            return Ok(dir);
        }
        dir = place::open_parent(&dir)?;
        let there = Place::of(&dir)?;
        if there.id == here.id || !there.same_mount(here) {
            return Err(Errno::XDEV);
        }
    }
}

fn open_below(dir: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if path.as_os_str().is_empty() {
        return openat(dir, c".", flags, Mode::empty());
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(dir, path, flags, Mode::empty(), resolve)
}

fn path_of(fd: BorrowedFd<'_>) -> Result<PathBuf, Errno> {
    use std::os::unix::ffi::OsStringExt as _;
    let path = readlink(FdPath::new(fd).as_c_str(), Vec::new())?;
    Ok(std::ffi::OsString::from_vec(path.into_bytes()).into())
}
