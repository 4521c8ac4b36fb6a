//! A directory of the host as a filesystem layer.
//!
//! [`HostFs`] implements [`mica_vfs::Filesystem`] on a directory descriptor. It is the only crate that sees host
//! paths, and it sees one of them once: [`open_layer`] resolves what the user typed, and from then on every object
//! is reached by a directory descriptor and one name. It knows nothing of overlays and nothing of FUSE.
//!
//! # Invariants
//!
//! - A symbolic link of a layer is never followed, so no layer leads out of itself.
//! - A node costs no descriptor: those that are open are an LRU under one limit, shared by all layers ([`FdCache`]).
//!   Only a node that lost its last known name holds one of its own, until its last reference ends.
//! - A read-only layer refuses every change with `EROFS` before any system call.
//!
//! # Locks
//!
//! The mounts of a layer (rank 200), alone; the node table of a layer (rank 210), then the descriptor cache (rank 250). Neither is held across a system call.

#![forbid(unsafe_code)]

mod access;
mod attr;
mod closed;
mod copy;
mod create;
mod data;
mod entry_name;
mod fd_cache;
mod fs;
mod handle;
mod layer;
mod link;
mod lookup;
mod node;
mod open;
mod owners;
mod probe;
mod readdir;
mod recorded;
mod remove;
mod rename;
mod table;
mod tree;
mod xattr;

pub use fd_cache::FdCache;
pub use fs::HostFs;
pub use layer::{LayerAccess, OpenLayerError, open_layer, private_copy};
pub use owners::{OwnerXattr, Owners, Recorded};
pub use probe::Features;
pub use tree::{MountTree, UnmappedAs};
