//! The filesystem itself: one locked tree, a clock and what identifies it.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mica_vfs::lock::{Rank, RwLock};
use mica_vfs::{DevId, Errno, Uuid};

use crate::clock::{Clock, SystemClock};
use crate::limits::Limits;
use crate::tree::Tree;

/// Device numbers of this process's trees start here, above what the 32 bits of a host's device can be.
static NEXT_DEV: AtomicU64 = AtomicU64::new(1 << 40);

/// A filesystem in memory.
#[derive(Debug)]
pub struct Tmpfs {
    pub(crate) tree: RwLock<Tree>,
    /// Immutable.
    pub(crate) clock: Arc<dyn Clock>,
    /// Immutable.
    pub(crate) uuid: Uuid,
}

impl Tmpfs {
    /// Makes an empty filesystem without limits. Its root has mode 0755 and is owned by root.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    /// Makes an empty filesystem that holds no more than `limits`.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        Self::with_clock(limits, Arc::new(SystemClock))
    }

    /// Makes an empty filesystem that takes its times from `clock`.
    #[must_use]
    pub fn with_clock(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let dev = DevId(NEXT_DEV.fetch_add(1, Ordering::Relaxed));
        Self {
            tree: RwLock::new(Rank(200), Tree::new(dev, limits, clock.now())),
            clock,
            uuid: random_uuid(),
        }
    }

    /// Counts the nodes that somebody holds a reference on; the root is not counted.
    ///
    /// # Errors
    ///
    /// `EIO` if a thread panicked inside this filesystem.
    pub fn referenced_nodes(&self) -> Result<usize, Errno> {
        Ok(self.tree.read()?.referenced())
    }
}

impl Default for Tmpfs {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes a UUID from the seeds that the process draws for its hash tables.
fn random_uuid() -> Uuid {
    let [a, b] = [1, 2].map(|half: u8| RandomState::new().hash_one(half).to_le_bytes());
    let mut uuid = [0; 16];
    for (to, from) in uuid.iter_mut().zip(a.into_iter().chain(b)) {
        *to = from;
    }
    Uuid(uuid)
}
