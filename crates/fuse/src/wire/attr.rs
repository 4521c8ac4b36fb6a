//! Attributes, of objects and of the filesystem.

use super::wire;

/// `FATTR_MODE`: the change has a mode.
pub(crate) const FATTR_MODE: u32 = 1 << 0;
/// `FATTR_UID`: the change has an owner.
pub(crate) const FATTR_UID: u32 = 1 << 1;
/// `FATTR_GID`: the change has a group.
pub(crate) const FATTR_GID: u32 = 1 << 2;
/// `FATTR_SIZE`: the change has a size.
pub(crate) const FATTR_SIZE: u32 = 1 << 3;
/// `FATTR_FH`: the change is made through an open file.
pub(crate) const FATTR_FH: u32 = 1 << 6;
/// `FATTR_ATIME`: the change has an access time.
pub(crate) const FATTR_ATIME: u32 = 1 << 4;
/// `FATTR_MTIME`: the change has a modification time.
pub(crate) const FATTR_MTIME: u32 = 1 << 5;
/// `FATTR_ATIME_NOW`: the access time is that of the call.
pub(crate) const FATTR_ATIME_NOW: u32 = 1 << 7;
/// `FATTR_MTIME_NOW`: the modification time is that of the call.
pub(crate) const FATTR_MTIME_NOW: u32 = 1 << 8;
/// `FATTR_KILL_SUIDGID`: the caller has no `CAP_FSETID`.
pub(crate) const FATTR_KILL_SUIDGID: u32 = 1 << 11;

/// `STATX_BASIC_STATS | STATX_BTIME`.
pub(crate) const STATX_BASIC_AND_BTIME: u32 = 0xfff;
/// `STATX_BTIME`.
pub(crate) const STATX_BTIME: u32 = 0x800;

/// `STATX_ATTR_IMMUTABLE`.
pub(crate) const STATX_ATTR_IMMUTABLE: u64 = 0x10;
/// `STATX_ATTR_APPEND`.
pub(crate) const STATX_ATTR_APPEND: u64 = 0x20;

wire! {
    /// `struct fuse_attr`.
    FuseAttr = 88 {
        ino: u64,
        size: u64,
        blocks: u64,
        atime: u64,
        mtime: u64,
        ctime: u64,
        atimensec: u32,
        mtimensec: u32,
        ctimensec: u32,
        mode: u32,
        nlink: u32,
        uid: u32,
        gid: u32,
        rdev: u32,
        blksize: u32,
        flags: u32,
    }
}

wire! {
    /// `struct fuse_attr_out`.
    AttrOut = 104 {
        attr_valid: u64,
        attr_valid_nsec: u32,
        dummy: u32,
        attr: FuseAttr,
    }
}

wire! {
    /// `struct fuse_setattr_in`.
    SetAttrIn = 88 {
        valid: u32,
        padding: u32,
        fh: u64,
        size: u64,
        lock_owner: u64,
        atime: u64,
        mtime: u64,
        ctime: u64,
        atimensec: u32,
        mtimensec: u32,
        ctimensec: u32,
        mode: u32,
        unused4: u32,
        uid: u32,
        gid: u32,
        unused5: u32,
    }
}

wire! {
    /// `struct fuse_statx_in`.
    StatxIn = 24 {
        getattr_flags: u32,
        reserved: u32,
        fh: u64,
        sx_flags: u32,
        sx_mask: u32,
    }
}

wire! {
    /// `struct fuse_sx_time`.
    SxTime = 16 {
        tv_sec: i64,
        tv_nsec: u32,
        reserved: i32,
    }
}

wire! {
    /// `struct fuse_statx`.
    FuseStatx = 256 {
        mask: u32,
        blksize: u32,
        attributes: u64,
        nlink: u32,
        uid: u32,
        gid: u32,
        mode: u16,
        spare0: u16,
        ino: u64,
        size: u64,
        blocks: u64,
        attributes_mask: u64,
        atime: SxTime,
        btime: SxTime,
        ctime: SxTime,
        mtime: SxTime,
        rdev_major: u32,
        rdev_minor: u32,
        dev_major: u32,
        dev_minor: u32,
        spare2: [u64; 14],
    }
}

wire! {
    /// `struct fuse_statx_out`.
    StatxOut = 288 {
        attr_valid: u64,
        attr_valid_nsec: u32,
        flags: u32,
        spare: [u64; 2],
        stat: FuseStatx,
    }
}

wire! {
    /// `struct fuse_kstatfs`, all of `struct fuse_statfs_out`.
    KStatFs = 80 {
        blocks: u64,
        bfree: u64,
        bavail: u64,
        files: u64,
        ffree: u64,
        bsize: u32,
        namelen: u32,
        frsize: u32,
        padding: u32,
        spare: [u32; 6],
    }
}
