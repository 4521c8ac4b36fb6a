//! Extended attributes.
//!
//! `user.*` exists on regular files and directories only. `trusted.*` and `security.*` exist on everything: whether a
//! caller may see them is a front's business. ACLs follow the mode, and the mode follows them.

use mica_vfs::{Errno, FileType, KillPriv, NodeId, Time, XATTR_SIZE_MAX, XattrMode, XattrName};

use crate::acl::{self, Acl};
use crate::attr::set_access_acl;
use crate::inode::Inode;
use crate::tree::Tree;

/// What a name of an attribute means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Namespace {
    User,
    /// `trusted.*` and `security.*`: bytes, on any type.
    Plain,
    AccessAcl,
    DefaultAcl,
}

impl Namespace {
    /// # Errors
    ///
    /// `EOPNOTSUPP` for a namespace that does not exist, `EINVAL` for one without a name after it.
    fn of(name: XattrName<'_>) -> Result<Self, Errno> {
        let name = name.as_bytes();
        match name {
            acl::ACCESS => return Ok(Self::AccessAcl),
            acl::DEFAULT => return Ok(Self::DefaultAcl),
            _ => {}
        }
        for (prefix, namespace) in [
            (&b"user."[..], Self::User),
            (b"trusted.", Self::Plain),
            (b"security.", Self::Plain),
        ] {
            if let Some(rest) = name.strip_prefix(prefix) {
                return if rest.is_empty() {
                    Err(Errno::INVAL)
                } else {
                    Ok(namespace)
                };
            }
        }
        Err(Errno::OPNOTSUPP)
    }

    /// Checks that an object of `kind` may have such attributes; `absent` is the answer for `user.*` on another type.
    fn check(self, kind: FileType, absent: Errno) -> Result<(), Errno> {
        match (self, kind) {
            (Self::User, FileType::Regular | FileType::Directory) => Ok(()),
            (Self::User, _) => Err(absent),
            (Self::AccessAcl | Self::DefaultAcl, FileType::Symlink) => Err(Errno::OPNOTSUPP),
            _ => Ok(()),
        }
    }
}

impl Tree {
    /// Reads an attribute.
    pub(crate) fn get_xattr(
        &self,
        node: NodeId,
        name: XattrName<'_>,
        value: &mut [u8],
    ) -> Result<usize, Errno> {
        let inode = self.inode(self.find(node)?)?;
        Namespace::of(name)?.check(inode.kind(), Errno::NODATA)?;
        let found = inode.xattrs.get(name.as_bytes()).ok_or(Errno::NODATA)?;
        fill(value, found)
    }

    /// Reads the names of all attributes.
    pub(crate) fn list_xattr(&self, node: NodeId, names: &mut [u8]) -> Result<usize, Errno> {
        let inode = self.inode(self.find(node)?)?;
        let mut list = Vec::new();
        for name in inode.xattrs.keys() {
            list.extend_from_slice(name);
            list.push(0);
        }
        fill(names, &list)
    }

    /// Sets an attribute.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP`, `EPERM`, `EACCES` where the type cannot have it; `E2BIG`, `EINVAL` for the value; `EEXIST`,
    /// `ENODATA` by `mode`.
    pub(crate) fn set_xattr(
        &mut self,
        now: Time,
        node: NodeId,
        name: XattrName<'_>,
        value: &[u8],
        mode: XattrMode,
        kill: KillPriv,
    ) -> Result<(), Errno> {
        let inode = self.inode_mut(self.find(node)?)?;
        let namespace = Namespace::of(name)?;
        namespace.check(inode.kind(), Errno::PERM)?;
        if value.len() > XATTR_SIZE_MAX {
            return Err(Errno::TOOBIG);
        }
        match namespace {
            // The kernel ignores XATTR_CREATE and XATTR_REPLACE for ACLs.
            Namespace::AccessAcl => match Acl::parse(value)? {
                Some(access) => set_access_acl(inode, &access, kill),
                None => drop(inode.xattrs.remove(acl::ACCESS)),
            },
            Namespace::DefaultAcl => set_default_acl(inode, value)?,
            Namespace::User | Namespace::Plain => {
                match (mode, inode.xattrs.contains_key(name.as_bytes())) {
                    (XattrMode::Create, true) => return Err(Errno::EXIST),
                    (XattrMode::Replace, false) => return Err(Errno::NODATA),
                    _ => {}
                }
                inode.xattrs.insert(name.as_bytes().into(), value.into());
            }
        }
        inode.ctime = now;
        Ok(())
    }

    /// Removes an attribute.
    ///
    /// # Errors
    ///
    /// `ENODATA`; `EOPNOTSUPP`, `EPERM` where the type cannot have it.
    pub(crate) fn remove_xattr(
        &mut self,
        now: Time,
        node: NodeId,
        name: XattrName<'_>,
    ) -> Result<(), Errno> {
        let inode = self.inode_mut(self.find(node)?)?;
        let namespace = Namespace::of(name)?;
        namespace.check(inode.kind(), Errno::PERM)?;
        let removed = inode.xattrs.remove(name.as_bytes());
        // The kernel is content if an ACL that is removed never was.
        if removed.is_none() && matches!(namespace, Namespace::User | Namespace::Plain) {
            return Err(Errno::NODATA);
        }
        inode.ctime = now;
        Ok(())
    }
}

fn set_default_acl(inode: &mut Inode, value: &[u8]) -> Result<(), Errno> {
    match Acl::parse(value)? {
        None => drop(inode.xattrs.remove(acl::DEFAULT)),
        Some(_) if inode.kind() != FileType::Directory => return Err(Errno::ACCESS),
        Some(default) => {
            inode.xattrs.insert(acl::DEFAULT.into(), default.to_bytes());
        }
    }
    Ok(())
}

/// Answers by the rules of getxattr(2): an empty buffer asks for the length.
fn fill(buffer: &mut [u8], found: &[u8]) -> Result<usize, Errno> {
    if !buffer.is_empty() {
        buffer
            .get_mut(..found.len())
            .ok_or(Errno::RANGE)?
            .copy_from_slice(found);
    }
    Ok(found.len())
}
