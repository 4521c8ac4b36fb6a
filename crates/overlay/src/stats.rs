//! What an overlay has done and holds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A snapshot of an overlay's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OverlayStats {
    /// Nodes that somebody holds a reference on.
    pub nodes: usize,
    /// How many of these are copies of lower files with several names, which are kept until the mount ends (OVL-32).
    pub linked: usize,
    /// Objects that were copied up.
    pub copy_ups: u64,
    /// Bytes of data that copy-ups took over, reflinked ones included.
    pub copied_bytes: u64,
    /// Whiteouts that were made.
    pub whiteouts: u64,
    /// Directory listings that were read from the layers.
    pub listings: u64,
}

/// The counters. Atomic; only for people to read.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) copy_ups: AtomicU64,
    pub(crate) copied_bytes: AtomicU64,
    pub(crate) whiteouts: AtomicU64,
    pub(crate) listings: AtomicU64,
}

impl Counters {
    pub(crate) fn snapshot(&self, (nodes, linked): (usize, usize)) -> OverlayStats {
        OverlayStats {
            nodes,
            linked,
            copy_ups: self.copy_ups.load(Relaxed),
            copied_bytes: self.copied_bytes.load(Relaxed),
            whiteouts: self.whiteouts.load(Relaxed),
            listings: self.listings.load(Relaxed),
        }
    }
}
