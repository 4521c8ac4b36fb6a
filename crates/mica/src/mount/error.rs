//! Why there is no mount, or no more.

use std::io;
use std::path::Path;

use mica_vfs::Errno;
use thiserror::Error;

use crate::Escaped;
use crate::cage::CageError;
use crate::stack::StackError;

/// Why there is no mount. Nothing stays mounted, unless the error says so.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MountError {
    /// The mountpoint does not exist.
    #[error("the mountpoint does not exist")]
    MountpointMissing,
    /// The mountpoint is something else.
    #[error("the mountpoint is not a directory")]
    MountpointNotDirectory,
    /// The mountpoint cannot be reached.
    #[error("the mountpoint cannot be reached")]
    Mountpoint {
        /// Why.
        source: io::Error,
    },
    /// The layers are no stack.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// `allow_root` by another user.
    #[error(
        "`allow_root` lets root in beside the mounter, which the kernel cannot do: it lets in everyone, or one user"
    )]
    AllowRoot,
    /// A label for SELinux where there is none.
    #[error("mount option `{option}` is for SELinux, which this kernel does not run")]
    NoSelinux {
        /// The option.
        option: &'static str,
    },
    /// An option that was asked for would have no effect.
    #[error("mount option `{option}` would have no effect: {reason}")]
    NoEffect {
        /// The option.
        option: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// `CAP_SYS_RESOURCE` cannot be given up.
    #[error("the server cannot give up CAP_SYS_RESOURCE")]
    Capabilities {
        /// Why.
        source: Errno,
    },
    /// The server cannot be confined.
    #[error(transparent)]
    Cage(#[from] CageError),
    /// The process that unmounts for the server cannot be started.
    #[error("the process that unmounts for the server cannot be started")]
    Helper {
        /// Why.
        source: io::Error,
    },
    /// The mount cannot be served, and is still there.
    #[error("the mount cannot be served, and cannot be removed either")]
    Left {
        /// Why it is still there.
        source: mica_fuse::UnmountError,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread of the server")]
    Thread {
        /// Why.
        source: io::Error,
    },
    /// The kernel's FUSE, or the helper that mounts for ordinary users, refuses.
    #[error(transparent)]
    Fuse(#[from] mica_fuse::MountError),
}

impl MountError {
    /// Returns what to do about it, for a mount at `mountpoint`.
    #[must_use]
    pub fn hint(&self, mountpoint: &Path) -> Option<String> {
        let at = Escaped::new(mountpoint);
        match self {
            Self::MountpointMissing => Some(format!("make it with `mkdir -p {at:#}`")),
            Self::MountpointNotDirectory => Some(format!(
                "an overlay is mounted on a directory; see what this is with `ls -ld {at:#}`"
            )),
            Self::Mountpoint { source } if source.kind() == io::ErrorKind::NotConnected => {
                Some(format!(
                    "a FUSE server that is gone left its mount here; remove it with `fusermount3 -u {at:#}`"
                ))
            }
            Self::Mountpoint { .. } => {
                Some(format!("see where the path ends with `namei -l {at:#}`"))
            }
            Self::Stack(error) => error.hint(),
            Self::NoEffect { option, .. } => Some(format!(
                "leave `{option}` out, or mount as root outside of user namespaces"
            )),
            Self::Fuse(error) => hint_fuse(error),
            Self::Cage(error) => Some(error.hint()),
            Self::Helper { .. } => {
                Some("`-o no_sandbox`, and no `auto_unmount`, mounts without one".into())
            }
            Self::Left { .. } => Some(format!("remove it with `mica umount --lazy {at:#}`")),
            Self::AllowRoot => Some("use `-o allow_other`, or mount as root".into()),
            Self::NoSelinux { option } => Some(format!(
                "leave `{option}=` out; `cat /sys/kernel/security/lsm` lists what the kernel runs"
            )),
            Self::Capabilities { .. } => None,
            Self::Thread { .. } => Some("see the limit of processes with `ulimit -u`".into()),
        }
    }
}

/// A helper that failed had to do what this process may not; what would let it is worth saying, too.
fn hint_fuse(error: &mica_fuse::MountError) -> Option<String> {
    let direct = match error {
        mica_fuse::MountError::Helper { source, .. } => source.hint(),
        _ => None,
    };
    error.hint().or(direct)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_may_not_do_is_told() {
        let at = Path::new("/m");
        let thread = MountError::Thread {
            source: io::Error::from_raw_os_error(11),
        };
        assert_eq!(thread.to_string(), "cannot start a thread of the server");
        let hint = "see the limit of processes with `ulimit -u`";
        assert_eq!(thread.hint(at).as_deref(), Some(hint));
        let capabilities = MountError::Capabilities {
            source: Errno::PERM,
        };
        let message = "the server cannot give up CAP_SYS_RESOURCE";
        assert_eq!(capabilities.to_string(), message);
        let unreachable = MountError::Mountpoint {
            source: io::Error::from_raw_os_error(13),
        };
        assert_eq!(unreachable.to_string(), "the mountpoint cannot be reached");
        let hint = "see where the path ends with `namei -l /m`";
        assert_eq!(unreachable.hint(at).as_deref(), Some(hint));
    }
}
