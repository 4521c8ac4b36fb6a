//! What open files keep open below, in a mount whose layers others change.
//!
//! A file of a layer is opened by its name when it is read, and others may give that name to another file. So from OPEN to
//! RELEASE the file of the host stays open. Where there are more of them than descriptors the rest is opened by name.

use mica_vfs::lock::{Mutex, Rank};
use mica_vfs::{HostFile, NodeId, Slab};
use rustix::process::{Resource, getrlimit};

/// The host files behind handles of the protocol; 0 is the handle of an open file that keeps nothing.
#[derive(Debug)]
pub(crate) struct Opens {
    /// The most to keep. Immutable.
    max: usize,
    files: Mutex<Slab<HostFile>>,
}

impl Opens {
    /// Keeps as many as this process may have open, but for those that serving takes.
    pub(crate) fn new() -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        let max = limit.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        Self::at_most(max / 2)
    }

    fn at_most(max: usize) -> Self {
        Self {
            max,
            files: Mutex::new(Rank(50), Slab::default()),
        }
    }

    /// Keeps `file` until its handle is [let go](Self::release), and returns that.
    pub(crate) fn keep(&self, file: HostFile) -> u64 {
        let Ok(mut files) = self.files.lock() else {
            return 0;
        };
        if files.len() >= self.max {
            return 0;
        }
        files.insert(file).map_or(0, |handle| handle.0)
    }

    /// Closes what `handle` keeps, if it keeps anything.
    pub(crate) fn release(&self, handle: u64) {
        if handle != 0 {
            let file = self
                .files
                .lock()
                .map(|mut files| files.remove(NodeId(handle)));
            drop(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn files_are_kept_up_to_the_limit_and_until_they_are_released() {
        let opens = Opens::at_most(2);
        let fd = Arc::new(std::fs::File::open("/dev/null").unwrap().into());
        let keep = || opens.keep(HostFile(Arc::clone(&fd)));
        let (first, second) = (keep(), keep());
        assert!(first != 0 && second != 0 && first != second);
        assert_eq!((keep(), Arc::strong_count(&fd)), (0, 3));
        opens.release(first);
        opens.release(first);
        opens.release(0);
        assert_eq!(Arc::strong_count(&fd), 2);
        assert_ne!(keep(), 0);
    }
}
