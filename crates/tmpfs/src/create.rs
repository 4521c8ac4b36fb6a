//! Making objects and names.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use mica_vfs::{Caller, Entry, Errno, FileFlags, FileName, FileType, Mode, NodeId, Rdev, Time};

use crate::acl::{self, Acl};
use crate::dir::Dir;
use crate::inode::{Body, Inode, Unnamed};
use crate::pages::Pages;
use crate::tree::{Index, Tree};

/// Longest target of a symbolic link: `PATH_MAX` without its NUL.
const TARGET_MAX: usize = 4095;

/// What is made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Made<'a> {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Symlink(&'a [u8]),
    /// A device, FIFO or socket.
    Special(FileType, Rdev),
}

impl<'a> Made<'a> {
    /// What mknod(2) makes of `kind`.
    ///
    /// # Errors
    ///
    /// `EPERM` for a directory, `EINVAL` for a symbolic link.
    pub(crate) const fn node(kind: FileType, rdev: Rdev) -> Result<Self, Errno> {
        match kind {
            FileType::Directory => Err(Errno::PERM),
            FileType::Symlink => Err(Errno::INVAL),
            FileType::Regular => Ok(Self::Regular),
            FileType::CharDevice | FileType::BlockDevice => Ok(Self::Special(kind, rdev)),
            FileType::Fifo | FileType::Socket => {
                Ok(Self::Special(kind, Rdev { major: 0, minor: 0 }))
            }
        }
    }

    /// What symlink(2) makes.
    ///
    /// # Errors
    ///
    /// `ENOENT` for an empty target, `ENAMETOOLONG` for one that is no path.
    pub(crate) const fn symlink(target: &'a [u8]) -> Result<Self, Errno> {
        match target.len() {
            0 => Err(Errno::NOENT),
            len if len > TARGET_MAX => Err(Errno::NAMETOOLONG),
            _ => Ok(Self::Symlink(target)),
        }
    }

    /// The bits of the mode that count when it is made: mkdir(2) ignores setuid and setgid.
    const fn mode_mask(self) -> Mode {
        match self {
            Self::Directory => Mode::ALL.difference(Mode::SETUID.union(Mode::SETGID)),
            _ => Mode::ALL,
        }
    }
}

/// The xattrs of an inode, by name.
type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

impl Tree {
    /// Makes an object with a name.
    ///
    /// # Errors
    ///
    /// `ESTALE`, `ENOTDIR`, `ENOENT` as [`Tree::find_dir`]; `EEXIST`, `ENOSPC`.
    pub(crate) fn make(
        &mut self,
        now: Time,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        made: Made<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        let dir = self.find_dir(dir)?;
        if self.child(dir, name)?.is_some() {
            return Err(Errno::EXIST);
        }
        let index = self.make_inode(now, caller, dir, made, mode)?;
        self.inode_mut(index)?.nlink = match made {
            Made::Directory => 2,
            _ => 1,
        };
        let parent = self.inode_mut(dir)?;
        parent.dir_mut()?.set(name, index);
        parent.touch(now);
        if matches!(made, Made::Directory) {
            parent.nlink += 1;
        }
        self.entry(index)
    }

    /// Makes a regular file without a name.
    pub(crate) fn make_unnamed(
        &mut self,
        now: Time,
        caller: &Caller,
        dir: NodeId,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        let dir = self.find_dir(dir)?;
        let index = self.make_inode(now, caller, dir, Made::Regular, mode)?;
        self.inode_mut(index)?.unnamed = Unnamed::Linkable;
        self.entry(index)
    }

    /// Makes the inode behind a whiteout: character device 0:0 of root, mode 0, as `RENAME_WHITEOUT` leaves it.
    pub(crate) fn make_whiteout(&mut self, now: Time, dir: Index) -> Result<Index, Errno> {
        let made = Made::Special(FileType::CharDevice, Rdev::WHITEOUT);
        let index = self.make_inode(now, &Caller::ROOT, dir, made, Mode::empty())?;
        self.inode_mut(index)?.nlink = 1;
        Ok(index)
    }

    /// Gives an object one more name.
    ///
    /// # Errors
    ///
    /// `EEXIST`; `EPERM` for a directory; `ENOENT` if the last name of the object was removed; `EMLINK`.
    pub(crate) fn link(
        &mut self,
        now: Time,
        node: NodeId,
        dir: NodeId,
        name: FileName<'_>,
    ) -> Result<Entry, Errno> {
        let index = self.find(node)?;
        let dir = self.find_dir(dir)?;
        if self.child(dir, name)?.is_some() {
            return Err(Errno::EXIST);
        }
        let inode = self.inode_mut(index)?;
        if inode.kind() == FileType::Directory {
            return Err(Errno::PERM);
        }
        if inode.nlink == 0 && inode.unnamed == Unnamed::Gone {
            return Err(Errno::NOENT);
        }
        inode.nlink = inode.nlink.checked_add(1).ok_or(Errno::MLINK)?;
        inode.unnamed = Unnamed::Gone;
        inode.ctime = now;
        let parent = self.inode_mut(dir)?;
        parent.dir_mut()?.set(name, index);
        parent.touch(now);
        self.entry(index)
    }

    /// Makes an inode as one that is born in `dir`: group, setgid bit, umask and ACLs come from there.
    fn make_inode(
        &mut self,
        now: Time,
        caller: &Caller,
        dir: Index,
        made: Made<'_>,
        mode: Mode,
    ) -> Result<Index, Errno> {
        let parent = self.inode(dir)?;
        let (mut mode, xattrs) = inherit(parent, caller, made, mode)?;
        let mut gid = caller.gid;
        if parent.mode.contains(Mode::SETGID) {
            gid = parent.gid;
            if matches!(made, Made::Directory) {
                mode |= Mode::SETGID;
            }
        }
        let body = match made {
            Made::Regular => Body::Regular(Pages::default()),
            Made::Directory => Body::Directory(Dir::new(dir)),
            Made::Symlink(target) => Body::Symlink(target.into()),
            Made::Special(kind, rdev) => Body::Special(kind, rdev),
        };
        self.add(|ino| Inode {
            ino,
            refs: AtomicU64::new(0),
            mode,
            nlink: 0,
            unnamed: Unnamed::Gone,
            uid: caller.uid,
            gid,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            flags: FileFlags::empty(),
            xattrs,
            body,
        })
    }
}

/// Finds the mode and the ACLs of an object that is made in `parent`. The umask counts only where there is no default
/// ACL, and never for a symbolic link.
fn inherit(
    parent: &Inode,
    caller: &Caller,
    made: Made<'_>,
    mode: Mode,
) -> Result<(Mode, Xattrs), Errno> {
    let mode = mode & made.mode_mask();
    let mut xattrs = BTreeMap::new();
    if matches!(made, Made::Symlink(_)) {
        return Ok((Mode::new(0o777), xattrs));
    }
    let Some(default) = parent.xattrs.get(acl::DEFAULT) else {
        return Ok((mode.difference(Mode::new(caller.umask & 0o777)), xattrs));
    };
    if matches!(made, Made::Directory) {
        xattrs.insert(acl::DEFAULT.into(), default.clone());
    }
    let Some(mut access) = Acl::parse(default)? else {
        return Ok((mode, xattrs));
    };
    let mode = access.inherit(mode);
    if access.is_extended() {
        xattrs.insert(acl::ACCESS.into(), access.to_bytes());
    }
    Ok((mode, xattrs))
}
