//! The operations of a model that read and change objects.

use mica_vfs::{Errno, FileType, Mode, Time, XATTR_SIZE_MAX, XattrMode};

use super::{Inode, Model, ModelId};

/// The attribute that holds the capabilities of a program.
const CAPABILITY: &str = "security.capability";

impl Model {
    /// Reads a whole file.
    ///
    /// # Errors
    ///
    /// As read(2).
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Errno> {
        let inode = self.inode(self.find(path)?);
        has_data(inode)?;
        Ok(inode.data.clone())
    }

    /// Lists a directory: names, sorted.
    ///
    /// # Errors
    ///
    /// As getdents(2).
    pub fn ls(&self, path: &str) -> Result<Vec<String>, Errno> {
        if self.inode(self.find(path)?).kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        let names = self.below(path).into_iter().filter_map(|child| {
            let name = child[path.len()..].trim_start_matches('/');
            (!name.contains('/')).then(|| name.to_owned())
        });
        Ok(names.collect())
    }

    /// Writes at `offset`.
    ///
    /// # Errors
    ///
    /// As write(2).
    pub fn write_at(&mut self, path: &str, offset: usize, data: &[u8]) -> Result<(), Errno> {
        has_data(self.inode(self.find(path)?))?;
        if data.is_empty() {
            return Ok(());
        }
        let id = self.change(path)?;
        self.resize(id, |len| len.max(offset + data.len()));
        self.inode_mut(id).data[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }

    /// Sets the length of a file.
    ///
    /// # Errors
    ///
    /// As truncate(2).
    pub fn truncate(&mut self, path: &str, size: usize) -> Result<(), Errno> {
        let id = self.change(path)?;
        has_data(self.inode(id))?;
        self.resize(id, |_| size);
        Ok(())
    }

    /// Sets the mode.
    ///
    /// # Errors
    ///
    /// As fchmodat2(2) that does not follow: `EOPNOTSUPP` for a symbolic link.
    pub fn chmod(&mut self, path: &str, mode: u32) -> Result<(), Errno> {
        let id = self.change(path)?;
        if self.inode(id).kind == FileType::Symlink {
            return Err(Errno::OPNOTSUPP);
        }
        self.inode_mut(id).mode = mode;
        Ok(())
    }

    /// Sets owner and group.
    ///
    /// # Errors
    ///
    /// As lchown(2).
    pub fn chown(&mut self, path: &str, uid: u32, gid: u32) -> Result<(), Errno> {
        let id = self.change(path)?;
        let inode = self.inode_mut(id);
        (inode.uid, inode.gid) = (uid, gid);
        if inode.kind != FileType::Directory {
            inode.mode = Mode::new(inode.mode).without_privileges().bits();
            inode.xattrs.remove(CAPABILITY);
        }
        Ok(())
    }

    /// Sets the times of access and modification.
    ///
    /// # Errors
    ///
    /// As utimensat(2).
    pub fn utimens(&mut self, path: &str, atime: Time, mtime: Time) -> Result<(), Errno> {
        let id = self.change(path)?;
        let inode = self.inode_mut(id);
        (inode.atime, inode.mtime) = (Some(atime), Some(mtime));
        Ok(())
    }

    /// Reads an extended attribute.
    ///
    /// # Errors
    ///
    /// As getxattr(2).
    pub fn getxattr(&self, path: &str, name: &str) -> Result<Vec<u8>, Errno> {
        let inode = self.inode(self.find(path)?);
        can_have(inode, name, Errno::NODATA)?;
        inode.xattrs.get(name).cloned().ok_or(Errno::NODATA)
    }

    /// Sets an extended attribute. ACLs are not modelled.
    ///
    /// # Errors
    ///
    /// As setxattr(2).
    pub fn setxattr(
        &mut self,
        path: &str,
        name: &str,
        value: &[u8],
        mode: XattrMode,
    ) -> Result<(), Errno> {
        let id = self.change(path)?;
        let inode = self.inode_mut(id);
        can_have(inode, name, Errno::PERM)?;
        if value.len() > XATTR_SIZE_MAX {
            return Err(Errno::TOOBIG);
        }
        match (mode, inode.xattrs.contains_key(name)) {
            (XattrMode::Create, true) => return Err(Errno::EXIST),
            (XattrMode::Replace, false) => return Err(Errno::NODATA),
            _ => {}
        }
        inode.xattrs.insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    ///
    /// As removexattr(2).
    pub fn removexattr(&mut self, path: &str, name: &str) -> Result<(), Errno> {
        let id = self.change(path)?;
        let inode = self.inode_mut(id);
        can_have(inode, name, Errno::PERM)?;
        inode.xattrs.remove(name).ok_or(Errno::NODATA)?;
        Ok(())
    }

    fn resize(&mut self, id: ModelId, size: impl FnOnce(usize) -> usize) {
        let inode = self.inode_mut(id);
        let size = size(inode.data.len());
        inode.data.resize(size, 0);
        inode.mtime = None;
        inode.xattrs.remove(CAPABILITY);
    }
}

fn has_data(inode: &Inode) -> Result<(), Errno> {
    match inode.kind {
        FileType::Regular => Ok(()),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::INVAL),
    }
}

/// Checks the namespace of an attribute; `absent` is the answer for `user.*` where it cannot be.
fn can_have(inode: &Inode, name: &str, absent: Errno) -> Result<(), Errno> {
    let holds_user = matches!(inode.kind, FileType::Regular | FileType::Directory);
    match name.split_once('.') {
        Some(("user", _)) if holds_user => Ok(()),
        Some(("user", _)) => Err(absent),
        Some(("trusted" | "security", _)) => Ok(()),
        _ => Err(Errno::OPNOTSUPP),
    }
}
