//! Ranked locks.
//!
//! Every lock has a [`Rank`]. In debug builds a thread that takes a lock whose rank is not above all those it
//! holds panics at once, so a wrong order shows in any test that reaches it and not only when two threads meet.
//! A lock that a panicking thread held is poisoned: taking it is `EIO`, which fails what it guards and nothing else.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync;

use crate::Errno;

/// The place of a lock in its crate's order: a thread takes locks in rising rank only.
///
/// Ranks of a crate that calls another are lower than the ranks of the called one: fronts use 0 to 99, the overlay 100
/// to 199, layers 200 to 299.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(pub u16);

#[cfg(debug_assertions)]
mod held {
    use std::cell::RefCell;

    use super::Rank;

    thread_local!(static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) });

    /// Notes that this thread takes a lock of `rank`.
    #[track_caller]
    pub(super) fn take(rank: Rank) {
        HELD.with_borrow_mut(|held| {
            let highest = held.iter().max();
            assert!(
                highest.is_none_or(|&h| h < rank),
                "lock of {rank:?} taken under {highest:?}"
            );
            held.push(rank);
        });
    }

    /// Notes that this thread gives a lock of `rank` back.
    pub(super) fn give(rank: Rank) {
        HELD.with_borrow_mut(|held| {
            if let Some(at) = held.iter().rposition(|&h| h == rank) {
                held.remove(at);
            }
        });
    }
}

/// The rank of a lock in debug builds, nothing in others: nodes have locks, and there are millions of them.
#[derive(Debug)]
struct OfDebug(#[cfg(debug_assertions)] Rank);

impl OfDebug {
    const fn new(rank: Rank) -> Self {
        #[cfg(debug_assertions)]
        {
            Self(rank)
        }
        #[cfg(not(debug_assertions))]
        {
            let _ = rank;
            Self()
        }
    }
}

/// Counts one held rank for the life of a guard.
#[derive(Debug)]
struct Held(#[cfg(debug_assertions)] Rank);

impl Held {
    #[track_caller]
    fn take(rank: &OfDebug) -> Self {
        #[cfg(debug_assertions)]
        {
            held::take(rank.0);
            Self(rank.0)
        }
        #[cfg(not(debug_assertions))]
        {
            let _ = rank;
            Self()
        }
    }
}

#[cfg(debug_assertions)]
impl Drop for Held {
    fn drop(&mut self) {
        held::give(self.0);
    }
}

/// A mutex with a rank.
pub struct Mutex<T> {
    rank: OfDebug,
    inner: sync::Mutex<T>,
}

impl<T> Mutex<T> {
    /// Makes an unlocked mutex.
    pub const fn new(rank: Rank, value: T) -> Self {
        Self {
            rank: OfDebug::new(rank),
            inner: sync::Mutex::new(value),
        }
    }

    /// Takes the lock.
    ///
    /// # Errors
    ///
    /// `EIO` if a thread panicked while it held it.
    #[track_caller]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>, Errno> {
        let held = Held::take(&self.rank);
        let guard = self.inner.lock().map_err(|_| Errno::IO)?;
        Ok(MutexGuard { guard, _held: held })
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Gives a [`Mutex`] back when dropped.
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    // Before `_held`: the lock is free before the rank is.
    guard: sync::MutexGuard<'a, T>,
    _held: Held,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// A readers-writer lock with a rank.
pub struct RwLock<T> {
    rank: OfDebug,
    inner: sync::RwLock<T>,
}

impl<T> RwLock<T> {
    /// Makes an unlocked lock.
    pub const fn new(rank: Rank, value: T) -> Self {
        Self {
            rank: OfDebug::new(rank),
            inner: sync::RwLock::new(value),
        }
    }

    /// Takes the lock for reading.
    ///
    /// # Errors
    ///
    /// `EIO` if a thread panicked while it wrote.
    #[track_caller]
    pub fn read(&self) -> Result<ReadGuard<'_, T>, Errno> {
        let held = Held::take(&self.rank);
        let guard = self.inner.read().map_err(|_| Errno::IO)?;
        Ok(ReadGuard { guard, _held: held })
    }

    /// Takes the lock for writing.
    ///
    /// # Errors
    ///
    /// `EIO` if a thread panicked while it wrote.
    #[track_caller]
    pub fn write(&self) -> Result<WriteGuard<'_, T>, Errno> {
        let held = Held::take(&self.rank);
        let guard = self.inner.write().map_err(|_| Errno::IO)?;
        Ok(WriteGuard { guard, _held: held })
    }
}

impl<T: fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Gives a read lock back when dropped.
#[derive(Debug)]
pub struct ReadGuard<'a, T> {
    guard: sync::RwLockReadGuard<'a, T>,
    _held: Held,
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

/// Gives a write lock back when dropped.
#[derive(Debug)]
pub struct WriteGuard<'a, T> {
    guard: sync::RwLockWriteGuard<'a, T>,
    _held: Held,
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poisoned_lock_is_eio() {
        let lock = Mutex::new(Rank(1), 0);
        std::thread::scope(|scope| {
            let panicked = scope.spawn(|| {
                let _guard = lock.lock().unwrap();
                panic!("on purpose");
            });
            assert!(panicked.join().is_err());
        });
        assert_eq!(lock.lock().err(), Some(Errno::IO));
    }

    #[test]
    #[cfg(debug_assertions)]
    fn a_falling_rank_is_caught() {
        let (low, high) = (Mutex::new(Rank(1), ()), RwLock::new(Rank(2), ()));
        {
            let _low = low.lock().unwrap();
            let _high = high.read().unwrap();
        }
        let wrong = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let _high = high.read().unwrap();
                    let _low = low.lock();
                })
                .join()
        });
        assert!(wrong.is_err());
    }
}
