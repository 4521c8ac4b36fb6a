//! Changing attributes.

use mica_vfs::{Attr, Errno, FileType, KillPriv, Mode, NodeId, SetAttr, SetTime, Time};

use crate::acl::{self, Acl};
use crate::inode::{Body, CAPABILITY, Inode};
use crate::pages::SIZE_MAX;
use crate::tree::Tree;

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
