//! Whose objects are shown to be whose: between the ids that the layers store and those that the overlay shows.
//!
//! The words are those of fuse-overlayfs, and so are the rules (OVL-73, OVL-74). Inside the overlay every id is a stored
//! one: this module stands where attributes leave and where callers and changes come in, so that copy-up, whiteouts and
//! marks know nothing of it.

use mica_vfs::{Attr, Caller, Errno, SetAttr};

use crate::overlay::Overlay;

/// "No id" of chown(2): what is not to be changed. No object has it.
const NO_ID: u32 = u32::MAX;

/// What an id without a mapping is shown as where the kernel was not asked, `/proc/sys/kernel/overflowuid`.
pub const OVERFLOW_ID: u32 = 65534;

/// Consecutive ids that are shown as others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first id as the layers store it.
    pub stored: u32,
    /// The id that it is shown as.
    pub shown: u32,
    /// How many there are.
    pub len: u32,
}

/// Ranges of which no two share an id, on either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdRanges(Box<[IdRange]>);

/// Why ranges are no mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdRangeError {
    /// A range of no ids.
    #[error("the range {}:{}:0 is empty", .0.stored, .0.shown)]
    Empty(IdRange),
    /// A range that reaches 4294967295, which is no id, or beyond.
    #[error("the range {}:{}:{} goes beyond the last id, 4294967294", .0.stored, .0.shown, .0.len)]
    PastEnd(IdRange),
    /// Two ranges with an id in common.
    #[error(
        "the ranges {}:{}:{} and {}:{}:{} overlap",
        .0.stored, .0.shown, .0.len, .1.stored, .1.shown, .1.len
    )]
    Overlap(IdRange, IdRange),
}

impl IdRange {
    /// Counts `id` from `first` to `to`, if it is in the range that begins at `first`.
    fn translate(self, id: u32, first: u32, to: u32) -> Option<u32> {
        let nth = id.checked_sub(first).filter(|&nth| nth < self.len)?;
        to.checked_add(nth)
    }

    fn overlaps(self, other: Self) -> bool {
        let meet = |a: u32, b: u32| {
            let (a, b) = (u64::from(a), u64::from(b));
            a < b + u64::from(other.len) && b < a + u64::from(self.len)
        };
        meet(self.stored, other.stored) || meet(self.shown, other.shown)
    }
}

impl IdRanges {
    /// Checks that each id has one meaning in both directions, as user_namespaces(7) asks of `uid_map`.
    ///
    /// # Errors
    ///
    /// [`IdRangeError`] names the first range that does not fit.
    pub fn new(ranges: Vec<IdRange>) -> Result<Self, IdRangeError> {
        for (at, &range) in ranges.iter().enumerate() {
            if range.len == 0 {
                return Err(IdRangeError::Empty(range));
            }
            let ends = |first: u32| first.checked_add(range.len).is_some();
            if !ends(range.stored) || !ends(range.shown) {
                return Err(IdRangeError::PastEnd(range));
            }
            if let Some(&other) = ranges.iter().take(at).find(|other| other.overlaps(range)) {
                return Err(IdRangeError::Overlap(other, range));
            }
        }
        Ok(Self(ranges.into()))
    }

    /// Returns the ranges, in the order in which they were given.
    #[must_use]
    pub fn as_slice(&self) -> &[IdRange] {
        &self.0
    }
}

/// How the ids of one kind, users or groups, are shown and stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdRules {
    /// Show every object as this one's, whoever owns it. New objects are stored as their maker's all the same.
    pub squash: Option<u32>,
    /// Which ids are shown as which; `None`: as they are.
    pub ranges: Option<IdRanges>,
    /// What an id outside of all ranges becomes, shown and stored.
    pub overflow: u32,
}

impl Default for IdRules {
    fn default() -> Self {
        Self {
            squash: None,
            ranges: None,
            overflow: OVERFLOW_ID,
        }
    }
}

impl IdRules {
    /// Returns what a stored id is mapped to; `None` if it has no mapping.
    pub(crate) fn mapped(&self, stored: u32) -> Option<u32> {
        let Some(ranges) = &self.ranges else {
            return Some(stored);
        };
        let ranges = ranges.as_slice().iter();
        let mut found = ranges.filter_map(|r| r.translate(stored, r.stored, r.shown));
        found.next()
    }

    /// Returns the stored id that is mapped to `shown`; `None` if there is none.
    pub(crate) fn unmapped(&self, shown: u32) -> Option<u32> {
        let Some(ranges) = &self.ranges else {
            return Some(shown);
        };
        let ranges = ranges.as_slice().iter();
        let mut found = ranges.filter_map(|r| r.translate(shown, r.shown, r.stored));
        found.next()
    }

    /// Returns the owner to show for a stored one. A squash comes before the ranges.
    #[must_use]
    pub fn shown(&self, stored: u32) -> u32 {
        let mapped = || self.mapped(stored).unwrap_or(self.overflow);
        self.squash.unwrap_or_else(mapped)
    }

    /// Returns the owner to store for one that a caller has or names. No squash applies: it has no way back.
    #[must_use]
    pub fn stored(&self, shown: u32) -> u32 {
        if shown == NO_ID {
            return NO_ID;
        }
        self.unmapped(shown).unwrap_or(self.overflow)
    }
}

/// How the owners of all objects are shown and stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMap {
    /// Owners.
    pub users: IdRules,
    /// Groups.
    pub groups: IdRules,
}

impl IdMap {
    pub(crate) fn shown(&self, real: Attr) -> Attr {
        Attr {
            uid: self.users.shown(real.uid),
            gid: self.groups.shown(real.gid),
            ..real
        }
    }

    pub(crate) fn stored(&self, change: &SetAttr) -> SetAttr {
        SetAttr {
            uid: change.uid.map(|uid| self.users.stored(uid)),
            gid: change.gid.map(|gid| self.groups.stored(gid)),
            ..*change
        }
    }

    fn maker(&self, caller: &Caller) -> Caller {
        Caller {
            uid: self.users.stored(caller.uid),
            gid: self.groups.stored(caller.gid),
            ..*caller
        }
    }

    /// Whether stored ids are what is shown, ACLs included.
    pub(crate) fn has_ranges(&self) -> bool {
        self.users.ranges.is_some() || self.groups.ranges.is_some()
    }

    /// Whether owners are shown that nobody stored. Then it does no harm to store others than asked for (OVL-73).
    pub(crate) fn squashes(&self) -> bool {
        self.users.squash.is_some() || self.groups.squash.is_some()
    }

    /// Tells whether `error` is that of a change of owner which a squash makes pointless.
    pub(crate) fn forgives(&self, error: Errno) -> bool {
        // EINVAL is the answer for an id without a mapping in this process's user namespace.
        self.squashes() && matches!(error, Errno::PERM | Errno::INVAL)
    }
}

impl Overlay {
    /// Runs `make` as the owner that is stored for `caller`; with a squash, as the mounter where this process may not make
    /// objects of somebody else.
    pub(crate) fn made_by<T>(
        &self,
        caller: &Caller,
        make: impl Fn(&Caller) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let maker = self.config.ids.maker(caller);
        match make(&maker) {
            Err(Errno::PERM) if self.config.ids.squashes() => make(&Caller {
                umask: maker.umask,
                ..self.config.mounter
            }),
            made => made,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range((stored, shown, len): (u32, u32, u32)) -> IdRange {
        IdRange { stored, shown, len }
    }

    fn ranges(all: &[(u32, u32, u32)]) -> Result<IdRanges, IdRangeError> {
        IdRanges::new(all.iter().copied().map(range).collect())
    }

    fn rules(all: &[(u32, u32, u32)]) -> IdRules {
        IdRules {
            ranges: Some(ranges(all).unwrap()),
            ..IdRules::default()
        }
    }

    #[test]
    fn ovl_74_a_stored_id_is_shown_and_stored_again_through_its_range() {
        let rules = rules(&[(0, 1000, 1), (1, 110_000, 65_536)]);
        for (stored, shown) in [(0, 1000), (1, 110_000), (2, 110_001), (65_536, 175_535)] {
            assert_eq!(rules.shown(stored), shown);
            assert_eq!(rules.stored(shown), stored);
        }
    }

    #[test]
    fn ovl_74_an_id_without_a_mapping_is_the_overflow_id_both_ways() {
        let rules = IdRules {
            overflow: 77,
            ..rules(&[(10, 20, 5)])
        };
        for id in [0, 9, 15, 16, 65_534, u32::MAX - 1] {
            assert_eq!(rules.shown(id), 77, "{id}");
        }
        for id in [0, 10, 19, 25, u32::MAX - 1] {
            assert_eq!(rules.stored(id), 77, "{id}");
        }
    }

    #[test]
    fn ovl_74_no_id_stays_no_id() {
        assert_eq!(IdRules::default().stored(u32::MAX), u32::MAX);
        assert_eq!(rules(&[(0, 0, u32::MAX)]).stored(u32::MAX), u32::MAX);
    }

    #[test]
    fn ovl_74_the_last_id_is_4294967294() {
        let last = u32::MAX - 1;
        for good in [
            (0, 0, u32::MAX),
            (last, 0, 1),
            (0, last, 1),
            (5, 7, last - 6),
        ] {
            assert!(ranges(&[good]).is_ok(), "{good:?}");
        }
        assert_eq!(rules(&[(0, last, 1)]).shown(0), last);
        assert_eq!(rules(&[(0, last, 1)]).stored(last), 0);
        for bad in [
            (1, 0, u32::MAX),
            (0, 1, u32::MAX),
            (u32::MAX, 0, 1),
            (0, u32::MAX, 1),
        ] {
            assert_eq!(ranges(&[bad]), Err(IdRangeError::PastEnd(range(bad))));
        }
    }

    #[test]
    fn ovl_74_ranges_that_overlap_on_either_side_are_refused() {
        for (a, b) in [
            ((0, 100, 10), (9, 200, 1)),
            ((0, 100, 10), (20, 109, 1)),
            ((5, 100, 1), (0, 200, 10)),
            ((0, 0, u32::MAX), (7, 7, 1)),
            ((3, 3, 3), (3, 3, 3)),
        ] {
            let refused = IdRangeError::Overlap(range(a), range(b));
            assert_eq!(ranges(&[a, b]), Err(refused));
        }
        for (a, b) in [((0, 100, 10), (10, 110, 10)), ((0, 1, 1), (1, 0, 1))] {
            assert!(ranges(&[a, b]).is_ok(), "{a:?} {b:?}");
        }
        assert_eq!(
            ranges(&[(4, 5, 0)]),
            Err(IdRangeError::Empty(range((4, 5, 0))))
        );
    }

    #[test]
    fn ovl_73_a_squash_comes_before_the_ranges_and_is_for_showing_only() {
        let rules = IdRules {
            squash: Some(1000),
            ..rules(&[(0, 50, 10)])
        };
        for stored in [0, 5, 99, 1000] {
            assert_eq!(rules.shown(stored), 1000);
        }
        assert_eq!(rules.stored(55), 5);
        assert_eq!(rules.stored(1000), OVERFLOW_ID);
    }
}
