//! Other programs that this one can be called as, by the name it is run by.
//!
//! A symbolic link to `mica` makes it a helper of mount(8) or a replacement of fuse-overlayfs: the same command line,
//! the same exit statuses. Each module reads one command line into the arguments of `mica mount`.

mod fuse_overlayfs;
mod mount_helper;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use mica::{Manner, MountError, Mountpoint, Request};

use crate::args::MountArgs;
use crate::error::{self, CliError};
use crate::mount;
use crate::print::print;

/// A program that this one can be called as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Personality {
    FuseOverlayfs,
    /// `mount.mica`, `mount.fuse.mica`
    MountHelper,
}

/// What a command line asks for.
#[derive(Debug)]
enum Asked {
    Mount(Box<MountArgs>),
    /// The same without mounting: whether it could be done.
    Check(Box<MountArgs>),
    /// A help text or a version, for stdout.
    Text(String),
}

impl Personality {
    /// Finds out by the name that the program was called by.
    pub(crate) fn of(called: &OsStr) -> Option<Self> {
        match Path::new(called).file_name()?.to_str()? {
            "fuse-overlayfs" => Some(Self::FuseOverlayfs),
            "mount.mica" | "mount.fuse.mica" => Some(Self::MountHelper),
            _ => None,
        }
    }

    /// Does what the command line asks for, and returns the exit status.
    pub(crate) fn run(self, words: Vec<OsString>) -> ExitCode {
        let (asked, manner) = match self {
            Self::FuseOverlayfs => (fuse_overlayfs::read(words), Manner::FuseOverlayfs),
            Self::MountHelper => (mount_helper::read(words), Manner::Mount),
        };
        let done = asked.and_then(|asked| match asked {
            Asked::Mount(args) => mount::run(&args),
            Asked::Check(args) => check(&args),
            Asked::Text(text) => {
                print(&text);
                Ok(())
            }
        });
        error::status(done, manner)
    }
}

/// Checks options and mountpoint, and leaves the layers alone: opening them prepares the work directory.
fn check(args: &MountArgs) -> Result<(), CliError> {
    Request::parse(&args.options, args.manner)?;
    let found = Mountpoint::find(&args.mountpoint);
    found
        .map(drop)
        .map_err(|source: MountError| CliError::Mount {
            mountpoint: args.mountpoint.clone(),
            source,
        })
}
