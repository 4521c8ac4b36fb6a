//! What the host lets this process's user do with an object.

use std::os::fd::AsFd as _;

use mica_sys::access::access_fd;
use mica_vfs::{Errno, NodeId, Rights};
use rustix::fs::Access;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::HostFs;

/// What lets a server do more with files than its user may.
const BEYOND: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::DAC_READ_SEARCH);

impl HostFs {
    /// Asks the host: it knows ACLs, all groups of the user, and what else it goes by.
    ///
    /// # Errors
    ///
    /// As access(2); `ENOSYS` before Linux 5.8.
    pub(crate) fn may(&self, id: NodeId, wanted: Rights) -> Result<(), Errno> {
        let (fd, _) = self.object_fd(id)?;
        let mut mask = Access::empty();
        mask.set(Access::READ_OK, wanted.contains(Rights::READ));
        mask.set(Access::WRITE_OK, wanted.contains(Rights::WRITE));
        mask.set(Access::EXEC_OK, wanted.contains(Rights::EXEC));
        as_the_user(|| access_fd(fd.as_fd(), mask))
    }
}

/// Runs `ask` on this thread without the capabilities that the user of the server does not have.
fn as_the_user(ask: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    let held = capabilities(None)?;
    if !held.effective.intersects(BEYOND) {
        return ask();
    }
    let mut less = held;
    less.effective.remove(BEYOND);
    set_capabilities(None, less)?;
    let answer = ask();
    set_capabilities(None, held)?;
    answer
}
