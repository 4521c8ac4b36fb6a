//! A filesystem by paths.
//!
//! Symbolic links are not followed. Every reference that a method takes is ended when it returns; only [`Held`] keeps
//! one. So a test can compare how many nodes are referenced before and after.

use mica_vfs::{
    Attr, Caller, Cookie, Entry, Errno, FileName, FileType, Filesystem, Flow, KillPriv, Mode,
    NodeId, Rdev, RenameFlags, SetAttr, SetTime, Time, XattrMode, XattrName,
};

/// A directory of a filesystem, by paths from there. `""` is the directory itself.
#[derive(Debug, Clone, Copy)]
pub struct Walk<'a> {
    fs: &'a dyn Filesystem,
    root: NodeId,
    caller: Caller,
}

/// A node with one reference, which ends with this.
#[derive(Debug)]
pub struct Held<'a> {
    /// Where the reference ends; `None` for the root of a walk, whose reference is the caller's.
    fs: Option<&'a dyn Filesystem>,
    entry: Entry,
}

impl Held<'_> {
    /// Returns the node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.entry.node
    }

    /// Returns the attributes as they were when it was found.
    #[must_use]
    pub const fn attr(&self) -> Attr {
        self.entry.attr
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(fs) = self.fs {
            fs.forget(self.entry.node, 1);
        }
    }
}

impl<'a> Walk<'a> {
    /// Walks from the root, as root with an empty umask.
    #[must_use]
    pub fn new(fs: &'a dyn Filesystem) -> Self {
        Self::at(fs, NodeId::ROOT)
    }

    /// Walks from `root`, which the caller references.
    #[must_use]
    pub fn at(fs: &'a dyn Filesystem, root: NodeId) -> Self {
        Self {
            fs,
            root,
            caller: Caller::ROOT,
        }
    }

    /// Returns the filesystem, for what is not done by a path.
    #[must_use]
    pub const fn fs(&self) -> &'a dyn Filesystem {
        self.fs
    }

    /// Makes objects as `caller`.
    #[must_use]
    pub const fn by(mut self, caller: Caller) -> Self {
        self.caller = caller;
        self
    }

    /// Finds `path` and keeps the reference.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::lookup`].
    pub fn hold(&self, path: &str) -> Result<Held<'a>, Errno> {
        let mut at: Option<Held<'a>> = None;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let dir = at.as_ref().map_or(self.root, Held::node);
            at = Some(self.held(self.fs.lookup(dir, FileName::new(name.as_bytes())?)?));
        }
        match at {
            Some(held) => Ok(held),
            None => Ok(Held {
                fs: None,
                entry: Entry {
                    node: self.root,
                    attr: self.fs.get_attr(self.root)?,
                },
            }),
        }
    }

    /// Finds the directory of `path` and keeps the reference, with the last name.
    ///
    /// # Errors
    ///
    /// As [`hold`](Self::hold); `EINVAL` for the root.
    pub fn hold_parent<'n>(&self, path: &'n str) -> Result<(Held<'a>, FileName<'n>), Errno> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.hold(dir)?, FileName::new(name.as_bytes())?))
    }

    /// Tells whether `path` exists.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.hold(path).is_ok()
    }

    /// Returns the attributes of `path`.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::get_attr`].
    pub fn stat(&self, path: &str) -> Result<Attr, Errno> {
        self.fs.get_attr(self.hold(path)?.node())
    }

    /// Reads a whole file.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::read`].
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Errno> {
        let held = self.hold(path)?;
        let mut data = Vec::new();
        let mut chunk = vec![0; 64 << 10];
        loop {
            let got = self.fs.read(held.node(), data.len() as u64, &mut chunk)?;
            if got == 0 {
                return Ok(data);
            }
            data.extend_from_slice(&chunk[..got]);
        }
    }

    /// Reads a whole file of text.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); `EILSEQ` if it is no UTF-8.
    pub fn read_text(&self, path: &str) -> Result<String, Errno> {
        String::from_utf8(self.read(path)?).map_err(|_| Errno::ILSEQ)
    }

    /// Lets a file be `data`: makes it if need be, truncates it, writes.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::create`], [`Filesystem::set_attr`] and [`Filesystem::write`].
    pub fn write(&self, path: &str, data: &[u8]) -> Result<(), Errno> {
        match self.hold(path) {
            Ok(_) => self.truncate(path, 0)?,
            Err(Errno::NOENT) => self.create(path, 0o644)?,
            Err(errno) => return Err(errno),
        }
        self.write_at(path, 0, data)
    }

    /// Writes all of `data` at `offset` into a file that exists.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::write`].
    pub fn write_at(&self, path: &str, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let held = self.hold(path)?;
        let mut done = 0;
        loop {
            let at = offset + done as u64;
            done += self
                .fs
                .write(held.node(), at, &data[done..], KillPriv::Keep)?;
            if done == data.len() {
                return Ok(());
            }
        }
    }

    /// Writes `data` to the start of what is held, whatever it is called.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::write`].
    pub fn write_held(&self, held: &Held<'_>, data: &[u8]) -> Result<(), Errno> {
        self.fs
            .write(held.node(), 0, data, KillPriv::Keep)
            .map(drop)
    }

    /// Makes an empty file.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::create`].
    pub fn create(&self, path: &str, mode: u32) -> Result<(), Errno> {
        self.make(path, |dir, name| {
            self.fs.create(&self.caller, dir, name, Mode::new(mode))
        })
    }

    /// Makes a directory of mode 0755.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::mkdir`].
    pub fn mkdir(&self, path: &str) -> Result<(), Errno> {
        self.mkdir_mode(path, 0o755)
    }

    /// Makes a directory.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::mkdir`].
    pub fn mkdir_mode(&self, path: &str, mode: u32) -> Result<(), Errno> {
        self.make(path, |dir, name| {
            self.fs.mkdir(&self.caller, dir, name, Mode::new(mode))
        })
    }

    /// Makes a device, FIFO or socket.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::mknod`].
    pub fn mknod(&self, path: &str, kind: FileType, mode: u32, rdev: Rdev) -> Result<(), Errno> {
        self.make(path, |dir, name| {
            let mode = Mode::new(mode);
            self.fs.mknod(&self.caller, dir, name, kind, mode, rdev)
        })
    }

    /// Makes a symbolic link at `path`.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::symlink`].
    pub fn symlink(&self, target: &str, path: &str) -> Result<(), Errno> {
        self.make(path, |dir, name| {
            self.fs.symlink(&self.caller, dir, name, target.as_bytes())
        })
    }

    /// Makes `new` another name of `old`.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::link`].
    pub fn link(&self, old: &str, new: &str) -> Result<(), Errno> {
        let held = self.hold(old)?;
        self.make(new, |dir, name| self.fs.link(held.node(), dir, name))
    }

    /// Makes a file without a name in a directory and keeps the reference.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::tmpfile`].
    pub fn tmpfile(&self, dir: &str, mode: u32) -> Result<Held<'a>, Errno> {
        let dir = self.hold(dir)?;
        let entry = self.fs.tmpfile(&self.caller, dir.node(), Mode::new(mode))?;
        Ok(self.held(entry))
    }

    /// Makes `new` a name of what is held.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::link`].
    pub fn link_held(&self, held: &Held<'_>, new: &str) -> Result<(), Errno> {
        self.make(new, |dir, name| self.fs.link(held.node(), dir, name))
    }

    /// Removes a name of anything but a directory.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::unlink`].
    pub fn unlink(&self, path: &str) -> Result<(), Errno> {
        let (dir, name) = self.hold_parent(path)?;
        self.fs.unlink(dir.node(), name)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::rmdir`].
    pub fn rmdir(&self, path: &str) -> Result<(), Errno> {
        let (dir, name) = self.hold_parent(path)?;
        self.fs.rmdir(dir.node(), name)
    }

    /// Removes `path` and all below it.
    ///
    /// # Errors
    ///
    /// The first that a removal returns.
    pub fn remove_all(&self, path: &str) -> Result<(), Errno> {
        if self.stat(path)?.kind != FileType::Directory {
            return self.unlink(path);
        }
        for name in self.ls(path)? {
            self.remove_all(&format!("{path}/{name}"))?;
        }
        self.rmdir(path)
    }

    /// Renames.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::rename`].
    pub fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        self.rename_with(from, to, RenameFlags::empty())
    }

    /// Renames as `flags` say.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::rename`].
    pub fn rename_with(&self, from: &str, to: &str, flags: RenameFlags) -> Result<(), Errno> {
        let (from_dir, from) = self.hold_parent(from)?;
        let (to_dir, to) = self.hold_parent(to)?;
        self.fs
            .rename(from_dir.node(), from, to_dir.node(), to, flags)
    }

    /// Reads the target of a symbolic link.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::read_link`]; `EILSEQ` if it is no UTF-8.
    pub fn readlink(&self, path: &str) -> Result<String, Errno> {
        let target = self.fs.read_link(self.hold(path)?.node())?;
        String::from_utf8(target).map_err(|_| Errno::ILSEQ)
    }

    /// Lists a directory: names, sorted. What is no UTF-8 is escaped.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::read_dir`].
    pub fn ls(&self, path: &str) -> Result<Vec<String>, Errno> {
        let held = self.hold(path)?;
        let mut names = Vec::new();
        self.fs.read_dir(held.node(), Cookie::START, &mut |entry| {
            let name = entry.name.as_bytes();
            let text = std::str::from_utf8(name).map(String::from);
            names.push(text.unwrap_or_else(|_| entry.name.to_string()));
            Flow::Continue
        })?;
        names.sort();
        Ok(names)
    }

    /// Changes attributes.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::set_attr`].
    pub fn set_attr(&self, path: &str, change: &SetAttr) -> Result<Attr, Errno> {
        self.fs.set_attr(self.hold(path)?.node(), change)
    }

    /// Sets the length of a file.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::set_attr`].
    pub fn truncate(&self, path: &str, size: u64) -> Result<(), Errno> {
        let change = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        self.set_attr(path, &change).map(drop)
    }

    /// Sets the mode.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::set_attr`].
    pub fn chmod(&self, path: &str, mode: u32) -> Result<(), Errno> {
        let change = SetAttr {
            mode: Some(Mode::new(mode)),
            ..SetAttr::default()
        };
        self.set_attr(path, &change).map(drop)
    }

    /// Sets owner and group.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::set_attr`].
    pub fn chown(&self, path: &str, uid: u32, gid: u32) -> Result<(), Errno> {
        let change = SetAttr {
            uid: Some(uid),
            gid: Some(gid),
            ..SetAttr::default()
        };
        self.set_attr(path, &change).map(drop)
    }

    /// Sets the times of access and modification.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::set_attr`].
    pub fn utimens(&self, path: &str, atime: Time, mtime: Time) -> Result<(), Errno> {
        let change = SetAttr {
            atime: Some(SetTime::At(atime)),
            mtime: Some(SetTime::At(mtime)),
            ..SetAttr::default()
        };
        self.set_attr(path, &change).map(drop)
    }

    /// Reads an extended attribute.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::get_xattr`].
    pub fn getxattr(&self, path: &str, name: &str) -> Result<Vec<u8>, Errno> {
        let held = self.hold(path)?;
        let name = XattrName::new(name.as_bytes())?;
        whole(|value| self.fs.get_xattr(held.node(), name, value))
    }

    /// Sets an extended attribute, whether it exists or not.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::set_xattr`].
    pub fn setxattr(&self, path: &str, name: &str, value: &[u8]) -> Result<(), Errno> {
        self.setxattr_with(path, name, value, XattrMode::Set)
    }

    /// Sets an extended attribute as `mode` says.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::set_xattr`].
    pub fn setxattr_with(
        &self,
        path: &str,
        name: &str,
        value: &[u8],
        mode: XattrMode,
    ) -> Result<(), Errno> {
        let held = self.hold(path)?;
        let name = XattrName::new(name.as_bytes())?;
        self.fs
            .set_xattr(held.node(), name, value, mode, KillPriv::Keep)
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::remove_xattr`].
    pub fn removexattr(&self, path: &str, name: &str) -> Result<(), Errno> {
        let held = self.hold(path)?;
        let name = XattrName::new(name.as_bytes())?;
        self.fs.remove_xattr(held.node(), name)
    }

    /// Lists the names of the extended attributes, sorted.
    ///
    /// # Errors
    ///
    /// As [`Filesystem::list_xattr`].
    pub fn listxattr(&self, path: &str) -> Result<Vec<String>, Errno> {
        let held = self.hold(path)?;
        let list = whole(|names| self.fs.list_xattr(held.node(), names))?;
        let mut names: Vec<_> = list
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| name.escape_ascii().to_string())
            .collect();
        names.sort();
        Ok(names)
    }

    const fn held(&self, entry: Entry) -> Held<'a> {
        Held {
            fs: Some(self.fs),
            entry,
        }
    }

    fn make(
        &self,
        path: &str,
        make: impl FnOnce(NodeId, FileName<'_>) -> Result<Entry, Errno>,
    ) -> Result<(), Errno> {
        let (dir, name) = self.hold_parent(path)?;
        drop(self.held(make(dir.node(), name)?));
        Ok(())
    }
}

/// Reads a value whose length is asked for first.
pub(crate) fn whole(
    mut read: impl FnMut(&mut [u8]) -> Result<usize, Errno>,
) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; read(&mut [])?];
    if !value.is_empty() {
        let len = read(&mut value)?;
        value.truncate(len);
    }
    Ok(value)
}
