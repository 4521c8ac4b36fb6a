//! Changing attributes.

use mica_vfs::{Attr, Errno, FileFlags, FileType, KillPriv, Mode, NodeId, SetAttr, SetTime, Time};

use crate::acl::{self, Acl};
use crate::inode::{Body, CAPABILITY, Inode};
use crate::pages::SIZE_MAX;
use crate::tree::Tree;

/// The file flags that can be set, `SHMEM_FL_USER_MODIFIABLE`: the last one is `FS_NODUMP_FL`.
const FLAGS: FileFlags = FileFlags::PROTECTING
    .union(FileFlags::NOATIME)
    .union(FileFlags::from_bits_retain(0x40));

impl Tree {
    /// Changes attributes, in the order that [`SetAttr`] tells. What can fail is checked before anything changes.
    ///
    /// # Errors
    ///
    /// `EISDIR`, `EINVAL`, `EFBIG` for a size; `EOPNOTSUPP` for the mode of a symbolic link.
    pub(crate) fn set_attr(
        &mut self,
        now: Time,
        node: NodeId,
        change: &SetAttr,
    ) -> Result<Attr, Errno> {
        let index = self.find(node)?;
        let (inode, pages) = self.inode_and_pages(index)?;
        check(inode, change)?;
        if let (Some(size), Body::Regular(data)) = (change.size, &mut inode.body) {
            data.truncate(pages, size);
            inode.touch_data(now, change.kill);
        }
        if change.uid.is_some() || change.gid.is_some() {
            chown(inode, change);
            inode.ctime = now;
        }
        if let Some(mode) = change.mode {
            chmod(inode, mode)?;
            inode.ctime = now;
        }
        let at = |time| match time {
            SetTime::Now => now,
            SetTime::At(time) => time,
        };
        if let Some(time) = change.atime {
            inode.atime = at(time);
            inode.ctime = now;
        }
        if let Some(time) = change.mtime {
            inode.mtime = at(time);
            inode.ctime = now;
        }
        self.attr(index)
    }
}

impl Tree {
    /// Returns the file flags.
    ///
    /// # Errors
    ///
    /// `ENOTTY` for what is neither a file nor a directory.
    pub(crate) fn file_flags(&self, node: NodeId) -> Result<FileFlags, Errno> {
        let inode = self.inode(self.find(node)?)?;
        has_flags(inode)?;
        Ok(inode.flags)
    }

    /// Sets the file flags.
    ///
    /// # Errors
    ///
    /// `ENOTTY` for what is neither a file nor a directory, `EOPNOTSUPP` for a flag that the tmpfs of Linux lacks
    /// (shmem_fileattr_set).
    pub(crate) fn set_file_flags(
        &mut self,
        now: Time,
        node: NodeId,
        flags: FileFlags,
    ) -> Result<(), Errno> {
        let index = self.find(node)?;
        let (inode, _) = self.inode_and_pages(index)?;
        has_flags(inode)?;
        if !flags.difference(FLAGS).is_empty() {
            return Err(Errno::OPNOTSUPP);
        }
        inode.flags = flags;
        inode.ctime = now;
        Ok(())
    }
}

fn has_flags(inode: &Inode) -> Result<(), Errno> {
    match inode.kind() {
        FileType::Regular | FileType::Directory => Ok(()),
        _ => Err(Errno::NOTTY),
    }
}

fn check(inode: &Inode, change: &SetAttr) -> Result<(), Errno> {
    match (change.size, inode.kind()) {
        (None, _) => {}
        (Some(size), FileType::Regular) if size > SIZE_MAX => return Err(Errno::FBIG),
        (Some(_), FileType::Regular) => {}
        (Some(_), FileType::Directory) => return Err(Errno::ISDIR),
        (Some(_), _) => return Err(Errno::INVAL),
    }
    if change.mode.is_some() && inode.kind() == FileType::Symlink {
        return Err(Errno::OPNOTSUPP);
    }
    Ok(())
}

/// Sets the owner. As chown(2) does, it takes the privileges of all but a directory.
fn chown(inode: &mut Inode, change: &SetAttr) {
    inode.uid = change.uid.unwrap_or(inode.uid);
    inode.gid = change.gid.unwrap_or(inode.gid);
    if inode.kind() != FileType::Directory {
        inode.mode = inode.mode.without_privileges();
        inode.xattrs.remove(CAPABILITY);
    }
}

/// Sets the mode; an access ACL follows it.
fn chmod(inode: &mut Inode, mode: Mode) -> Result<(), Errno> {
    if let Some(value) = inode.xattrs.get_mut(acl::ACCESS)
        && let Some(mut access) = Acl::parse(value)?
    {
        access.chmod(mode);
        *value = access.to_bytes();
    }
    inode.mode = mode;
    Ok(())
}

/// Sets an access ACL and the mode that follows from it. An ACL that says no more than a mode is not kept.
pub(crate) fn set_access_acl(inode: &mut Inode, access: &Acl, kill: KillPriv) {
    inode.mode = access.apply_to_mode(inode.mode);
    if kill == KillPriv::Clear {
        inode.mode = inode.mode.difference(Mode::SETGID);
    }
    if access.is_extended() {
        inode.xattrs.insert(acl::ACCESS.into(), access.to_bytes());
    } else {
        inode.xattrs.remove(acl::ACCESS);
    }
}
