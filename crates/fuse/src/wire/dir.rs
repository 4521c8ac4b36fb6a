//! Names found and listed, and references given back.

use super::{FuseAttr, wire};

wire! {
    /// `struct fuse_entry_out`.
    EntryOut = 128 {
        nodeid: u64,
        generation: u64,
        entry_valid: u64,
        attr_valid: u64,
        entry_valid_nsec: u32,
        attr_valid_nsec: u32,
        attr: FuseAttr,
    }
}

wire! {
    /// `struct fuse_dirent` without the name that follows it.
    Dirent = 24 {
        ino: u64,
        off: u64,
        namelen: u32,
        kind: u32,
    }
}

wire! {
    /// `struct fuse_direntplus` without the name that follows it.
    DirentPlus = 152 {
        entry: EntryOut,
        dirent: Dirent,
    }
}

wire! {
    /// `struct fuse_forget_in`.
    ForgetIn = 8 {
        nlookup: u64,
    }
}

wire! {
    /// `struct fuse_batch_forget_in`.
    BatchForgetIn = 8 {
        count: u32,
        dummy: u32,
    }
}

wire! {
    /// `struct fuse_forget_one`.
    ForgetOne = 16 {
        nodeid: u64,
        nlookup: u64,
    }
}

/// Rounds the length of a listed entry up to that of its record, `FUSE_REC_ALIGN`.
pub(crate) const fn padded(len: usize) -> usize {
    len.next_multiple_of(8)
}
