//! Making objects: each with its caller's ids and umask, in one call, so that no other state of it is ever seen.

use std::os::fd::AsFd;
use std::sync::Arc;

use mica_sys::cred::BornAs;
use mica_sys::xattr::Object;
use mica_vfs::{Access, Caller, Entry, Errno, FileName, FileType, Mode, NodeId, Rdev};
use rustix::fs::{
    FileType as HostType, Mode as HostMode, OFlags, makedev, mkdirat, mknodat, openat, symlinkat,
};

use crate::HostFs;
use crate::attr::stat_fd;
use crate::fd_cache::Held;
use crate::node::{FdSort, ObjectId, Pin};
use crate::owners::{self, Owners};
use crate::recorded::PRIVATE_FILE;
use crate::table::Interned;

/// What is made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Birth<'a> {
    File(Mode),
    Directory(Mode),
    Node(HostType, Mode, Rdev),
    Symlink(&'a [u8]),
}

pub(crate) const FILE: OFlags = OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl HostFs {
    pub(crate) fn bear(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        birth: Birth<'_>,
    ) -> Result<Entry, Errno> {
        if let Owners::Xattr(form) = self.owners {
            return self.bear_recorded(form, caller, (dir, name), birth);
        }
        let open = self.dir(dir)?;
        {
            let _as_caller = BornAs::assume(caller.uid, caller.gid, caller.umask)?;
            let name = name.as_bytes();
            match birth {
                Birth::File(mode) => {
                    mknodat(&open.fd, name, HostType::RegularFile, host_mode(mode), 0)
                }
                Birth::Directory(mode) => mkdirat(&open.fd, name, host_mode(mode)),
                Birth::Node(kind, mode, rdev) => {
                    let dev = makedev(rdev.major, rdev.minor);
                    mknodat(&open.fd, name, kind, host_mode(mode), dev)
                }
                Birth::Symlink(target) => symlinkat(target, &open.fd, name),
            }?;
        }
        self.find(dir, name)
    }

    pub(crate) fn bear_file(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        if let Owners::Xattr(form) = self.owners {
            return self.bear_recorded(form, caller, (dir, name), Birth::File(mode));
        }
        let open = self.dir(dir)?;
        let flags = FILE | OFlags::CREATE | OFlags::EXCL;
        let fd = {
            let _as_caller = BornAs::assume(caller.uid, caller.gid, caller.umask)?;
            let create = || openat(&open.fd, name.as_bytes(), flags, host_mode(mode));
            self.fds.with_room(create)?
        };
        let attr = stat_fd(fd.as_fd(), self.ids)?;
        let fd = Arc::new(fd);
        match self.intern(&attr, &open, name, None)? {
            Some(node) => {
                self.keep(node, &fd, Access::Write)?;
                Ok(Entry { node, attr })
            }
            None => self.adopt(fd, FdSort::File, &open, name),
        }
    }

    pub(crate) fn bear_nameless(
        &self,
        caller: &Caller,
        dir: NodeId,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        let open = self.dir(dir)?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
        let make = |mode| openat(&open.fd, c".", flags, host_mode(mode));
        let fd = match self.owners {
            Owners::Real => {
                let _as_caller = BornAs::assume(caller.uid, caller.gid, caller.umask)?;
                self.fds.with_room(|| make(mode))?
            }
            Owners::Xattr(form) => {
                let fd = self.fds.with_room(|| make(PRIVATE_FILE))?;
                let recorded = self.heritage(dir, FileType::Regular, caller, mode)?;
                owners::write(form, Object::Open(fd.as_fd()), FileType::Regular, &recorded)?;
                fd
            }
        };
        let fd = Arc::new(fd);
        let attr = self.shown_fd(&fd, FdSort::File)?;
        let pin = Pin {
            held: Held::new(fd, &self.fds),
            sort: FdSort::File,
        };
        let object = (ObjectId::of(&attr), attr.kind);
        match self
            .table
            .write()?
            .intern(object, None, Some(Box::new(pin)))?
        {
            Interned::Node(node, _) | Interned::Followed(node, _) => Ok(Entry { node, attr }),
            Interned::LookAgain => Err(Errno::STALE),
        }
    }
}

pub(crate) fn host_mode(mode: Mode) -> HostMode {
    HostMode::from_raw_mode(mode.bits())
}
