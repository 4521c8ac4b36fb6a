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
    /// An index needs file handles, and those of a layer find nothing.
    #[error("objects of layer `{label}` are not found by file handles, which an index consists of")]
    NoHandles {
        /// The layer.
        label: String,
        /// Why.
        #[source]
        source: Errno,
    },
    /// An index cannot tell two filesystems apart.
    #[error(
        "the filesystems of layers `{other}` and `{label}` have the same UUID, or none, so an index cannot tell their files apart"
    )]
    SameUuid {
        /// The lower one.
        label: String,
        /// The one above it.
        other: String,
    },
    /// The upper was used over another lower layer (`ESTALE` of the kernel).
    #[error("the upper `{label}` was made over another lower layer, so its index does not fit")]
    OtherLower {
        /// The upper.
        label: String,
    },
    /// The index was made for another upper (`ESTALE` of the kernel).
    #[error("the index in the work directory belongs to another upper than `{label}`")]
    OtherUpper {
        /// The upper.
        label: String,
    },
    /// An entry of the index means nothing.
    #[error("`{name}` in the index is no entry of one")]
    BadIndex {
        /// Its name.
        name: String,
    },
}
