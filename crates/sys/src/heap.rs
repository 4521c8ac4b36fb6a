//! Giving freed memory back to the system: malloc_trim(3), glibc.

#![allow(unsafe_code, reason = "the allocator is C's")]

/// Gives the pages back that hold nothing but freed memory. Others that allocate meanwhile wait.
///
/// By itself the allocator gives back what is free at the end of its heaps, and a single value there keeps all of it. Other
/// C libraries than glibc have no such call; there, nothing is done.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the call takes no pointer, and the allocator locks what it walks through.
        unsafe { libc::malloc_trim(0) };
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    fn resident_kib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        let kib = line.unwrap().split_ascii_whitespace().nth(1).unwrap();
        kib.parse().unwrap()
    }

    #[test]
    fn memory_below_what_is_still_used_goes_back() {
        const COUNT: usize = 200_000;
        let small: Vec<Box<[u8]>> = (0..COUNT).map(|_| vec![1; 120].into()).collect();
        let full = resident_kib();
        // The last one keeps the end of the heap.
        let mut small = small;
        small.drain(..COUNT - 1);
        small.shrink_to_fit();
        trim();
        let left = resident_kib();
        assert!(left + 15_000 < full, "{full} KiB before, {left} after");
        assert_eq!(small.len(), 1);
    }
}
