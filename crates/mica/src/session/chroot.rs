//! Sessions in a chroot: the stage makes its tree the root of a mount namespace.

use std::os::fd::AsFd as _;

use mica_vfs::Errno;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree,
};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

/// Whether the root directory is no root of a mount. One that is may be that of a chroot all the same, and does no harm.
pub(super) fn is_chrooted() -> bool {
    let stat = statx(CWD, "/", AtFlags::empty(), StatxFlags::empty());
    stat.is_ok_and(|stat| {
        let root = StatxAttributes::MOUNT_ROOT;
        stat.stx_attributes_mask.contains(root) && !stat.stx_attributes.contains(root)
    })
}

/// Makes the root directory of this process, which is that of a chroot, the root of its mount namespace, which is its own. The
/// current directory becomes that, too.
pub(super) fn leave() -> Result<(), Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, "/", flags)?;
    // Who enters a mount namespace is at its root, even in the one that he is in already.
    let itself = pidfd_open(getpid(), PidfdFlags::empty())?;
    move_into_thread_name_spaces(itself.as_fd(), ThreadNameSpaceType::MOUNT)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    move_mount(&tree, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    rustix::process::fchdir(&tree)?;
    rustix::process::pivot_root(".", ".")?;
    // What was the root lies over what is.
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}
