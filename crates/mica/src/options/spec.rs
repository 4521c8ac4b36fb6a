//! What is asked for of a mount.

use std::ffi::OsStr;
use std::path::PathBuf;

use bitflags::bitflags;
use mica_fuse::{CacheTimes, SecurityLabel, Threads};
use mica_overlay::{Durability, Index, Metacopies, XattrNamespace, Xino};
use mica_vfs::Coherence;

use crate::stack::Limits;

use super::{Identity, Manner, Note, OptionError, OverlayUuid, RedirectDir, Request};

bitflags! {
    /// What a mount allows, in the words of mount(8).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct MountFlags: u32 {
        /// `ro`: nothing can be changed through the mount.
        const READ_ONLY = 1;
        /// `nodev`: device nodes cannot be opened.
        const NODEV = 1 << 1;
        /// `nosuid`: setuid, setgid and file capabilities have no effect.
        const NOSUID = 1 << 2;
        /// `noexec`: nothing can be executed.
        const NOEXEC = 1 << 3;
        /// `noatime`: access times stay.
        const NOATIME = 1 << 4;
        /// `allow_other`: other users see the mount, too.
        const ALLOW_OTHER = 1 << 5;
        /// `nodiratime`: access times of directories stay.
        const NODIRATIME = 1 << 6;
        /// `strictatime`: access times move with each read that is a message.
        const STRICTATIME = 1 << 7;
        /// `nosymfollow`: symbolic links are not followed.
        const NOSYMFOLLOW = 1 << 8;
        /// `sync`: each write is followed by an fsync.
        const SYNC = 1 << 9;
        /// `allow_root`: root sees the mount beside the mounter.
        const ALLOW_ROOT = 1 << 10;
        /// `auto_unmount`: the mount ends with its server, however that ends.
        const AUTO_UNMOUNT = 1 << 11;
        /// `debug`: the program that serves stays in the foreground and logs what it does.
        const DEBUG = 1 << 12;
        /// `no_sandbox`: the program that serves is not confined.
        const NO_SANDBOX = 1 << 15;
        /// `dev`, in so many words: refused where the kernel opens no device all the same.
        const DEV = 1 << 13;
        /// `suid`, in so many words: refused where it would have no effect.
        const SUID = 1 << 14;
    }
}

impl MountFlags {
    /// The flags of one mount, which a remount changes; the others belong to the filesystem or to its server.
    pub const PER_MOUNT: Self = Self::READ_ONLY
        .union(Self::NODEV)
        .union(Self::NOSUID)
        .union(Self::NOEXEC)
        .union(Self::NOATIME)
        .union(Self::NODIRATIME)
        .union(Self::STRICTATIME)
        .union(Self::NOSYMFOLLOW);
}

/// The writable part of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpperSpec {
    /// `upperdir=`: where changes are kept.
    pub dir: PathBuf,
    /// `workdir=`: where changes are prepared. On the same mount as `dir`, and beside it.
    pub work: PathBuf,
}

/// Directories to lay over each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackSpec {
    /// The lower layers, topmost first; 1 to [`LAYERS_MAX`](mica_overlay::LAYERS_MAX) with the data-only ones.
    pub lower: Vec<PathBuf>,
    /// `datadir+=`, `::`: the data-only layers, in the order in which they are asked for the data of metacopies.
    pub data: Vec<PathBuf>,
    /// The upper layer; without one the stack is read-only.
    pub upper: Option<UpperSpec>,
    /// Which extended attributes hold the marks of the overlay: `userxattr` chooses `user.overlay.*`.
    pub xattrs: XattrNamespace,
    /// `redirect_dir=`: whether directories have other names in the layers below.
    pub redirects: RedirectDir,
    /// `metacopy=`: whether a change of metadata alone copies no data.
    pub metacopies: Metacopies,
    /// `index=`: what ties the names of changed lower files together when the mount is over.
    pub index: Index,
    /// `xino=`: whether the kernel's marks of `xino=on` are written.
    pub xino: Xino,
    /// `uuid=`: whether the overlay has a UUID of its own, and file handles that of their filesystem.
    pub uuid: OverlayUuid,
    /// `shared`: whether others change the lowers while they are mounted.
    pub coherence: Coherence,
    /// `volatile`, `fsync=`: when changes are put on disk.
    pub durability: Durability,
    /// Whose the objects are.
    pub identity: Identity,
    /// The most that the upper takes. No option: sessions choose it.
    pub limits: Limits,
}

impl StackSpec {
    /// Makes a stack of lower layers alone, with the default of each mount option.
    #[must_use]
    pub fn new(lower: Vec<PathBuf>) -> Self {
        Self {
            lower,
            data: Vec::new(),
            upper: None,
            xattrs: XattrNamespace::default(),
            redirects: RedirectDir::default(),
            metacopies: Metacopies::default(),
            index: Index::default(),
            xino: Xino::default(),
            uuid: OverlayUuid::default(),
            coherence: Coherence::default(),
            durability: Durability::default(),
            identity: Identity::default(),
            limits: Limits::default(),
        }
    }
}

/// How the mount is served over FUSE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FuseSpec {
    /// `subtype=`: the type that `/proc/mounts` shows is `fuse.` and this.
    pub subtype: String,
    /// `timeout=`, `entry_timeout=`, `negative_timeout=`, `attr_timeout=`: how long the kernel may cache.
    pub cache: CacheTimes,
    /// `max_threads=`, `max_idle_threads=`, `threaded=`
    pub threads: Threads,
    /// `max_read=`: most bytes in one request to read.
    pub max_read: Option<u32>,
    /// `context=`, `fscontext=`, `defcontext=`, `rootcontext=`
    pub labels: Vec<SecurityLabel>,
}

/// What to mount, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountSpec {
    /// The layers.
    pub stack: StackSpec,
    /// What the mount allows.
    pub flags: MountFlags,
    /// The source that `/proc/mounts` shows.
    pub source: String,
    /// How it is served.
    pub fuse: FuseSpec,
    /// Options that change nothing, and why not.
    pub notes: Vec<Note>,
}

impl MountSpec {
    /// Parses the arguments of all `-o` of a command line, in order.
    ///
    /// ```
    /// let spec = mica::MountSpec::parse(["lowerdir=a:b,upperdir=u", "workdir=w,noatime"])?;
    /// assert_eq!(spec.stack.lower.len(), 2);
    /// # Ok::<(), mica::OptionError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// An [`OptionError`] that names the first option that is wrong, or the one that is missing.
    pub fn parse<S: AsRef<OsStr>>(
        strings: impl IntoIterator<Item = S>,
    ) -> Result<Self, OptionError> {
        match Request::parse(strings, Manner::Mica)? {
            Request::Mount(spec) => Ok(*spec),
            Request::Remount(_) => Err(OptionError::RemountIsNoMount),
        }
    }
}
