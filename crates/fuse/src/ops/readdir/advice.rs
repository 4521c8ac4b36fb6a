//! Whether a listing brings attributes along.
//!
//! The kernel asks for them (READDIRPLUS) at the start of every directory. They save a LOOKUP per name when somebody
//! stats the names (`ls -l`, a backup), and cost several times the listing itself when nobody does (`find -name`, shell
//! globs). The kernel does not say which: a stat that hits the cache sends nothing.
//!
//! So the server watches for names that it listed *without* attributes. A LOOKUP of such a name, if it is not a
//! directory (a walker looks those up to go down), means that somebody stats or opens what is listed.
//!
//! - While attributes are given, one file of a listing is left out now and then: a *probe*. If the LOOKUPs of
//!   [`PATIENCE`] probes in a row do not come, attributes are left out from then on.
//! - While they are left out, the first LOOKUP of a file in one of the last [`WATCHED`] directories brings them back.
//! - The kernel asks in the middle of a directory only when a name of it was looked up: such a listing has them.
//!
//! A wrong guess costs speed alone, so all of it is a handful of relaxed atomics: racing threads may lose a note.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use mica_vfs::{FileName, NodeId};

/// Probes that nobody looked up before attributes are left out.
const PATIENCE: u32 = 4;
/// Listings per probe once a probe was looked up.
const PROBE_EVERY: u32 = 16;
/// Directories listed without attributes that are watched for LOOKUPs.
const WATCHED: usize = 8;
/// No directory: a nodeid is never 0.
const NOWHERE: u64 = 0;

/// What a listing has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attributes {
    /// Attributes with every name.
    Given,
    /// Attributes with every name but one file, which is a probe.
    GivenButOne,
    /// Names alone.
    Left,
}

/// What was seen of one connection's readers.
#[derive(Debug)]
pub(crate) struct ListingAdvice {
    /// Probes in a row that nobody looked up; [`PATIENCE`] of them: attributes are left out. Atomic.
    unread: AtomicU32,
    /// Listings until the next probe. Atomic.
    until_probe: AtomicU32,
    /// Directory of the probe that is out. Atomic.
    probe_dir: AtomicU64,
    /// Hash of the probe's name. Atomic.
    probe_name: AtomicU64,
    /// The last directories that were listed without attributes, as a ring. Atomic.
    watched: [AtomicU64; WATCHED],
    /// The next place of the ring. Atomic.
    next: AtomicU32,
}

impl Default for ListingAdvice {
    /// Begins with attributes, and probes at once.
    fn default() -> Self {
        Self {
            unread: AtomicU32::new(0),
            until_probe: AtomicU32::new(0),
            probe_dir: AtomicU64::new(NOWHERE),
            probe_name: AtomicU64::new(0),
            watched: [const { AtomicU64::new(NOWHERE) }; WATCHED],
            next: AtomicU32::new(0),
        }
    }
}

impl ListingAdvice {
    /// Says what a READDIRPLUS of `dir` at `offset` of the wire is answered with.
    pub(super) fn wanted(&self, dir: NodeId, offset: u64) -> Attributes {
        if offset != 0 {
            return Attributes::Given;
        }
        if self.unread.load(Relaxed) >= PATIENCE {
            self.watch(dir);
            return Attributes::Left;
        }
        if self.until_probe.load(Relaxed) > 0 {
            self.until_probe.fetch_sub(1, Relaxed);
            return Attributes::Given;
        }
        Attributes::GivenButOne
    }

    /// Notes that `name` was listed without attributes as a probe. The one before counts as unread.
    pub(super) fn left_out(&self, dir: NodeId, name: FileName<'_>) {
        if self.probe_dir.swap(dir.0, Relaxed) != NOWHERE {
            self.unread.fetch_add(1, Relaxed);
        }
        self.probe_name.store(hash(name), Relaxed);
    }

    /// Notes that a name which is not a directory was looked up.
    pub(crate) fn looked_up(&self, dir: NodeId, name: FileName<'_>) {
        if self.unread.load(Relaxed) >= PATIENCE {
            let seen = |watched: &AtomicU64| watched.load(Relaxed) == dir.0;
            if self.watched.iter().any(seen) {
                self.unread.store(0, Relaxed);
                self.until_probe.store(PROBE_EVERY, Relaxed);
                self.probe_dir.store(NOWHERE, Relaxed);
            }
        } else if self.probe_dir.load(Relaxed) == dir.0
            && self.probe_name.load(Relaxed) == hash(name)
        {
            self.unread.store(0, Relaxed);
            self.until_probe.store(PROBE_EVERY, Relaxed);
            self.probe_dir.store(NOWHERE, Relaxed);
        }
    }

    fn watch(&self, dir: NodeId) {
        let place = usize::try_from(self.next.fetch_add(1, Relaxed)).unwrap_or(0) % WATCHED;
        if let Some(watched) = self.watched.get(place) {
            watched.store(dir.0, Relaxed);
        }
    }
}

/// FNV-1a.
fn hash(name: FileName<'_>) -> u64 {
    name.as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(bytes: &[u8]) -> FileName<'_> {
        FileName::new(bytes).unwrap()
    }

    /// Lists directory `n`, which has one file; whether that comes with attributes.
    fn list(advice: &ListingAdvice, n: u64) -> Attributes {
        let wanted = advice.wanted(NodeId(n), 0);
        if wanted == Attributes::GivenButOne {
            advice.left_out(NodeId(n), name(b"file"));
        }
        wanted
    }

    #[test]
    fn a_walk_without_stat_ends_the_attributes() {
        let advice = ListingAdvice::default();
        let given = (2..100).filter(|&n| list(&advice, n) != Attributes::Left);
        assert!(given.count() <= 5);
    }

    #[test]
    fn a_walk_with_stat_keeps_them() {
        let advice = ListingAdvice::default();
        let mut lookups = 0;
        for n in 2..1000 {
            match list(&advice, n) {
                Attributes::Left => panic!("left out at {n}"),
                Attributes::Given => {}
                Attributes::GivenButOne => {
                    lookups += 1;
                    advice.looked_up(NodeId(n), name(b"file"));
                }
            }
        }
        assert!(lookups < 1000 / 16 + 2);
    }

    #[test]
    fn one_lookup_of_a_listed_file_brings_them_back() {
        let advice = ListingAdvice::default();
        for n in 2..20 {
            list(&advice, n);
        }
        assert_eq!(list(&advice, 20), Attributes::Left);
        advice.looked_up(NodeId(2), name(b"file"));
        assert_eq!(list(&advice, 21), Attributes::Left);
        advice.looked_up(NodeId(20), name(b"file"));
        assert_eq!(list(&advice, 22), Attributes::Given);
    }

    #[test]
    fn the_middle_of_a_directory_has_attributes() {
        let advice = ListingAdvice::default();
        for n in 2..20 {
            list(&advice, n);
        }
        assert_eq!(advice.wanted(NodeId(20), 77), Attributes::Given);
    }
}
