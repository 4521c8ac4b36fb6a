//! Listings: the merged names of a directory, in an order that outlives them.
//!
//! Names are ordered by a keyed hash, and a cookie is the hash of its name. So a listing can be thrown away and read
//! again from the layers, and a reader that comes back with a cookie goes on behind the same name, whatever was made and
//! removed meanwhile (OVL-12). The key keeps others from making names that collide.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher;
use std::sync::Arc;

use mica_vfs::lock::{Mutex, Rank};
use mica_vfs::{Cookie, Errno, FileName, FileNameBuf, FileType, Ino, NodeId};
use siphasher::sip::SipHasher13;

const LISTINGS: Rank = Rank(100);
const LISTING: Rank = Rank(110);

/// How many names may stay listed in memory; the least recently read directories go first.
pub(crate) const NAMES_MAX: usize = 1 << 20;
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
    pub(crate) ino: Option<Ino>,
    /// The number of lower directories above the first one that has the name.
    pub(crate) first: u16,
}

/// The names of one directory. Whiteouts are not among them.
#[derive(Debug)]
pub(crate) struct Listing {
    names: Mutex<BTreeMap<u64, Listed>>,
}

impl Listing {
    pub(crate) fn new() -> Self {
        Self {
            names: Mutex::new(LISTING, BTreeMap::new()),
        }
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

#[derive(Debug)]
struct Cached {
    listing: Arc<Listing>,
    last_read: u64,
    names: usize,
}

#[derive(Debug, Default)]
struct Cache {
    listings: HashMap<NodeId, Cached>,
    names: usize,
    clock: u64,
}

/// The listings that stay in memory. A change of a directory changes its listing, too, under the names gate.
#[derive(Debug)]
pub(crate) struct Listings {
    names_max: usize,
    cache: Mutex<Cache>,
}

impl Listings {
    pub(crate) fn new(names_max: usize) -> Self {
        Self {
            names_max,
            cache: Mutex::new(LISTINGS, Cache::default()),
        }
    }

    pub(crate) fn get(&self, dir: NodeId) -> Result<Option<Arc<Listing>>, Errno> {
        let mut cache = self.cache.lock()?;
        cache.clock += 1;
        let clock = cache.clock;
        Ok(cache.listings.get_mut(&dir).map(|cached| {
            cached.last_read = clock;
            Arc::clone(&cached.listing)
        }))
    }

    /// Keeps a listing, and drops those that were read least recently if there are too many names.
    pub(crate) fn keep(&self, dir: NodeId, listing: &Arc<Listing>) -> Result<(), Errno> {
        // An empty directory takes memory, too.
        let names = listing.len().max(1);
        let mut cache = self.cache.lock()?;
        cache.clock += 1;
        let cached = Cached {
            listing: Arc::clone(listing),
            last_read: cache.clock,
            names,
        };
        let old = cache.listings.insert(dir, cached);
        cache.names = cache.names + names - old.map_or(0, |old| old.names);
        while cache.names > self.names_max && cache.listings.len() > 1 {
            let oldest = cache
                .listings
                .iter()
                .min_by_key(|(_, c)| c.last_read)
                .map(|(&id, _)| id);
            let Some(gone) = oldest.and_then(|id| cache.listings.remove(&id)) else {
                break;
            };
            cache.names -= gone.names;
        }
        Ok(())
    }

    pub(crate) fn drop_dir(&self, dir: NodeId) -> Result<(), Errno> {
        let mut cache = self.cache.lock()?;
        if let Some(gone) = cache.listings.remove(&dir) {
            cache.names -= gone.names;
        }
        Ok(())
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
    fn too_many_names_drop_the_directory_read_longest_ago() {
        let listings = Listings::new(2);
        let one_name = || {
            let listing = Listing::new();
            listing.insert(4, listed("a")).unwrap();
            Arc::new(listing)
        };
        listings.keep(NodeId(1), &one_name()).unwrap();
        listings.keep(NodeId(2), &one_name()).unwrap();
        listings.get(NodeId(1)).unwrap().unwrap();
        listings.keep(NodeId(3), &one_name()).unwrap();
        assert!(listings.get(NodeId(2)).unwrap().is_none());
        assert!(listings.get(NodeId(1)).unwrap().is_some());
    }
}
