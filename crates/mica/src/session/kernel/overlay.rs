//! One overlay of the kernel.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use mica_overlay::XattrNamespace;
use mica_vfs::Errno;
use rustix::fs::{Mode, OFlags, mkdir, mkdirat, open, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
    fsopen,
};

use super::Ground;
use super::lower::takes_marks;
use crate::session::devices::NODEV;
use crate::session::error::{DoError, step};

/// Whether directories of the lower can be renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renames {
    /// They can. The marks of it hold from the root of the tree on, and so in the first cell alone.
    Redirected,
    /// `EXDEV`.
    Refused,
}

/// The directories of an overlay, topmost lower first.
#[derive(Debug)]
pub(super) struct Layers<'a> {
    pub(super) lowers: &'a [BorrowedFd<'a>],
    pub(super) upper: BorrowedFd<'a>,
    pub(super) work: BorrowedFd<'a>,
}

/// Makes an overlay that is mounted nowhere yet.
pub(super) fn overlay(
    layers: &Layers<'_>,
    xattrs: XattrNamespace,
    renames: Renames,
) -> Result<OwnedFd, Errno> {
    // No value may be longer than 255 bytes, and a path may have characters that mean something.
    let of = |fd: &BorrowedFd<'_>| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let lowers: Vec<_> = layers.lowers.iter().map(of).collect();
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set = |key: &str, value: &str| fsconfig_set_string(context.as_fd(), key, value);
    set("source", "mica")?;
    set("lowerdir", &lowers.join(":"))?;
    set("upperdir", &of(&layers.upper))?;
    set("workdir", &of(&layers.work))?;
    // The upper of one cell lies in that of another, which an index would not bear.
    set("index", "off")?;
    set("metacopy", "off")?;
    set("xino", "auto")?;
    match (xattrs, renames) {
        (XattrNamespace::User, _) => fsconfig_set_flag(context.as_fd(), "userxattr")?,
        (XattrNamespace::Trusted, Renames::Redirected) => set("redirect_dir", "on")?,
        (XattrNamespace::Trusted, Renames::Refused) => set("redirect_dir", "nofollow")?,
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, NODEV)
}

/// Makes sure that the kernel takes the session's directory as an upper, and empties its work directory: what cannot be done in
/// a cell is then the fault of its lower.
pub(super) fn check_upper(ground: &Ground<'_>) -> Result<(), DoError> {
    crate::session::removal::remove(&ground.work)?;
    let tried = || -> Result<(), Errno> {
        mkdir(&ground.work, Mode::RWXU)?;
        let upper = ground.work.join("upper");
        let work = ground.work.join("work");
        mkdir(&upper, Mode::RWXU)?;
        mkdir(&work, Mode::RWXU)?;
        // An overlay without attributes is mounted all the same, and cannot replace directories.
        takes_marks(&upper, ground.xattrs().prefix())?;
        let (upper, work) = (directory(&upper)?, directory(&work)?);
        mkdirat(&ground.memory, "none", Mode::RWXU)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lower = openat(&ground.memory, "none", flags, Mode::empty())?;
        let layers = Layers {
            lowers: &[lower.as_fd()],
            upper: upper.as_fd(),
            work: work.as_fd(),
        };
        overlay(&layers, ground.xattrs(), Renames::Refused).map(drop)
    };
    let refused = |source| DoError::KernelUpper {
        fuse: ground.plan.driver.errno(),
        dir: ground.upper.clone(),
        medium: ground.plan.view.medium,
        source,
    };
    tried().map_err(refused)?;
    for name in ["upper", "work"] {
        crate::session::removal::remove(&ground.work.join(name))?;
    }
    Ok(())
}

/// Makes the work directory of a cell.
pub(super) fn work(ground: &Ground<'_>, number: usize) -> Result<OwnedFd, DoError> {
    let path = ground.work.join(number.to_string());
    let made = mkdir(&path, Mode::RWXU).and_then(|()| directory(&path));
    step("a work directory", made)
}

pub(super) fn directory(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open(path, flags, Mode::empty())
}
