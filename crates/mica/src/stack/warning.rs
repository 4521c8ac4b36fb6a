//! What is wrong with directories that can be a stack all the same.

use std::path::PathBuf;

use mica_overlay::XattrNamespace;
use thiserror::Error;

use super::error::{LayerDir, word};
use super::foreign::ForeignMark;
use super::holder::Holder;
use crate::Escaped;

/// Why a [`Stack`](crate::Stack) may not show what its user expects.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StackWarning {
    /// A lower is the upper or the work directory of a live mount.
    #[error("{dir} is written to by {by}: what both show is undefined")]
    LowerInUse {
        /// The lower.
        dir: LayerDir,
        /// The mount.
        by: Box<Holder>,
    },
    /// An overlay may write to the directory; its options name a path that cannot be followed from here.
    #[error("{dir} may be in use by {by}, whose paths cannot be followed")]
    MaybeInUse {
        /// The upper or work directory.
        dir: LayerDir,
        /// The mount.
        by: Box<Holder>,
    },
    /// A mark of another implementation has no effect, but is visible.
    #[error(
        "{} in {upper} is a mark of fuse-overlayfs, and shown as a file",
        Escaped::new(file)
    )]
    StrayMark {
        /// The upper.
        upper: LayerDir,
        /// The mark, from the root of the upper.
        file: PathBuf,
    },
    /// A mark of another implementation has no effect, and any user can have made it, so it is taken for data.
    #[error(
        "{upper} may have been written by another overlay: {mark}, if it is a mark; other users can make its like"
    )]
    DoubtfulMark {
        /// The upper.
        upper: LayerDir,
        /// The mark.
        mark: Box<ForeignMark>,
        /// What the mount reads.
        xattrs: XattrNamespace,
    },
}

impl StackWarning {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::LowerInUse { by, .. } => {
                format!(
                    "{}; or copy the lower with `cp -a` and use the copy",
                    by.command()
                )
            }
            Self::MaybeInUse { by, .. } => by.command(),
            Self::StrayMark { upper, .. } => format!(
                "`find {} -name .wh..wh..opq -delete` removes it and its like while nothing is mounted",
                word(&upper.path)
            ),
            Self::DoubtfulMark {
                upper,
                mark,
                xattrs,
            } => format!(
                "if another overlay wrote it: {}",
                mark.hint(&upper.path, *xattrs)
            ),
        })
    }
}
