//! Changing the flags of a mount that exists: mount_setattr(2), or mount(2) before Linux 5.12. Its server has no part in it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use mica_vfs::Errno;
use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
use rustix::mount::{MountAttrFlags, MountFlags as KernelFlags};
use thiserror::Error;

use crate::Escaped;
use crate::options::{MountFlags, Remount};
use crate::unmount::{NotOurs, UnmountError, ours, resolve};

/// Why a mount was not changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RemountError {
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
    /// The filesystem itself is read-only.
    #[error(
        "what is mounted there cannot be written to: it has no upperdir, or was mounted read-only as a whole"
    )]
    NoUpper,
    /// The list of mounts cannot be read.
    #[error("cannot read `/proc/self/mountinfo`")]
    MountInfo {
        /// Why.
        source: io::Error,
    },
    /// This user may not.
    #[error("only who may mount may change a mount")]
    NotPermitted {
        /// Why.
        source: Errno,
    },
    /// It is to become read-only, and somebody writes.
    #[error("a file in it is open for writing")]
    Busy,
    /// The kernel refuses.
    #[error("the kernel refuses to change it")]
    Kernel {
        /// Why.
        source: Errno,
    },
}

impl RemountError {
    /// Returns what to do about it, for the mount at `mountpoint`.
    #[must_use]
    pub fn hint(&self, mountpoint: &Path) -> Option<String> {
        let at = Escaped::new(mountpoint);
        Some(match self {
            Self::NotMounted | Self::Unreachable { .. } => {
                "`findmnt -t fuse.mica` lists the mounts of Mica".into()
            }
            Self::Foreign { .. } => {
                format!("change it with `mount -i -o remount,bind,ro {at:#}` or its like")
            }
            Self::NoUpper => "unmount it, and mount it with `-o upperdir=DIR,workdir=DIR`".into(),
            Self::NotPermitted { .. } => "run it as root".into(),
            Self::Busy => format!("`fuser -vm {at:#}` lists who uses it"),
            Self::Kernel { .. } => format!("see what is mounted there with `findmnt {at:#}`"),
            Self::MountInfo { .. } => "mount it with `mount -t proc proc /proc`".into(),
        })
    }
}

/// Changes the flags of the topmost mount at `mountpoint`, which must be one of Mica. Its server and whoever uses it
/// go on; other mounts of the same filesystem are not touched.
///
/// # Errors
///
/// A [`RemountError`]; the mount is as it was.
pub fn remount(change: &Remount, mountpoint: &Path) -> Result<(), RemountError> {
    let target = resolve(mountpoint).map_err(|error| match error {
        UnmountError::Unreachable { path, source } => RemountError::Unreachable { path, source },
        _ => RemountError::NotMounted,
    })?;
    let table = std::fs::read("/proc/self/mountinfo");
    let table = table.map_err(|source| RemountError::MountInfo { source })?;
    let mount = ours(&table, &target).map_err(|error| match error {
        NotOurs::Nothing => RemountError::NotMounted,
        NotOurs::Foreign { kind } => RemountError::Foreign { kind },
    })?;
    let read_only = mount
        .options
        .split(|&b| b == b',')
        .any(|word| word == b"ro");
    if read_only && change.clear.contains(MountFlags::READ_ONLY) {
        return Err(RemountError::NoUpper);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(&target, flags, Mode::empty())
        .map_err(|source| RemountError::Kernel { source })?;
    match set_attributes(root.as_fd(), change) {
        Err(Errno::NOSYS) => remount_classic(&target, change),
        other => other,
    }
    .map_err(|errno| match errno {
        Errno::PERM => RemountError::NotPermitted { source: errno },
        Errno::BUSY => RemountError::Busy,
        Errno::INVAL => RemountError::NotMounted,
        source => RemountError::Kernel { source },
    })
}

/// The flags as mount_setattr(2) and mount(2) have them; those of access times aside.
const FLAGS: [(MountFlags, MountAttrFlags, KernelFlags); 6] = [
    (
        MountFlags::READ_ONLY,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
        KernelFlags::RDONLY,
    ),
    (
        MountFlags::NODEV,
        MountAttrFlags::MOUNT_ATTR_NODEV,
        KernelFlags::NODEV,
    ),
    (
        MountFlags::NOSUID,
        MountAttrFlags::MOUNT_ATTR_NOSUID,
        KernelFlags::NOSUID,
    ),
    (
        MountFlags::NOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOEXEC,
        KernelFlags::NOEXEC,
    ),
    (
        MountFlags::NODIRATIME,
        MountAttrFlags::MOUNT_ATTR_NODIRATIME,
        KernelFlags::NODIRATIME,
    ),
    (
        MountFlags::NOSYMFOLLOW,
        MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW,
        KernelFlags::NOSYMFOLLOW,
    ),
];

fn set_attributes(root: BorrowedFd<'_>, change: &Remount) -> Result<(), Errno> {
    let of = |flags: MountFlags| {
        let named = FLAGS.iter().filter(|(flag, ..)| flags.contains(*flag));
        named.fold(MountAttrFlags::empty(), |all, (_, attribute, _)| {
            all | *attribute
        })
    };
    let (mut set, mut clear) = (of(change.set), of(change.clear));
    let times = MountFlags::NOATIME | MountFlags::STRICTATIME;
    if change.set.union(change.clear).intersects(times) {
        // Access times are kept in one of three ways, so the kernel wants the old one cleared as a whole.
        clear |= MountAttrFlags::MOUNT_ATTR__ATIME;
        if change.set.contains(MountFlags::NOATIME) {
            set |= MountAttrFlags::MOUNT_ATTR_NOATIME;
        } else if change.set.contains(MountFlags::STRICTATIME) {
            set |= MountAttrFlags::MOUNT_ATTR_STRICTATIME;
        }
    }
    mica_sys::mount::change(root, set, clear)
}

/// mount(2) replaces all flags, so those that stay are read first.
fn remount_classic(target: &Path, change: &Remount) -> Result<(), Errno> {
    let now = rustix::fs::statvfs(target)?.f_flag;
    let mut flags = KernelFlags::BIND;
    for (there, flag) in [
        (StatVfsMountFlags::RDONLY, KernelFlags::RDONLY),
        (StatVfsMountFlags::NODEV, KernelFlags::NODEV),
        (StatVfsMountFlags::NOSUID, KernelFlags::NOSUID),
        (StatVfsMountFlags::NOEXEC, KernelFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, KernelFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, KernelFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, KernelFlags::RELATIME),
    ] {
        flags.set(flag, now.contains(there));
    }
    // ST_NOSYMFOLLOW of statfs(2), which statvfs(3) passes on.
    flags.set(KernelFlags::NOSYMFOLLOW, now.bits() & 0x2000 != 0);
    for (ours, _, theirs) in FLAGS {
        if change.set.union(change.clear).contains(ours) {
            flags.set(theirs, change.set.contains(ours));
        }
    }
    let times = MountFlags::NOATIME | MountFlags::STRICTATIME;
    if change.set.union(change.clear).intersects(times) {
        flags.remove(KernelFlags::NOATIME | KernelFlags::RELATIME | KernelFlags::STRICTATIME);
        flags.insert(if change.set.contains(MountFlags::NOATIME) {
            KernelFlags::NOATIME
        } else if change.set.contains(MountFlags::STRICTATIME) {
            KernelFlags::STRICTATIME
        } else {
            KernelFlags::RELATIME
        });
    }
    rustix::mount::mount_remount(target, flags, c"")
}

#[cfg(test)]
mod tests {
    use rustix::mount::UnmountFlags;

    use super::*;

    /// Changes a mount of its own by `change` and returns its options in the mount table.
    fn after(
        change: impl FnOnce(BorrowedFd<'_>, &Path) -> Result<(), Errno>,
    ) -> Result<Vec<String>, Errno> {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        let flags = KernelFlags::NOSUID | KernelFlags::NOATIME | KernelFlags::NODIRATIME;
        rustix::mount::mount("none", at, "tmpfs", flags, None)?;
        let root = std::fs::File::open(at).unwrap();
        let changed = change(root.as_fd(), at);
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        rustix::mount::unmount(at, UnmountFlags::DETACH)?;
        changed?;
        let line = table
            .lines()
            .find(|line| line.contains(at.to_str().unwrap()));
        let options = line.unwrap().split(' ').nth(5).unwrap().split(',');
        Ok(options.map(str::to_owned).collect())
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test is counted by its line")]
    fn both_system_calls_change_the_same() {
        use MountFlags as F;
        let none = F::empty();
        for (set, clear, expected) in [
            (none, none, &["rw", "nosuid", "noatime", "nodiratime"][..]),
            (
                F::READ_ONLY | F::NOEXEC,
                F::NOSUID,
                &["ro", "noexec", "noatime", "nodiratime"],
            ),
            (
                none,
                F::NOATIME,
                &["rw", "nosuid", "nodiratime", "relatime"],
            ),
            (F::STRICTATIME, F::NOATIME, &["rw", "nosuid", "nodiratime"]),
            (
                F::NODEV,
                F::NODIRATIME,
                &["rw", "nosuid", "nodev", "noatime"],
            ),
        ] {
            let change = Remount {
                set,
                clear,
                notes: Vec::new(),
            };
            let new = after(|root, _| set_attributes(root, &change));
            if new == Err(Errno::PERM) {
                let test = "both_system_calls_change_the_same";
                assert!(
                    std::env::var("MICA_REQUIRE_ALL").is_err(),
                    "{test} cannot mount"
                );
                eprintln!("SKIPPED {test}: may not mount");
                return;
            }
            let old = after(|_, at| remount_classic(at, &change));
            assert_eq!(new.unwrap(), expected, "{change:?}");
            assert_eq!(old.unwrap(), expected, "{change:?}");
        }
    }
}
