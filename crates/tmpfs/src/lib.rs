//! A filesystem whose tree lives in memory, with the semantics of the kernel's tmpfs.
//!
//! It is a filesystem of its own: a layer of an overlay, the whole of a mount, or the stage of a test. It knows
//! nothing of the host: no path, no descriptor, no permission check (those are a front's business).
//!
//! # Invariants
//!
//! - An object lives while it has a name or a reference. A node that nobody references is `ESTALE`, also while it
//!   still has a name.
//! - A directory has as many links as it has subdirectories, and two.
//! - A cookie of a listing is the number of a name. A new name gets a new, higher number; a name that is given to
//!   another object keeps it. So a name that exists throughout a listing is listed once.
//! - Reading changes nothing: times of access move only by `set_attr`, as under `noatime`. A lower layer must not
//!   change because somebody reads it.
//! - With limits, no operation uses more pages or inodes than they allow; it fails with `ENOSPC` and changes nothing,
//!   or it is a short write.
//!
//! # Locks
//!
//! One lock, rank 200, over the whole tree. Under it there is memory work only: no sink, no clock and no other
//! filesystem is called.

#![forbid(unsafe_code)]

mod acl;
mod attr;
mod clock;
mod copy;
mod create;
mod dir;
mod file;
mod filesystem;
mod inode;
mod limits;
mod pages;
mod remove;
mod rename;
mod tmpfs;
mod tree;
mod xattr;

pub use clock::{Clock, SystemClock};
pub use limits::Limits;
pub use tmpfs::Tmpfs;
