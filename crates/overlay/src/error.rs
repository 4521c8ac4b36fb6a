//! Why a stack cannot be mounted.

use mica_vfs::Errno;

/// A stack of layers that cannot become an overlay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// There is no lower layer.
    #[error("an overlay needs at least one lower layer")]
    NoLower,
    /// There are more layers than the format allows.
    #[error("{count} lower layers are more than the {max} that an overlay can have")]
    TooManyLayers {
        /// How many were given.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// The root of a layer cannot be read.
    #[error("cannot read the root of layer `{label}`")]
    Root {
        /// The layer.
        label: String,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The root of a layer is not a directory.
    #[error("the root of layer `{label}` is not a directory")]
    NotADirectory {
        /// The layer.
        label: String,
    },
    /// The work directory cannot be prepared.
    #[error("cannot prepare the work directory: {action} `{name}`")]
    Work {
        /// What was being done.
        action: &'static str,
        /// To which name in the work directory.
        name: String,
        /// Why it failed.
        #[source]
        source: Errno,
    },
    /// The work directory carries the mark of a feature that this mount does not know, `work/incompat/*`.
    #[error("the work directory is marked with the incompatible feature `{feature}`")]
    Incompatible {
        /// The feature.
        feature: String,
    },
}
