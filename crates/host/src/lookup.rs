//! Finding a name: one statx(2), and the node that it leads to.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use mica_sys::xattr::Object;
use mica_vfs::{Access, Attr, Entry, Errno, FileName, Filesystem as _, NodeId, invent};
use rustix::fs::{Mode, OFlags, openat};

use crate::HostFs;
use crate::attr::{stat_entry, stat_fd};
use crate::entry_name::EntryName;
use crate::fd_cache::Held;
use crate::node::{FdSort, ObjectId, Pin};
use crate::open::OpenDir;
use crate::owners;
use crate::table::Interned;

/// How often a name is looked up again because others in its directory were removed meanwhile.
const ATTEMPTS: usize = 8;

impl HostFs {
    pub(crate) fn find(&self, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno> {
        let entry_name = EntryName::new(name.as_bytes());
        let mut open = self.dir(dir)?;
        for _ in 0..ATTEMPTS {
            let real = stat_entry(open.fd.as_fd(), entry_name.as_c_str(), self.ids)?;
            if let Some(tree) = &self.tree {
                tree.refuse_hidden(&real)?;
            }
            let object = Object::Entry(open.fd.as_fd(), entry_name.as_c_str());
            let shown =
                owners::show(self.owners, object, real).and_then(|attr| self.numbered(attr));
            if let Some(node) = self.intern(&real, &open, name, None)? {
                return match shown {
                    Ok(attr) => Ok(Entry { node, attr }),
                    Err(errno) => {
                        self.forget(node, 1);
                        Err(errno)
                    }
                };
            }
            open = self.dir(dir)?;
        }
        // The directory is busy: with a descriptor it does not matter what becomes of the name.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = self
            .fds
            .with_room(|| openat(&open.fd, entry_name.as_c_str(), flags, Mode::empty()))?;
        self.adopt(Arc::new(fd), FdSort::Path, &open, name)
    }

    /// Gives a reference on the node of what was seen as `name`; `None` if it has to be looked up again.
    pub(crate) fn intern(
        &self,
        attr: &Attr,
        dir: &OpenDir,
        name: FileName<'_>,
        pin: Option<Box<Pin>>,
    ) -> Result<Option<NodeId>, Errno> {
        let place = Some((dir.id, name, dir.stamp));
        let interned = self
            .table
            .write()?
            .intern((ObjectId::of(attr), attr.kind), place, pin)?;
        match interned {
            Interned::LookAgain => Ok(None),
            Interned::Followed(node, discard) => {
                discard.close(&self.fds);
                Ok(Some(node))
            }
            Interned::Node(node, None) => Ok(Some(node)),
            Interned::Node(node, Some(pin)) => {
                // A file that was born without a name: its descriptor is as good as a cached one.
                if pin.sort == FdSort::File {
                    self.keep(node, pin.held.fd(), Access::Write)?;
                }
                Ok(Some(node))
            }
        }
    }

    /// Gives a reference on the node of what `fd` has open, which was seen as `name` but may have lost it.
    pub(crate) fn adopt(
        &self,
        fd: Arc<OwnedFd>,
        sort: FdSort,
        dir: &OpenDir,
        name: FileName<'_>,
    ) -> Result<Entry, Errno> {
        let (real, attr) = (stat_fd(fd.as_fd(), self.ids)?, self.shown_fd(&fd, sort)?);
        let pin = Pin {
            held: Held::new(Arc::clone(&fd), &self.fds),
            sort,
        };
        match self.intern(&real, dir, name, Some(Box::new(pin)))? {
            Some(node) => Ok(Entry { node, attr }),
            None => Err(invent!(
                Errno::STALE,
                "a name that kept changing",
                name = name
            )),
        }
    }
}
