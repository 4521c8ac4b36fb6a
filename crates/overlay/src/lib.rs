//! The overlay: a union of filesystems with the semantics of the kernel's overlayfs.
//!
//! A stack is an optional *upper* over any number of *lowers*, topmost first. The result is a [`Filesystem`]
//! again. This crate knows no file descriptor, no path of the host and no FUSE: a layer is anything that
//! implements [`Filesystem`], so every rule is tested on trees in memory. The rules are numbered `OVL-n` in
//! docs/semantics.md, the bytes on disk are in docs/format.md.
//!
//! # Invariants
//!
//! - A lower is never changed: no changing method of a lower's [`Filesystem`] is ever called.
//! - A name appears, changes and goes away in the upper by one rename, link or unlink. What comes before happens
//!   in the work directory, where a crash leaves nothing that a mount shows.
//! - The server keeps inodes, the kernel keeps names: a node is found by what it is, not by its path.
//!
//! # Locks
//!
//! *Locks* guard memory and are never held across a call of a layer. *Gates* serialise operations and are held
//! across such calls by design, as the kernel's inode lock is. Gates come first:
//!
//! ```text
//! copying gate of one node             (copy_up: one copy of a node at a time)
//!   names gates of directories         (all that an operation needs at once, in rising NodeId)
//!     links gate of one node           (index: its link count on disk changes with its names)
//!     100 listings                     (which directory listings are cached)
//!       110 one listing
//!     120 place of a node
//!     130 node table
//!     140 shared whiteout
//!     145 hard links                   (names and link counts of lower files with several)
//!     150 orphans                      (objects without a name that the work directory keeps)
//! ```

#![forbid(unsafe_code)]

mod access;
mod acl;
mod attr;
mod bad_mark;
mod closed;
mod config;
mod copy_up;
mod create;
mod data;
mod durability;
mod error;
mod examine;
mod filesystem;
mod gate;
mod hard_link;
mod ids;
mod incompat;
mod index;
mod ino;
mod link;
mod listing;
mod lookup;
mod lower_data;
mod marks;
mod metacopy;
mod nested;
mod node;
mod origin;
mod orphan;
mod overlay;
mod protect;
mod readdir;
mod redirect;
mod remove;
mod rename;
mod revalidate;
mod search;
mod stack;
mod stats;
mod table;
mod uuid;
mod whiteout;
mod witness;
mod work;
mod xattr;

pub use acl::Acls;
pub use bad_mark::BadMark;
pub use config::{
    Config, DirLinks, HardLinks, Index, LayerUser, Metacopies, Permissions, Redirects, Unlisted,
    Unmapped, XattrNamespace, Xino,
};
pub use copy_up::CopyUpStep;
pub use durability::Durability;
pub use error::SetupError;
pub use ids::{IdMap, IdRange, IdRangeError, IdRanges, IdRules, OVERFLOW_ID};
pub use index::Nlink;
pub use marks::{Opaque, parse_opaque};
pub use metacopy::{Metacopy, parse_metacopy};
pub use origin::{Origin, OriginError};
pub use overlay::Overlay;
pub use redirect::{Redirect, parse_redirect};
pub use stack::{LAYERS_MAX, Layer, Upper};
pub use stats::OverlayStats;
pub use uuid::OwnUuid;
pub use witness::{Fate, Witness};
pub use xattr::{escape, unescape};

#[cfg(doc)]
use mica_vfs::Filesystem;
