//! An overlay on any two trees, as a library: the public API of Mica.
//!
//! [`MountSpec::parse`] reads mount options, [`mount()`] mounts what they say and serves it, [`unmount()`] ends it. A
//! program that wants the overlay without a mount opens a [`Stack`] and calls the
//! [`Filesystem`](vfs::Filesystem) in it, which takes no privileges:
//!
//! ```
//! use mica::vfs::{FileName, Filesystem, KillPriv, NodeId};
//! use mica::{RedirectDir, Stack, StackSpec, UpperSpec, XattrNamespace};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! for name in ["lower", "upper", "work"] {
//!     std::fs::create_dir(dir.path().join(name))?;
//! }
//! std::fs::write(dir.path().join("lower/hello"), "hello")?;
//!
//! let stack = Stack::open(&StackSpec {
//!     upper: Some(UpperSpec {
//!         dir: dir.path().join("upper"),
//!         work: dir.path().join("work"),
//!     }),
//!     xattrs: XattrNamespace::User,
//!     redirects: RedirectDir::Off,
//!     ..StackSpec::new(vec![dir.path().join("lower")])
//! })?;
//! let merged = stack.overlay();
//! let hello = merged.lookup(NodeId::ROOT, FileName::new(b"hello")?)?;
//! merged.write(hello.node, 5, b", world", KillPriv::Clear)?;
//! merged.forget(hello.node, 1);
//!
//! assert_eq!(std::fs::read(dir.path().join("lower/hello"))?, b"hello");
//! assert_eq!(std::fs::read(dir.path().join("upper/hello"))?, b"hello, world");
//! # Ok(())
//! # }
//! ```
//!
//! [`Sessions`] and [`Session`] are what `mica do`, `diff`, `commit` and their like are made of: `examples/session.rs` is a program that
//! does the same.
//!
//! A program that only serves can confine itself before it does: [`Mount::attach`], [`enter_cage`], [`Attached::serve`].
//!
//! # Invariants
//!
//! - Nothing here prints, reads an environment variable or installs a signal handler: that is for the program.
//! - Parsing is pure, then the directories are checked, then something is mounted. An error says what the user named,
//!   and `hint` what they can do.

#![forbid(unsafe_code)]

mod archive;
mod cage;
mod check;
mod commit;
mod convert;
mod diff;
pub mod doctor;
mod escaped;
mod housekeeping;
mod mount;
mod mountinfo;
mod offline;
mod options;
#[cfg(feature = "planted")]
pub mod planted;
mod remount;
mod session;
mod stack;
mod unmount;
mod unmount_helper;

pub use mica_fuse::{
    CacheTimes, InitReport, PROTOCOL, SecurityLabel, SessionError, Threads, Unmount, Unmounted,
    Unmounter,
};
pub use mica_host::{Features, OwnerXattr, Owners};
pub use mica_overlay::{
    Acls, DirLinks, Durability, IdMap, IdRange, IdRangeError, IdRanges, IdRules, Index, LAYERS_MAX,
    Metacopies, OverlayStats, Redirects, XattrNamespace, Xino,
};
pub use mica_vfs as vfs;
pub use mica_vfs::Coherence;

pub use archive::{
    Compression, DevicePolicy, ExportError, ExportSpec, Exported, Flaw, ImportError, ImportOwners,
    ImportSpec, Imported, LeftOut, Note as ArchiveNote, Unexportable, check_archive, export,
    import,
};
pub use cage::{Cage, CageError, CageStep, enter_cage};
pub use check::{Area, CheckError, CheckSpec, Checked, Finding, Fix, Severity, Trouble, check};
pub use commit::{
    CommitError, CommitSpec, Committed, Conflict, ConflictKind, LockedBy, Manner as CommitManner,
};
pub use convert::{ConvertError, ConvertSpec, Converted, Form, Unsayable, convert};
pub use diff::{Aspects, Change, ChangeKind, Deleted, Diff, Glob, GlobError, Lines, Patch};
pub use escaped::Escaped;
pub use mount::{Attached, Mount, MountError, Mountpoint, Observer, Stats, mount};
pub use options::{
    FuseSpec, Identity, Manner, MountFlags, MountSpec, Note, OptionError, OverlayUuid, RedirectDir,
    Remount, Request, StackSpec, UpperSpec,
};
pub use remount::{RemountError, remount};
pub use session::{
    Activity, Barred, Changes, DoError, Entered, Event, Exit, Extra, ExtraSource, Joined, Lack,
    Medium, Network, Others, RunSpec, Running, Session, SessionInfo, Sessions, Signaller, StageBy,
    Told, UnlistedDirs, ViewAccess, ViewSpec, Who, Within, be_stage, be_within,
};
pub use stack::{
    Boundary, ForeignMark, Holder, LayerDir, Limits, Overlayer, Reach, Recovered, Role, Stack,
    StackError, StackWarning,
};
pub use unmount::{Busy, UnmountError, unmount};
pub use unmount_helper::{AutoUnmount, UnmountHelper, help_unmounting};
