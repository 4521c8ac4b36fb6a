//! One object of the tree.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use mica_vfs::{Attr, DevId, Errno, FileFlags, FileType, Ino, KillPriv, Mode, Rdev, Time};

use crate::dir::Dir;
use crate::pages::{PAGE_SIZE, Pages};

/// Bytes of a directory's size for each name, `.` and `..` included; the kernel's tmpfs has the same.
const DIRENT_SIZE: u64 = 20;

/// The attribute that holds the capabilities of a program.
pub(crate) const CAPABILITY: &[u8] = b"security.capability";

/// What an object is.
#[derive(Debug)]
pub(crate) enum Body {
    /// A regular file.
    Regular(Pages),
    /// A directory.
    Directory(Dir),
    /// A symbolic link and its target.
    Symlink(Box<[u8]>),
    /// A device, FIFO or socket.
    Special(FileType, Rdev),
}

/// Whether an object that has no name may get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unnamed {
    /// It was made by `tmpfile` and never had a name.
    Linkable,
    /// Its last name was removed.
    Gone,
}

/// One object of the tree. Everything but `refs` is protected by the lock of the tree.
#[derive(Debug)]
pub(crate) struct Inode {
    /// Immutable.
    pub(crate) ino: Ino,
    /// References that callers hold. Atomic, so that a lookup needs the lock for reading only.
    pub(crate) refs: AtomicU64,
    pub(crate) mode: Mode,
    pub(crate) nlink: u32,
    /// Counts while `nlink` is 0.
    pub(crate) unnamed: Unnamed,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) atime: Time,
    pub(crate) mtime: Time,
    pub(crate) ctime: Time,
    /// Immutable.
    pub(crate) btime: Time,
    /// Kept and told. What they protect from is refused by who serves the tree, as the VFS does in Linux.
    pub(crate) flags: FileFlags,
    /// By full name. ACLs are here too, valid and in the kernel's form.
    pub(crate) xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
    pub(crate) body: Body,
}

impl Inode {
    /// Returns the type.
    pub(crate) const fn kind(&self) -> FileType {
        match self.body {
            Body::Regular(_) => FileType::Regular,
            Body::Directory(_) => FileType::Directory,
            Body::Symlink(_) => FileType::Symlink,
            Body::Special(kind, _) => kind,
        }
    }

    /// Returns what stat(2) tells.
    pub(crate) fn attr(&self, dev: DevId) -> Attr {
        let (size, pages, rdev) = match &self.body {
            Body::Regular(pages) => (pages.size(), pages.count(), Rdev::default()),
            Body::Directory(dir) => {
                let names = u64::try_from(dir.len()).unwrap_or(u64::MAX);
                (
                    names.saturating_add(2).saturating_mul(DIRENT_SIZE),
                    0,
                    Rdev::default(),
                )
            }
            Body::Symlink(target) => {
                let len = u64::try_from(target.len()).unwrap_or(u64::MAX);
                (len, 0, Rdev::default())
            }
            Body::Special(_, rdev) => (0, 0, *rdev),
        };
        Attr {
            ino: self.ino,
            dev,
            kind: self.kind(),
            mode: self.mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev,
            size,
            blocks: pages * (PAGE_SIZE / 512),
            blksize: 4096,
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            btime: Some(self.btime),
            protection: self.flags.protection(),
        }
    }

    /// Returns the names of a directory.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` if it is none.
    pub(crate) const fn dir(&self) -> Result<&Dir, Errno> {
        match &self.body {
            Body::Directory(dir) => Ok(dir),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// Returns the names of a directory, to change them.
    ///
    /// # Errors
    ///
    /// `ENOTDIR` if it is none.
    pub(crate) const fn dir_mut(&mut self) -> Result<&mut Dir, Errno> {
        match &mut self.body {
            Body::Directory(dir) => Ok(dir),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// Notes a change of the data, or of the names of a directory.
    pub(crate) const fn touch(&mut self, now: Time) {
        self.mtime = now;
        self.ctime = now;
    }

    /// Notes a change of the data by a write or a truncation, and drops what must not survive it.
    pub(crate) fn touch_data(&mut self, now: Time, kill: KillPriv) {
        self.touch(now);
        self.xattrs.remove(CAPABILITY);
        if kill == KillPriv::Clear {
            self.mode = self.mode.without_privileges();
        }
    }
}
