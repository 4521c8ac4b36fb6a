//! On whose behalf an object is made.

/// The identity that a new object is born with.
///
/// Only the creating operations take one: permission checks are the front's business (the kernel makes
/// them for a FUSE mount, `default_permissions`), and everything else is done as the mounter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The fsuid: owner of what is made.
    pub uid: u32,
    /// The fsgid: group of what is made, unless the directory is setgid.
    pub gid: u32,
    /// Bits taken from the mode, unless the directory has a default ACL.
    pub umask: u32,
}

impl Caller {
    /// Root with an empty umask.
    pub const ROOT: Self = Self {
        uid: 0,
        gid: 0,
        umask: 0,
    };
}
