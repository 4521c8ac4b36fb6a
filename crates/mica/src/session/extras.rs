//! What a run mounts over the view: parts of the machine itself, and empty directories in memory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use mica_sys::mount::{restrict_tree, set_read_only};
use mica_vfs::Errno;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use super::devices::{NODEV, NOSUID, empty, filesystem, put};
use super::error::{DoError, step};
use super::plan::Plan;
use super::view::{Source, ViewAccess};

/// How often a path is followed while the machine changes.
const ATTEMPTS: usize = 100;

/// Mounts what the plan has below `root`, then makes the rest read-only if it is to be that: the mount of `root`, and `parts`. `host` is the
/// root directory of the machine.
pub(super) fn mount_all(
    root: BorrowedFd<'_>,
    host: BorrowedFd<'_>,
    plan: &Plan,
    parts: &[OwnedFd],
) -> Result<(), DoError> {
    for (source, target) in &plan.view.mounts {
        let target = target.to_path();
        let mounted = match source {
            Source::Host(path, access) => bind(root, (host, &path.to_path()), *access, &target),
            Source::Memory => memory(root, &target),
        };
        mounted.map_err(|source| DoError::Store {
            action: "mount something at",
            path: target,
            source: source.into(),
        })?;
    }
    if !plan.view.mounts.is_empty() {
        step(
            "the sessions invisible",
            hide_store(root, &plan.store.to_path()),
        )?;
    }
    match plan.view.access {
        ViewAccess::ReadWrite => Ok(()),
        ViewAccess::ReadOnly => {
            let all = parts.iter().map(AsFd::as_fd).chain([root]);
            let closed: Result<(), _> = all.into_iter().try_for_each(set_read_only);
            step("a read-only view", closed)
        }
    }
}

/// Puts a part of the machine in its place. Devices in it are not for the session, nor do its programs give rights.
fn bind(
    root: BorrowedFd<'_>,
    (host, source): (BorrowedFd<'_>, &Path),
    access: ViewAccess,
    target: &Path,
) -> Result<(), Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let relative = source.strip_prefix("/").unwrap_or(source);
    let tree = match relative.as_os_str().is_empty() {
        true => open_tree(host, ".", flags)?,
        false => open_tree(host, relative, flags)?,
    };
    let inert = NODEV | NOSUID;
    let inert = match access {
        ViewAccess::ReadWrite => inert,
        ViewAccess::ReadOnly => inert | MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    restrict_tree(tree.as_fd(), inert)?;
    let kind = FileType::from_raw_mode(fstat(&tree)?.st_mode);
    put(tree.as_fd(), mountpoint(root, target, kind)?.as_fd())
}

/// Puts an empty directory in memory in the place of another one, with its owner and mode.
fn memory(root: BorrowedFd<'_>, target: &Path) -> Result<(), Errno> {
    let at = mountpoint(root, target, FileType::Directory)?;
    let like = fstat(&at)?;
    let (mode, uid, gid) = (
        format!("{:o}", like.st_mode & 0o7777),
        like.st_uid.to_string(),
        like.st_gid.to_string(),
    );
    let options = [("mode", mode.as_str()), ("uid", &uid), ("gid", &gid)];
    let tmpfs = filesystem("tmpfs", &options, NODEV | NOSUID)?;
    put(tmpfs.as_fd(), at.as_fd())
}

/// Finds where to mount something of the type `kind`; what is missing of the path is made.
fn mountpoint(root: BorrowedFd<'_>, target: &Path, kind: FileType) -> Result<OwnedFd, Errno> {
    match open(root, target) {
        Err(Errno::NOENT) => {}
        found => return found,
    }
    let mut dir = open(root, Path::new("/"))?;
    let mut names = target
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .peekable();
    while let Some(name) = names.next() {
        let last = names.peek().is_none();
        let made = if last && kind != FileType::Directory {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        } else {
            mkdirat(&dir, name, Mode::from_raw_mode(0o755))
        };
        match made {
            Err(Errno::EXIST) => {}
            made => made?,
        }
        if !last {
            dir = open(dir.as_fd(), Path::new(name))?;
        }
    }
    open(root, target)
}

/// Opens a path of the view, over links as its root directory has them.
fn open(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..ATTEMPTS {
        match openat2(root, path, flags, Mode::empty(), resolve) {
            // Something was renamed or mounted on the machine while `..` was followed.
            Err(Errno::AGAIN) => {}
            found => return found,
        }
    }
    Err(Errno::AGAIN)
}

/// Lays something empty over the directory of the sessions, which the view does not have, but what is mounted over it may.
fn hide_store(root: BorrowedFd<'_>, store: &Path) -> Result<(), Errno> {
    match open(root, store) {
        Ok(at) => put(empty()?.as_fd(), at.as_fd()),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => Ok(()),
        Err(errno) => Err(errno),
    }
}
