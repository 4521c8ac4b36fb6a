//! The machine tree: the caller's mounts as they are now, to be the lower of a session.
//!
//! It is a private copy, kept alive by one descriptor and attached nowhere. What a kernel makes up (processes, devices,
//! its own settings) is no part of it: over each such mount lies an empty one, as a mount that came from another user
//! namespace can be covered, but not taken away.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use mica_host::MountTree;
use mica_sys::mount::restrict_tree;
use mica_vfs::Errno;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::error::{DoError, step};
use crate::mountinfo::mounts;

/// Types of filesystems that hold no files of anybody's, and those that must not be entered. docs/do.md has the table.
const LEFT_OUT: &[&str] = &[
    "autofs",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fuse.mica",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "nsfs",
    "proc",
    "pstore",
    "resctrl",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sysfs",
    "tracefs",
];

const COPY: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE
    .union(OpenTreeFlags::OPEN_TREE_CLOEXEC)
    .union(OpenTreeFlags::AT_RECURSIVE);

/// Nothing in a lower is a device, gives rights, runs or changes.
const INERT: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Copies the mounts from `lower` on. The copy is put together at `place`, a directory of this mount namespace, which has
/// to be private, and where another copy stays. With it comes what is to be kept open: the kernel takes milliseconds to close a mount
/// that is nowhere.
pub(super) fn machine_tree(
    lower: &Path,
    hidden: &[PathBuf],
    place: &Path,
) -> Result<(MountTree, OwnedFd), DoError> {
    let first = open_tree(CWD, lower, COPY).map_err(|source| DoError::Directory {
        path: lower.to_owned(),
        source,
    })?;
    // The table is that of before: where the copy is attached would be in it, too.
    let below = below(&table()?, lower);
    step("a copy of the mounts", attach(first.as_fd(), CWD, place))?;
    let empty = step("an empty directory", empty())?;
    for (path, kind) in &below {
        if is_left_out(kind) {
            step(
                "a mount that hides another",
                cover(first.as_fd(), path, empty.as_fd()),
            )?;
        }
    }
    // The copy of a copy is attached nowhere, so it does not go with this namespace.
    let root = step("a copy of the mounts", open_tree(CWD, place, COPY))?;
    step(
        "a read-only copy of the mounts",
        restrict_tree(root.as_fd(), INERT),
    )?;
    let hidden = hidden
        .iter()
        .filter_map(|path| path.strip_prefix(lower).ok());
    let tree = MountTree {
        root,
        mountpoints: below.into_iter().map(|(path, _)| path).collect(),
        hidden: hidden.map(Path::to_owned).collect(),
        foreign: None,
        unmapped: None,
    };
    Ok((tree, empty))
}

/// Lists the directories below `lower` that are empty in the view, as something is mounted there that is no part of it.
pub(crate) fn left_out(lower: &Path) -> Result<Vec<PathBuf>, DoError> {
    let below = below(&table()?, lower).into_iter();
    let dirs = below.filter(|(_, kind)| is_left_out(kind));
    Ok(dirs.map(|(path, _)| Path::new("/").join(path)).collect())
}

/// Something that is mounted in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mounted {
    /// From the root of the tree on.
    pub(super) path: PathBuf,
    /// The type of the filesystem.
    pub(super) kind: String,
}

/// Lists what is mounted below `lower`, each after those above it.
pub(super) fn mounted_below(lower: &Path) -> Result<Vec<Mounted>, DoError> {
    let below = below(&table()?, lower).into_iter();
    Ok(below.map(|(path, kind)| Mounted { path, kind }).collect())
}

/// Lists all paths by which an object is reached that `path` names: where something is mounted in several places, there are several.
pub(super) fn names_of(path: &Path) -> Result<Vec<PathBuf>, DoError> {
    Ok(names_in(&table()?, path))
}

fn names_in(table: &[u8], path: &Path) -> Vec<PathBuf> {
    let all: Vec<_> = mounts(table).collect();
    // Of several on one mountpoint the last one is seen.
    let above = all.iter().filter(|mount| path.starts_with(mount.point()));
    let Some(own) = above.max_by_key(|mount| mount.point().as_os_str().len()) else {
        return vec![path.to_owned()];
    };
    let within = own
        .root()
        .join(path.strip_prefix(own.point()).unwrap_or(path));
    let others = all.iter().filter(|mount| mount.dev == own.dev);
    let mut names: Vec<_> = others
        .filter_map(|mount| Some(mount.point().join(within.strip_prefix(mount.root()).ok()?)))
        .chain([path.to_owned()])
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Whether filesystems of a type are no part of a view.
pub(super) fn is_left_out(kind: &str) -> bool {
    LEFT_OUT.contains(&kind)
}

/// Reads the mount table of this process.
fn table() -> Result<Vec<u8>, DoError> {
    let path = Path::new("/proc/self/mountinfo");
    std::fs::read(path).map_err(|source| DoError::Store {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

/// Lists what is mounted below `lower` and on what, topmost mounts only, each after those above it.
fn below(table: &[u8], lower: &Path) -> Vec<(PathBuf, String)> {
    let mut topmost: HashMap<PathBuf, usize> = HashMap::new();
    let mut found: Vec<(PathBuf, String)> = Vec::new();
    for mount in mounts(table) {
        let point = mount.point();
        let Ok(path) = point.strip_prefix(lower) else {
            continue;
        };
        if path.as_os_str().is_empty() {
            continue;
        }
        let kind = String::from_utf8_lossy(mount.kind).into_owned();
        if let Some(&at) = topmost.get(path)
            && let Some(known) = found.get_mut(at)
        {
            known.1 = kind;
            continue;
        }
        topmost.insert(path.to_owned(), found.len());
        found.push((path.to_owned(), kind));
    }
    found.sort();
    found
}

/// Puts `mount` on `path`.
fn attach(mount: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    move_mount(
        mount,
        "",
        dir,
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

/// Makes an empty, read-only filesystem.
fn empty() -> Result<OwnedFd, Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [("mode", "0555"), ("size", "4k"), ("nr_inodes", "4")] {
        fsconfig_set_string(context.as_fd(), key, value)?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, INERT)
}

/// Puts an empty directory over what is mounted at `path` below `root`. A mountpoint that cannot be reached, as another
/// one lies over it or its user may not go there, is none.
fn cover(root: BorrowedFd<'_>, path: &Path, empty: BorrowedFd<'_>) -> Result<(), Errno> {
    // O_PATH without O_DIRECTORY: nothing is mounted by looking.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let at = match openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(at) => at,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let copy = open_tree(empty, "", flags)?;
    let both = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    match move_mount(&copy, "", &at, "", both) {
        // A file has no use for a directory over it. What a server of Mica may open of it are its attributes.
        // One that was removed meanwhile needs none.
        Err(Errno::NOTDIR | Errno::INVAL | Errno::NOENT) => Ok(()),
        covered => covered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"21 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n\
        22 21 0:30 / /proc rw - proc proc rw\n\
        23 21 0:31 / /a/b rw - tmpfs tmpfs rw\n\
        24 23 0:32 / /a/b/c rw - sysfs sysfs rw\n\
        25 23 0:33 / /a/b/c rw - tmpfs tmpfs rw\n";

    #[test]
    fn an_object_has_a_name_by_each_mount_that_leads_to_it() {
        let table = [
            TABLE,
            b"26 21 254:0 / /all rw - ext4 /dev/vda rw\n27 21 254:0 /home/me /me rw - ext4 /dev/vda rw\n\
              28 21 254:0 /etc /elsewhere rw - ext4 /dev/vda rw\n29 21 0:40 /x /home/me/disk rw - tmpfs tmpfs rw\n\
              30 21 0:40 / /disk rw - tmpfs tmpfs rw\n",
        ]
        .concat();
        let names = |path: &str| names_in(&table, Path::new(path));
        let paths = |all: &[&str]| all.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            names("/home/me/s"),
            paths(&["/all/home/me/s", "/home/me/s", "/me/s"])
        );
        assert_eq!(
            names("/home/me/disk/s"),
            paths(&["/disk/x/s", "/home/me/disk/s"])
        );
        assert_eq!(names("/a/b/c/s"), paths(&["/a/b/c/s"]));
    }

    #[test]
    fn the_topmost_mount_of_a_mountpoint_counts() {
        let names = |lower: &str| -> Vec<_> {
            let all = below(TABLE, Path::new(lower)).into_iter();
            all.map(|(path, kind)| format!("{} {kind}", path.display()))
                .collect()
        };
        assert_eq!(names("/"), ["a/b tmpfs", "a/b/c tmpfs", "proc proc"]);
        assert_eq!(names("/a"), ["b tmpfs", "b/c tmpfs"]);
    }
}
