//! The data of one file: a sparse map of pages.
//!
//! # Invariants
//!
//! - A page that is absent reads as zeros.
//! - A byte of a page at or past the size is zero: growing a file shows no old data.
//! - The budget counts exactly the pages that exist.

use std::collections::BTreeMap;
use std::ops::Range;

use mica_vfs::Errno;

use crate::limits::Budget;

/// Bytes in a page.
pub(crate) const PAGE_SIZE: u64 = 4096;
const PAGE_BYTES: usize = 4096;
/// Largest size of a file, `MAX_LFS_FILESIZE`.
pub(crate) const SIZE_MAX: u64 = i64::MAX.unsigned_abs();

type Page = [u8; PAGE_BYTES];

/// The data of one regular file.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    size: u64,
    pages: BTreeMap<u64, Box<Page>>,
}

/// The part of a range that lies in one page.
struct Piece {
    /// Number of the page.
    page: u64,
    /// Bytes within the page.
    bytes: Range<usize>,
}

impl Piece {
    fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Cuts the range of `len` bytes at `offset` into pages.
fn pieces(offset: u64, len: u64) -> impl Iterator<Item = Piece> {
    let end = offset.saturating_add(len);
    let mut at = offset;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let page = at / PAGE_SIZE;
            let base = page * PAGE_SIZE;
            let stop = end.min(base.saturating_add(PAGE_SIZE));
            let bytes = within_page(at - base)..within_page(stop - base);
            at = stop;
            Piece { page, bytes }
        })
    })
}

/// Converts an offset within a page.
fn within_page(offset: u64) -> usize {
    usize::try_from(offset).map_or(PAGE_BYTES, |offset| offset.min(PAGE_BYTES))
}

/// Converts a length in memory.
fn as_offset(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

impl Pages {
    /// Returns the size of the file.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Returns how many pages exist.
    pub(crate) fn count(&self) -> u64 {
        as_offset(self.pages.len())
    }

    /// Reads at `offset` up to the end of the file.
    pub(crate) fn read(&self, offset: u64, data: &mut [u8]) -> usize {
        let len = as_offset(data.len()).min(self.size.saturating_sub(offset));
        let mut rest = data;
        let mut done = 0;
        for piece in pieces(offset, len) {
            let Some((to, after)) = rest.split_at_mut_checked(piece.len()) else {
                break;
            };
            match self.bytes(&piece) {
                Some(from) => to.copy_from_slice(from),
                None => to.fill(0),
            }
            done += to.len();
            rest = after;
        }
        done
    }

    /// Writes at `offset`.
    ///
    /// # Errors
    ///
    /// `ENOSPC` or `EFBIG` if not even the first byte could be taken; otherwise the write is short.
    pub(crate) fn write(
        &mut self,
        budget: &mut Budget,
        offset: u64,
        data: &[u8],
    ) -> Result<usize, Errno> {
        let room = SIZE_MAX.saturating_sub(offset);
        if room == 0 && !data.is_empty() {
            return Err(Errno::FBIG);
        }
        let mut rest = data;
        let mut done = 0;
        for piece in pieces(offset, as_offset(data.len()).min(room)) {
            let Some((from, after)) = rest.split_at_checked(piece.len()) else {
                break;
            };
            match self.bytes_mut(budget, &piece) {
                Ok(to) => to.copy_from_slice(from),
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
            done += from.len();
            rest = after;
        }
        self.grow(offset + as_offset(done));
        Ok(done)
    }

    /// Sets the size; what is cut off is gone, what is added reads as zeros.
    pub(crate) fn truncate(&mut self, budget: &mut Budget, size: u64) {
        // Beyond the end there may be pages that `allocate` has put there: they go with the truncation, too.
        let last = size.div_ceil(PAGE_SIZE);
        let gone = self.pages.split_off(&last);
        budget.give(as_offset(gone.len()));
        if size < self.size {
            self.zero(budget, size, last * PAGE_SIZE - size);
        }
        self.size = size;
    }

    /// Makes a range read as zeros: whole pages are freed, the rest is overwritten. The size stays.
    pub(crate) fn zero(&mut self, budget: &mut Budget, offset: u64, len: u64) {
        let end = offset.saturating_add(len);
        let whole = offset.div_ceil(PAGE_SIZE)..end / PAGE_SIZE;
        if whole.start < whole.end {
            let mut tail = self.pages.split_off(&whole.start);
            let mut kept = tail.split_off(&whole.end);
            budget.give(as_offset(tail.len()));
            self.pages.append(&mut kept);
        }
        let head_end = end.min(offset.next_multiple_of(PAGE_SIZE));
        let tail_start = head_end.max(end / PAGE_SIZE * PAGE_SIZE);
        for part in [offset..head_end, tail_start..end] {
            for piece in pieces(part.start, part.end.saturating_sub(part.start)) {
                let page = self.pages.get_mut(&piece.page);
                if let Some(bytes) = page.and_then(|page| page.get_mut(piece.bytes)) {
                    bytes.fill(0);
                }
            }
        }
    }

    /// Makes every page of a range exist. The size stays.
    ///
    /// # Errors
    ///
    /// `ENOSPC`: nothing was allocated.
    pub(crate) fn allocate(
        &mut self,
        budget: &mut Budget,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        let first = offset / PAGE_SIZE;
        let end = offset.saturating_add(len).div_ceil(PAGE_SIZE);
        let existing = as_offset(self.pages.range(first..end).count());
        budget.take((end - first).saturating_sub(existing))?;
        for page in first..end {
            self.pages
                .entry(page)
                .or_insert_with(|| Box::new([0; PAGE_BYTES]));
        }
        Ok(())
    }

    /// Lets the size be at least `size`.
    pub(crate) fn grow(&mut self, size: u64) {
        self.size = self.size.max(size);
    }

    /// Finds the first byte of data at or after `offset`.
    ///
    /// # Errors
    ///
    /// `ENXIO` if there is none.
    pub(crate) fn seek_data(&self, offset: u64) -> Result<u64, Errno> {
        self.pages
            .range(offset / PAGE_SIZE..)
            .next()
            .map(|(&page, _)| offset.max(page * PAGE_SIZE))
            .filter(|&found| found < self.size)
            .ok_or(Errno::NXIO)
    }

    /// Finds the first byte of a hole at or after `offset`; the end of the file is one.
    ///
    /// # Errors
    ///
    /// `ENXIO` if `offset` is past the end.
    pub(crate) fn seek_hole(&self, offset: u64) -> Result<u64, Errno> {
        if offset >= self.size {
            return Err(Errno::NXIO);
        }
        let mut hole = offset / PAGE_SIZE;
        for &page in self.pages.range(hole..).map(|(page, _)| page) {
            if page != hole {
                break;
            }
            hole += 1;
        }
        Ok(offset.max(hole * PAGE_SIZE).min(self.size))
    }

    /// Copies a range into `to`; a hole stays a hole. Returns how much was copied, less than `len` only where the
    /// budget or this file ends.
    ///
    /// # Errors
    ///
    /// `ENOSPC` or `EFBIG` if not even the first byte could be copied.
    pub(crate) fn copy_to(
        &self,
        offset: u64,
        to: &mut Self,
        to_offset: u64,
        len: u64,
        budget: &mut Budget,
    ) -> Result<u64, Errno> {
        let len = len.min(self.size.saturating_sub(offset));
        if len > 0 && to_offset >= SIZE_MAX {
            return Err(Errno::FBIG);
        }
        let len = len.min(SIZE_MAX.saturating_sub(to_offset));
        let mut done = 0;
        while done < len {
            let at = to_offset + done;
            let from = offset + done;
            // To the next page that exists it is all hole, however far that is.
            let data = self.seek_data(from).unwrap_or(self.size);
            let hole = data.min(offset + len) - from;
            if hole > 0 {
                to.zero(budget, at, hole);
                to.grow(at + hole);
                done += hole;
                continue;
            }
            let Some(bytes) = pieces(from, len - done).find_map(|piece| self.bytes(&piece)) else {
                break;
            };
            let wrote = match to.write(budget, at, bytes) {
                Ok(wrote) => wrote,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            };
            done += as_offset(wrote);
            if wrote < bytes.len() {
                break;
            }
        }
        Ok(done)
    }

    /// Copies a range of this file to another place in it. The ranges do not overlap.
    ///
    /// # Errors
    ///
    /// As [`copy_to`](Self::copy_to).
    pub(crate) fn copy_within(
        &mut self,
        offset: u64,
        to_offset: u64,
        len: u64,
        budget: &mut Budget,
    ) -> Result<u64, Errno> {
        let len = len.min(self.size.saturating_sub(offset));
        // A copy aside, of the pages of the range alone; it is short-lived and outside the budget.
        let pages = offset / PAGE_SIZE..offset.saturating_add(len).div_ceil(PAGE_SIZE);
        let aside = Self {
            size: self.size,
            pages: self
                .pages
                .range(pages)
                .map(|(&page, bytes)| (page, bytes.clone()))
                .collect(),
        };
        aside.copy_to(offset, self, to_offset, len, budget)
    }

    fn bytes(&self, piece: &Piece) -> Option<&[u8]> {
        self.pages.get(&piece.page)?.get(piece.bytes.clone())
    }

    fn bytes_mut(&mut self, budget: &mut Budget, piece: &Piece) -> Result<&mut [u8], Errno> {
        let page = match self.pages.entry(piece.page) {
            std::collections::btree_map::Entry::Occupied(page) => page.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => {
                budget.take(1)?;
                free.insert(Box::new([0; PAGE_BYTES]))
            }
        };
        page.get_mut(piece.bytes.clone()).ok_or(Errno::IO)
    }
}
