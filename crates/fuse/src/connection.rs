//! The state of one connection that every request sees.
//!
//! All of it is per connection, none of it global: a process may serve many mounts, and a connection that is handed
//! to another server is this state, the filesystem and the device.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mica_vfs::{Attr, Coherence, Entry, Errno, Filesystem, NodeId, Rights, Time};

use crate::init::{InitFlags, InitReport, ProtocolVersion};
use crate::opens::Opens;
use crate::ops::ListingAdvice;
use crate::session::Decider;
use crate::stats::SessionStats;
use crate::wire::{AttrOut, EntryOut, FuseAttr};

/// How long the kernel may use what it was told without asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheTimes {
    /// Names.
    pub entry: Duration,
    /// Names that do not exist.
    pub negative: Duration,
    /// Attributes.
    pub attr: Duration,
}

impl CacheTimes {
    /// A second each: what a filesystem that others change is shown as late at most.
    pub const SHARED: Self = {
        let second = Duration::from_secs(1);
        Self {
            entry: second,
            negative: second,
            attr: second,
        }
    };
}

impl Default for CacheTimes {
    /// A year: a filesystem that changes only through the mount tells the kernel nothing that goes stale.
    fn default() -> Self {
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        Self {
            entry: year,
            negative: year,
            attr: year,
        }
    }
}

/// What one connection is and was agreed to be.
#[derive(Debug)]
pub struct Connection {
    /// What is served. Immutable.
    pub(crate) fs: Arc<dyn Filesystem>,
    /// Immutable.
    times: CacheTimes,
    /// What INIT asks for. Immutable.
    pub(crate) wanted: InitFlags,
    /// Immutable.
    pub(crate) coherence: Coherence,
    /// Immutable.
    pub(crate) decider: Decider,
    /// The process that made the filesystem, 0 if there is none. Set before requests are served.
    maker: AtomicU32,
    pub(crate) opens: Opens,
    /// Atomic counters.
    pub(crate) stats: Arc<SessionStats>,
    /// Set once, by INIT.
    init: OnceLock<Result<InitReport, ProtocolVersion>>,
    /// Atomic.
    pub(crate) advice: ListingAdvice,
}

impl Connection {
    /// Makes the state of a connection on which INIT has not come yet.
    #[must_use]
    pub fn new(fs: Arc<dyn Filesystem>, times: CacheTimes) -> Self {
        Self {
            fs,
            times,
            wanted: InitFlags::wanted(),
            coherence: Coherence::Exclusive,
            decider: Decider::Kernel,
            maker: AtomicU32::new(0),
            opens: Opens::new(),
            stats: Arc::default(),
            init: OnceLock::new(),
            advice: ListingAdvice::default(),
        }
    }

    /// Has no ACLs: the filesystem answers `EOPNOTSUPP` to them.
    #[must_use]
    pub fn without_acls(mut self) -> Self {
        self.wanted = self.wanted.without_acls();
        self
    }

    /// Serves a filesystem that others change, too: each open is a message.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.wanted = self.wanted.shared();
        self.coherence = Coherence::Shared;
        self
    }

    /// Asks the filesystem what a caller may do, as the kernel does not decide it.
    #[must_use]
    pub fn deciding(mut self) -> Self {
        self.wanted = self.wanted.deciding();
        self.decider = Decider::Filesystem;
        self
    }

    /// Lets `process`, a thread by itself, do everything.
    pub(crate) fn trust(&self, process: u32) {
        self.maker.store(process, Relaxed);
    }

    /// Whether a request came from who is [trusted](Self::trust).
    pub(crate) fn is_of_maker(&self, process: u32) -> bool {
        self.decider == Decider::Filesystem && process != 0 && process == self.maker.load(Relaxed)
    }

    /// Fails if the filesystem is to decide, and does not let the caller do all of `wanted` with `node`.
    pub(crate) fn expect(&self, node: NodeId, wanted: Rights) -> Result<(), Errno> {
        match self.decider {
            Decider::Kernel => Ok(()),
            Decider::Filesystem => self.fs.access(node, wanted),
        }
    }

    /// Returns the counters.
    #[must_use]
    pub fn stats(&self) -> Arc<SessionStats> {
        Arc::clone(&self.stats)
    }

    /// Returns what was agreed on: `None` before INIT, the kernel's version if it is too old.
    #[must_use]
    pub fn init(&self) -> Option<Result<InitReport, ProtocolVersion>> {
        self.init.get().copied()
    }

    /// Notes the outcome of INIT; false if there is one already.
    pub(crate) fn agree(&self, outcome: Result<InitReport, ProtocolVersion>) -> bool {
        self.init.set(outcome).is_ok()
    }

    /// Tells whether the connection is up and uses `flags`.
    pub(crate) fn uses(&self, flags: InitFlags) -> bool {
        self.negotiated()
            .is_some_and(|negotiated| negotiated.contains(flags))
    }

    /// Returns the flags in use; `None` while the connection is not up.
    pub(crate) fn negotiated(&self) -> Option<InitFlags> {
        let report = self.init.get()?.as_ref().ok()?;
        Some(report.negotiated)
    }

    /// Writes an entry for the kernel, which holds one reference on the node from then on.
    pub(crate) fn entry_out(&self, entry: &Entry) -> EntryOut {
        self.stats.gave_reference();
        let valid = if self.fs.keeps_name(entry.node) {
            self.times.entry
        } else {
            Duration::ZERO
        };
        EntryOut {
            nodeid: entry.node.0,
            attr: attr_out(&entry.attr),
            entry_valid: valid.as_secs(),
            entry_valid_nsec: valid.subsec_nanos(),
            ..self.no_entry()
        }
    }

    /// Writes "there is no such name", which the kernel remembers. As part of a listing: "no attributes".
    pub(crate) fn no_entry(&self) -> EntryOut {
        EntryOut {
            nodeid: 0,
            generation: 0,
            entry_valid: self.times.negative.as_secs(),
            attr_valid: self.times.attr.as_secs(),
            entry_valid_nsec: self.times.negative.subsec_nanos(),
            attr_valid_nsec: self.times.attr.subsec_nanos(),
            attr: NO_ATTR,
        }
    }

    /// Writes attributes for the kernel.
    pub(crate) fn attr_reply(&self, attr: &Attr) -> AttrOut {
        AttrOut {
            attr_valid: self.times.attr.as_secs(),
            attr_valid_nsec: self.times.attr.subsec_nanos(),
            dummy: 0,
            attr: attr_out(attr),
        }
    }

    /// Returns how long attributes may be cached.
    pub(crate) const fn attr_time(&self) -> Duration {
        self.times.attr
    }

    /// Ends the reference that an entry gave, when the kernel did not get the entry.
    pub(crate) fn take_back(&self, node: NodeId) {
        self.stats.took_reference_back();
        self.fs.forget(node, 1);
    }
}

/// Attributes of nothing.
const NO_ATTR: FuseAttr = FuseAttr {
    ino: 0,
    size: 0,
    blocks: 0,
    atime: 0,
    mtime: 0,
    ctime: 0,
    atimensec: 0,
    mtimensec: 0,
    ctimensec: 0,
    mode: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: 0,
    flags: 0,
};

fn attr_out(attr: &Attr) -> FuseAttr {
    let seconds = |time: Time| time.secs.cast_unsigned();
    FuseAttr {
        ino: attr.ino.0,
        size: attr.size,
        blocks: attr.blocks,
        atime: seconds(attr.atime),
        mtime: seconds(attr.mtime),
        ctime: seconds(attr.ctime),
        atimensec: attr.atime.nanos,
        mtimensec: attr.mtime.nanos,
        ctimensec: attr.ctime.nanos,
        mode: attr.kind.bits() | attr.mode.bits(),
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev.to_u32(),
        blksize: attr.blksize,
        flags: 0,
    }
}
