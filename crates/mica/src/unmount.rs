//! Removing a mount by its mountpoint, from any process.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mica_vfs::Errno;
use rustix::mount::UnmountFlags;
use thiserror::Error;

use crate::Escaped;
use crate::mountinfo::{MountLine, mounts};

/// The type of a mount of ours, as /proc/mounts shows it.
pub(crate) const TYPE: &str = "fuse.mica";

/// What to do with a mount that somebody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// Leave it.
    Fail,
    /// Detach it; it goes away with its last user (`MNT_DETACH`).
    Detach,
}

/// Why a mount was not removed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UnmountError {
    /// The path does not lead anywhere.
    #[error("{} cannot be reached", Escaped::new(path))]
    Unreachable {
        /// The path.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// Nothing is mounted there.
    #[error("nothing is mounted there")]
    NotMounted,
    /// Something else is mounted there.
    #[error("the mount there is not of Mica, but of type {}", Escaped::new(kind))]
    Foreign {
        /// The type of the mount.
        kind: OsString,
    },
    /// Somebody uses the mount.
    #[error("it is in use")]
    Busy,
    /// The list of mounts cannot be read.
    #[error("cannot read `/proc/self/mountinfo`")]
    MountInfo {
        /// Why.
        source: io::Error,
    },
    /// The kernel refuses.
    #[error("the kernel refuses to unmount it")]
    Kernel {
        /// Why.
        source: Errno,
    },
    /// `fusermount3`, which unmounts for ordinary users, refuses.
    #[error("`fusermount3` refuses: {message}")]
    Fusermount {
        /// What it said.
        message: String,
    },
    /// `fusermount3` cannot be run.
    #[error("`fusermount3`, which unmounts for ordinary users, cannot be run")]
    NoFusermount {
        /// Why.
        source: io::Error,
    },
}

impl UnmountError {
    /// Returns what to do about it, for the mount at `mountpoint`.
    #[must_use]
    pub fn hint(&self, mountpoint: &Path) -> Option<String> {
        let at = Escaped::new(mountpoint);
        Some(match self {
            Self::NotMounted | Self::Unreachable { .. } => {
                "`findmnt -t fuse.mica` lists the mounts of Mica".into()
            }
            Self::Foreign { .. } => format!("unmount it with `umount {at:#}`"),
            Self::Busy => format!(
                "`fuser -vm {at:#}` lists who uses it; `mica umount --lazy {at:#}` detaches it all the same"
            ),
            Self::Kernel { .. } | Self::Fusermount { .. } => {
                format!("see who mounted it with `findmnt {at:#}`")
            }
            Self::NoFusermount { .. } => {
                "install it (`apt-get install fuse3`), or unmount as root".into()
            }
            Self::MountInfo { .. } => "mount it with `mount -t proc proc /proc`".into(),
        })
    }
}

/// Removes the topmost mount at `mountpoint`, which must be one of Mica. Its server ends with it.
///
/// # Errors
///
/// An [`UnmountError`]; the mount is as it was.
pub fn unmount(mountpoint: &Path, busy: Busy) -> Result<(), UnmountError> {
    let target = resolve(mountpoint)?;
    let table = std::fs::read("/proc/self/mountinfo");
    let table = table.map_err(|source| UnmountError::MountInfo { source })?;
    ours(&table, &target).map_err(|error| match error {
        NotOurs::Nothing => UnmountError::NotMounted,
        NotOurs::Foreign { kind } => UnmountError::Foreign { kind },
    })?;
    // NOFOLLOW: the path is resolved; a link that took its place meanwhile is not followed.
    let flags = match busy {
        Busy::Fail => UnmountFlags::NOFOLLOW,
        Busy::Detach => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    match rustix::mount::unmount(&target, flags) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(UnmountError::Busy),
        Err(Errno::PERM) => by_fusermount(&target, busy),
        Err(Errno::INVAL) => Err(UnmountError::NotMounted),
        Err(source) => Err(UnmountError::Kernel { source }),
    }
}

/// Returns the absolute path of `mountpoint` without looking at what is mounted there: its server may be gone
/// (`ENOTCONN`).
pub(crate) fn resolve(mountpoint: &Path) -> Result<PathBuf, UnmountError> {
    let unreachable = |path: &Path, error: &io::Error| UnmountError::Unreachable {
        path: path.to_owned(),
        source: Errno::from_io_error(error).unwrap_or(Errno::IO),
    };
    // `.`, `..` and links have no parent that is told by their spelling.
    match mountpoint.canonicalize() {
        Ok(path) => Ok(path),
        Err(error) if error.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()) => {
            let parent = match mountpoint.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            let parent = parent
                .canonicalize()
                .map_err(|error| unreachable(parent, &error))?;
            Ok(match mountpoint.file_name() {
                Some(name) => parent.join(name),
                None => parent,
            })
        }
        Err(error) => Err(unreachable(mountpoint, &error)),
    }
}

/// What is mounted instead of a mount of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotOurs {
    Nothing,
    Foreign { kind: OsString },
}

/// Finds the last mount at `target` in the text of mountinfo(5), which must be one of Mica.
pub(crate) fn ours<'a>(table: &'a [u8], target: &Path) -> Result<MountLine<'a>, NotOurs> {
    let mount = topmost(table, target).ok_or(NotOurs::Nothing)?;
    if mount.kind == TYPE.as_bytes() {
        return Ok(mount);
    }
    Err(NotOurs::Foreign {
        kind: OsStr::from_bytes(mount.kind).to_owned(),
    })
}

/// Finds the last mount at `target` in the text of mountinfo(5).
fn topmost<'a>(table: &'a [u8], target: &Path) -> Option<MountLine<'a>> {
    mounts(table).filter(|mount| mount.point() == target).last()
}

/// Unmounts with the help of the setuid program, as a user who may not.
fn by_fusermount(target: &Path, busy: Busy) -> Result<(), UnmountError> {
    let mut command = Command::new("fusermount3");
    command.arg("-u");
    if busy == Busy::Detach {
        command.arg("-z");
    }
    let output = command.arg("--").arg(target).stdin(Stdio::null()).output();
    let output = output.map_err(|source| UnmountError::NoFusermount { source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = OsString::from_vec(output.stderr);
    let said = said.to_string_lossy();
    if said.contains("busy") {
        return Err(UnmountError::Busy);
    }
    let line = said.lines().next().unwrap_or("no reason given");
    Err(UnmountError::Fusermount {
        message: line
            .trim_start_matches("fusermount3: ")
            .escape_debug()
            .to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"21 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n\
        40 21 0:30 / /m\\040x rw - tmpfs tmpfs rw\n\
        41 40 0:31 / /m\\040x rw,nosuid shared:5 master:1 - fuse.mica a\\040b rw\n\
        42 21 0:32 / /b\\134 rw - fuse.mica m rw\n";

    #[test]
    fn the_last_mount_at_a_path_is_the_topmost() {
        let kind = |path| topmost(TABLE, Path::new(path)).map(|mount| mount.kind);
        assert_eq!(kind("/m x"), Some(&b"fuse.mica"[..]));
        assert_eq!(kind("/"), Some(&b"ext4"[..]));
        assert_eq!(kind("/b\\"), Some(&b"fuse.mica"[..]));
        assert_eq!(kind("/m"), None);
        assert_eq!(ours(TABLE, Path::new("/m x")).unwrap().options, b"rw");
        let kind = "ext4".into();
        let foreign = NotOurs::Foreign { kind };
        assert_eq!(ours(TABLE, Path::new("/")), Err(foreign));
        assert_eq!(ours(TABLE, Path::new("/m")), Err(NotOurs::Nothing));
    }

    #[test]
    fn what_the_kernel_refuses_is_told_with_a_hint() {
        let kernel = UnmountError::Kernel {
            source: Errno::ACCESS,
        };
        let table = UnmountError::MountInfo {
            source: io::Error::from_raw_os_error(2),
        };
        for (error, message, hint) in [
            (
                kernel,
                "the kernel refuses to unmount it",
                "see who mounted it with `findmnt /m`",
            ),
            (
                table,
                "cannot read `/proc/self/mountinfo`",
                "mount it with `mount -t proc proc /proc`",
            ),
        ] {
            assert_eq!(error.to_string(), message);
            assert_eq!(error.hint(Path::new("/m")).as_deref(), Some(hint));
        }
    }
}
