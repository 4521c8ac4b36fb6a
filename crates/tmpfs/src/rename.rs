//! Renaming.

use mica_vfs::{Errno, FileName, FileType, NodeId, RenameFlags, Time};

use crate::tree::{Index, Tree};

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) dir: NodeId,
    pub(crate) name: FileName<'a>,
}

/// A rename whose directories and objects are found and that may happen.
struct Checked<'a> {
    from_dir: Index,
    from: FileName<'a>,
    source: Index,
    to_dir: Index,
    to: FileName<'a>,
    target: Option<Index>,
}

impl Tree {
    /// Renames, as renameat2(2) does; the errors are found in its order.
    ///
    /// # Errors
    ///
    /// `EINVAL` for flags that do not go together and for a directory that would come into itself; `ENOENT`,
    /// `EEXIST`, `ENOTDIR`, `EISDIR`, `ENOTEMPTY`; `ENOSPC` for a whiteout at the limit of inodes.
    pub(crate) fn rename(
        &mut self,
        now: Time,
        from: Place<'_>,
        to: Place<'_>,
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        let others = RenameFlags::NOREPLACE | RenameFlags::WHITEOUT;
        if !RenameFlags::all().contains(flags) || (exchange && flags.intersects(others)) {
            return Err(Errno::INVAL);
        }
        let Some(checked) = self.check_rename(from, to, flags)? else {
            return Ok(());
        };
        if exchange {
            return self.exchange(now, &checked);
        }
        // The whiteout first: it is all that can fail.
        let whiteout = match flags.contains(RenameFlags::WHITEOUT) {
            true => Some(self.make_whiteout(now, checked.from_dir)?),
            false => None,
        };
        self.replace(now, &checked, whiteout)
    }

    /// Finds what takes part in a rename; `None` if both names are of one object, which is then left alone.
    fn check_rename<'a>(
        &self,
        from: Place<'a>,
        to: Place<'a>,
        flags: RenameFlags,
    ) -> Result<Option<Checked<'a>>, Errno> {
        let from_dir = self.find_dir(from.dir)?;
        let to_dir = self.find_dir(to.dir)?;
        let source = self.existing(from_dir, from.name)?;
        let target = self.child(to_dir, to.name)?;
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        if flags.contains(RenameFlags::NOREPLACE) && target.is_some() {
            return Err(Errno::EXIST);
        }
        if exchange && target.is_none() {
            return Err(Errno::NOENT);
        }
        if self.is_within(to_dir, source)? {
            return Err(Errno::INVAL);
        }
        if let Some(target) = target {
            if self.is_within(from_dir, target)? {
                return Err(if exchange {
                    Errno::INVAL
                } else {
                    Errno::NOTEMPTY
                });
            }
            if source == target {
                return Ok(None);
            }
            if !exchange {
                self.check_replace(source, target)?;
            }
        }
        Ok(Some(Checked {
            from_dir,
            from: from.name,
            source,
            to_dir,
            to: to.name,
            target,
        }))
    }

    /// Checks that `source` may take the place of `target`: a directory that of an empty one, all else that of all
    /// else.
    fn check_replace(&self, source: Index, target: Index) -> Result<(), Errno> {
        match (self.is_dir(source)?, self.is_dir(target)?) {
            (true, true) => self.check_empty(target),
            (true, false) => Err(Errno::NOTDIR),
            (false, true) => Err(Errno::ISDIR),
            (false, false) => Ok(()),
        }
    }

    fn exchange(&mut self, now: Time, rename: &Checked<'_>) -> Result<(), Errno> {
        let target = rename.target.ok_or(Errno::NOENT)?;
        self.put(
            now,
            rename.from_dir,
            rename.from,
            target,
            Some(rename.source),
        )?;
        self.put(now, rename.to_dir, rename.to, rename.source, Some(target))
    }

    fn replace(
        &mut self,
        now: Time,
        rename: &Checked<'_>,
        whiteout: Option<Index>,
    ) -> Result<(), Errno> {
        self.put(now, rename.to_dir, rename.to, rename.source, rename.target)?;
        match whiteout {
            Some(whiteout) => {
                self.put(
                    now,
                    rename.from_dir,
                    rename.from,
                    whiteout,
                    Some(rename.source),
                )?;
            }
            None => {
                let is_dir = self.is_dir(rename.source)?;
                let parent = self.inode_mut(rename.from_dir)?;
                parent.dir_mut()?.remove(rename.from);
                parent.touch(now);
                if is_dir {
                    parent.nlink = parent.nlink.saturating_sub(1);
                }
            }
        }
        match rename.target {
            Some(target) => self.drop_name(now, target),
            None => Ok(()),
        }
    }

    /// Lets `name` be `index` instead of `before`, and keeps the links of `dir` and the parent of a directory right.
    fn put(
        &mut self,
        now: Time,
        dir: Index,
        name: FileName<'_>,
        index: Index,
        before: Option<Index>,
    ) -> Result<(), Errno> {
        let had_dir = match before {
            Some(before) => self.is_dir(before)?,
            None => false,
        };
        let inode = self.inode_mut(index)?;
        inode.ctime = now;
        let is_dir = inode.dir_mut().map(|moved| moved.parent = dir).is_ok();
        let parent = self.inode_mut(dir)?;
        parent.dir_mut()?.set(name, index);
        parent.touch(now);
        match (had_dir, is_dir) {
            (true, false) => parent.nlink = parent.nlink.saturating_sub(1),
            (false, true) => parent.nlink += 1,
            _ => {}
        }
        Ok(())
    }

    /// Tells whether `dir` is `ancestor` or lies below it.
    fn is_within(&self, dir: Index, ancestor: Index) -> Result<bool, Errno> {
        let mut at = dir;
        while at != ancestor {
            if at == Index::ROOT {
                return Ok(false);
            }
            at = self.inode(at)?.dir()?.parent;
        }
        Ok(true)
    }

    fn is_dir(&self, index: Index) -> Result<bool, Errno> {
        Ok(self.inode(index)?.kind() == FileType::Directory)
    }
}
