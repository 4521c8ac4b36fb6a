//! The differences from kernel overlayfs that docs/semantics.md numbers, and what the oracle does about each.
//!
//! `cargo xtask tidy` compares the numbers here with those of the page, both ways.

/// How many there are. A further one needs the kernel's source or the FUSE limit that forces it.
#[expect(dead_code, reason = "tidy is to compare it")]
pub(crate) const DIFFERENCES: usize = 0;
