//! What is known of open files, in a mount whose layers others change.
//!
//! A file of a layer is opened by its name when it is read, and others may give that name to another file. So from OPEN to
//! RELEASE the file of the host stays open. Where there are more of them than descriptors the rest is opened by name.
//!
//! The kernel drops the pages of a file that a program opens, unless they are known to be of the version that the file has: there was
//! an open file of that version, so that older pages were dropped, and it was closed, so that this has come about.

use std::collections::HashMap;

use mica_vfs::lock::{Mutex, Rank};
use mica_vfs::{DataVersion, HostFile, NodeId, Opened, Slab};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// A file that was changed less than so many seconds ago may be changed again without another ctime.
const SETTLING: i64 = 2;

/// What becomes of the pages of a file that is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pages {
    Stay,
    Go,
}

/// An open file.
#[derive(Debug)]
struct Open {
    node: NodeId,
    file: Option<HostFile>,
    /// Older pages than of this version go when it is opened. `None`: nothing is known then.
    version: Option<DataVersion>,
}

/// What the pages of a node are of.
#[derive(Debug, Clone, Copy)]
struct Known {
    version: DataVersion,
    /// Whether older pages are surely gone.
    sure: bool,
}

#[derive(Debug, Default)]
struct State {
    open: Slab<Open>,
    /// How many of these have a file.
    held: usize,
    known: HashMap<NodeId, Known>,
}

/// The open files by their handles in the protocol; 0 is the handle of one of which nothing is kept.
#[derive(Debug)]
pub(crate) struct Opens {
    /// The most host files to keep. Immutable.
    max: usize,
    state: Mutex<State>,
}

impl Opens {
    /// Keeps as many files as this process may have open, but for those that serving takes.
    pub(crate) fn new() -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        let max = limit.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        Self::at_most(max / 2)
    }

    fn at_most(max: usize) -> Self {
        Self {
            max,
            state: Mutex::new(Rank(50), State::default()),
        }
    }

    /// Returns the version of which all pages of `node` are that the kernel has, if that is known.
    pub(crate) fn known(&self, node: NodeId) -> Option<DataVersion> {
        let state = self.state.lock().ok()?;
        let known = state.known.get(&node).filter(|known| known.sure)?;
        Some(known.version)
    }

    /// Keeps what was opened until its handle is [let go](Self::release). Returns that, and what becomes of the pages.
    pub(crate) fn keep(&self, node: NodeId, opened: Opened) -> (u64, Pages) {
        let version = opened.version.filter(|version| is_settled(*version));
        let Ok(mut state) = self.state.lock() else {
            return (0, Pages::Go);
        };
        let pages = state.opened(node, version);
        let file = opened.file.filter(|_| state.held < self.max);
        if file.is_none() && version.is_none() {
            return (0, pages);
        }
        state.held += usize::from(file.is_some());
        let open = Open {
            node,
            file,
            version,
        };
        (state.open.insert(open).map_or(0, |handle| handle.0), pages)
    }

    /// Closes a file: what the kernel was told when it was opened it has done.
    pub(crate) fn release(&self, handle: u64) {
        self.close(handle, |known| known.sure = true);
    }

    /// Closes a file of whose opening the kernel was not told.
    pub(crate) fn undo(&self, handle: u64) {
        self.close(handle, |_| {});
    }

    fn close(&self, handle: u64, closed: impl FnOnce(&mut Known)) {
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        let Some(open) = state.open.remove(NodeId(handle)) else {
            return;
        };
        state.held -= usize::from(open.file.is_some());
        let known = state.known.get_mut(&open.node);
        if let Some(known) = known.filter(|known| Some(known.version) == open.version) {
            closed(known);
        }
        drop(state);
        // A descriptor is closed without the lock.
        drop(open);
    }

    /// Forgets what is known of the pages of `node`, of which the kernel has none any more.
    pub(crate) fn forget(&self, node: NodeId) {
        if let Ok(mut state) = self.state.lock() {
            state.known.remove(&node);
        }
    }
}

impl State {
    /// Notes that a file is opened that is of `version`.
    fn opened(&mut self, node: NodeId, version: Option<DataVersion>) -> Pages {
        let Some(version) = version else {
            self.known.remove(&node);
            return Pages::Go;
        };
        match self.known.get(&node) {
            Some(known) if known.version == version => match known.sure {
                true => Pages::Stay,
                false => Pages::Go,
            },
            _ => {
                let sure = false;
                self.known.insert(node, Known { version, sure });
                Pages::Go
            }
        }
    }
}

/// Whether whoever changes the file from now on changes its version, too.
fn is_settled(version: DataVersion) -> bool {
    match version {
        DataVersion::Own => true,
        DataVersion::Others { ctime, .. } => {
            let now = clock_gettime(ClockId::RealtimeCoarse).tv_sec;
            ctime.secs.saturating_add(SETTLING) < now
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mica_vfs::Time;

    use super::*;

    const NODE: NodeId = NodeId(7);

    fn version(ctime: i64) -> DataVersion {
        let time = |secs| Time { secs, nanos: 5 };
        DataVersion::Others {
            size: 1,
            mtime: time(1),
            ctime: time(ctime),
        }
    }

    fn of(version: DataVersion) -> Opened {
        Opened {
            file: None,
            version: Some(version),
        }
    }

    #[test]
    fn files_are_kept_up_to_the_limit_and_until_they_are_released() {
        let opens = Opens::at_most(2);
        let fd = Arc::new(std::fs::File::open("/dev/null").unwrap().into());
        let keep = || {
            let file = Some(HostFile(Arc::clone(&fd)));
            let version = None;
            opens.keep(NODE, Opened { file, version }).0
        };
        let (first, second) = (keep(), keep());
        assert!(first != 0 && second != 0 && first != second);
        assert_eq!((keep(), Arc::strong_count(&fd)), (0, 3));
        opens.release(first);
        opens.release(first);
        opens.release(0);
        assert_eq!(Arc::strong_count(&fd), 2);
        assert_ne!(keep(), 0);
    }

    #[test]
    fn pages_stay_once_a_file_of_the_same_version_was_closed() {
        let opens = Opens::at_most(2);
        let (one, other) = (version(10), version(11));
        let (first, pages) = opens.keep(NODE, of(one));
        assert_eq!((pages, opens.known(NODE)), (Pages::Go, None));
        // The first may not have dropped them yet.
        let (second, pages) = opens.keep(NODE, of(one));
        assert_eq!(pages, Pages::Go);
        opens.undo(second);
        assert_eq!(opens.known(NODE), None);
        opens.release(first);
        assert_eq!(opens.known(NODE), Some(one));
        let (third, pages) = opens.keep(NODE, of(one));
        assert_eq!(pages, Pages::Stay);
        // Changed while it is open: what comes of its closing says nothing of the new version.
        let (fourth, pages) = opens.keep(NODE, of(other));
        assert_eq!(pages, Pages::Go);
        opens.release(third);
        assert_eq!(opens.known(NODE), None);
        opens.release(fourth);
        assert_eq!(opens.keep(NODE, of(other)).1, Pages::Stay);
        // Copied up.
        assert_eq!(opens.keep(NODE, of(DataVersion::Own)).1, Pages::Go);
    }

    #[test]
    fn pages_go_where_nothing_is_known() {
        let opens = Opens::at_most(2);
        let now = clock_gettime(ClockId::RealtimeCoarse).tv_sec;
        for unsure in [Opened::default(), of(version(now)), of(version(now + 9))] {
            let again = || Opened {
                file: None,
                version: unsure.version,
            };
            opens.release(opens.keep(NODE, again()).0);
            assert_eq!(opens.keep(NODE, again()), (0, Pages::Go));
        }
        opens.release(opens.keep(NODE, of(version(10))).0);
        opens.forget(NODE);
        assert_eq!(opens.keep(NODE, of(version(10))).1, Pages::Go);
    }
}
