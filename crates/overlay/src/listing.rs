//! Listings: the merged names of a directory, in an order that outlives them.
//!
//! Names are ordered by a keyed hash, and a cookie is the hash of its name. So a listing can be thrown away and read
//! again from the layers, and a reader that comes back with a cookie goes on behind the same name, whatever was made and
//! removed meanwhile (OVL-12). The key keeps others from making names that collide.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mica_vfs::lock::{Mutex, Rank};
use mica_vfs::{Cookie, Errno, FileName, FileNameBuf, FileType, NodeId};
use siphasher::sip::SipHasher13;

const LISTINGS: Rank = Rank(100);
const LISTING: Rank = Rank(110);

/// What stays in memory.
pub(crate) const LIMITS: Limits = Limits {
    names: 1 << 20,
    names_in_use: 1 << 23,
    in_use: Duration::from_secs(1),
};
/// How many names may hash alike; each has a cookie of its own.
const TIES_MAX: u64 = 4;

/// Hashes a name to its cookie: below 2^62, a multiple of [`TIES_MAX`], not 0.
pub(crate) fn hash_name(key: (u64, u64), name: FileName<'_>) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key.0, key.1);
    hasher.write(name.as_bytes());
    ((hasher.finish() >> 4) | 1) * TIES_MAX
}

/// One name of a listing.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) name: FileNameBuf,
    pub(crate) kind: Option<FileType>,
    /// `None` until somebody wants it: it takes a lookup.
    pub(crate) ino: Option<NonZeroU64>,
    /// The number of lower directories above the first one that has the name.
    pub(crate) first: u16,
}

/// The names of one directory. Whiteouts are not among them.
#[derive(Debug)]
pub(crate) struct Listing {
    names: Mutex<BTreeMap<u64, Listed>>,
}

impl Listing {
    #[cfg(test)]
    fn new() -> Self {
        Self {
            names: Mutex::new(LISTING, BTreeMap::new()),
        }
    }

    /// Makes a listing of names with their hashes: packed, and in half the time that adding one after the other takes.
    pub(crate) fn of(mut listed: Vec<(u64, Listed)>) -> Result<Self, Errno> {
        listed.sort_by_key(|(hash, _)| *hash);
        let mut ties = Vec::new();
        let mut last = None;
        let firsts = listed.into_iter().filter_map(|(hash, listed)| {
            if last.replace(hash) == Some(hash) {
                ties.push((hash, listed));
                return None;
            }
            Some((hash, listed))
        });
        let listing = Self {
            names: Mutex::new(LISTING, firsts.collect()),
        };
        for (hash, listed) in ties {
            listing.insert(hash, listed)?;
        }
        Ok(listing)
    }

    /// Adds a name, or replaces what was listed under it.
    pub(crate) fn insert(&self, hash: u64, listed: Listed) -> Result<(), Errno> {
        let mut names = self.names.lock()?;
        let slot = slot_of(&names, hash, listed.name.as_name())
            .or_else(|| (hash..hash + TIES_MAX).find(|at| !names.contains_key(at)));
        // More ties than slots do not happen to a keyed hash of 60 bits.
        names.insert(slot.ok_or(Errno::OVERFLOW)?, listed);
        Ok(())
    }

    pub(crate) fn remove(&self, hash: u64, name: FileName<'_>) -> Result<(), Errno> {
        let mut names = self.names.lock()?;
        if let Some(slot) = slot_of(&names, hash, name) {
            names.remove(&slot);
        }
        Ok(())
    }

    /// Calls `each` for the names after `from` until it returns `false`. Nothing of a layer may be called in it.
    pub(crate) fn for_each_after(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Cookie, &mut Listed) -> bool,
    ) -> Result<(), Errno> {
        let Some(start) = from.0.checked_add(1) else {
            return Ok(());
        };
        let mut names = self.names.lock()?;
        for (&at, listed) in names.range_mut(start..) {
            if !each(Cookie(at), listed) {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.names.lock().map_or(0, |names| names.len())
    }

    /// Whether no name is listed.
    pub(crate) fn is_empty(&self) -> Result<bool, Errno> {
        Ok(self.names.lock()?.is_empty())
    }
}

fn slot_of(names: &BTreeMap<u64, Listed>, hash: u64, name: FileName<'_>) -> Option<u64> {
    let mut ties = names.range(hash..hash + TIES_MAX);
    ties.find(|(_, listed)| listed.name.as_name() == name)
        .map(|(&at, _)| at)
}

/// How much stays listed in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Names in all listings; those read least recently go first.
    pub(crate) names: usize,
    /// Names, also where that takes a listing that is in use.
    pub(crate) names_in_use: usize,
    /// How long after it was read a listing is in use: somebody is probably in the middle of it. Two readers of large
    /// directories would each drop the other's, and read a whole directory again for every part of it.
    pub(crate) in_use: Duration,
}

#[derive(Debug)]
struct Cached {
    listing: Arc<Listing>,
    age: u64,
    last_read: Instant,
    /// An empty directory takes memory, too: one at least.
    names: usize,
}

#[derive(Debug, Default)]
struct Cache {
    listings: HashMap<NodeId, Cached>,
    /// The directories from the one read least recently on.
    by_age: BTreeMap<u64, NodeId>,
    names: usize,
    clock: u64,
}

impl Cache {
    fn touch(&mut self, dir: NodeId) -> Option<&Arc<Listing>> {
        let cached = self.listings.get_mut(&dir)?;
        self.clock += 1;
        self.by_age.remove(&cached.age);
        self.by_age.insert(self.clock, dir);
        (cached.age, cached.last_read) = (self.clock, Instant::now());
        Some(&cached.listing)
    }

    fn take(&mut self, dir: NodeId) -> Option<Cached> {
        let gone = self.listings.remove(&dir)?;
        self.by_age.remove(&gone.age);
        self.names -= gone.names;
        if self.listings.is_empty() {
            self.listings.shrink_to_fit();
        }
        Some(gone)
    }

    /// Takes the listing that was read least recently if `goes` says so.
    fn take_oldest(&mut self, goes: impl FnOnce(&Cached) -> bool) -> Option<Cached> {
        let (_, &dir) = self.by_age.first_key_value()?;
        if goes(self.listings.get(&dir)?) {
            self.take(dir)
        } else {
            None
        }
    }

    /// Takes listings until the limits are kept. One may stay, whatever its size.
    fn take_surplus(&mut self, limits: Limits) -> Vec<Cached> {
        let mut gone = Vec::new();
        while self.names > limits.names && self.listings.len() > 1 {
            let must = self.names > limits.names_in_use;
            match self.take_oldest(|c| must || c.last_read.elapsed() >= limits.in_use) {
                Some(oldest) => gone.push(oldest),
                None => break,
            }
        }
        gone
    }
}

/// The listings that stay in memory. A change of a directory changes its listing, too, under the names gate.
#[derive(Debug)]
pub(crate) struct Listings {
    limits: Limits,
    cache: Mutex<Cache>,
}

// A listing is dropped without the lock: a large one takes a while.
impl Listings {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            cache: Mutex::new(LISTINGS, Cache::default()),
        }
    }

    /// Returns the listing of `dir` to a reader.
    pub(crate) fn get(&self, dir: NodeId) -> Result<Option<Arc<Listing>>, Errno> {
        Ok(self.cache.lock()?.touch(dir).cloned())
    }

    /// Keeps a listing, and drops those that were read least recently if there are too many names.
    pub(crate) fn keep(&self, dir: NodeId, listing: &Arc<Listing>) -> Result<(), Errno> {
        let names = listing.len().max(1);
        let cached = Cached {
            listing: Arc::clone(listing),
            age: 0,
            last_read: Instant::now(),
            names,
        };
        let mut cache = self.cache.lock()?;
        let old = cache.take(dir);
        cache.listings.insert(dir, cached);
        cache.names += names;
        cache.touch(dir);
        let gone = cache.take_surplus(self.limits);
        drop(cache);
        drop((old, gone));
        Ok(())
    }

    /// Changes the listing of `dir`, if there is one. That does not count as reading it.
    pub(crate) fn change(
        &self,
        dir: NodeId,
        change: impl FnOnce(&Listing) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let listing = self
            .cache
            .lock()?
            .listings
            .get(&dir)
            .map(|c| Arc::clone(&c.listing));
        let Some(listing) = listing else {
            return Ok(());
        };
        let changed = change(&listing);
        let names = listing.len().max(1);
        let mut cache = self.cache.lock()?;
        let gone = match cache.listings.get_mut(&dir) {
            Some(cached) => {
                let before = std::mem::replace(&mut cached.names, names);
                cache.names = cache.names - before + names;
                cache.take_surplus(self.limits)
            }
            None => Vec::new(),
        };
        drop(cache);
        drop(gone);
        changed
    }

    pub(crate) fn drop_dir(&self, dir: NodeId) -> Result<(), Errno> {
        let gone = self.cache.lock()?.take(dir);
        drop(gone);
        Ok(())
    }

    /// Drops the listings that nobody has read for `idle`.
    pub(crate) fn trim_idle(&self, idle: Duration) {
        // Each without the lock: readers of others need not wait for all of them.
        while let Ok(mut cache) = self.cache.lock() {
            let gone = cache.take_oldest(|cached| cached.last_read.elapsed() >= idle);
            drop(cache);
            if gone.is_none() {
                return;
            }
        }
    }

    /// Returns how many names are listed in memory.
    pub(crate) fn names(&self) -> usize {
        self.cache.lock().map_or(0, |cache| cache.names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str) -> Listed {
        let name = FileNameBuf::new(name.as_bytes()).unwrap();
        Listed {
            name,
            kind: None,
            ino: None,
            first: 0,
        }
    }

    fn names(listing: &Listing, from: Cookie) -> Vec<String> {
        let mut names = Vec::new();
        listing
            .for_each_after(from, &mut |_, l| {
                names.push(l.name.as_name().to_string());
                true
            })
            .unwrap();
        names
    }

    #[test]
    fn ovl_12_names_that_hash_alike_have_cookies_of_their_own() {
        let listing = Listing::new();
        for name in ["a", "b", "c"] {
            listing.insert(40, listed(name)).unwrap();
            listing.insert(40, listed(name)).unwrap();
        }
        assert_eq!(names(&listing, Cookie::START), ["a", "b", "c"]);
        assert_eq!(names(&listing, Cookie(40)), ["b", "c"]);
        listing.remove(40, FileName::new(b"b").unwrap()).unwrap();
        assert_eq!(names(&listing, Cookie(40)), ["c"]);
    }

    #[test]
    fn a_cookie_is_never_the_start_and_fits_a_signed_offset() {
        for name in [&b"a"[..], b"b", &[b'x'; 255]] {
            let hash = hash_name((1, 2), FileName::new(name).unwrap());
            assert!((TIES_MAX..1 << 62).contains(&hash) && hash.is_multiple_of(TIES_MAX));
        }
    }

    #[test]
    fn ovl_12_a_listing_made_at_once_is_the_one_made_name_by_name() {
        let hashes = [("a", 40), ("b", 8), ("c", 40), ("d", 44), ("e", 8)];
        let at_once = hashes.map(|(name, hash)| (hash, listed(name)));
        let at_once = Listing::of(at_once.to_vec()).unwrap();
        let one_by_one = Listing::new();
        for (name, hash) in hashes {
            one_by_one.insert(hash, listed(name)).unwrap();
        }
        assert_eq!(names(&at_once, Cookie::START), ["b", "e", "a", "c", "d"]);
        for from in [0, 8, 9, 40, 41, 44] {
            let from = Cookie(from);
            assert_eq!(names(&at_once, from), names(&one_by_one, from));
        }
    }

    fn of_names(names: u64) -> Arc<Listing> {
        let listing = Listing::new();
        for n in 1..=names {
            listing.insert(n * TIES_MAX, listed("a")).unwrap();
        }
        Arc::new(listing)
    }

    fn limits(names: usize, in_use: Duration) -> Limits {
        Limits {
            names,
            names_in_use: 4 * names,
            in_use,
        }
    }

    #[test]
    fn too_many_names_drop_the_directory_read_longest_ago() {
        let listings = Listings::new(limits(2, Duration::ZERO));
        listings.keep(NodeId(1), &of_names(1)).unwrap();
        listings.keep(NodeId(2), &of_names(1)).unwrap();
        listings.get(NodeId(1)).unwrap().unwrap();
        listings.keep(NodeId(3), &of_names(1)).unwrap();
        assert!(listings.get(NodeId(2)).unwrap().is_none());
        assert!(listings.get(NodeId(1)).unwrap().is_some());
        assert_eq!(listings.names(), 2);
    }

    #[test]
    fn names_that_are_added_to_a_listing_count() {
        let listings = Listings::new(limits(4, Duration::ZERO));
        listings.keep(NodeId(1), &of_names(2)).unwrap();
        listings.keep(NodeId(2), &of_names(2)).unwrap();
        listings
            .change(NodeId(2), |listing| listing.insert(400, listed("new")))
            .unwrap();
        assert!(listings.get(NodeId(1)).unwrap().is_none());
        assert_eq!(listings.names(), 3);
        let name = FileName::new(b"new").unwrap();
        listings
            .change(NodeId(2), |listing| listing.remove(400, name))
            .unwrap();
        assert_eq!(listings.names(), 2);
    }

    #[test]
    fn two_readers_of_large_directories_keep_both_listings() {
        let listings = Listings::new(limits(10, Duration::from_secs(3600)));
        listings.keep(NodeId(1), &of_names(10)).unwrap();
        listings.keep(NodeId(2), &of_names(10)).unwrap();
        assert!(listings.get(NodeId(1)).unwrap().is_some());
        assert!(listings.get(NodeId(2)).unwrap().is_some());
        // But not without an end.
        for dir in 3..20 {
            listings.keep(NodeId(dir), &of_names(10)).unwrap();
            assert!(listings.names() <= 40);
        }
    }

    #[test]
    fn a_listing_that_nobody_reads_is_dropped() {
        let listings = Listings::new(LIMITS);
        for dir in 1..100 {
            listings.keep(NodeId(dir), &of_names(3)).unwrap();
        }
        listings.trim_idle(Duration::from_secs(3600));
        assert_eq!(listings.names(), 297);
        listings.trim_idle(Duration::ZERO);
        assert_eq!(listings.names(), 0);
        assert!(listings.get(NodeId(7)).unwrap().is_none());
    }

    #[test]
    fn a_listed_name_is_small() {
        assert!(size_of::<Listed>() <= 40, "{}", size_of::<Listed>());
    }
}
