//! Memory by the page, apart from the heap: buffers that are large, and mostly touched in part.
//!
//! The allocator would take them from its heaps once one of the size was freed, and fill them with zeros: then all of a
//! buffer is resident of which a page is used.

#![allow(unsafe_code, reason = "rustix maps memory by unsafe calls, too")]

use std::io;
use std::ptr::{self, NonNull};

/// Zeroed memory, aligned to pages, which the system gives by the page when it is first touched.
#[derive(Debug)]
pub struct Pages {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is private to the value, which has no state that belongs to a thread.
unsafe impl Send for Pages {}

impl Pages {
    /// Takes `len` bytes, which is rounded up to whole pages.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` for no bytes.
    pub fn new(len: usize) -> io::Result<Self> {
        let (read_write, private) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a mapping at an address that the kernel chooses touches no memory of this process.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, read_write, private, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast())
            .map(|start| Self { start, len })
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Returns the memory.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping holds `len` bytes that are readable, writable and initialised, for as long as `self` lives,
        // and nobody else has a pointer to it.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Has the system give the memory of the first `count` bytes now, at once. Before Linux 5.14 it stays as it is.
    pub fn touch_before(&mut self, count: usize) {
        let count = count.min(self.len);
        let Some(first) = self.bytes().get_mut(..count) else {
            return;
        };
        // SAFETY: the range lies in the mapping, and no byte of it changes. That it fails, for the lack of memory or the age of the
        // kernel, leaves all as it was.
        let _ =
            unsafe { libc::madvise(first.as_mut_ptr().cast(), count, libc::MADV_POPULATE_WRITE) };
    }

    /// Gives the memory behind the first `kept` bytes back; it is zero when it is touched again.
    pub fn release_after(&mut self, kept: usize) {
        let kept = kept.next_multiple_of(rustix::param::page_size());
        let Some(rest) = self.bytes().get_mut(kept..) else {
            return;
        };
        // SAFETY: the range begins at a page of the mapping, and holds bytes that nobody borrows: `self` is borrowed for
        // change. They are zero afterwards, which is a value of theirs.
        let done =
            unsafe { libc::madvise(rest.as_mut_ptr().cast(), rest.len(), libc::MADV_DONTNEED) };
        debug_assert_eq!(done, 0, "{}", io::Error::last_os_error());
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is the one of `new`, and every borrow of it has ended.
        let done = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert_eq!(done, 0, "{}", io::Error::last_os_error());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_aligned_and_zero() {
        let mut pages = Pages::new(100_000).unwrap();
        let bytes = pages.bytes();
        assert_eq!(bytes.len(), 100_000);
        assert_eq!(bytes.as_ptr().align_offset(rustix::param::page_size()), 0);
        assert!(bytes.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn what_is_released_is_zero_again_and_the_rest_stays() {
        let mut pages = Pages::new(1 << 20).unwrap();
        pages.bytes().fill(7);
        pages.release_after(10_000);
        let kept = 10_000_usize.next_multiple_of(rustix::param::page_size());
        assert!(pages.bytes()[..kept].iter().all(|&byte| byte == 7));
        assert!(pages.bytes()[kept..].iter().all(|&byte| byte == 0));
        pages.release_after(1 << 20);
        pages.release_after(usize::MAX / 2);
        assert_eq!(pages.bytes()[0], 7);
    }

    #[test]
    fn what_is_touched_is_there_and_as_it_was() {
        let resident = |pages: &mut Pages| {
            let all = pages.bytes();
            let mut states = vec![0u8; all.len() / rustix::param::page_size()];
            // SAFETY: the range is a mapping, and there is a byte for each of its pages.
            let asked =
                unsafe { libc::mincore(all.as_mut_ptr().cast(), all.len(), states.as_mut_ptr()) };
            assert_eq!(asked, 0);
            states.iter().filter(|&state| state & 1 == 1).count()
        };
        let size = rustix::param::page_size();
        let mut pages = Pages::new(16 * size).unwrap();
        pages.bytes()[0] = 7;
        pages.touch_before(4 * size);
        assert_eq!((resident(&mut pages), pages.bytes()[0]), (4, 7));
        pages.touch_before(usize::MAX);
        assert_eq!(resident(&mut pages), 16);
    }

    #[test]
    fn no_bytes_are_refused() {
        assert!(Pages::new(0).is_err());
    }
}
