//! The structures of the FUSE protocol, version 7.45, as the kernel lays them out.
//!
//! Layout only: nothing here knows a filesystem, a session or an errno. Each structure checks its size when it is
//! compiled. Numbers are in the byte order of the machine, as the protocol wants them.
//!
//! # Invariants
//!
//! - Requests are read by copying out of the buffer ([`take`]), so no structure relies on its alignment.
//! - Every byte of a reply structure is a named field: nothing of the server's memory leaks through padding.

mod attr;
mod dir;
mod file;
mod header;
mod init;
mod name;
mod opcode;

pub(crate) use attr::{
    AttrOut, FATTR_ATIME, FATTR_ATIME_NOW, FATTR_FH, FATTR_GID, FATTR_KILL_SUIDGID, FATTR_MODE,
    FATTR_MTIME, FATTR_MTIME_NOW, FATTR_SIZE, FATTR_UID, FuseAttr, FuseStatx, KStatFs,
    STATX_ATTR_APPEND, STATX_ATTR_IMMUTABLE, STATX_BASIC_AND_BTIME, STATX_BTIME, SetAttrIn,
    StatxIn, StatxOut, SxTime,
};
pub(crate) use dir::{BatchForgetIn, Dirent, DirentPlus, EntryOut, ForgetIn, ForgetOne, padded};
pub(crate) use file::{
    AccessIn, CopyFileRangeIn, CopyFileRangeOut, FOPEN_KEEP_CACHE, FSYNC_FDATASYNC, FallocateIn,
    Fsxattr, FsyncIn, IoctlIn, IoctlOut, LseekIn, LseekOut, OpenIn, OpenOut, ReadIn, ReleaseIn,
    WRITE_CACHE, WRITE_KILL_SUIDGID, WriteIn, WriteOut,
};
pub(crate) use header::{INVALID_ID, InHeader, InvalInodeOut, NOTIFY_INVAL_INODE, OutHeader};
pub(crate) use init::{InitIn, InitInLegacy, InitOut};
pub(crate) use name::{
    CreateIn, GetxattrIn, GetxattrOut, LinkIn, MkdirIn, MknodIn, Rename2In, RenameIn,
    SETXATTR_ACL_KILL_SGID, SetxattrIn, SetxattrInLegacy,
};
pub(crate) use opcode::Opcode;

use zerocopy::FromBytes;

/// Declares a structure of the protocol together with its size.
macro_rules! wire {
    ($(#[$doc:meta])* $name:ident = $size:literal { $($field:ident: $kind:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        #[repr(C)]
        #[allow(dead_code, reason = "the fields are the kernel's, used or not")]
        pub(crate) struct $name {
            $(pub(crate) $field: $kind,)*
        }

        const _: () = assert!(size_of::<$name>() == $size);
    };
}
use wire;

/// Takes a structure off the front of a request's body.
pub(crate) fn take<T: FromBytes>(body: &[u8]) -> Option<(T, &[u8])> {
    T::read_from_prefix(body).ok()
}
