//! The empty root: a read-only tmpfs that holds `/proc/self/fd` of this process and nothing else.
//!
//! Files that are open are opened once more, and extended attributes are read, by `/proc/self/fd/N`. For these a bind
//! mount of that one directory does: a procfs of its own, even one with `subset=pid`, would show every process of the
//! PID namespace, and may not be mounted in a user namespace that does not own its PID namespace.

use std::os::fd::{AsFd, OwnedFd};

use mica_sys::namespace::copy_mounts;
use mica_vfs::Errno;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};
use rustix::thread::LinkNameSpaceType;

use super::Mounts;
use super::error::{CageError, CageStep};

/// Where the paths of `mica_sys::proc` begin.
const FDS: &str = "/proc/self/fd";

/// The type of procfs, in statfs(2).
const PROC_SUPER_MAGIC: rustix::fs::FsWord = 0x9fa0;

/// Makes the root directory of this process an empty one, in a mount namespace of its own.
pub(super) fn empty(mounts: Mounts) -> Result<(), CageError> {
    if mounts == Mounts::Shared {
        take(CageStep::Unshare, copy_mounts())?;
    }
    let fds = open_fds()?;
    if mounts == Mounts::Shared {
        own_mounts()?;
    }
    let root = new_root()?;
    attach(&root, "/")?;
    attach_at(&fds, root.as_fd(), FDS.trim_start_matches('/'))?;
    // The new root lies over the old one; pivot_root(2) turns that round, and what lies above goes.
    let pivot = rustix::process::fchdir(&root).and_then(|()| rustix::process::pivot_root(".", "."));
    take(CageStep::Pivot, pivot)?;
    let detach = rustix::mount::unmount(".", UnmountFlags::DETACH);
    take(CageStep::OldRoot, detach)?;
    let sealed = rustix::process::chdir("/").and_then(|()| {
        let flags = MountFlags::BIND | MountFlags::RDONLY;
        let inert = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount_remount("/", flags | inert, c"")
    });
    take(CageStep::Seal, sealed)
}

fn take<T>(step: CageStep, result: Result<T, Errno>) -> Result<T, CageError> {
    result.map_err(|source| CageError::Step { step, source })
}

/// Clones the directory of this process's descriptors out of the procfs that is mounted.
fn open_fds() -> Result<OwnedFd, CageError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let fds = take(CageStep::Proc, rustix::mount::open_tree(CWD, FDS, flags))?;
    let kind = take(CageStep::Proc, rustix::fs::fstatfs(&fds))?.f_type;
    if kind == PROC_SUPER_MAGIC {
        Ok(fds)
    } else {
        take(CageStep::Proc, Err(Errno::NOENT))
    }
}

/// Keeps what happens to the mounts of this namespace from the one that it is a copy of. The other way round mounts
/// still go away, so that nothing is kept busy from here.
fn own_mounts() -> Result<(), CageError> {
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    match rustix::mount::mount_change("/", slave) {
        // The root directory is no mount: that of a chroot(2).
        Err(Errno::INVAL) => {
            take(CageStep::LeaveChroot, leave_chroot())?;
            take(
                CageStep::Propagation,
                rustix::mount::mount_change("/", slave),
            )
        }
        done => take(CageStep::Propagation, done),
    }
}

/// Changes to the root of the mount namespace, by entering the namespace in which this process is.
fn leave_chroot() -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let here = rustix::fs::open("/proc/self/ns/mnt", flags, Mode::empty())?;
    rustix::thread::move_into_link_name_space(here.as_fd(), Some(LinkNameSpaceType::Mount))
}

/// Makes a tmpfs that has room for its directories only.
fn new_root() -> Result<OwnedFd, CageError> {
    let tmpfs = || {
        let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in [
            ("source", "mica"),
            ("mode", "0755"),
            ("size", "4k"),
            ("nr_inodes", "8"),
        ] {
            rustix::mount::fsconfig_set_string(context.as_fd(), key, value)?;
        }
        rustix::mount::fsconfig_create(context.as_fd())?;
        let inert = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, inert)
    };
    take(CageStep::NewRoot, tmpfs())
}

/// Mounts the new root over the old one.
fn attach(root: &OwnedFd, path: &str) -> Result<(), CageError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    take(
        CageStep::Attach,
        rustix::mount::move_mount(root, "", CWD, path, flags),
    )
}

/// Mounts `what` at `path` below the new root, whose directories are made.
fn attach_at(what: &OwnedFd, root: impl AsFd, path: &str) -> Result<(), CageError> {
    let root = root.as_fd();
    let ends = path.match_indices('/').map(|(at, _)| at);
    let searchable = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
    // A thread that makes a file as its caller goes through these directories, too.
    let umask = rustix::process::umask(Mode::empty());
    let made = ends
        .chain([path.len()])
        .try_for_each(|end| rustix::fs::mkdirat(root, path.get(..end).unwrap_or(path), searchable));
    rustix::process::umask(umask);
    take(CageStep::NewDirs, made)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    take(
        CageStep::Attach,
        rustix::mount::move_mount(what, "", root, path, flags),
    )
}
