//! The heap of the process: malloc_trim(3) and mallopt(3) of glibc. Other C libraries lack both; there, nothing is done.

#![allow(unsafe_code, reason = "the allocator is C's")]

/// Gives the pages back that hold nothing but freed memory. Others that allocate meanwhile wait.
///
/// By itself the allocator gives back what is free at the end of its heaps, and a single value there keeps all of it.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the call takes no pointer, and the allocator locks what it walks through.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Has all threads allocate from one heap. For the start of a program, before it has threads.
///
/// By itself each thread takes memory from a heap of its own, to which it also goes when it is freed by another: what one
/// thread freed does not serve the next, and [`trim`] does not give the ends of those heaps back. Threads keep a few freed
/// pieces of each size to themselves either way, so they rarely wait for each other.
pub fn share() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the call takes no pointer, and changes a number that the allocator reads when a thread first allocates.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays() {
        share();
        let all: Vec<Box<[u8]>> = (0..100)
            .flat_map(|_| 0..100)
            .map(|n| vec![n; 120].into())
            .collect();
        let used: Vec<_> = all.into_iter().skip(9).step_by(10).collect();
        trim();
        for (at, bytes) in used.iter().enumerate() {
            assert!(
                bytes
                    .iter()
                    .all(|&byte| usize::from(byte) == (10 * at + 9) % 100)
            );
        }
    }
}
