//! Extended attributes.

use std::os::fd::AsFd;

use mica_sys::chmod::chmod_fd;
use mica_sys::xattr::{self, Object};
use mica_vfs::{Errno, FileType, KillPriv, Mode, NodeId, XattrMode, XattrName};
use rustix::fs::{Mode as HostMode, XattrFlags};

use crate::HostFs;
use crate::attr::stat_fd;
use crate::closed;
use crate::entry_name::EntryName;
use crate::node::FdSort;
use crate::open::Site;
use crate::owners::{Owners, is_hidden};

/// Most bytes of names that an object has, `XATTR_LIST_MAX`.
const XATTR_LIST_MAX: usize = 65536;

impl HostFs {
    pub(crate) fn xattr(
        &self,
        id: NodeId,
        name: XattrName<'_>,
        value: &mut [u8],
    ) -> Result<usize, Errno> {
        self.expect_visible(name, Errno::NODATA)?;
        let name = match &self.tree {
            None => EntryName::new(name.as_bytes()),
            Some(tree) => EntryName::new(&tree.name_on_host(name.as_bytes()).ok_or(Errno::NODATA)?),
        };
        let kind = self.table.read()?.node(id)?.kind;
        self.reading(id, |site| {
            xattr::get(object(site, kind), name.as_c_str(), value)
        })
    }

    pub(crate) fn xattr_names(&self, id: NodeId, names: &mut [u8]) -> Result<usize, Errno> {
        let kind = self.table.read()?.node(id)?.kind;
        if self.owners == Owners::Real && self.tree.is_none() {
            return self.reading(id, |site| xattr::list(object(site, kind), names));
        }
        let mut all = vec![0; XATTR_LIST_MAX];
        let len = self.reading(id, |site| xattr::list(object(site, kind), &mut all))?;
        let all = all.get(..len).unwrap_or_default();
        let mut kept = Vec::new();
        for name in all.split(|&b| b == 0).filter(|name| !name.is_empty()) {
            let shown = match &self.tree {
                _ if self.owners != Owners::Real && is_unseen(name) => continue,
                None => name.to_vec(),
                Some(tree) => match tree.name_shown(name) {
                    Some(shown) => shown,
                    None => continue,
                },
            };
            kept.extend(shown);
            kept.push(0);
        }
        if !names.is_empty() {
            let room = names.get_mut(..kept.len()).ok_or(Errno::RANGE)?;
            room.copy_from_slice(&kept);
        }
        Ok(kept.len())
    }

    /// Refuses the attributes that hold owners with `hidden`, and ACLs, whose mask would be a mode that is not shown, as a
    /// filesystem that has none.
    fn expect_visible(&self, name: XattrName<'_>, hidden: Errno) -> Result<(), Errno> {
        match self.owners {
            Owners::Xattr(_) if is_hidden(name.as_bytes()) => Err(hidden),
            Owners::Xattr(_) if is_acl(name.as_bytes()) => Err(Errno::OPNOTSUPP),
            Owners::Real | Owners::Xattr(_) => Ok(()),
        }
    }

    pub(crate) fn change_xattr(
        &self,
        id: NodeId,
        name: XattrName<'_>,
        value: &[u8],
        mode: XattrMode,
        kill: KillPriv,
    ) -> Result<(), Errno> {
        self.expect_visible(name, Errno::PERM)?;
        let flags = match mode {
            XattrMode::Set => XattrFlags::empty(),
            XattrMode::Create => XattrFlags::CREATE,
            XattrMode::Replace => XattrFlags::REPLACE,
        };
        let entry_name = EntryName::new(name.as_bytes());
        let kind = self.table.read()?.node(id)?.kind;
        let (fd, sort) = self.object_fd(id)?;
        let site = Site::Fd(fd, sort);
        let set = || xattr::set(object(&site, kind), entry_name.as_c_str(), value, flags);
        match (&site, set()) {
            (Site::Fd(fd, _), Err(Errno::ACCESS)) => closed::with_write(&[fd.as_fd()], set)?,
            (_, done) => done?,
        }
        if let Site::Fd(fd, _) = &site
            && kill == KillPriv::Clear
            && name.as_bytes() == b"system.posix_acl_access"
        {
            let mode = stat_fd(fd.as_fd(), self.ids)?.mode;
            let kept = mode.difference(Mode::SETGID);
            if kept != mode {
                chmod_fd(fd.as_fd(), HostMode::from_raw_mode(kept.bits()))?;
            }
        }
        Ok(())
    }

    pub(crate) fn drop_xattr(&self, id: NodeId, name: XattrName<'_>) -> Result<(), Errno> {
        self.expect_visible(name, Errno::NODATA)?;
        let name = EntryName::new(name.as_bytes());
        let kind = self.table.read()?.node(id)?.kind;
        let (fd, sort) = self.object_fd(id)?;
        xattr::remove(object(&Site::Fd(fd, sort), kind), name.as_c_str())
    }
}

fn is_acl(name: &[u8]) -> bool {
    name.starts_with(b"system.posix_acl_")
}

/// Tells whether a layer with recorded owners does not list an attribute.
fn is_unseen(name: &[u8]) -> bool {
    is_hidden(name) || is_acl(name)
}

/// Says to the system call which object is meant.
pub(crate) fn object(site: &Site, kind: FileType) -> Object<'_> {
    match site {
        Site::Name(named) => Object::Entry(named.dir.as_fd(), named.name.as_c_str()),
        // A directory can be named from within, so it needs no procfs.
        Site::Fd(fd, FdSort::Path) if kind == FileType::Directory => {
            Object::Entry(fd.as_fd(), c".")
        }
        Site::Fd(fd, FdSort::Path) => Object::Path(fd.as_fd()),
        Site::Fd(fd, FdSort::File) => Object::Open(fd.as_fd()),
    }
}
