//! Objects whose owners are recorded: making them, and changing what is recorded.

use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mica_sys::cred::BornAs;
use mica_sys::xattr::{self, Object};
use mica_vfs::{
    Access, Attr, Caller, Entry, Errno, FileName, FileType, Mode, NodeId, Rdev, SetAttr, invent,
};
use rustix::fs::{
    AtFlags, Dir, FileType as HostType, Gid, Mode as HostMode, OFlags, RenameFlags, Uid, chownat,
    makedev, mkdirat, mknodat, openat, renameat, renameat_with, statat, symlinkat, unlinkat,
};

use crate::HostFs;
use crate::attr::stat_fd;
use crate::create::{Birth, FILE, host_mode};
use crate::entry_name::EntryName;
use crate::node::FdSort;
use crate::open::OpenDir;
use crate::owners::{self, OwnerXattr, Owners, Recorded};

/// What a file with recorded permissions really has.
pub(crate) const PRIVATE_FILE: Mode = Mode::new(0o600);
/// What a directory with recorded permissions really has.
const PRIVATE_DIR: Mode = Mode::new(0o700);
/// How the names in the stage begin.
const PREFIX: &str = "#own-";

/// A directory in which objects get their owners before they are seen.
#[derive(Debug)]
pub(crate) struct Stage {
    dir: Arc<OwnedFd>,
    next: AtomicU64,
}

/// An object in the stage, removed unless it is published.
#[derive(Debug)]
struct Staged<'a> {
    dir: &'a OwnedFd,
    name: EntryName,
    kind: FileType,
    published: bool,
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if !self.published {
            // What stays is removed when the directory is attached the next time.
            unlinkat(self.dir, self.name.as_c_str(), removal_of(self.kind)).ok();
        }
    }
}

fn removal_of(kind: FileType) -> AtFlags {
    match kind {
        FileType::Directory => AtFlags::REMOVEDIR,
        _ => AtFlags::empty(),
    }
}

impl Staged<'_> {
    /// Moves the object to where it is to be seen: `EEXIST` if something is there.
    fn publish(mut self, to: &OpenDir, name: FileName<'_>) -> Result<(), Errno> {
        let (from, to, name) = (self.name.as_c_str(), &to.fd, name.as_bytes());
        match renameat_with(self.dir, from, to, name, RenameFlags::NOREPLACE) {
            // NFS has no such flag. Whoever makes names here makes one at a time.
            Err(Errno::INVAL | Errno::NOSYS) => match statat(to, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => return Err(Errno::EXIST),
                Err(Errno::NOENT) => renameat(self.dir, from, to, name)?,
                Err(errno) => return Err(errno),
            },
            renamed => renamed?,
        }
        self.published = true;
        Ok(())
    }
}

impl HostFs {
    /// Prepares new objects in `dir` from now on, and removes what a crash left there.
    pub(crate) fn stage_in(&self, dir: &Arc<OwnedFd>) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let listed = openat(dir, c".", flags, HostMode::empty())?;
        for entry in Dir::new(listed)? {
            let entry = entry?;
            if entry.file_name().to_bytes().starts_with(PREFIX.as_bytes()) {
                let kind = FileType::from_mode(entry.file_type().as_raw_mode());
                let flags = removal_of(kind.unwrap_or(FileType::Regular));
                unlinkat(dir, entry.file_name(), flags)?;
            }
        }
        self.stage.get_or_init(|| Stage {
            dir: Arc::clone(dir),
            next: AtomicU64::new(0),
        });
        Ok(())
    }

    /// Reads what is recorded of the layer's root; `None` if nothing is.
    ///
    /// # Errors
    ///
    /// `EIO`: a value that makes no sense, which is logged.
    pub fn recorded_root(&self) -> Result<Option<Recorded>, Errno> {
        let Owners::Xattr(form) = self.owners else {
            return Ok(None);
        };
        let root = Object::Entry(self.root.as_fd(), c".");
        let found = owners::read(form, root, FileType::Directory)?;
        Ok(found.map(|(recorded, _)| recorded))
    }

    /// Finds out whether owners can be recorded, by doing it with a file that nobody sees.
    ///
    /// # Errors
    ///
    /// As [`record_root`](Self::record_root); `EOPNOTSUPP` without a directory to prepare objects in.
    pub fn probe_owners(&self) -> Result<(), Errno> {
        let Owners::Xattr(form) = self.owners else {
            return Ok(());
        };
        self.writable()?;
        let recorded = Recorded {
            uid: 0,
            gid: 0,
            mode: PRIVATE_FILE,
            kind: None,
        };
        let (staged, _file) = self.stage(Birth::File(PRIVATE_FILE), form, recorded)?;
        let object = Object::Entry(staged.dir.as_fd(), staged.name.as_c_str());
        owners::write(form, object, FileType::Regular, &recorded)
    }

    /// Records owner and mode of the layer's root, by which other programs tell that owners are recorded in this layer:
    /// `like` or, without it, those that it really has.
    ///
    /// # Errors
    ///
    /// What setxattr(2) answers: `EOPNOTSUPP` where the filesystem does not keep the attribute, `EPERM` without the
    /// privilege.
    pub fn record_root(&self, like: Option<Recorded>) -> Result<(), Errno> {
        let Owners::Xattr(form) = self.owners else {
            return Ok(());
        };
        self.writable()?;
        let real = stat_fd(self.root.as_fd(), self.ids)?;
        let like = like.unwrap_or_else(|| Recorded::of(&real, real.kind));
        let root = Object::Entry(self.root.as_fd(), c".");
        owners::write(form, root, FileType::Directory, &like)
    }

    /// Works out what a new object in `dir` has by its maker and by its directory, as inode_init_owner does.
    pub(crate) fn heritage(
        &self,
        dir: NodeId,
        kind: FileType,
        caller: &Caller,
        mode: Mode,
    ) -> Result<Recorded, Errno> {
        let parent = self.attr(dir)?;
        let inherits = parent.mode.contains(Mode::SETGID);
        let mut mode = match kind {
            FileType::Symlink => Mode::new(0o777),
            _ => mode.difference(Mode::new(caller.umask & 0o777)),
        };
        if inherits && kind == FileType::Directory {
            mode |= Mode::SETGID;
        }
        Ok(Recorded {
            uid: caller.uid,
            gid: if inherits { parent.gid } else { caller.gid },
            mode,
            kind: None,
        })
    }

    /// Makes an object in the stage, records its owner, and moves it to its place.
    pub(crate) fn bear_recorded(
        &self,
        form: OwnerXattr,
        caller: &Caller,
        (dir, name): (NodeId, FileName<'_>),
        birth: Birth<'_>,
    ) -> Result<Entry, Errno> {
        let open = self.dir(dir)?;
        if let Birth::Node(HostType::CharacterDevice, mode, Rdev::WHITEOUT) = birth {
            // A whiteout is nobody's, and has as many names as fit.
            mknodat(
                &open.fd,
                name.as_bytes(),
                HostType::CharacterDevice,
                host_mode(mode),
                0,
            )?;
            return self.find(dir, name);
        }
        let (kind, mode) = kind_of(birth);
        let recorded = self.heritage(dir, kind, caller, mode)?;
        let (staged, fd) = self.stage(birth, form, recorded)?;
        let object = Object::Entry(staged.dir.as_fd(), staged.name.as_c_str());
        if form.fits(kind) {
            owners::write(form, object, kind, &recorded)?;
        } else {
            own_really(&staged, &recorded)?;
        }
        staged.publish(&open, name)?;
        let Some(fd) = fd else {
            return self.find(dir, name);
        };
        let fd = Arc::new(fd);
        let real = stat_fd(fd.as_fd(), self.ids)?;
        match self.intern(&real, &open, name, None)? {
            Some(node) => {
                self.keep(node, &fd, Access::Write)?;
                let attr = self.shown_fd(&fd, FdSort::File)?;
                Ok(Entry { node, attr })
            }
            None => self.adopt(fd, FdSort::File, &open, name),
        }
    }

    /// Makes the real object under a name of its own; a file is returned open.
    fn stage(
        &self,
        birth: Birth<'_>,
        form: OwnerXattr,
        recorded: Recorded,
    ) -> Result<(Staged<'_>, Option<OwnedFd>), Errno> {
        let stage = self.stage.get().ok_or_else(|| {
            invent!(
                Errno::OPNOTSUPP,
                "no directory in which objects get their owners"
            )
        })?;
        let mut name = String::new();
        let nth = stage.next.fetch_add(1, Ordering::Relaxed);
        write!(name, "{PREFIX}{nth:x}").map_err(|_| Errno::NOMEM)?;
        let (dir, entry) = (&*stage.dir, EntryName::new(name.as_bytes()));
        let (kind, _) = kind_of(birth);
        let own = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let _unmasked = BornAs::assume(own.0, own.1, 0)?;
        let mut fd = None;
        let at = entry.as_c_str();
        match birth {
            Birth::File(_) => {
                let flags = FILE | OFlags::CREATE | OFlags::EXCL;
                let create = || openat(dir, at, flags, host_mode(PRIVATE_FILE));
                fd = Some(self.fds.with_room(create)?);
            }
            Birth::Directory(_) => mkdirat(dir, at, host_mode(PRIVATE_DIR))?,
            Birth::Symlink(target) => symlinkat(target, dir, at)?,
            Birth::Node(host, _, Rdev { major, minor }) => {
                let mode = if form.fits(kind) {
                    PRIVATE_FILE
                } else {
                    recorded.mode
                };
                mknodat(dir, at, host, host_mode(mode), makedev(major, minor))?;
            }
        }
        let staged = Staged {
            dir,
            name: entry,
            kind,
            published: false,
        };
        Ok((staged, fd))
    }

    /// Records a change of owner and mode of an object that really has `real`.
    pub(crate) fn record_change(
        &self,
        form: OwnerXattr,
        object: Object<'_>,
        real: Attr,
        change: &SetAttr,
    ) -> Result<(), Errno> {
        if change.uid.is_none() && change.gid.is_none() && change.mode.is_none() {
            return Ok(());
        }
        let mut shown = owners::show(self.owners, object, real)?;
        if change.uid.is_some() || change.gid.is_some() {
            shown.uid = change.uid.unwrap_or(shown.uid);
            shown.gid = change.gid.unwrap_or(shown.gid);
            if shown.kind != FileType::Directory {
                shown.mode = shown.mode.without_privileges();
            }
        }
        if let Some(mode) = change.mode {
            if shown.kind == FileType::Symlink {
                return Err(Errno::OPNOTSUPP);
            }
            shown.mode = mode;
        }
        if (change.uid.is_some() || change.gid.is_some()) && real.kind == FileType::Regular {
            // A real change of owner takes them, too (setattr_prepare).
            // Looked for first: without CAP_SETFCAP its removal is EPERM, there or not (cap_inode_removexattr).
            match xattr::get(object, c"security.capability", &mut []) {
                Ok(_) => xattr::remove(object, c"security.capability")?,
                Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
        }
        owners::write(form, object, real.kind, &Recorded::of(&shown, real.kind))
    }
}

fn kind_of(birth: Birth<'_>) -> (FileType, Mode) {
    match birth {
        Birth::File(mode) => (FileType::Regular, mode),
        Birth::Directory(mode) => (FileType::Directory, mode),
        Birth::Symlink(_) => (FileType::Symlink, Mode::empty()),
        Birth::Node(host, mode, _) => {
            let kind = FileType::from_mode(host.as_raw_mode());
            (kind.unwrap_or(FileType::Regular), mode)
        }
    }
}

/// Gives an object that cannot carry the attribute to its owner. Where this process may not, it stays this process's, as
/// with fuse-overlayfs: a container's image is full of links, and nobody asks whose they are.
fn own_really(staged: &Staged<'_>, recorded: &Recorded) -> Result<(), Errno> {
    // -1 means "unchanged" to the kernel, and rustix refuses it as an id.
    let given = |id: u32| Some(id).filter(|&id| id != u32::MAX);
    let (uid, gid) = (
        given(recorded.uid).map(Uid::from_raw),
        given(recorded.gid).map(Gid::from_raw),
    );
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    match chownat(staged.dir, staged.name.as_c_str(), uid, gid, flags) {
        Err(Errno::PERM | Errno::INVAL) => Ok(()),
        owned => owned,
    }
}
