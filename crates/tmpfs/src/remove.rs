//! Removing names.

use mica_vfs::{Errno, FileName, FileType, NodeId, Time};

use crate::inode::Unnamed;
use crate::tree::{Index, Tree};

impl Tree {
    /// Removes a name of anything but a directory.
    ///
    /// # Errors
    ///
    /// `ENOENT`; `EISDIR` for a directory.
    pub(crate) fn unlink(
        &mut self,
        now: Time,
        dir: NodeId,
        name: FileName<'_>,
    ) -> Result<(), Errno> {
        let dir = self.find_dir(dir)?;
        let index = self.existing(dir, name)?;
        if self.inode(index)?.kind() == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        let parent = self.inode_mut(dir)?;
        parent.dir_mut()?.remove(name);
        parent.touch(now);
        self.drop_name(now, index)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// `ENOENT`, `ENOTDIR`, `ENOTEMPTY`.
    pub(crate) fn rmdir(
        &mut self,
        now: Time,
        dir: NodeId,
        name: FileName<'_>,
    ) -> Result<(), Errno> {
        let dir = self.find_dir(dir)?;
        let index = self.existing(dir, name)?;
        self.check_empty(index)?;
        let parent = self.inode_mut(dir)?;
        parent.dir_mut()?.remove(name);
        parent.nlink = parent.nlink.saturating_sub(1);
        parent.touch(now);
        self.drop_name(now, index)
    }

    /// Checks that a directory is empty.
    ///
    /// # Errors
    ///
    /// `ENOTDIR`, `ENOTEMPTY`.
    pub(crate) fn check_empty(&self, index: Index) -> Result<(), Errno> {
        match self.inode(index)?.dir()?.len() {
            0 => Ok(()),
            _ => Err(Errno::NOTEMPTY),
        }
    }

    /// Counts one name less, and frees the inode if nothing holds it. A directory loses its only name, with the link
    /// that it has on itself.
    pub(crate) fn drop_name(&mut self, now: Time, index: Index) -> Result<(), Errno> {
        let inode = self.inode_mut(index)?;
        inode.nlink = match inode.kind() {
            FileType::Directory => 0,
            _ => inode.nlink.saturating_sub(1),
        };
        inode.unnamed = Unnamed::Gone;
        inode.ctime = now;
        self.release(index);
        Ok(())
    }
}
