//! The process that unmounts for a server in its cage: this program, run once more before the server goes in.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use mica::{AutoUnmount, UnmountHelper, help_unmounting};

use crate::args::UnmountHelperArgs;
use crate::error::CliError;
use crate::run::program;

/// Starts the helper of the mount at `mountpoint`.
pub(crate) fn start(mountpoint: &Path, auto: AutoUnmount) -> io::Result<UnmountHelper> {
    let args = UnmountHelperArgs {
        mountpoint: mountpoint.to_owned(),
        auto: auto == AutoUnmount::Yes,
    };
    UnmountHelper::start(program().args(args.line()))
}

/// Is the helper, until its server ends.
pub(crate) fn run(args: &UnmountHelperArgs) -> Result<(), CliError> {
    let failed = |source| CliError::Signals { source };
    // In a session of its own it gets no signals from a terminal; it does not get those that are sent to it either
    // (`UnmountHelper::start`).
    if let Err(errno) = rustix::process::setsid() {
        tracing::debug!(%errno, "this process leads a group already");
    }
    let requests = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let auto = if args.auto {
        AutoUnmount::Yes
    } else {
        AutoUnmount::No
    };
    help_unmounting(requests, &args.mountpoint, auto).map_err(failed)
}
