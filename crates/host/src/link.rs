//! Hard links, and where symbolic ones lead.

use std::os::fd::AsFd;

use mica_sys::proc::FdPath;
use mica_vfs::{Entry, Errno, FileName, FileType, NodeId};
use rustix::fs::{AtFlags, CWD, linkat, readlinkat};

use crate::HostFs;
use crate::open::Site;

impl HostFs {
    /// Gives an object one more name, also one that has none left.
    pub(crate) fn add_name(
        &self,
        id: NodeId,
        dir: NodeId,
        name: FileName<'_>,
    ) -> Result<Entry, Errno> {
        let open = self.dir(dir)?;
        let (fd, _) = self.object_fd(id)?;
        match linkat(&fd, c"", &open.fd, name.as_bytes(), AtFlags::EMPTY_PATH) {
            // The answer to whoever lacks CAP_DAC_READ_SEARCH; following procfs needs none.
            Err(Errno::NOENT) => {
                let path = FdPath::new(fd.as_fd());
                let follow = AtFlags::SYMLINK_FOLLOW;
                linkat(CWD, path.as_c_str(), &open.fd, name.as_bytes(), follow)?;
            }
            done => done?,
        }
        self.find(dir, name)
    }

    pub(crate) fn link_target(&self, id: NodeId) -> Result<Vec<u8>, Errno> {
        if self.table.read()?.node(id)?.kind != FileType::Symlink {
            return Err(Errno::INVAL);
        }
        self.reading(id, |site| {
            let target = match site {
                Site::Fd(fd, _) => readlinkat(fd, c"", Vec::new()),
                Site::Name(named) => readlinkat(&named.dir, named.name.as_c_str(), Vec::new()),
            };
            target.map(std::ffi::CString::into_bytes)
        })
    }
}
