//! What can go wrong before a mount answers, and after it ends.

use std::fmt;
use std::path::PathBuf;

use mica_vfs::Errno;

use crate::init::{OLDEST_PROTOCOL, ProtocolVersion};

/// A step of mounting that the kernel may refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountStep {
    /// fsopen(2)
    Open,
    /// fsconfig(2), one option
    Configure(&'static str),
    /// fsconfig(2), the filesystem
    Create,
    /// fsmount(2)
    Attach,
    /// move_mount(2)
    Move,
    /// mount(2)
    Mount,
}

impl fmt::Display for MountStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("fsopen"),
            Self::Configure(key) => write!(f, "fsconfig of `{key}`"),
            Self::Create => f.write_str("fsconfig"),
            Self::Attach => f.write_str("fsmount"),
            Self::Move => f.write_str("move_mount"),
            Self::Mount => f.write_str("mount"),
        }
    }
}

/// Why there is no mount.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The mountpoint does not exist.
    #[error("mountpoint `{}` does not exist", path.display())]
    MountpointMissing {
        /// As it was given.
        path: PathBuf,
    },
    /// The mountpoint is not a directory.
    #[error("mountpoint `{}` is not a directory", path.display())]
    MountpointNotDirectory {
        /// As it was given.
        path: PathBuf,
    },
    /// The mountpoint cannot be opened.
    #[error("cannot open mountpoint `{}`", path.display())]
    Mountpoint {
        /// As it was given.
        path: PathBuf,
        /// What the kernel says.
        source: Errno,
    },
    /// There is no `/dev/fuse`.
    #[error("`/dev/fuse` does not exist")]
    DeviceMissing,
    /// `/dev/fuse` cannot be opened.
    #[error("cannot open `/dev/fuse`")]
    Device {
        /// What the kernel says.
        source: Errno,
    },
    /// This process may not mount, and there is no helper that may.
    #[error("not permitted to mount, and neither `fusermount3` nor `fusermount` is installed")]
    HelperMissing {
        /// Why it could not mount by itself.
        source: Box<Self>,
    },
    /// The helper did not mount.
    #[error("`{program}` did not mount: {message}")]
    Helper {
        /// Name of the helper.
        program: &'static str,
        /// What it wrote, or how it ended.
        message: String,
        /// Why Mica could not mount by itself.
        source: Box<Self>,
    },
    /// The kernel refused a step.
    #[error("the kernel refused to mount at {step}{}", colon(message))]
    Refused {
        /// What it refused.
        step: MountStep,
        /// What it wrote into the log of the attempt; may be empty.
        message: String,
        /// What it says.
        source: Errno,
    },
    /// The kernel's FUSE is too old.
    #[error("the kernel speaks FUSE protocol {kernel}, and {OLDEST_PROTOCOL} is needed")]
    KernelTooOld {
        /// What it speaks.
        kernel: ProtocolVersion,
    },
    /// The connection ended before it was up.
    #[error("the connection to the kernel ended before it was up")]
    NoAnswer,
    /// A thread could not be started.
    #[error("cannot start a thread to serve the mount")]
    Thread {
        /// What the system says.
        source: std::io::Error,
    },
}

fn colon(message: &str) -> String {
    match message {
        "" => String::new(),
        _ => format!(": {message}"),
    }
}

impl MountError {
    /// Returns something that can be run or done about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::MountpointMissing { path } => format!("mkdir -p '{}'", path.display()),
            Self::MountpointNotDirectory { .. } => "mount on a directory".to_owned(),
            // What a server that was killed leaves.
            Self::Mountpoint {
                path,
                source: Errno::NOTCONN,
            } => format!("umount -l '{}'", path.display()),
            Self::DeviceMissing => {
                "run `modprobe fuse`; in a container, add `--device /dev/fuse`".to_owned()
            }
            Self::Device { .. } => {
                "run as root, or have the administrator run `chmod 666 /dev/fuse`".to_owned()
            }
            Self::HelperMissing { .. } => {
                "run as root, in a user namespace (`unshare -rm`), or `apt-get install fuse3`"
                    .to_owned()
            }
            Self::Helper { message, .. } if message.contains("user_allow_other") => {
                "have the administrator run `echo user_allow_other >> /etc/fuse.conf`, or leave `allow_other` out".to_owned()
            }
            Self::Refused {
                source: Errno::PERM | Errno::ACCESS,
                ..
            } => "run as root or in a user namespace (`unshare -rm`)".to_owned(),
            Self::KernelTooOld { .. } => "boot Linux 5.4 or newer".to_owned(),
            _ => return None,
        })
    }

    /// Tells whether a helper with more rights may succeed where this failed.
    pub(crate) const fn is_lack_of_permission(&self) -> bool {
        matches!(
            self,
            Self::Device {
                source: Errno::PERM | Errno::ACCESS
            } | Self::Refused {
                source: Errno::PERM | Errno::ACCESS,
                ..
            }
        )
    }
}

/// Why a session ended other than by unmounting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The connection was aborted: `umount -f`, or `/sys/fs/fuse/connections/N/abort`.
    #[error("the connection was aborted")]
    Aborted,
    /// Reading `/dev/fuse` failed.
    #[error("cannot read `/dev/fuse`")]
    Device {
        /// What the kernel says.
        source: Errno,
    },
}

/// Why a mount is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnmountError {
    /// The kernel refused.
    #[error("cannot unmount `{}`", path.display())]
    Refused {
        /// Where the mount is.
        path: PathBuf,
        /// What the kernel says.
        source: Errno,
    },
    /// The process that unmounts for this one is gone.
    #[error("cannot unmount `{}`: the process that does it is gone", path.display())]
    Alone {
        /// Where the mount is.
        path: PathBuf,
    },
    /// The helper did not unmount.
    #[error("cannot unmount `{}`: {message}", path.display())]
    Helper {
        /// Where the mount is.
        path: PathBuf,
        /// What the helper wrote, or why there is none.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kernels, devices and helpers that no machine has all of.
    #[test]
    fn what_keeps_from_mounting_is_told_with_a_hint() {
        let refused = |source| MountError::Refused {
            step: MountStep::Configure("fd"),
            message: "fuse: bad".to_owned(),
            source,
        };
        let too_old = MountError::KernelTooOld {
            kernel: ProtocolVersion {
                major: 7,
                minor: 30,
            },
        };
        let device = MountError::Device {
            source: Errno::ACCESS,
        };
        for (error, message, hint) in [
            (
                too_old,
                "the kernel speaks FUSE protocol 7.30, and 7.31 is needed",
                Some("boot Linux 5.4 or newer"),
            ),
            (
                device,
                "cannot open `/dev/fuse`",
                Some("run as root, or have the administrator run `chmod 666 /dev/fuse`"),
            ),
            (
                refused(Errno::PERM),
                "the kernel refused to mount at fsconfig of `fd`: fuse: bad",
                Some("run as root or in a user namespace (`unshare -rm`)"),
            ),
            (
                refused(Errno::INVAL),
                "the kernel refused to mount at fsconfig of `fd`: fuse: bad",
                None,
            ),
            (
                MountError::NoAnswer,
                "the connection to the kernel ended before it was up",
                None,
            ),
        ] {
            assert_eq!(error.to_string(), message);
            assert_eq!(error.hint().as_deref(), hint);
        }
    }
}
