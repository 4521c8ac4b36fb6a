//! What belongs to the host filesystem under the layer: its space, its UUID, its handles, its file flags.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use mica_sys::fsattr::{btrfs_uuid, fs_uuid};
use mica_sys::handle::Handle;
use mica_vfs::{Access, Attr, Errno, FileFlags, FileHandle, FileType, NodeId, StatFs, Uuid};
use rustix::fs::{IFlags, Mode, OFlags, fstatfs, fstatvfs, ioctl_getflags, ioctl_setflags, openat};

use crate::HostFs;
use crate::node::FdSort;
use crate::open::Site;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// `BTRFS_SUPER_MAGIC`.
const BTRFS: i64 = 0x9123_683e;

/// Asks for the UUID of the filesystem that `root` lies on; zero where there is none.
pub(crate) fn uuid_of(root: BorrowedFd<'_>) -> Uuid {
    let Ok(dir) = openat(root, c".", DIRECTORY, Mode::empty()) else {
        return Uuid::default();
    };
    // What the kernel's overlay takes is the same field of the superblock, but btrfs does not tell it in the common way.
    let uuid = fs_uuid(dir.as_fd()).or_else(|_| match fstatfs(&dir)?.f_type {
        BTRFS => btrfs_uuid(dir.as_fd()),
        _ => Err(rustix::io::Errno::NOTTY),
    });
    uuid.map(Uuid).unwrap_or_default()
}

impl HostFs {
    pub(crate) fn space(&self) -> Result<StatFs, Errno> {
        let (kind, found) = (fstatfs(&self.root)?.f_type, fstatvfs(&self.root)?);
        let narrow = |size: u64| u32::try_from(size).unwrap_or(u32::MAX);
        Ok(StatFs {
            kind: kind.cast_unsigned(),
            block_size: narrow(found.f_bsize),
            fragment_size: narrow(found.f_frsize),
            blocks: found.f_blocks,
            blocks_free: found.f_bfree,
            blocks_available: found.f_bavail,
            files: found.f_files,
            files_free: found.f_ffree,
            name_max: narrow(found.f_namemax),
        })
    }

    pub(crate) fn handle(&self, id: NodeId) -> Result<FileHandle, Errno> {
        if self.tree.is_some() {
            // A handle names an object on the filesystem of the root, and another one on any other.
            let table = self.table.read()?;
            if !table
                .node(id)?
                .object
                .same_dev(table.node(NodeId::ROOT)?.object)
            {
                return Err(Errno::OPNOTSUPP);
            }
        }
        let handle = self.reading(id, |site| match site {
            Site::Fd(fd, _) => Handle::of(fd.as_fd(), c""),
            Site::Name(named) => Handle::of(named.dir.as_fd(), named.name.as_c_str()),
        })?;
        Ok(FileHandle {
            kind: handle.kind(),
            bytes: handle.bytes().into(),
        })
    }

    pub(crate) fn attr_of_handle(&self, handle: &FileHandle) -> Result<Attr, Errno> {
        let kept = Handle::new(handle.kind, &handle.bytes)?;
        let mount = self.mount()?;
        let fd = self.fds.with_room(|| kept.open(mount, OFlags::PATH))?;
        self.shown_fd(&Arc::new(fd), FdSort::Path)
    }

    /// Returns the root open for reading: handles are not opened through an `O_PATH` descriptor.
    fn mount(&self) -> Result<BorrowedFd<'_>, Errno> {
        if let Some(mount) = self.mount.get() {
            return Ok(mount.as_fd());
        }
        let opened = self
            .fds
            .with_room(|| openat(&self.root, c".", DIRECTORY, Mode::empty()))?;
        Ok(self.mount.get_or_init(|| opened).as_fd())
    }

    pub(crate) fn flags(&self, id: NodeId) -> Result<FileFlags, Errno> {
        let found = self.on_flags(id, |fd| ioctl_getflags(fd))?;
        Ok(FileFlags::from_bits_retain(found.bits()))
    }

    pub(crate) fn change_flags(&self, id: NodeId, flags: FileFlags) -> Result<(), Errno> {
        let flags = IFlags::from_bits_retain(flags.bits());
        self.on_flags(id, |fd| ioctl_setflags(fd, flags))
    }

    /// Runs a call on an object that may have file flags, opened for reading.
    fn on_flags<T>(
        &self,
        id: NodeId,
        call: impl FnOnce(&OwnedFd) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let kind = self.table.read()?.node(id)?.kind;
        match kind {
            FileType::Regular => call(&*self.data_fd(id, Access::Read)?),
            FileType::Directory => {
                let open = self.dir(id)?;
                call(
                    &self
                        .fds
                        .with_room(|| openat(&open.fd, c".", DIRECTORY, Mode::empty()))?,
                )
            }
            _ => Err(Errno::NOTTY),
        }
    }
}
