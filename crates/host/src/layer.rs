//! From a path that the user typed to the descriptor that a layer is made of.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use mica_sys::mount::change;
use mica_vfs::Errno;
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

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
/// mounted below or over it, so that an overlay can be mounted over its own lower. Otherwise it is the directory as
/// it is; so is an upper, which shares its copy with the work directory ([`private_copy`] of what holds both).
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
    Ok(private_copy(plain.as_fd(), access).unwrap_or(plain))
}

/// What no layer is needed for: its devices are no devices, its programs are not run.
const INERT: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Clones the mount of `dir`, from `dir` on and without what is mounted below. In the copy nothing is above `dir`;
/// devices, setuid bits and programs have no effect, and of a layer that is only read nothing can be changed.
///
/// # Errors
///
/// - `EPERM`: no `CAP_SYS_ADMIN`.
/// - `EINVAL`: something below is hidden by a mount that a user namespace has locked.
/// - `ENOSYS`: before Linux 5.12.
pub fn private_copy(dir: BorrowedFd<'_>, access: LayerAccess) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let copy = open_tree(dir, c"", flags)?;
    let restrictions = match access {
        LayerAccess::ReadOnly => INERT | MountAttrFlags::MOUNT_ATTR_RDONLY,
        LayerAccess::ReadWrite => INERT,
    };
    change(copy.as_fd(), restrictions, MountAttrFlags::empty())?;
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
