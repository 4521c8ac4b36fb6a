//! Making and renaming names, and extended attributes. The names themselves follow the structures.

use super::wire;

/// `FUSE_SETXATTR_ACL_KILL_SGID`: the setter of an access ACL is not in the group.
pub(crate) const SETXATTR_ACL_KILL_SGID: u32 = 1 << 0;

wire! {
    /// `struct fuse_mknod_in`.
    MknodIn = 16 {
        mode: u32,
        rdev: u32,
        umask: u32,
        padding: u32,
    }
}

wire! {
    /// `struct fuse_mkdir_in`.
    MkdirIn = 8 {
        mode: u32,
        umask: u32,
    }
}

wire! {
    /// `struct fuse_create_in`, also of `FUSE_TMPFILE`.
    CreateIn = 16 {
        flags: u32,
        mode: u32,
        umask: u32,
        open_flags: u32,
    }
}

wire! {
    /// `struct fuse_rename_in`.
    RenameIn = 8 {
        newdir: u64,
    }
}

wire! {
    /// `struct fuse_rename2_in`.
    Rename2In = 16 {
        newdir: u64,
        flags: u32,
        padding: u32,
    }
}

wire! {
    /// `struct fuse_link_in`.
    LinkIn = 8 {
        oldnodeid: u64,
    }
}

wire! {
    /// `struct fuse_setxattr_in` without `FUSE_SETXATTR_EXT`.
    SetxattrInLegacy = 8 {
        size: u32,
        flags: u32,
    }
}

wire! {
    /// `struct fuse_setxattr_in` with `FUSE_SETXATTR_EXT`.
    SetxattrIn = 16 {
        size: u32,
        flags: u32,
        setxattr_flags: u32,
        padding: u32,
    }
}

wire! {
    /// `struct fuse_getxattr_in`, also of `FUSE_LISTXATTR`.
    GetxattrIn = 8 {
        size: u32,
        padding: u32,
    }
}

wire! {
    /// `struct fuse_getxattr_out`.
    GetxattrOut = 8 {
        size: u32,
        padding: u32,
    }
}
