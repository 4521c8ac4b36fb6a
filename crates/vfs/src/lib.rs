//! Types of Mica and the [`Filesystem`] trait.
//!
//! This crate says what a filesystem is; it does no I/O and knows no host path, no FUSE and no overlay.
//! A layer of an overlay implements [`Filesystem`], and so does the overlay itself: an overlay can be a
//! layer of another, and every rule of it can be tested on trees in memory.
//!
//! # Invariants
//!
//! - A result is an [`Errno`]: two bytes, `Copy`, no allocation. `ENOENT` is the common case, not an accident.
//! - Passing an errno on is silent. Inventing one goes through [`invent!`], which logs why.
//! - Locks come from [`lock`]: they are ranked, never held across I/O, and a poisoned one is `EIO`.

#![forbid(unsafe_code)]

mod attr;
mod caller;
mod errno;
mod filesystem;
pub mod lock;
pub mod met;
mod name;
mod readdir;
mod slab;
mod xattr;

pub use attr::{
    Attr, DevId, FileType, Ino, Mode, Protection, Rdev, Rights, SetAttr, SetTime, StatFs, Through,
    Time,
};
pub use caller::{Caller, for_the_maker, is_for_the_maker};
pub use errno::Errno;
pub use filesystem::{
    Access, Coherence, CopyMethod, DataVersion, Entry, FallocateMode, FileFlags, FileHandle,
    Filesystem, HostFile, KillPriv, NodeId, Observer, Opened, RenameFlags, SeekFrom, SyncScope,
    Uuid,
};
pub use name::{FileName, FileNameBuf, NAME_MAX};
pub use readdir::{Cookie, DirEntry, Flow, ListedNode};
pub use slab::{Slab, slot_of};
pub use xattr::{XATTR_NAME_MAX, XATTR_SIZE_MAX, XattrMode, XattrName};

#[doc(hidden)]
pub use tracing;
