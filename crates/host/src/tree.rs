//! A layer that is a tree of mounts: many filesystems under one root.
//!
//! Objects are told apart by mount, device and inode number: what is bound in two places is two objects, as it has two
//! names and only one of them may change. To the overlay the layer shows one device, and inode numbers that hold for
//! all of the tree: the number of the mount, in the order in which they were seen, stands in the high bits.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use mica_vfs::lock::{Rank, RwLock};
use mica_vfs::{Attr, DevId, Errno, Ino, XATTR_NAME_MAX};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::HostFs;
use crate::attr::{Ids, stat_fd};
use crate::fd_cache::FdCache;
use crate::layer::LayerAccess;

/// Where the number of the mount begins. The overlay keeps the two highest bits for itself.
const MOUNT_SHIFT: u32 = 48;
/// Set in numbers that do not fit below [`MOUNT_SHIFT`], and are mixed from all that tells the object.
const MIXED: u64 = 1 << 61;
/// So many mounts have numbers of their own.
const MOUNTS_MAX: u64 = 1 << 13;

/// What stands after the prefix in names of another overlay's attributes.
const ESCAPE: &[u8] = b"overlay.";

/// A tree of mounts that is to be a layer.
#[derive(Debug)]
pub struct MountTree {
    /// Its root, by which all its mounts are reached: that of open_tree(2) with `AT_RECURSIVE`, for one.
    pub root: OwnedFd,
    /// What is mounted where, from the root on: a listing tells of a mountpoint what lies below the mount.
    pub mountpoints: Vec<PathBuf>,
    /// Objects that the layer does not have, whatever leads to them; from the root on.
    pub hidden: Vec<PathBuf>,
    /// Attributes whose names begin so are not those of the overlay that this is a layer of, and get to it as another overlay's: with
    /// `overlay.` after the prefix (OVL-40).
    pub foreign: Option<&'static [u8]>,
    /// Whose objects are shown whose owner or group has no id in this user namespace; `None`: the overflow id's.
    pub unmapped: Option<UnmappedAs>,
}

/// Ids to show in the place of those that a user namespace does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnmappedAs {
    /// What the kernel shows: `/proc/sys/kernel/overflowuid`, which is the same for groups.
    pub overflow: u32,
    /// The owner to show.
    pub uid: u32,
    /// The group to show.
    pub gid: u32,
}

/// What a layer knows of the mounts in it.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The device that all objects show: that of the root.
    dev: DevId,
    /// What [`Ids::Mounts`] tells of the mounts that were seen. The place of each is its number.
    mounts: RwLock<Vec<DevId>>,
    hidden: HashSet<Real>,
    unmapped: Option<UnmappedAs>,
    foreign: Option<&'static [u8]>,
    /// Directories in which not every name is what a listing tells.
    looked_at: HashSet<Real>,
}

/// An object of the host, whatever mount leads to it.
type Real = (u64, u64);

fn real(dev: DevId, ino: Ino) -> Real {
    (dev.0 & u64::from(u32::MAX), ino.0)
}

impl Tree {
    /// Returns the number to show for `ino` on what [`Ids::Mounts`] told as `dev`.
    pub(crate) fn number(&self, dev: DevId, ino: Ino) -> Result<Ino, Errno> {
        let known = self.mounts.read()?.iter().position(|&known| known == dev);
        let mount = match known {
            Some(mount) => mount,
            None => {
                let mut mounts = self.mounts.write()?;
                // Another thread may have been faster.
                mounts
                    .iter()
                    .position(|&known| known == dev)
                    .unwrap_or_else(|| {
                        mounts.push(dev);
                        mounts.len() - 1
                    })
            }
        };
        let mount = u64::try_from(mount).unwrap_or(u64::MAX);
        if ino.0 >> MOUNT_SHIFT == 0 && mount < MOUNTS_MAX {
            return Ok(Ino((mount << MOUNT_SHIFT) | ino.0));
        }
        let mixed = (ino.0 ^ dev.0.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Ok(Ino((mixed >> 3) | MIXED))
    }

    /// Turns attributes as [`Ids::Mounts`] told them into those to show.
    pub(crate) fn shown(&self, told: Attr) -> Result<Attr, Errno> {
        let (mut uid, mut gid) = (told.uid, told.gid);
        if let Some(unmapped) = self.unmapped {
            uid = if uid == unmapped.overflow {
                unmapped.uid
            } else {
                uid
            };
            gid = if gid == unmapped.overflow {
                unmapped.gid
            } else {
                gid
            };
        }
        Ok(Attr {
            ino: self.number(told.dev, told.ino)?,
            dev: self.dev,
            uid,
            gid,
            ..told
        })
    }

    /// Returns the name on the host of an attribute that the layer shows; `None` if that is none of the host's.
    pub(crate) fn name_on_host(&self, name: &[u8]) -> Option<Vec<u8>> {
        let rest = self
            .foreign
            .and_then(|prefix| Some((prefix, name.strip_prefix(prefix)?)));
        match rest {
            None => Some(name.to_vec()),
            Some((prefix, rest)) => Some([prefix, rest.strip_prefix(ESCAPE)?].concat()),
        }
    }

    /// Returns the name that the layer shows for an attribute of the host; `None` if it would be too long.
    pub(crate) fn name_shown(&self, name: &[u8]) -> Option<Vec<u8>> {
        let rest = self
            .foreign
            .and_then(|prefix| Some((prefix, name.strip_prefix(prefix)?)));
        let shown = match rest {
            None => name.to_vec(),
            Some((prefix, rest)) => [prefix, ESCAPE, rest].concat(),
        };
        (shown.len() <= XATTR_NAME_MAX).then_some(shown)
    }

    /// Fails with `ENOENT` if the layer does not have an object.
    pub(crate) fn refuse_hidden(&self, told: &Attr) -> Result<(), Errno> {
        if self.hidden.contains(&real(told.dev, told.ino)) {
            return Err(Errno::NOENT);
        }
        Ok(())
    }

    /// Whether the names in a directory have to be looked at one by one.
    pub(crate) fn must_look_in(&self, dev: DevId, ino: Ino) -> bool {
        self.looked_at.contains(&real(dev, ino))
    }
}

impl HostFs {
    /// Makes a read-only layer of a tree of mounts.
    ///
    /// # Errors
    ///
    /// `ENOTDIR`; what statx(2) answers for the root. A mountpoint or hidden object that cannot be reached is none: the
    /// layer does not reach it either.
    pub fn tree(tree: MountTree, fds: Arc<FdCache>) -> Result<Self, Errno> {
        let MountTree {
            root,
            mountpoints,
            hidden,
            foreign,
            unmapped,
        } = tree;
        let told = stat_fd(root.as_fd(), Ids::Mounts)?;
        let known = Tree {
            dev: stat_fd(root.as_fd(), Ids::Devices)?.dev,
            unmapped,
            foreign,
            mounts: RwLock::new(Rank(200), vec![told.dev]),
            hidden: hidden
                .iter()
                .filter_map(|path| find(root.as_fd(), path))
                .collect(),
            looked_at: mountpoints
                .iter()
                .chain(&hidden)
                .filter_map(|path| find(root.as_fd(), path.parent()?))
                .collect(),
        };
        let mut layer = Self::with_ids(root, LayerAccess::ReadOnly, fds, Ids::Mounts)?;
        layer.tree = Some(Box::new(known));
        Ok(layer)
    }
}

impl HostFs {
    /// Makes a layer of all that lies below `root`, whatever is mounted there. Objects are told apart as in a
    /// [tree](Self::tree), and their attributes say it: in the high half of the device stands the mount.
    ///
    /// # Errors
    ///
    /// `ENOTDIR`; what statx(2) answers for the root.
    pub fn across(root: OwnedFd, access: LayerAccess, fds: Arc<FdCache>) -> Result<Self, Errno> {
        Self::with_ids(root, access, fds, Ids::Mounts)
    }
}

/// Finds an object below `root`; `None` if there is no way to it.
fn find(root: BorrowedFd<'_>, path: &std::path::Path) -> Option<Real> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let relative = if relative.as_os_str().is_empty() {
        std::path::Path::new(".")
    } else {
        relative
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let found = openat2(root, relative, flags, Mode::empty(), resolve).ok()?;
    let told = stat_fd(found.as_fd(), Ids::Mounts).ok()?;
    Some(real(told.dev, told.ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        Tree {
            dev: DevId(1),
            mounts: RwLock::new(Rank(200), vec![DevId(10)]),
            hidden: HashSet::new(),
            unmapped: None,
            foreign: Some(b"trusted.overlay."),
            looked_at: HashSet::new(),
        }
    }

    #[test]
    fn numbers_of_the_root_stay_and_those_of_other_mounts_differ() {
        let tree = tree();
        let number = |dev, ino| tree.number(DevId(dev), Ino(ino)).unwrap().0;
        assert_eq!(number(10, 7), 7);
        assert_eq!(number(11, 7), 7 | 1 << 48);
        assert_eq!(number(12, 7), 7 | 2 << 48);
        assert_eq!(number(11, 8), 8 | 1 << 48);
    }

    #[test]
    fn marks_of_the_host_are_those_of_another_overlay() {
        let tree = tree();
        for (host, shown) in [
            ("trusted.overlay.opaque", "trusted.overlay.overlay.opaque"),
            (
                "trusted.overlay.overlay.x",
                "trusted.overlay.overlay.overlay.x",
            ),
            ("trusted.other", "trusted.other"),
            ("user.overlay.opaque", "user.overlay.opaque"),
        ] {
            assert_eq!(
                tree.name_shown(host.as_bytes()).as_deref(),
                Some(shown.as_bytes())
            );
            assert_eq!(
                tree.name_on_host(shown.as_bytes()).as_deref(),
                Some(host.as_bytes())
            );
        }
        assert_eq!(tree.name_on_host(b"trusted.overlay.opaque"), None);
    }

    #[test]
    fn a_number_that_does_not_fit_is_mixed_and_leaves_two_bits() {
        let tree = tree();
        let number = |dev, ino| tree.number(DevId(dev), Ino(ino)).unwrap().0;
        for (dev, ino) in [(10, 1 << 48), (10, u64::MAX), (11, u64::MAX)] {
            let mixed = number(dev, ino);
            assert_eq!((mixed >> 62, mixed & MIXED), (0, MIXED));
            assert_eq!(mixed, number(dev, ino));
        }
        assert_ne!(number(10, u64::MAX), number(11, u64::MAX));
    }
}
