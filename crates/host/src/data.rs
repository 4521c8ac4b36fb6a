//! The data of regular files.

use mica_vfs::{Access, Errno, FallocateMode, FileType, KillPriv, NodeId, SeekFrom, SyncScope};
use rustix::fs::{
    FallocateFlags, Mode, OFlags, SeekFrom as HostSeek, copy_file_range, fallocate, fdatasync,
    fsync, openat, seek,
};
use rustix::io::{pread, pwrite};

use crate::HostFs;

impl HostFs {
    pub(crate) fn read_at(&self, id: NodeId, offset: u64, data: &mut [u8]) -> Result<usize, Errno> {
        let fd = self.data_fd(id, Access::Read)?;
        let (mut rest, mut at, mut done) = (data, offset, 0);
        while !rest.is_empty() {
            match pread(&fd, &mut *rest, at) {
                Ok(0) => break,
                Ok(count) => {
                    done += count;
                    at = at.saturating_add(count as u64);
                    rest = rest.get_mut(count..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                // Not what came before it: fewer bytes than asked for mean the end of the file.
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }

    pub(crate) fn write_at(
        &self,
        id: NodeId,
        offset: u64,
        data: &[u8],
        kill: KillPriv,
    ) -> Result<usize, Errno> {
        let fd = self.data_fd(id, Access::Write)?;
        self.drop_privileges(&fd, kill)?;
        let (mut rest, mut at, mut done) = (data, offset, 0);
        while !rest.is_empty() {
            match pwrite(&fd, rest, at) {
                Ok(0) => break,
                Ok(count) => {
                    done += count;
                    at = at.saturating_add(count as u64);
                    rest = rest.get(count..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }

    pub(crate) fn allocate(
        &self,
        id: NodeId,
        mode: FallocateMode,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        let fd = self.data_fd(id, Access::Write)?;
        fallocate(
            &fd,
            FallocateFlags::from_bits_retain(mode.bits()),
            offset,
            len,
        )
    }

    /// Uses the position of the shared descriptor, which nothing else relies on.
    pub(crate) fn search(&self, id: NodeId, from: SeekFrom) -> Result<u64, Errno> {
        let fd = self.data_fd(id, Access::Read)?;
        seek(
            &fd,
            match from {
                SeekFrom::Data(offset) => HostSeek::Data(offset),
                SeekFrom::Hole(offset) => HostSeek::Hole(offset),
            },
        )
    }

    pub(crate) fn copy_within(
        &self,
        from: (NodeId, u64),
        to: (NodeId, u64),
        len: u64,
    ) -> Result<u64, Errno> {
        let (mut from_offset, mut to_offset) = (from.1, to.1);
        let source = self.data_fd(from.0, Access::Read)?;
        let target = self.data_fd(to.0, Access::Write)?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let copied = copy_file_range(
            &source,
            Some(&mut from_offset),
            &target,
            Some(&mut to_offset),
            len,
        );
        copied.map(|count| count as u64)
    }

    pub(crate) fn sync(&self, id: NodeId, scope: SyncScope) -> Result<(), Errno> {
        let kind = self.table.read()?.node(id)?.kind;
        let sync = |fd: &std::os::fd::OwnedFd| match scope {
            SyncScope::Data => fdatasync(fd),
            SyncScope::All => fsync(fd),
        };
        match kind {
            FileType::Regular => sync(&*self.data_fd(id, Access::Read)?),
            FileType::Directory => {
                let open = self.dir(id)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                sync(
                    &self
                        .fds
                        .with_room(|| openat(&open.fd, c".", flags, Mode::empty()))?,
                )
            }
            _ => Ok(()),
        }
    }
}
