//! Open descriptors under one limit, least recently used first out.
//!
//! The cache knows nothing of nodes: who puts a descriptor in keeps a [`Token`] and asks with it. A token whose
//! descriptor was evicted finds nothing, also after its slot has been used again.
//!
//! # Invariants
//!
//! - A descriptor is handed out as an `Arc`, so eviction never closes one that is in use. It is not evicted either, where others
//!   can go: that would free nothing, and whoever asks with its token finds what is open.
//! - Descriptors are closed after the lock is given back.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mica_vfs::Errno;
use mica_vfs::lock::{Mutex, Rank};
use rustix::time::{ClockId, clock_gettime};

/// No slot.
const NONE: u32 = u32::MAX;

/// How many descriptors that are in use are looked at to find one that is not, when another is put in.
const PASSED_OVER: usize = 8;

/// Names a descriptor in the cache for as long as it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    slot: u32,
    stamp: u32,
}

impl Token {
    /// Names nothing.
    pub(crate) const NONE: Self = Self {
        slot: NONE,
        stamp: 0,
    };
}

/// One LRU of open descriptors, shared by all layers of a process.
#[derive(Debug)]
pub struct FdCache {
    /// Immutable.
    limit: usize,
    /// Descriptors held outside the LRU by roots and by nodes without a name. Atomic.
    pinned: AtomicUsize,
    /// Those of `pinned` that nodes without a name hold. Atomic.
    nameless: AtomicUsize,
    lru: Mutex<Lru>,
}

impl FdCache {
    /// Makes an empty cache that keeps at most `limit` descriptors open, and at least one, besides those in use.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        let lru = Lru {
            slots: Vec::new(),
            free: NONE,
            newest: NONE,
            oldest: NONE,
            open: 0,
        };
        Arc::new(Self {
            limit,
            pinned: AtomicUsize::new(0),
            nameless: AtomicUsize::new(0),
            lru: Mutex::new(Rank(250), lru),
        })
    }

    /// Returns how many descriptors the cache and the nodes without a name hold.
    #[must_use]
    pub fn open(&self) -> usize {
        self.lru.lock().map_or(0, |lru| lru.open) + self.pinned.load(Ordering::Relaxed)
    }

    /// Returns how many descriptors nodes without a name hold.
    #[must_use]
    pub fn nameless(&self) -> usize {
        self.nameless.load(Ordering::Relaxed)
    }

    /// Returns the limit.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Closes the descriptors that were not used for `older_than`.
    pub fn trim_idle(&self, older_than: Duration) {
        let since = now().saturating_sub(older_than);
        let used = self.lru.lock().map_or(0, |lru| lru.open);
        self.evict(used, |lru| {
            lru.oldest().is_some_and(|slot| slot.used <= since)
        });
    }

    /// Makes room for a call that failed because this process or the system has no descriptor left.
    pub(crate) fn make_room(&self) {
        let open = self.lru.lock().map_or(0, |lru| lru.open);
        self.evict(open, |lru| lru.open > open / 2);
    }

    /// Runs `open`, and once more after making room if it fails for want of descriptors.
    pub(crate) fn with_room<T>(&self, open: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
        match open() {
            Err(Errno::MFILE | Errno::NFILE) => {
                self.make_room();
                open()
            }
            result => result,
        }
    }

    /// Returns the descriptor behind `token` if it is still open, and notes the use.
    pub(crate) fn get(&self, token: Token) -> Option<Arc<OwnedFd>> {
        if token == Token::NONE {
            return None;
        }
        let mut lru = self.lru.lock().ok()?;
        let slot = lru.slot(token)?;
        slot.used = now();
        let fd = slot.fd.clone();
        lru.make_newest(token.slot);
        fd
    }

    /// Puts a descriptor in and evicts what exceeds the limit.
    pub(crate) fn insert(&self, fd: Arc<OwnedFd>) -> Token {
        let room = self
            .limit
            .saturating_sub(self.pinned.load(Ordering::Relaxed));
        self.evict(PASSED_OVER, |lru| lru.open > 0 && lru.open >= room);
        self.lru.lock().map_or(Token::NONE, |mut lru| lru.push(fd))
    }

    /// Takes a descriptor out.
    pub(crate) fn remove(&self, token: Token) {
        if token != Token::NONE {
            let taken = self.lru.lock().map(|mut lru| lru.take(token));
            drop(taken);
        }
    }

    /// Takes the oldest descriptors out while `more` says so, each closed without the lock. At most `chances` that are in use
    /// are passed over.
    fn evict(&self, mut chances: usize, more: impl Fn(&Lru) -> bool) {
        loop {
            let Ok(mut lru) = self.lru.lock() else { return };
            if !more(&lru) {
                return;
            }
            if lru.oldest().is_some_and(Slot::is_in_use) {
                if chances == 0 {
                    return;
                }
                chances -= 1;
                lru.use_oldest();
                continue;
            }
            let evicted = lru.take_oldest();
            drop(lru);
            if evicted.is_none() {
                return;
            }
        }
    }
}

/// A descriptor that is held outside the LRU and counted against its limit.
#[derive(Debug)]
pub(crate) struct Held {
    fd: Arc<OwnedFd>,
    cache: Arc<FdCache>,
    by: HeldBy,
}

/// What holds a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeldBy {
    Root,
    Nameless,
}

impl Held {
    /// Holds the descriptor of a node without a name.
    pub(crate) fn new(fd: Arc<OwnedFd>, cache: &Arc<FdCache>) -> Self {
        cache.nameless.fetch_add(1, Ordering::Relaxed);
        Self::by(fd, cache, HeldBy::Nameless)
    }

    /// Holds the descriptor of a root.
    pub(crate) fn root(fd: Arc<OwnedFd>, cache: &Arc<FdCache>) -> Self {
        Self::by(fd, cache, HeldBy::Root)
    }

    fn by(fd: Arc<OwnedFd>, cache: &Arc<FdCache>, by: HeldBy) -> Self {
        cache.pinned.fetch_add(1, Ordering::Relaxed);
        Self {
            fd,
            cache: Arc::clone(cache),
            by,
        }
    }

    pub(crate) fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.cache.pinned.fetch_sub(1, Ordering::Relaxed);
        if self.by == HeldBy::Nameless {
            self.cache.nameless.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Time since boot, read without a system call; a few milliseconds coarse.
fn now() -> Duration {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(secs.unwrap_or(0), nanos.unwrap_or(0))
}

#[derive(Debug)]
struct Slot {
    /// `None` in a free slot.
    fd: Option<Arc<OwnedFd>>,
    /// Counts the descriptors that this slot has held.
    stamp: u32,
    /// The next more recently used slot; in a free slot, the next free one.
    newer: u32,
    /// The next less recently used slot.
    older: u32,
    used: Duration,
}

impl Slot {
    /// Whether somebody else has the descriptor, too.
    fn is_in_use(&self) -> bool {
        self.fd.as_ref().is_some_and(|fd| Arc::strong_count(fd) > 1)
    }
}

/// Slots in two lists through their indices: the used ones by age, and the free ones.
#[derive(Debug)]
struct Lru {
    slots: Vec<Slot>,
    free: u32,
    newest: u32,
    oldest: u32,
    open: usize,
}

impl Lru {
    fn at(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(slot).ok()?)
    }

    fn slot(&mut self, token: Token) -> Option<&mut Slot> {
        self.at(token.slot)
            .filter(|slot| slot.stamp == token.stamp && slot.fd.is_some())
    }

    fn oldest(&self) -> Option<&Slot> {
        self.slots.get(usize::try_from(self.oldest).ok()?)
    }

    fn push(&mut self, fd: Arc<OwnedFd>) -> Token {
        let index = self.free;
        let (index, stamp) = if let Some(slot) = self.at(index) {
            let next = slot.newer;
            slot.stamp = slot.stamp.wrapping_add(1);
            let stamp = slot.stamp;
            slot.fd = Some(fd);
            slot.used = now();
            self.free = next;
            (index, stamp)
        } else {
            let Ok(index) = u32::try_from(self.slots.len()) else {
                return Token::NONE;
            };
            self.slots.push(Slot {
                fd: Some(fd),
                stamp: 0,
                newer: NONE,
                older: NONE,
                used: now(),
            });
            (index, 0)
        };
        self.link_newest(index);
        self.open += 1;
        Token { slot: index, stamp }
    }

    fn take(&mut self, token: Token) -> Option<Arc<OwnedFd>> {
        let fd = self.slot(token)?.fd.take();
        self.unlink(token.slot);
        let free = self.free;
        if let Some(slot) = self.at(token.slot) {
            slot.newer = free;
            self.free = token.slot;
        }
        self.open -= 1;
        fd
    }

    fn take_oldest(&mut self) -> Option<Arc<OwnedFd>> {
        let stamp = self.oldest()?.stamp;
        self.take(Token {
            slot: self.oldest,
            stamp,
        })
    }

    fn use_oldest(&mut self) {
        let oldest = self.oldest;
        if let Some(slot) = self.at(oldest) {
            slot.used = now();
        }
        self.make_newest(oldest);
    }

    fn make_newest(&mut self, slot: u32) {
        if self.newest != slot {
            self.unlink(slot);
            self.link_newest(slot);
        }
    }

    fn link_newest(&mut self, index: u32) {
        let second = self.newest;
        if let Some(slot) = self.at(index) {
            (slot.newer, slot.older) = (NONE, second);
        }
        match self.at(second) {
            Some(slot) => slot.newer = index,
            None => self.oldest = index,
        }
        self.newest = index;
    }

    fn unlink(&mut self, index: u32) {
        let Some(slot) = self.at(index) else { return };
        let (newer, older) = (slot.newer, slot.older);
        match self.at(newer) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.at(older) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fd() -> Arc<OwnedFd> {
        let file = std::fs::File::open("/dev/null").unwrap();
        Arc::new(file.into())
    }

    #[test]
    fn the_least_recently_used_descriptor_goes_first() {
        let cache = FdCache::new(3);
        let tokens: Vec<_> = (0..3).map(|_| cache.insert(fd())).collect();
        assert!(cache.get(tokens[0]).is_some());
        let fourth = cache.insert(fd());
        assert_eq!(cache.open(), 3);
        assert!(cache.get(tokens[1]).is_none());
        for token in [tokens[0], tokens[2], fourth] {
            assert!(cache.get(token).is_some());
        }
    }

    #[test]
    fn a_token_does_not_find_the_next_tenant_of_its_slot() {
        let cache = FdCache::new(1);
        let first = cache.insert(fd());
        let second = cache.insert(fd());
        assert_eq!(first.slot, second.slot);
        assert!(cache.get(first).is_none());
        cache.remove(first);
        assert!(cache.get(second).is_some());
        cache.remove(second);
        assert_eq!(cache.open(), 0);
    }

    #[test]
    fn a_descriptor_in_use_is_evicted_after_all_others() {
        let cache = FdCache::new(1);
        let token = cache.insert(fd());
        let used = cache.get(token).unwrap();
        let other = cache.insert(fd());
        assert_eq!(cache.open(), 2);
        let third = cache.insert(fd());
        assert!(cache.get(other).is_none() && cache.get(third).is_some());
        cache.trim_idle(Duration::ZERO);
        cache.make_room();
        assert!(
            cache
                .get(token)
                .is_some_and(|found| Arc::ptr_eq(&found, &used))
        );
        assert_eq!(cache.open(), 1);
        drop(used);
        cache.trim_idle(Duration::ZERO);
        assert_eq!(cache.open(), 0);
    }

    #[test]
    fn where_all_are_in_use_the_search_ends() {
        let cache = FdCache::new(1);
        let used: Vec<_> = (0..100)
            .map(|_| cache.insert(fd()))
            .filter_map(|token| cache.get(token))
            .collect();
        assert_eq!((used.len(), cache.open()), (100, 100));
    }

    #[test]
    fn held_descriptors_count_against_the_limit() {
        let cache = FdCache::new(4);
        let held: Vec<_> = (0..3).map(|_| Held::new(fd(), &cache)).collect();
        for _ in 0..5 {
            cache.insert(fd());
        }
        assert_eq!(cache.open(), 4);
        drop(held);
        assert_eq!(cache.open(), 1);
    }

    #[test]
    fn idle_descriptors_are_closed_and_others_kept() {
        let cache = FdCache::new(8);
        for _ in 0..5 {
            cache.insert(fd());
        }
        cache.trim_idle(Duration::from_secs(3600));
        assert_eq!(cache.open(), 5);
        cache.trim_idle(Duration::ZERO);
        assert_eq!(cache.open(), 0);
    }

    #[test]
    fn random_use_keeps_the_lists_whole() {
        let cache = FdCache::new(7);
        let mut tokens = Vec::new();
        let mut seed = 1u64;
        for _ in 0..2000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let pick = usize::try_from(seed >> 33).unwrap();
            match pick % 3 {
                0 => tokens.push(cache.insert(fd())),
                1 if !tokens.is_empty() => cache.remove(tokens[pick % tokens.len()]),
                _ if !tokens.is_empty() => drop(cache.get(tokens[pick % tokens.len()])),
                _ => {}
            }
            assert!(cache.open() <= 7);
        }
        let found = tokens
            .iter()
            .filter(|&&token| cache.get(token).is_some())
            .count();
        assert_eq!(found, cache.open());
        cache.trim_idle(Duration::ZERO);
        assert_eq!(cache.open(), 0);
    }
}
