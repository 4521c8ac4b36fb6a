//! How much a filesystem may hold.

use mica_vfs::Errno;

use crate::pages::PAGE_SIZE;

/// How much a filesystem may hold; `None` is without limit. What untrusted programs write to needs limits: without
/// them a fallocate takes all the memory that it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes of file data, in whole pages.
    pub bytes: Option<u64>,
    /// Inodes, the root among them.
    pub inodes: Option<u64>,
}

/// A count that stays within a limit.
#[derive(Debug)]
pub(crate) struct Budget {
    used: u64,
    limit: u64,
}

impl Budget {
    /// The budget of pages of `limits`.
    pub(crate) fn pages(limits: Limits) -> Self {
        let limit = limits.bytes.unwrap_or(i64::MAX.unsigned_abs()) / PAGE_SIZE;
        Self { used: 0, limit }
    }

    /// The budget of inodes of `limits`. Without a limit it is what the numbers of nodes allow.
    pub(crate) fn inodes(limits: Limits) -> Self {
        let most = u64::from(u32::MAX - 1);
        Self {
            used: 0,
            limit: limits.inodes.map_or(most, |limit| limit.min(most)),
        }
    }

    /// Uses `count` more.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if that is over the limit; nothing is used then.
    pub(crate) fn take(&mut self, count: u64) -> Result<(), Errno> {
        let used = self.used.checked_add(count).ok_or(Errno::NOSPC)?;
        if used > self.limit {
            return Err(Errno::NOSPC);
        }
        self.used = used;
        Ok(())
    }

    /// Gives `count` back.
    pub(crate) fn give(&mut self, count: u64) {
        self.used = self.used.saturating_sub(count);
    }

    /// Returns the limit.
    pub(crate) const fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns what is left.
    pub(crate) const fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}
