//! Running xtask itself in mount and PID namespaces of its own.
//!
//! The namespaces are what cleans up: when the first process of the PID namespace ends, the kernel kills every
//! server in it, then the mounts go with the mount namespace, then the loop devices with the mounts. That holds
//! for a panic, for Ctrl-C and for SIGKILL alike, and even a client that hangs in a FUSE mount is freed.

use std::process::Command;

use anyhow::{Context, Result};

/// Returns a command that runs this program with `args` in private namespaces, and dies with this process.
pub(crate) fn command(args: &[&str]) -> Result<Command> {
    let program = std::env::current_exe().context("cannot find my own program")?;
    let mut command = Command::new("setpriv");
    command
        .args([
            "--pdeathsig",
            "KILL",
            "--",
            "unshare",
            "--mount",
            "--propagation",
            "private",
        ])
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(program)
        .args(args)
        .env(MARK, "1");
    Ok(command)
}

/// Set inside the namespaces.
const MARK: &str = "MICA_XTASK_PRIVATE";

/// Says whether this process is the first of namespaces made by [`command`].
pub(crate) fn inside() -> bool {
    std::process::id() == 1 && std::env::var_os(MARK).is_some()
}

/// Says whether this process is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
