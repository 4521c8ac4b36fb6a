//! The data of files.

use super::wire;

/// `FOPEN_KEEP_CACHE`: the pages of the file stay.
pub(crate) const FOPEN_KEEP_CACHE: u32 = 1 << 1;
/// `FUSE_WRITE_CACHE`: the kernel writes back pages that a program stored into through a mapping.
pub(crate) const WRITE_CACHE: u32 = 1 << 0;
/// `FUSE_WRITE_KILL_SUIDGID`: the writer has no `CAP_FSETID`.
pub(crate) const WRITE_KILL_SUIDGID: u32 = 1 << 2;
/// `FUSE_FSYNC_FDATASYNC`.
pub(crate) const FSYNC_FDATASYNC: u32 = 1 << 0;

wire! {
    /// `struct fuse_open_in`.
    OpenIn = 8 {
        flags: u32,
        open_flags: u32,
    }
}

wire! {
    /// `struct fuse_access_in`.
    AccessIn = 8 {
        mask: u32,
        padding: u32,
    }
}

wire! {
    /// `struct fuse_release_in`.
    ReleaseIn = 24 {
        fh: u64,
        flags: u32,
        release_flags: u32,
        lock_owner: u64,
    }
}

wire! {
    /// `struct fuse_open_out`.
    OpenOut = 16 {
        fh: u64,
        open_flags: u32,
        backing_id: i32,
    }
}

wire! {
    /// `struct fuse_read_in`, also of directories.
    ReadIn = 40 {
        fh: u64,
        offset: u64,
        size: u32,
        read_flags: u32,
        lock_owner: u64,
        flags: u32,
        padding: u32,
    }
}

wire! {
    /// `struct fuse_write_in`; the data follows.
    WriteIn = 40 {
        fh: u64,
        offset: u64,
        size: u32,
        write_flags: u32,
        lock_owner: u64,
        flags: u32,
        padding: u32,
    }
}

wire! {
    /// `struct fuse_write_out`.
    WriteOut = 8 {
        size: u32,
        padding: u32,
    }
}

wire! {
    /// `struct fuse_fsync_in`.
    FsyncIn = 16 {
        fh: u64,
        fsync_flags: u32,
        padding: u32,
    }
}

wire! {
    /// `struct fuse_fallocate_in`.
    FallocateIn = 32 {
        fh: u64,
        offset: u64,
        length: u64,
        mode: u32,
        padding: u32,
    }
}

wire! {
    /// `struct fuse_lseek_in`.
    LseekIn = 24 {
        fh: u64,
        offset: u64,
        whence: u32,
        padding: u32,
    }
}

wire! {
    /// `struct fuse_lseek_out`.
    LseekOut = 8 {
        offset: u64,
    }
}

wire! {
    /// `struct fuse_copy_file_range_in`, of both opcodes.
    CopyFileRangeIn = 56 {
        fh_in: u64,
        off_in: u64,
        nodeid_out: u64,
        fh_out: u64,
        off_out: u64,
        len: u64,
        flags: u64,
    }
}

wire! {
    /// `struct fuse_copy_file_range_out`, of `FUSE_COPY_FILE_RANGE_64`.
    CopyFileRangeOut = 8 {
        bytes_copied: u64,
    }
}

wire! {
    /// `struct fuse_ioctl_in`; the argument follows.
    IoctlIn = 32 {
        fh: u64,
        flags: u32,
        cmd: u32,
        arg: u64,
        in_size: u32,
        out_size: u32,
    }
}

wire! {
    /// `struct fuse_ioctl_out`; the answer follows.
    IoctlOut = 16 {
        result: i32,
        flags: u32,
        in_iovs: u32,
        out_iovs: u32,
    }
}

wire! {
    /// `struct fsxattr`, the argument of `FS_IOC_FSGETXATTR` and `FS_IOC_FSSETXATTR`.
    Fsxattr = 28 {
        xflags: u32,
        extsize: u32,
        nextents: u32,
        projid: u32,
        cowextsize: u32,
        pad: [u8; 8],
    }
}
