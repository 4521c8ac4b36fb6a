//! From a path that the user typed to the descriptor that a layer is made of.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use mica_sys::mount::set_read_only;
use mica_vfs::Errno;
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{OpenTreeFlags, open_tree};

/// Whether a layer may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerAccess {
    /// A lower: every change is `EROFS`.
    ReadOnly,
    /// An upper.
    ReadWrite,
}

/// Why a directory cannot be a layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenLayerError {
    /// Nothing is there.
    #[error("`{}` does not exist", path.display())]
    NotFound {
        /// What the user typed.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("`{}` is not a directory", path.display())]
    NotADirectory {
        /// What the user typed.
        path: PathBuf,
    },
    /// A directory on the way, or the layer, may not be searched.
    #[error("no permission to open `{}`", path.display())]
    PermissionDenied {
        /// What the user typed.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot open `{}`", path.display())]
    Failed {
        /// What the user typed.
        path: PathBuf,
        /// What the system said.
        #[source]
        errno: Errno,
    },
}

/// Opens the directory that `path` leads to; symbolic links in it are followed, as it is the user's own.
///
/// A read-only layer is a private copy of the mount where that is permitted: read-only, and blind to what is
/// mounted below or over it, so that an overlay can be mounted over its own lower. Otherwise, and for an upper
/// (two copies of one mount would make each rename between upper and work directory `EXDEV`), it is the directory
/// as it is.
///
/// # Errors
///
/// [`OpenLayerError`] names the path and what is wrong with it.
pub fn open_layer(path: &Path, access: LayerAccess) -> Result<OwnedFd, OpenLayerError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let plain = open(path, flags, Mode::empty()).map_err(|errno| refused(path, errno))?;
    if access == LayerAccess::ReadWrite {
        return Ok(plain);
    }
    Ok(private_copy(&plain).unwrap_or(plain))
}

/// Clones the mount of `dir`, from `dir` on and without what is mounted below. Fails without privilege, and where
/// something below is hidden by a mount that a user namespace has locked.
fn private_copy(dir: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let copy = open_tree(dir, c"", flags)?;
    set_read_only(copy.as_fd())?;
    Ok(copy)
}

fn refused(path: &Path, errno: Errno) -> OpenLayerError {
    let path = path.to_owned();
    match errno {
        Errno::NOENT => OpenLayerError::NotFound { path },
        Errno::NOTDIR => OpenLayerError::NotADirectory { path },
        Errno::ACCESS | Errno::PERM => OpenLayerError::PermissionDenied { path },
        errno => OpenLayerError::Failed { path, errno },
    }
}
