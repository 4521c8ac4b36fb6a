//! Attributes: reading them, and changing them in an order that keeps what was asked for.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use mica_sys::chmod::chmod_fd;
use mica_sys::xattr::Object;
use mica_vfs::{
    Access, Attr, DevId, Errno, FileType, Ino, KillPriv, Mode, NodeId, Protection, Rdev, SetAttr,
    SetTime, Time, invent,
};
use rustix::fs::{
    AtFlags, Gid, Mode as HostMode, Statx, StatxAttributes, StatxFlags, StatxTimestamp, Timespec,
    Timestamps, UTIME_NOW, UTIME_OMIT, Uid, chownat, fchmod, ftruncate, makedev, statx, utimensat,
};

use crate::HostFs;
use crate::node::{FdSort, ObjectId};
use crate::open::Site;
use crate::owners::{self, Owners};
use crate::xattr::object;

/// What the device of an object stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    /// The device.
    Devices,
    /// The mount in the high half, the device in the low one: for a layer of many mounts.
    Mounts,
}

/// Reads the attributes of what a descriptor, which may be `O_PATH`, has open.
pub(crate) fn stat_fd(fd: BorrowedFd<'_>, ids: Ids) -> Result<Attr, Errno> {
    stat(fd, c"", AtFlags::EMPTY_PATH, ids)
}

/// Reads the attributes of an entry of a directory; a symbolic link is meant itself.
pub(crate) fn stat_entry(dir: BorrowedFd<'_>, name: &CStr, ids: Ids) -> Result<Attr, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    stat(dir, name, flags, ids)
}

/// Returns the number of the mount through which a descriptor was opened; `None` before Linux 5.8.
pub(crate) fn mount_of(fd: BorrowedFd<'_>) -> Result<Option<u64>, Errno> {
    let found = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    let known = StatxFlags::MNT_ID.bits() & found.stx_mask != 0;
    Ok(known.then_some(found.stx_mnt_id))
}

fn stat(dir: BorrowedFd<'_>, name: &CStr, flags: AtFlags, ids: Ids) -> Result<Attr, Errno> {
    let plain = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let wanted = match ids {
        Ids::Devices => plain,
        Ids::Mounts => plain | StatxFlags::MNT_ID,
    };
    let found = statx(dir, name, flags, wanted)?;
    let mode = u32::from(found.stx_mode);
    let Some(kind) = FileType::from_mode(mode) else {
        return Err(invent!(Errno::IO, "an object of no type", mode = mode));
    };
    let attr = attr_of(&found, kind, Mode::new(mode));
    Ok(match ids {
        Ids::Devices => attr,
        // Numbers of mounts are small: they are given again. Those of devices have 32 bits.
        Ids::Mounts => Attr {
            dev: DevId((found.stx_mnt_id << 32) | (attr.dev.0 & u64::from(u32::MAX))),
            ..attr
        },
    })
}

fn attr_of(found: &Statx, kind: FileType, mode: Mode) -> Attr {
    let born = StatxFlags::BTIME.bits() & found.stx_mask != 0;
    Attr {
        ino: Ino(found.stx_ino),
        dev: DevId(makedev(found.stx_dev_major, found.stx_dev_minor)),
        kind,
        mode,
        nlink: found.stx_nlink,
        uid: found.stx_uid,
        gid: found.stx_gid,
        rdev: Rdev {
            major: found.stx_rdev_major,
            minor: found.stx_rdev_minor,
        },
        size: found.stx_size,
        blocks: found.stx_blocks,
        blksize: found.stx_blksize,
        atime: time_of(&found.stx_atime),
        mtime: time_of(&found.stx_mtime),
        ctime: time_of(&found.stx_ctime),
        btime: born.then(|| time_of(&found.stx_btime)),
        protection: protection_of(found),
    }
}

/// Reads which of the flags that protect it an object has; a filesystem that does not tell has none.
fn protection_of(found: &Statx) -> Protection {
    let told = found.stx_attributes & found.stx_attributes_mask;
    let mut protection = Protection::empty();
    protection.set(Protection::APPEND, told.contains(StatxAttributes::APPEND));
    protection.set(
        Protection::IMMUTABLE,
        told.contains(StatxAttributes::IMMUTABLE),
    );
    protection
}

fn time_of(time: &StatxTimestamp) -> Time {
    Time {
        secs: time.tv_sec,
        nanos: time.tv_nsec,
    }
}

impl HostFs {
    pub(crate) fn attr(&self, id: NodeId) -> Result<Attr, Errno> {
        let real = self.real_attr(id)?;
        if self.owners == Owners::Real {
            return self.numbered(real);
        }
        self.reading(id, |site| {
            owners::show(self.owners, object(site, real.kind), real)
        })
    }

    /// Says what an object is on the host, whatever this layer shows: its path below the root of the layer, by the name that
    /// it was seen by last, and its attributes with the device and the number that others see, too.
    ///
    /// # Errors
    ///
    /// `ESTALE`: no name leads to it any more. What statx(2) answers.
    pub fn original(&self, id: NodeId) -> Result<(Vec<u8>, Attr), Errno> {
        let mut attr = self.real_attr(id)?;
        if self.ids == Ids::Mounts {
            attr.dev = DevId(attr.dev.0 & u64::from(u32::MAX));
        }
        Ok((self.table.read()?.path(id)?, attr))
    }

    /// Reads the attributes to show of what a descriptor has open.
    pub(crate) fn shown_fd(&self, fd: &Arc<OwnedFd>, sort: FdSort) -> Result<Attr, Errno> {
        let real = stat_fd(fd.as_fd(), self.ids)?;
        if self.owners == Owners::Real {
            return self.numbered(real);
        }
        let site = Site::Fd(Arc::clone(fd), sort);
        owners::show(self.owners, object(&site, real.kind), real)
    }

    /// Gives attributes the numbers that hold for the whole layer.
    pub(crate) fn numbered(&self, told: Attr) -> Result<Attr, Errno> {
        match &self.tree {
            None => Ok(told),
            Some(tree) => tree.shown(told),
        }
    }

    fn real_attr(&self, id: NodeId) -> Result<Attr, Errno> {
        let named = match self.site(id)? {
            Site::Fd(fd, _) => return stat_fd(fd.as_fd(), self.ids),
            Site::Name(named) => named,
        };
        // The inode number in the answer says whether the name still leads to the node.
        let object = self.table.read()?.node(id)?.object;
        match stat_entry(named.dir.as_fd(), named.name.as_c_str(), self.ids) {
            Ok(attr) if ObjectId::of(&attr) == object => Ok(attr),
            Ok(_) | Err(Errno::NOENT) => stat_fd(self.object_fd(id)?.0.as_fd(), self.ids),
            Err(errno) => Err(errno),
        }
    }

    /// Applies size, owner, mode and times in this order: each may drop what a later one sets.
    pub(crate) fn change_attr(&self, id: NodeId, change: &SetAttr) -> Result<Attr, Errno> {
        if let Some(size) = change.size {
            let fd = self.data_fd(id, Access::Write)?;
            self.drop_privileges(&fd, change.kill)?;
            ftruncate(&fd, size)?;
        }
        let kind = self.table.read()?.node(id)?.kind;
        let (fd, sort) = self.object_fd(id)?;
        // -1 means "unchanged" to the kernel, and rustix refuses it as an id.
        let (uid, gid) = (
            change.uid.filter(|&uid| uid != u32::MAX),
            change.gid.filter(|&gid| gid != u32::MAX),
        );
        let change = &SetAttr {
            uid,
            gid,
            ..*change
        };
        if let Owners::Xattr(form) = self.owners
            && form.fits(kind)
        {
            let site = Site::Fd(Arc::clone(&fd), sort);
            self.record_change(
                form,
                object(&site, kind),
                stat_fd(fd.as_fd(), self.ids)?,
                change,
            )?;
        } else {
            self.change_really(fd.as_fd(), kind, change)?;
        }
        if change.atime.is_some() || change.mtime.is_some() {
            let times = Timestamps {
                last_access: timespec(change.atime),
                last_modification: timespec(change.mtime),
            };
            utimensat(&fd, c"", &times, AtFlags::EMPTY_PATH)?;
        }
        self.shown_fd(&fd, sort)
    }

    /// Changes owner and mode of the object itself.
    fn change_really(
        &self,
        fd: BorrowedFd<'_>,
        kind: FileType,
        change: &SetAttr,
    ) -> Result<(), Errno> {
        let &SetAttr { uid, gid, .. } = change;
        if uid.is_some() || gid.is_some() {
            let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            match chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH) {
                // Whose a link is means nothing, and that it cannot be kept is why there are recorded owners.
                Err(Errno::PERM | Errno::INVAL)
                    if kind == FileType::Symlink && self.owners != Owners::Real => {}
                changed => changed?,
            }
        }
        if let Some(mode) = change.mode {
            if kind == FileType::Symlink {
                return Err(Errno::OPNOTSUPP);
            }
            chmod_fd(fd, HostMode::from_raw_mode(mode.bits()))?;
        }
        Ok(())
    }

    /// Drops the bits that a change of data by an unprivileged caller drops. The host does not do it for us, as this
    /// process may have `CAP_FSETID`; it does drop `security.capability`.
    pub(crate) fn drop_privileges(&self, fd: &Arc<OwnedFd>, kill: KillPriv) -> Result<(), Errno> {
        if kill == KillPriv::Keep {
            return Ok(());
        }
        let mode = self.shown_fd(fd, FdSort::File)?.mode;
        let kept = mode.without_privileges();
        if kept == mode {
            return Ok(());
        }
        let change = SetAttr {
            mode: Some(kept),
            ..SetAttr::default()
        };
        match self.owners {
            Owners::Real => fchmod(fd, HostMode::from_raw_mode(kept.bits())),
            Owners::Xattr(form) => {
                let real = stat_fd(fd.as_fd(), self.ids)?;
                self.record_change(form, Object::Open(fd.as_fd()), real, &change)
            }
        }
    }
}

fn timespec(time: Option<SetTime>) -> Timespec {
    let (tv_sec, tv_nsec) = match time {
        None => (0, UTIME_OMIT),
        Some(SetTime::Now) => (0, UTIME_NOW),
        Some(SetTime::At(time)) => (time.secs, time.nanos.into()),
    };
    Timespec { tv_sec, tv_nsec }
}
