//! Mounting `/dev/fuse`: options, the mountpoint, the device.
//!
//! The ways to mount are in the modules below: by the kernel's mount API, by mount(2) where that is missing, and by
//! `fusermount3` where this process may not. None of them reads the device.

pub(crate) mod examine;
pub(crate) mod fsmount;
pub(crate) mod fusermount;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bitflags::bitflags;
use mica_vfs::Errno;
use rustix::fs::{Mode, OFlags};

use crate::error::MountError;
use crate::session::Decider;

bitflags! {
    /// Restrictions of a mount, the `MS_*` flags of mount(2).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct MountFlags: u32 {
        /// Device nodes do not work.
        const NODEV = 1;
        /// Setuid, setgid and capabilities do not work.
        const NOSUID = 2;
        /// Nothing can be executed.
        const NOEXEC = 4;
        /// Access times do not change.
        const NOATIME = 8;
        /// Access times of directories do not change.
        const NODIRATIME = 16;
        /// Access times change with each read.
        const STRICTATIME = 32;
        /// Symbolic links are not followed. Linux 5.14.
        const NOSYMFOLLOW = 64;
        /// Each write is followed by an fsync. A property of the filesystem, not of the one mount.
        const SYNC = 128;
    }
}

/// Whether a mount can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountAccess {
    /// The filesystem can only be read, by this mount and by every other of it.
    ReadOnly,
    /// `ro`: this mount cannot be written to; a remount makes it writable.
    ReadOnlyHere,
    /// `rw`
    ReadWrite,
}

/// Who may use a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Processes of the user who mounted it; not even root besides.
    Mounter,
    /// `allow_other`: everyone whom the permissions allow.
    Everyone,
}

/// A label that an LSM gives to what is mounted: `context=` and its like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityLabel {
    /// Name of the mount option.
    pub option: &'static str,
    /// The label, without quotes.
    pub value: String,
}

/// How a mount looks and what it allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// Name of the source, shown by mount(8).
    pub source: String,
    /// The type shown is `fuse.` and this.
    pub subtype: String,
    /// Read-only or not.
    pub access: MountAccess,
    /// Restrictions.
    pub flags: MountFlags,
    /// Who may use it.
    pub audience: Audience,
    /// Who decides what a caller may do; the same as of the session.
    pub decider: Decider,
    /// Most bytes in a READ; the kernel takes no less than a page.
    pub max_read: Option<u32>,
    /// For the kernel's LSM.
    pub labels: Vec<SecurityLabel>,
}

impl Default for MountOptions {
    /// A writable mount of source and subtype `mica`, without restrictions, for the mounter.
    fn default() -> Self {
        Self {
            source: "mica".to_owned(),
            subtype: "mica".to_owned(),
            access: MountAccess::ReadWrite,
            flags: MountFlags::empty(),
            audience: Audience::Mounter,
            decider: Decider::Kernel,
            max_read: None,
            labels: Vec::new(),
        }
    }
}

/// A directory to mount on, held open: what was checked is what is mounted on.
#[derive(Debug)]
pub(crate) struct Mountpoint {
    pub(super) dir: OwnedFd,
    /// Absolute and without symbolic links, so that it stays right when the process changes its directory.
    pub(crate) path: PathBuf,
}

impl Mountpoint {
    pub(crate) fn open(path: &Path) -> Result<Self, MountError> {
        let failed = |source| {
            let path = path.to_owned();
            match source {
                Errno::NOENT => MountError::MountpointMissing { path },
                Errno::NOTDIR => MountError::MountpointNotDirectory { path },
                source => MountError::Mountpoint { path, source },
            }
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
        let absolute = std::fs::canonicalize(path)
            .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        Ok(Self {
            dir,
            path: absolute,
        })
    }
}

/// Opens an unused `/dev/fuse`.
///
/// Within a user namespace it has to be opened there: the kernel refuses a device of another namespace.
pub(crate) fn open_device() -> Result<OwnedFd, MountError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open("/dev/fuse", flags, Mode::empty()).map_err(|source| match source {
        Errno::NOENT | Errno::NODEV | Errno::NXIO => MountError::DeviceMissing,
        source => MountError::Device { source },
    })
}
