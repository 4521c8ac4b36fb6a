//! A FUSE server for any [`Filesystem`](mica_vfs::Filesystem).
//!
//! [`Session::mount`] opens `/dev/fuse`, mounts it and serves it from threads of this process until it is unmounted. A
//! program that gives up rights before it serves does so between [`Attached::mount`] and [`Attached::serve`].
//! The data path is the kernel's page cache: OPEN, OPENDIR and FLUSH are answered `ENOSYS` once, so opening and
//! closing sends nothing, and every request works from the node alone.
//!
//! This crate knows no overlay and no layer, and nothing of how a node finds its data.
//!
//! # Map
//!
//! | module | what it does |
//! |---|---|
//! | `wire` | the structures of the protocol |
//! | `init` | what is negotiated, and why |
//! | `dispatch`, `ops` | from the bytes of a request to those of its reply; no device needed |
//! | `opens` | what is kept open where OPEN is answered, and whether pages stay |
//! | `session` | a mount, from the device to its last thread |
//! | `pool`, `worker` | how many threads serve it, and what each of them does |
//! | `mount`, `unmount` | fsopen(2), mount(2), fusermount3 |
//!
//! # Invariants
//!
//! - A nodeid of the protocol is a [`NodeId`](mica_vfs::NodeId) of the filesystem. Each entry that the kernel takes is
//!   one reference, each FORGET ends as many as it says; one that the kernel does not take is given back.
//! - A request that panics, or that is no request, costs an error and nothing else.
//! - Serving LOOKUP, GETATTR, READ, WRITE and FORGET allocates nothing in this crate.
//! - One lock, rank 50: the files that are open (`opens`). All else that threads share is atomic or set once.

#![forbid(unsafe_code)]

mod connection;
mod dispatch;
mod error;
mod init;
mod mount;
mod notify;
mod opens;
mod ops;
mod pool;
mod reply;
mod request;
mod session;
mod stats;
mod unmount;
mod wire;
mod worker;

pub use connection::{CacheTimes, Connection};
pub use dispatch::{MIN_REPLY, Outcome, dispatch};
pub use error::{MountError, MountStep, SessionError, UnmountError};
pub use init::{
    Decision, FlagRow, INIT_FLAGS, InitFlags, InitReport, OLDEST_PROTOCOL, PROTOCOL,
    ProtocolVersion,
};
pub use mount::examine::{Way, examine_mount};
pub use mount::{Audience, MountAccess, MountFlags, MountOptions, SecurityLabel};
pub use session::{AclChecks, Attached, Decider, Session, SessionConfig, Threads};
pub use stats::SessionStats;
pub use unmount::{ByItself, Unmount, Unmounted, Unmounter};
