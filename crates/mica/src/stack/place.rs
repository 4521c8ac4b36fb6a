//! Where directories are, and which lies inside which.
//!
//! Paths tell nothing of that: two may lead to one directory, through symbolic links or bind mounts. A directory is
//! its device and inode number here, and its parents are found by `..` from the open directory itself.

use std::os::fd::{AsFd, OwnedFd};

use mica_vfs::Errno;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};

/// Which directory something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DirId {
    dev: (u32, u32),
    ino: u64,
}

impl DirId {
    /// Writes it as /proc/locks does.
    pub(crate) fn as_in_locks(self) -> String {
        let ((major, minor), ino) = (self.dev, self.ino);
        format!("{major:02x}:{minor:02x}:{ino}")
    }
}

/// A directory and the mount through which it was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) id: DirId,
    /// `None` before Linux 5.8, which does not tell.
    mount: Option<u64>,
}

impl Place {
    /// Finds the place of an open directory.
    pub(crate) fn of(dir: impl AsFd) -> Result<Self, Errno> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let stat = rustix::fs::statx(dir, c"", AtFlags::EMPTY_PATH, wanted)?;
        let told = StatxFlags::from_bits_retain(stat.stx_mask);
        Ok(Self {
            id: DirId {
                dev: (stat.stx_dev_major, stat.stx_dev_minor),
                ino: stat.stx_ino,
            },
            mount: told.contains(StatxFlags::MNT_ID).then_some(stat.stx_mnt_id),
        })
    }

    /// Tells whether both are on one filesystem.
    pub(crate) fn same_filesystem(self, other: Self) -> bool {
        self.id.dev == other.id.dev
    }

    /// Tells whether an object can be renamed from one to the other, as far as mounts go.
    pub(crate) fn same_mount(self, other: Self) -> bool {
        self.same_filesystem(other) && self.mount == other.mount
    }
}

/// Returns the directories above `dir`, up to the root of its mount: a layer does not reach further.
///
/// The list ends early where this process may not search a directory.
pub(crate) fn above(dir: impl AsFd) -> Result<Vec<DirId>, Errno> {
    let mut found = Vec::new();
    let mut here = Place::of(&dir)?;
    let mut parent = open_parent(dir);
    loop {
        let dir = match parent {
            Ok(dir) => dir,
            Err(Errno::ACCESS) => return Ok(found),
            Err(errno) => return Err(errno),
        };
        let there = Place::of(&dir)?;
        // The root is its own parent.
        if there.id == here.id || !there.same_mount(here) {
            return Ok(found);
        }
        found.push(there.id);
        here = there;
        parent = open_parent(dir);
    }
}

/// Opens the directory above `dir`; the root of everything is above itself.
pub(crate) fn open_parent(dir: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, c"..", flags, Mode::empty())
}
