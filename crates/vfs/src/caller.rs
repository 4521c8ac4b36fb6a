//! On whose behalf an object is made.

use std::cell::Cell;

/// The identity that a new object is born with.
///
/// Only the creating operations take one: who may do what is decided by the kernel of a FUSE mount (`default_permissions`), or by the
/// filesystem for the one user that it serves ([`access`](crate::Filesystem::access)), and everything else is done as the mounter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The fsuid: owner of what is made.
    pub uid: u32,
    /// The fsgid: group of what is made, unless the directory is setgid.
    pub gid: u32,
    /// Bits taken from the mode, unless the directory has a default ACL.
    pub umask: u32,
}

thread_local!(static FOR_THE_MAKER: Cell<bool> = const { Cell::new(false) });

/// Runs `serve` on behalf of whoever made the filesystem, who may do everything with it.
pub fn for_the_maker<T>(serve: impl FnOnce() -> T) -> T {
    /// Ends it when `serve` does, however that is.
    struct Until(bool);
    impl Drop for Until {
        fn drop(&mut self) {
            FOR_THE_MAKER.set(self.0);
        }
    }
    let _until = Until(FOR_THE_MAKER.replace(true));
    serve()
}

/// Whether this thread is in [`for_the_maker`].
#[must_use]
pub fn is_for_the_maker() -> bool {
    FOR_THE_MAKER.get()
}

impl Caller {
    /// Root with an empty umask.
    pub const ROOT: Self = Self {
        uid: 0,
        gid: 0,
        umask: 0,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_for_the_maker_ends_with_it_and_is_this_threads() {
        assert!(!is_for_the_maker());
        for_the_maker(|| {
            for_the_maker(|| assert!(is_for_the_maker()));
            assert!(is_for_the_maker());
            std::thread::spawn(|| assert!(!is_for_the_maker()))
                .join()
                .unwrap();
        });
        let panicked = std::panic::catch_unwind(|| for_the_maker(|| panic!("as it is meant to")));
        assert!(panicked.is_err() && !is_for_the_maker());
    }
}
