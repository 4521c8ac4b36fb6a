//! One reply, built in the buffer that is written to the device.
//!
//! The body lies straight behind the place of the header, so data that a filesystem reads into it is sent without
//! a copy, by one write.
//!
//! # Invariants
//!
//! - Only bytes that were put are sent: the buffer is used again and again, and holds other callers' data.

use mica_vfs::{Errno, invent};
use zerocopy::{Immutable, IntoBytes};

use crate::wire::OutHeader;

/// Length of the header of every reply.
pub(crate) const HEADER: usize = size_of::<OutHeader>();

/// The body of a reply.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    /// All of the buffer but the header's place.
    body: &'a mut [u8],
    /// How much of it was put.
    len: usize,
}

impl<'a> Reply<'a> {
    pub(crate) const fn new(body: &'a mut [u8]) -> Self {
        Self { body, len: 0 }
    }

    /// Returns what was put so far.
    pub(crate) fn sent(&self) -> &[u8] {
        self.body.get(..self.len).unwrap_or_default()
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Returns how much can be put in all.
    pub(crate) const fn capacity(&self) -> usize {
        self.body.len()
    }

    /// Takes all back.
    pub(crate) const fn clear(&mut self) {
        self.len = 0;
    }

    /// Puts bytes.
    ///
    /// # Errors
    ///
    /// `EIO`: the buffer is full.
    pub(crate) fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let end = self.len.saturating_add(bytes.len());
        let Some(place) = self.body.get_mut(self.len..end) else {
            return Err(invent!(Errno::IO, "reply does not fit", len = end));
        };
        place.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    /// Puts a structure.
    ///
    /// # Errors
    ///
    /// `EIO`: the buffer is full.
    pub(crate) fn put<T: IntoBytes + Immutable>(&mut self, value: &T) -> Result<(), Errno> {
        self.put_bytes(value.as_bytes())
    }

    /// Lends room for up to `max` bytes to `fill`, and puts as many as it says it filled.
    ///
    /// # Errors
    ///
    /// Those of `fill`.
    pub(crate) fn fill(
        &mut self,
        max: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let room = self.body.get_mut(self.len..).unwrap_or_default();
        let max = max.min(room.len());
        let room = room.get_mut(..max).unwrap_or_default();
        let filled = fill(room)?.min(max);
        self.len += filled;
        Ok(filled)
    }
}
