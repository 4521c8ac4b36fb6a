//! What a kernel makes up, as a session sees it: /proc, /sys and /dev, as OCI's runtime specification has them.
//!
//! They are mounted on directories of the view; one that the view does not have is not made, as that would be a change. Until there is a
//! view they are mounted elsewhere.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use mica_sys::mount::{restrict_tree, set_read_only};
use mica_vfs::Errno;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::error::{DoError, step};

/// What shows or changes the host through procfs. Files read as empty, directories are empty.
const MASKED: &[&str] = &[
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];
const READ_ONLY: &[&str] = &["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// The devices of the host that a session has.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// The group `tty`, to which terminals belong everywhere.
const TTY: &str = "5";

pub(super) const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
pub(super) const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);
const BOTH: MoveMountFlags =
    MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH.union(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH);

/// Which groups there are inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Groups {
    All,
    /// The user's alone, so terminals cannot be of the group `tty`.
    One,
}

/// All of it, mounted at a place of its own.
#[derive(Debug)]
pub(super) struct Devices {
    place: OwnedFd,
    /// The session's own devpts.
    pub(super) pts: OwnedFd,
    /// What lies over that which is masked. The kernel takes milliseconds to close a mount that is nowhere: keep it.
    pub(super) empty: OwnedFd,
}

/// The step that fails in containers.
pub(super) const PROC: &str = "/proc";

const ALL: &[&str] = &["proc", "sys", "dev"];

impl Devices {
    /// Mounts all of it on directories below `place`, a directory of this mount namespace, in which nothing else is of use.
    pub(super) fn make(place: &Path, groups: Groups) -> Result<Self, DoError> {
        let empty = step("an empty directory", empty())?;
        let place = step("a place for mounts", make_place(place))?;
        step(PROC, mount_proc(place.as_fd(), empty.as_fd()))?;
        step("/sys", mount_sys(place.as_fd(), empty.as_fd()))?;
        let pts = step("/dev/pts", mount_pts(groups))?;
        step("/dev", mount_dev(place.as_fd(), pts.as_fd()))?;
        Ok(Self { place, pts, empty })
    }

    /// Moves all of it into the view whose root directory is `root`.
    pub(super) fn mount(&self, root: BorrowedFd<'_>) -> Result<(), DoError> {
        for name in ALL {
            step("/proc, /sys and /dev", self.mount_one(root, name))?;
        }
        Ok(())
    }

    fn mount_one(&self, root: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
        match (find(self.place.as_fd(), name)?, find(root, name)?) {
            (Some(made), Some(at)) => put(made.as_fd(), at.as_fd()),
            _ => Ok(()),
        }
    }
}

/// Mounts a directory in memory with one for each of [`ALL`].
fn make_place(at: &Path) -> Result<OwnedFd, Errno> {
    let options = [("mode", "0700"), ("size", "4k"), ("nr_inodes", "8")];
    let place = filesystem("tmpfs", &options, NOSUID | NODEV | NOEXEC)?;
    move_mount(&place, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    for name in ALL {
        rustix::fs::mkdirat(&place, *name, Mode::RWXU)?;
    }
    Ok(place)
}

fn mount_proc(root: BorrowedFd<'_>, empty: BorrowedFd<'_>) -> Result<(), Errno> {
    let Some(at) = find(root, "proc")? else {
        return Ok(());
    };
    let proc = filesystem("proc", &[], NOSUID | NODEV | NOEXEC)?;
    put(proc.as_fd(), at.as_fd())?;
    for path in READ_ONLY {
        if let Some(at) = find(proc.as_fd(), path)? {
            let copy = copy(at.as_fd())?;
            set_read_only(copy.as_fd())?;
            put(copy.as_fd(), at.as_fd())?;
        }
    }
    mask(proc.as_fd(), MASKED, empty)
}

fn mount_sys(root: BorrowedFd<'_>, empty: BorrowedFd<'_>) -> Result<(), Errno> {
    let Some(at) = find(root, "sys")? else {
        return Ok(());
    };
    // The whole of it: a part would uncover what a mount hides.
    let sys = match open_tree(CWD, "/sys", CLONE | OpenTreeFlags::AT_RECURSIVE) {
        Err(Errno::NOENT) => return Ok(()),
        sys => sys?,
    };
    restrict_tree(
        sys.as_fd(),
        MountAttrFlags::MOUNT_ATTR_RDONLY | NOSUID | NODEV | NOEXEC,
    )?;
    put(sys.as_fd(), at.as_fd())?;
    mask(sys.as_fd(), &["firmware"], empty)
}

fn mount_pts(groups: Groups) -> Result<OwnedFd, Errno> {
    let all = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", TTY)];
    let options = match groups {
        Groups::All => all.as_slice(),
        Groups::One => all.get(..2).unwrap_or_default(),
    };
    let context = configured("devpts", options)?;
    fsconfig_set_flag(context.as_fd(), "newinstance")?;
    fsconfig_create(context.as_fd())?;
    fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        NOSUID | NOEXEC,
    )
}

fn mount_dev(root: BorrowedFd<'_>, pts: BorrowedFd<'_>) -> Result<(), Errno> {
    let Some(at) = find(root, "dev")? else {
        return Ok(());
    };
    let dev = filesystem(
        "tmpfs",
        &[("mode", "0755"), ("size", "64k")],
        NOSUID | NOEXEC,
    )?;
    put(dev.as_fd(), at.as_fd())?;
    for name in DEVICES {
        let host = match open_tree(CWD, format!("/dev/{name}"), CLONE) {
            // A host that is a container itself may not have all of them.
            Err(Errno::NOENT) => continue,
            host => host?,
        };
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dev, *name, flags, Mode::from_raw_mode(0o666))?;
        put(host.as_fd(), file.as_fd())?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(*target, &dev, *name)?;
    }
    put_in(dev.as_fd(), "pts", pts)?;
    let shm = filesystem("tmpfs", &[("mode", "1777")], NOSUID | NODEV | NOEXEC)?;
    put_in(dev.as_fd(), "shm", shm.as_fd())?;
    let mqueue = filesystem("mqueue", &[], NOSUID | NODEV | NOEXEC)?;
    put_in(dev.as_fd(), "mqueue", mqueue.as_fd())
}

fn put_in(dir: BorrowedFd<'_>, name: &str, mount: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755))?;
    match find(dir, name)? {
        Some(at) => put(mount, at.as_fd()),
        None => Err(Errno::NOENT),
    }
}

/// Lays something empty over each of `paths` that there is.
fn mask(root: BorrowedFd<'_>, paths: &[&str], empty: BorrowedFd<'_>) -> Result<(), Errno> {
    for path in paths {
        let Some(at) = find(root, path)? else {
            continue;
        };
        // A copy that fits nowhere would have to be closed, and the kernel takes its time.
        let over = match FileType::from_raw_mode(fstat(&at)?.st_mode) {
            FileType::Directory => copy(empty)?,
            _ => open_tree(CWD, "/dev/null", CLONE)?,
        };
        put(over.as_fd(), at.as_fd())?;
    }
    Ok(())
}

/// Finds an object below `root` over no symbolic link; `None` if there is none.
fn find(root: BorrowedFd<'_>, path: &str) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    match openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn copy(of: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = CLONE | OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::AT_RECURSIVE;
    open_tree(of, "", flags)
}

pub(super) fn put(mount: BorrowedFd<'_>, at: BorrowedFd<'_>) -> Result<(), Errno> {
    move_mount(mount, "", at, "", BOTH)
}

pub(super) fn empty() -> Result<OwnedFd, Errno> {
    let options = [("mode", "0555"), ("size", "4k"), ("nr_inodes", "2")];
    let inert = MountAttrFlags::MOUNT_ATTR_RDONLY | NOSUID | NODEV | NOEXEC;
    filesystem("tmpfs", &options, inert)
}

pub(super) fn filesystem(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = configured(kind, options)?;
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn configured(kind: &str, options: &[(&str, &str)]) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    Ok(context)
}
