//! The operations of a model that make, move and remove names.

use std::collections::BTreeMap;

use mica_vfs::{Caller, Errno, FileType, Mode, Rdev, RenameFlags};

use super::{Inode, Model, ModelId, Origin, split};

impl Model {
    /// Makes an empty file.
    ///
    /// # Errors
    ///
    /// As open(2) with `O_CREAT` and `O_EXCL`.
    pub fn create(&mut self, path: &str, mode: u32) -> Result<(), Errno> {
        self.make(path, FileType::Regular, mode, Rdev::default(), "")
    }

    /// Makes a directory.
    ///
    /// # Errors
    ///
    /// As mkdir(2).
    pub fn mkdir(&mut self, path: &str, mode: u32) -> Result<(), Errno> {
        self.make(
            path,
            FileType::Directory,
            mode & 0o1777,
            Rdev::default(),
            "",
        )
    }

    /// Makes a device, FIFO or socket.
    ///
    /// # Errors
    ///
    /// As mknod(2).
    pub fn mknod(
        &mut self,
        path: &str,
        kind: FileType,
        mode: u32,
        rdev: Rdev,
    ) -> Result<(), Errno> {
        let is_device = matches!(kind, FileType::CharDevice | FileType::BlockDevice);
        let rdev = if is_device { rdev } else { Rdev::default() };
        self.make(path, kind, mode, rdev, "")
    }

    /// Makes a symbolic link at `path`.
    ///
    /// # Errors
    ///
    /// As symlink(2).
    pub fn symlink(&mut self, target: &str, path: &str) -> Result<(), Errno> {
        self.make(path, FileType::Symlink, 0o777, Rdev::default(), target)
    }

    /// Makes `new` another name of `old`.
    ///
    /// # Errors
    ///
    /// As link(2).
    pub fn link(&mut self, old: &str, new: &str) -> Result<(), Errno> {
        let id = self.change(old)?;
        let dir = self.find_dir_of(new)?;
        if self.inode(id).kind == FileType::Directory {
            // linkat(2) looks at the new name first.
            let exists = self.names.contains_key(new);
            return Err(if exists { Errno::EXIST } else { Errno::PERM });
        }
        self.expect_free(new)?;
        self.names.insert(new.to_owned(), id);
        self.changed(new, id);
        self.touch(dir);
        Ok(())
    }

    /// Removes a name of anything but a directory.
    ///
    /// # Errors
    ///
    /// As unlink(2).
    pub fn unlink(&mut self, path: &str) -> Result<(), Errno> {
        let dir = self.find_dir_of(path)?;
        let id = self.find(path)?;
        if self.inode(id).kind == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        self.remove(path);
        self.touch(dir);
        Ok(())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// As rmdir(2).
    pub fn rmdir(&mut self, path: &str) -> Result<(), Errno> {
        let dir = self.find_dir_of(path)?;
        let id = self.find(path)?;
        self.expect_empty(id, path)?;
        self.remove(path);
        self.touch(dir);
        Ok(())
    }

    /// Renames.
    ///
    /// # Errors
    ///
    /// As renameat2(2) on an overlay; `EXDEV` for a directory of a lower unless it has [redirects](Self::with_redirects).
    pub fn rename(&mut self, from: &str, to: &str, flags: RenameFlags) -> Result<(), Errno> {
        for path in [from, to] {
            self.find(split(path).0)?;
        }
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        let noreplace = flags.contains(RenameFlags::NOREPLACE);
        let whiteout = flags.contains(RenameFlags::WHITEOUT);
        if exchange && (noreplace || whiteout) {
            return Err(Errno::INVAL);
        }
        let from_dir = self.find_dir_of(from)?;
        let to_dir = self.find_dir_of(to)?;
        let source = self.find(from)?;
        let target = self.names.get(to).copied();
        match target {
            Some(_) if noreplace => return Err(Errno::EXIST),
            None if exchange => return Err(Errno::NOENT),
            _ => {}
        }
        if is_within(split(to).0, from) {
            return Err(Errno::INVAL);
        }
        if target.is_some() && is_within(split(from).0, to) {
            return Err(if exchange {
                Errno::INVAL
            } else {
                Errno::NOTEMPTY
            });
        }
        if target == Some(source) {
            return Ok(());
        }
        self.check_rename(source, target, exchange)?;
        self.changed(from, source);
        if let (Some(target), true) = (target, exchange) {
            self.changed(to, target);
        }
        if let (Some(target), false) = (target, exchange) {
            if self.inode(target).kind == FileType::Directory {
                self.expect_empty(target, to)?;
            }
            self.remove(to);
        }
        self.swap_paths(from, to, exchange);
        self.touch(from_dir);
        self.touch(to_dir);
        if whiteout {
            self.mknod(from, FileType::CharDevice, 0, Rdev::WHITEOUT)?;
            // The mounter's, whatever its directory hands down.
            let left = self.find(from)?;
            let left = self.inode_mut(left);
            (left.mode, left.uid, left.gid) = (0, Caller::ROOT.uid, Caller::ROOT.gid);
        }
        Ok(())
    }

    /// Checks the types, and that no directory of a lower moves.
    fn check_rename(
        &self,
        source: ModelId,
        target: Option<ModelId>,
        exchange: bool,
    ) -> Result<(), Errno> {
        let is_dir = |id| self.inode(id).kind == FileType::Directory;
        if let (Some(target), false) = (target, exchange) {
            match (is_dir(source), is_dir(target)) {
                (true, false) => return Err(Errno::NOTDIR),
                (false, true) => return Err(Errno::ISDIR),
                _ => {}
            }
        }
        let stays = |id| !self.redirects && is_dir(id) && self.inode(id).origin != Origin::Upper;
        if stays(source) || (exchange && target.is_some_and(stays)) {
            return Err(Errno::XDEV);
        }
        Ok(())
    }

    /// Gives everything at and below `from` its path at and below `to`, and in an exchange the other way round.
    fn swap_paths(&mut self, from: &str, to: &str, exchange: bool) {
        let mut moved = self.take(from, to);
        if exchange {
            moved.append(&mut self.take(to, from));
        }
        for (path, (id, changed_by)) in moved {
            if changed_by {
                self.changed_by.insert(path.clone());
            }
            self.names.insert(path, id);
        }
    }

    /// Takes out everything at and below `from`, with its path at and below `to`, and whether it was changed by that name.
    fn take(&mut self, from: &str, to: &str) -> BTreeMap<String, (ModelId, bool)> {
        let mut paths = self.below(from);
        paths.push(from.to_owned());
        paths
            .into_iter()
            .map(|path| {
                let id = self.names.remove(&path).unwrap();
                let changed_by = self.changed_by.remove(&path);
                (format!("{to}{}", &path[from.len()..]), (id, changed_by))
            })
            .collect()
    }

    pub(super) fn insert(&mut self, path: &str, inode: Inode) -> ModelId {
        let id = self.next;
        self.next = ModelId(id.0 + 1);
        self.inodes.insert(id, inode);
        self.names.insert(path.to_owned(), id);
        id
    }

    fn make(
        &mut self,
        path: &str,
        kind: FileType,
        mode: u32,
        rdev: Rdev,
        target: &str,
    ) -> Result<(), Errno> {
        let dir = self.find_dir_of(path)?;
        self.expect_free(path)?;
        let parent = self.inode(dir);
        let mut mode = mode;
        let mut gid = self.caller.gid;
        if kind != FileType::Symlink {
            mode &= !self.caller.umask;
        }
        if Mode::new(parent.mode).contains(Mode::SETGID) {
            gid = parent.gid;
            if kind == FileType::Directory {
                mode |= Mode::SETGID.bits();
            }
        }
        let inode = Inode {
            kind,
            mode,
            uid: self.caller.uid,
            gid,
            rdev,
            data: Vec::new(),
            target: target.as_bytes().to_vec(),
            xattrs: BTreeMap::new(),
            mtime: None,
            atime: None,
            origin: Origin::Upper,
            before: None,
        };
        self.insert(path, inode);
        self.touch(dir);
        Ok(())
    }

    fn remove(&mut self, path: &str) {
        let id = self.names.remove(path).unwrap();
        self.changed_by.remove(path);
        if self.nlink(id) == 0 {
            self.inodes.remove(&id);
        }
    }

    fn find_dir_of(&self, path: &str) -> Result<ModelId, Errno> {
        let (dir, _) = split(path);
        let id = self.find(dir)?;
        match self.inode(id).kind {
            FileType::Directory => Ok(id),
            _ => Err(Errno::NOTDIR),
        }
    }

    fn expect_free(&self, path: &str) -> Result<(), Errno> {
        match self.names.contains_key(path) {
            true => Err(Errno::EXIST),
            false => Ok(()),
        }
    }

    fn expect_empty(&self, id: ModelId, path: &str) -> Result<(), Errno> {
        if self.inode(id).kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        match self.below(path).is_empty() {
            true => Ok(()),
            false => Err(Errno::NOTEMPTY),
        }
    }

    /// Notes that the names of a directory changed.
    fn touch(&mut self, dir: ModelId) {
        self.inode_mut(dir).mtime = None;
    }

    /// Returns the object to change, which `path` leads to: the upper has that name from here.
    pub(super) fn change(&mut self, path: &str) -> Result<ModelId, Errno> {
        let id = self.find(path)?;
        self.changed(path, id);
        Ok(id)
    }

    /// Notes that the upper has `path`, which leads to `id`.
    fn changed(&mut self, path: &str, id: ModelId) {
        let inode = self.inode_mut(id);
        if inode.origin != Origin::LowerAlias {
            return;
        }
        if inode.before.is_none() {
            inode.before = Some(Box::new(inode.clone()));
        }
        self.changed_by.insert(path.to_owned());
    }
}

/// Tells whether `path` is `ancestor` or lies below it.
fn is_within(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
