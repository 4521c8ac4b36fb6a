//! What every request and every reply begins with.

use super::wire;

/// A user or group that the kernel does not tell: on an idmapped mount only creating requests carry the ids.
pub(crate) const INVALID_ID: u32 = u32::MAX;

wire! {
    /// `struct fuse_in_header`.
    InHeader = 40 {
        len: u32,
        opcode: u32,
        unique: u64,
        nodeid: u64,
        uid: u32,
        gid: u32,
        pid: u32,
        total_extlen: u16,
        padding: u16,
    }
}

/// `FUSE_NOTIFY_INVAL_INODE`, in place of the error of a message that answers nothing.
pub(crate) const NOTIFY_INVAL_INODE: i32 = 2;

wire! {
    /// `struct fuse_notify_inval_inode_out` behind its header.
    InvalInodeOut = 40 {
        header: OutHeader,
        ino: u64,
        off: i64,
        len: i64,
    }
}

wire! {
    /// `struct fuse_out_header`.
    OutHeader = 16 {
        len: u32,
        error: i32,
        unique: u64,
    }
}
