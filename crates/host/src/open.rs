//! Getting at an object: by a descriptor of its own, or by its parent's and its name.
//!
//! Reads go by name where no descriptor is open, and are repeated if a name in that directory changed meanwhile.
//! Changes always go through a descriptor whose inode was compared with the node's, so that a concurrent rename
//! cannot lead one to another object.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mica_sys::proc::FdPath;
use mica_vfs::{Access, Coherence, Errno, FileType, NodeId, invent};
use rustix::fs::{Mode, OFlags, openat};

use crate::HostFs;
use crate::attr::stat_fd;
use crate::entry_name::EntryName;
use crate::fd_cache::Token;
use crate::node::{FdSort, Node, ObjectId, Stamp};
use crate::table::Table;

/// How often an object is looked for while names around it keep changing.
const ATTEMPTS: usize = 1000;
/// After so many the change is slow (a filesystem mounted `sync`), and waiting is better than spinning.
const IMPATIENT: usize = 32;

const PATH: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const DIRECTORY: OFlags = PATH.union(OFlags::DIRECTORY);
const DATA: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// How an object is reached at the moment.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack of one request, which allocates nothing"
)]
pub(crate) enum Site {
    /// By a descriptor of its own.
    Fd(Arc<OwnedFd>, FdSort),
    /// By a name in a directory, for as long as the directory's stamp stays settled.
    Name(NamedSite),
}

/// A name in an open directory.
#[derive(Debug)]
pub(crate) struct NamedSite {
    pub(crate) dir: Arc<OwnedFd>,
    pub(crate) name: EntryName,
    parent: NodeId,
    stamp: Stamp,
}

/// An open directory as a parent of names.
#[derive(Debug)]
pub(crate) struct OpenDir {
    pub(crate) id: NodeId,
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) stamp: Stamp,
}

impl HostFs {
    /// Opens a directory that names are looked up or changed in. `ENOTDIR` for anything else.
    pub(crate) fn dir(&self, id: NodeId) -> Result<OpenDir, Errno> {
        let (stamp, open) = {
            let table = self.table.read()?;
            let node = table.node(id)?;
            if node.kind != FileType::Directory {
                return Err(Errno::NOTDIR);
            }
            (node.stamp, self.open_fd(node))
        };
        let fd = match open {
            Some((fd, _)) => fd,
            None => self.dir_fd(id)?,
        };
        Ok(OpenDir { id, fd, stamp })
    }

    /// Finds how `id` is reached, for reading.
    pub(crate) fn site(&self, id: NodeId) -> Result<Site, Errno> {
        self.site_of(id, Table::node)
    }

    fn site_of(
        &self,
        id: NodeId,
        find: fn(&Table, NodeId) -> Result<&Node, Errno>,
    ) -> Result<Site, Errno> {
        let (parent, name, stamp, open) = {
            let table = self.table.read()?;
            let node = find(&table, id)?;
            if let Some((fd, sort)) = self.open_fd(node) {
                return Ok(Site::Fd(fd, sort));
            }
            let (parent_id, parent, name) = table.place(node)?;
            (
                parent_id,
                EntryName::new(name.as_bytes()),
                parent.stamp,
                self.open_fd(parent),
            )
        };
        let dir = match open {
            Some((fd, _)) => fd,
            None => self.dir_fd(parent)?,
        };
        Ok(Site::Name(NamedSite {
            dir,
            name,
            parent,
            stamp,
        }))
    }

    /// Returns the descriptor that a node has open: its pin, or the cached one.
    fn open_fd(&self, node: &Node) -> Option<(Arc<OwnedFd>, FdSort)> {
        if let Some(pin) = &node.pin {
            return Some((Arc::clone(pin.held.fd()), pin.sort));
        }
        let sort = match node.kind {
            FileType::Directory => FdSort::Path,
            _ => FdSort::File,
        };
        Some((self.fds.get(node.fd)?, sort))
    }

    /// Tells whether `site` has meant the node's object all the time since it was found.
    pub(crate) fn settled(&self, site: &NamedSite) -> Result<bool, Errno> {
        let table = self.table.read()?;
        Ok(table
            .known(site.parent)
            .is_ok_and(|parent| site.stamp.settled(parent.stamp)))
    }

    /// Runs a call that reads an object, by name if need be, and makes sure that it read the node's.
    pub(crate) fn reading<T>(
        &self,
        id: NodeId,
        mut call: impl FnMut(&Site) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut site = self.site(id)?;
        if self.coherence == Coherence::Shared && matches!(site, Site::Name(_)) {
            let (fd, sort) = self.object_fd(id)?;
            site = Site::Fd(fd, sort);
        }
        let result = call(&site);
        match (&site, &result) {
            (Site::Fd(..), _) => result,
            (Site::Name(named), Ok(_)) if self.settled(named)? => result,
            (Site::Name(named), Err(errno)) if !is_gone(*errno) && self.settled(named)? => result,
            (Site::Name(_), _) => {
                let (fd, sort) = self.object_fd(id)?;
                call(&Site::Fd(fd, sort))
            }
        }
    }

    /// Opens the object itself: what is open already, or a fresh `O_PATH` descriptor that was compared.
    pub(crate) fn object_fd(&self, id: NodeId) -> Result<(Arc<OwnedFd>, FdSort), Errno> {
        let kind = self.table.read()?.node(id)?.kind;
        if kind == FileType::Directory {
            return self.dir(id).map(|dir| (dir.fd, FdSort::Path));
        }
        self.open_by_name(id, PATH, Check::Always)
            .map(|(fd, sort)| (fd, sort.unwrap_or(FdSort::Path)))
    }

    /// Opens a directory node, and on the way those of its ancestors that are not open.
    pub(crate) fn dir_fd(&self, id: NodeId) -> Result<Arc<OwnedFd>, Errno> {
        let mut chain = Vec::new();
        let mut fd = {
            let table = self.table.read()?;
            let mut next = id;
            loop {
                let node = table.known(next)?;
                if let Some((fd, _)) = self.open_fd(node) {
                    break fd;
                }
                // Concurrent renames seen in the wrong order could close a circle.
                if chain.len() > table.live() {
                    return Err(invent!(
                        Errno::IO,
                        "a directory lies in itself",
                        node = id.0
                    ));
                }
                chain.push(next);
                next = table.place(node)?.0;
            }
        };
        while let Some(next) = chain.pop() {
            let (opened, sort) = self.open_by_name(next, DIRECTORY, Check::Unsettled)?;
            if sort.is_none() {
                self.keep(next, &opened, Access::Read)?;
            }
            fd = opened;
        }
        Ok(fd)
    }

    /// Opens the data of a regular file, or returns what is open.
    pub(crate) fn data_fd(&self, id: NodeId, access: Access) -> Result<Arc<OwnedFd>, Errno> {
        if access == Access::Write {
            self.writable()?;
        }
        let pin = {
            let table = self.table.read()?;
            let node = table.node(id)?;
            match node.kind {
                FileType::Regular => {}
                FileType::Directory => return Err(Errno::ISDIR),
                _ => return Err(Errno::INVAL),
            }
            let enough = access == Access::Read || node.access == Access::Write;
            if enough && let Some(fd) = self.fds.get(node.fd) {
                return Ok(fd);
            }
            match &node.pin {
                // A file that was born without a name: its pin is open for both.
                Some(pin) if pin.sort == FdSort::File => return Ok(Arc::clone(pin.held.fd())),
                pin => pin.as_ref().map(|pin| Arc::clone(pin.held.fd())),
            }
        };
        let mode = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
        };
        let fd = match pin {
            Some(pin) => Arc::new(self.reopen(&pin, mode)?),
            None => self.open_by_name(id, DATA | mode, Check::Unsettled)?.0,
        };
        self.keep(id, &fd, access)?;
        Ok(fd)
    }

    /// Opens what a descriptor has open once more, whatever its names are.
    pub(crate) fn reopen(&self, fd: &OwnedFd, mode: OFlags) -> Result<OwnedFd, Errno> {
        let path = FdPath::new(fd.as_fd());
        let flags = DATA.difference(OFlags::NOFOLLOW) | mode;
        self.open_noatime(|noatime| {
            rustix::fs::open(path.as_c_str(), flags | noatime, Mode::empty())
        })
    }

    /// Opens without updating the access time where that is permitted: to owners and the privileged.
    pub(crate) fn open_noatime(
        &self,
        open: impl Fn(OFlags) -> Result<OwnedFd, Errno>,
    ) -> Result<OwnedFd, Errno> {
        mica_vfs::met!(54);
        match self.fds.with_room(|| open(OFlags::NOATIME)) {
            Err(Errno::PERM) => self.fds.with_room(|| open(OFlags::empty())),
            result => result,
        }
    }

    /// Opens a node by its name; or, if it was given a descriptor meanwhile, returns that with its sort.
    fn open_by_name(
        &self,
        id: NodeId,
        flags: OFlags,
        check: Check,
    ) -> Result<(Arc<OwnedFd>, Option<FdSort>), Errno> {
        let object = self.table.read()?.known(id)?.object;
        let wants_data = !flags.contains(OFlags::PATH);
        let check = match self.coherence {
            Coherence::Exclusive => check,
            Coherence::Shared => Check::Always,
        };
        for attempt in 0..ATTEMPTS {
            let named = match self.site_of(id, Table::known)? {
                Site::Fd(fd, FdSort::Path) if wants_data => {
                    let mode = flags & (OFlags::RDWR | OFlags::WRONLY);
                    return self.reopen(&fd, mode).map(|fd| (Arc::new(fd), None));
                }
                // Open for reading only, but wanted for writing: by name again.
                Site::Fd(fd, FdSort::File) if wants_data && flags.contains(OFlags::RDWR) => {
                    return self
                        .reopen(&fd, OFlags::RDWR)
                        .map(|fd| (Arc::new(fd), None));
                }
                Site::Fd(fd, sort) => return Ok((fd, Some(sort))),
                Site::Name(named) => named,
            };
            let (dir, name) = (&named.dir, named.name.as_c_str());
            let opened = if wants_data {
                self.open_noatime(|noatime| openat(dir, name, flags | noatime, Mode::empty()))
            } else {
                self.fds
                    .with_room(|| openat(dir, name, flags, Mode::empty()))
            };
            let settled = self.settled(&named)?;
            match opened {
                Ok(fd) if check == Check::Unsettled && settled => return Ok((Arc::new(fd), None)),
                Ok(fd) if ObjectId::of(&stat_fd(fd.as_fd(), self.ids)?) == object => {
                    return Ok((Arc::new(fd), None));
                }
                Err(errno) if !is_gone(errno) => return Err(errno),
                // What the layer is shared for: whoever asks looks up again.
                _ if settled && self.coherence == Coherence::Shared => return Err(Errno::STALE),
                _ if settled => {
                    return Err(invent!(
                        Errno::STALE,
                        "the layer was changed from outside",
                        name = named.name.as_c_str().to_bytes().escape_ascii(),
                    ));
                }
                _ if attempt < IMPATIENT => std::thread::yield_now(),
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        Err(invent!(
            Errno::STALE,
            "names kept changing around an object",
            node = id.0
        ))
    }

    /// Puts a node's descriptor into the cache.
    pub(crate) fn keep(&self, id: NodeId, fd: &Arc<OwnedFd>, access: Access) -> Result<(), Errno> {
        let token = self.fds.insert(Arc::clone(fd));
        let replaced = {
            let mut table = self.table.write()?;
            match table.known_mut(id) {
                Ok(node) => {
                    node.access = access;
                    std::mem::replace(&mut node.fd, token)
                }
                Err(_) => token,
            }
        };
        if replaced != Token::NONE {
            self.fds.remove(replaced);
        }
        Ok(())
    }
}

/// When an opened object is compared with the node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// Before it is changed.
    Always,
    /// If a name in its directory was changing.
    Unsettled,
}

/// Tells whether an error of an open means that the name leads to another object or none.
fn is_gone(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE | Errno::NXIO
    )
}
