//! Removing names, and what becomes of the nodes that were reached by them.
//!
//! The object is opened before its name goes, so that whoever holds a reference can go on with it. Where nobody
//! does, the descriptor is closed again: finding that out first would leave a gap for a lookup.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use mica_vfs::{Errno, FileName, NodeId};
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};

use crate::HostFs;
use crate::attr::stat_fd;
use crate::fd_cache::Held;
use crate::node::{FdSort, ObjectId, Pin};
use crate::open::OpenDir;
use crate::table::{Discard, Table};

/// Marks directories whose names are being changed, until it is dropped.
#[derive(Debug)]
pub(crate) struct Changing<'a> {
    fs: &'a HostFs,
    dirs: [NodeId; 2],
    ended: bool,
}

impl<'a> Changing<'a> {
    pub(crate) fn begin(fs: &'a HostFs, dirs: [NodeId; 2]) -> Result<Self, Errno> {
        let mut table = fs.table.write()?;
        // Both or none: what is begun has to be ended.
        for dir in dirs {
            table.known(dir)?;
        }
        for dir in dirs {
            table.begin(dir);
        }
        Ok(Self {
            fs,
            dirs,
            ended: false,
        })
    }

    /// Tells the table what became of the names, in one step with the end of the change.
    pub(crate) fn end(
        mut self,
        update: impl FnOnce(&mut Table) -> Vec<Discard>,
    ) -> Result<(), Errno> {
        let mut table = self.fs.table.write()?;
        let discards = update(&mut table);
        self.mark_ended(&mut table);
        drop(table);
        for discard in discards {
            discard.close(&self.fs.fds);
        }
        Ok(())
    }

    fn mark_ended(&mut self, table: &mut Table) {
        for dir in self.dirs {
            table.end(dir);
        }
        self.ended = true;
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let fs = self.fs;
        if !self.ended
            && let Ok(mut table) = fs.table.write()
        {
            self.mark_ended(&mut table);
        }
    }
}

/// An object that is about to lose a name.
#[derive(Debug)]
pub(crate) struct Doomed {
    pub(crate) object: ObjectId,
    fd: Arc<OwnedFd>,
    /// Whether its node was given `fd` already.
    pinned: bool,
}

impl HostFs {
    pub(crate) fn remove(
        &self,
        dir: NodeId,
        name: FileName<'_>,
        flags: AtFlags,
    ) -> Result<(), Errno> {
        let open = self.dir(dir)?;
        let changing = Changing::begin(self, [dir, dir])?;
        let doomed = self.doom(&open, name)?;
        if let Err(errno) = unlinkat(&open.fd, name.as_bytes(), flags) {
            self.spare(&doomed)?;
            return Err(errno);
        }
        changing.end(|table| vec![self.bury(table, &doomed, (dir, name))])
    }

    /// Opens what is about to lose `name`, and gives the descriptor to its node if there is one.
    pub(crate) fn doom(&self, dir: &OpenDir, name: FileName<'_>) -> Result<Doomed, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = self
            .fds
            .with_room(|| openat(&dir.fd, name.as_bytes(), flags, Mode::empty()))?;
        let object = ObjectId::of(&stat_fd(fd.as_fd(), self.ids)?);
        let fd = Arc::new(fd);
        let pin = || self.path_pin(&fd);
        let pinned = self.table.write()?.pin(object, (dir.id, name), pin);
        Ok(Doomed { object, fd, pinned })
    }

    /// Undoes [`doom`](Self::doom): the name stayed.
    pub(crate) fn spare(&self, doomed: &Doomed) -> Result<(), Errno> {
        if doomed.pinned {
            let pin = self.table.write()?.unpin(doomed.object);
            drop(pin);
        }
        Ok(())
    }

    /// Notes that the name is gone.
    pub(crate) fn bury(
        &self,
        table: &mut Table,
        doomed: &Doomed,
        place: (NodeId, FileName<'_>),
    ) -> Discard {
        table.detach(doomed.object, place, || self.path_pin(&doomed.fd))
    }

    fn path_pin(&self, fd: &Arc<OwnedFd>) -> Pin {
        Pin {
            held: Held::new(Arc::clone(fd), &self.fds),
            sort: FdSort::Path,
        }
    }
}
