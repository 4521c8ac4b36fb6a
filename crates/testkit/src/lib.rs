//! What the tests of all crates share (not published).
//!
//! - [`Tree`]: layers written as literals, `"d/ d/a='1' d/gone:whiteout l->target"`.
//! - [`Walk`]: a filesystem by paths, without a reference left behind.
//! - [`Dump`]: a whole tree as lines that can be compared, of a [`Filesystem`](mica_vfs::Filesystem) or of the host.
//! - [`Model`]: the merged tree as a plain map, with the errno that Linux gives.
//! - [`FaultLayer`]: a layer whose Nth change or read fails, or that lacks something.
//! - [`Plant`]: a lie of a layer or of the overlay, which the oracle must find.
//! - [`KernelMount`]: the kernel's overlayfs on the layers of a stack.
//! - [`Stack`], [`check`]: an overlay over literals, on every kind of layer.
//! - [`skip()`], [`require_root`], [`require_program`], [`require_fuse`]: the one way to leave a test out.
//!
//! A test stops at the first surprise, so everything here may panic, and says what surprised it.

#![forbid(unsafe_code)]
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod dump;
mod fault;
mod kernel;
mod model;
mod plant;
mod skip;
mod stack;
mod tree;
mod walk;

pub use dump::{Detail, Dump, Object, assert_same, dump, dump_host, hash_tree};
pub use fault::{Call, Fault, FaultLayer, Lacks};
pub use kernel::KernelMount;
pub use model::{Model, ModelId};
pub use plant::{Plant, Seat};
pub use skip::{Missing, require_fuse, require_program, require_root, skip};
pub use stack::{Filesystems, Medium, Mounted, Stack, check};
pub use tree::{Body, Item, Tree, build};
pub use walk::{Held, Walk};
