//! Layers that no mount uses, read and changed as they lie on disk: what `check` and `convert` work on.
//!
//! Objects are reached through [`mica_vfs::Filesystem`], so no symbolic link is followed and a tree may be deeper than
//! any path. What lies below an object is found here once more, by the rules of the kernel, and not by the engine: a
//! check that asked the engine would find nothing that the engine takes for right.

mod below;
mod marks;
mod namespace;
mod node;
mod walk;

pub(crate) use below::{Lowers, Place, Start, Want};
pub(crate) use marks::{Marks, is_device_whiteout, is_whiteout, own_suffix};
pub(crate) use namespace::namespace_of;
pub(crate) use node::Node;
pub(crate) use walk::{Dir, Object, Visit, walk};
