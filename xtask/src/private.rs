//! Running xtask itself in mount and PID namespaces of its own.
//!
//! The namespaces are what cleans up: when the first process of the PID namespace ends, the kernel kills every
//! server in it, then the mounts go with the mount namespace, then the loop devices with the mounts. That holds
//! for a panic, for Ctrl-C and for SIGKILL alike, and even a client that hangs in a FUSE mount is freed.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result};
use rustix::process::{Pid, WaitOptions, wait};

use crate::run::quiet;

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
        .env(MARK, FIRST);
    Ok(command)
}

/// Set inside the namespaces.
const MARK: &str = "MICA_XTASK_PRIVATE";
/// The mark of the first process.
const FIRST: &str = "first";

/// Says whether this process is in namespaces made by [`command`].
pub(crate) fn inside() -> bool {
    std::env::var_os(MARK).is_some_and(|mark| mark != FIRST)
}

/// Says whether this process is the first one of such namespaces.
pub(crate) fn is_first() -> bool {
    std::process::id() == 1 && std::env::var_os(MARK).is_some_and(|mark| mark == FIRST)
}

/// Runs this program again with the same arguments, and waits for everything that loses its parent until it ends: a program that
/// starts many children and leaves them would fill the process table.
///
/// # Errors
///
/// If it cannot be started.
pub(crate) fn reap() -> Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find my own program")?;
    let child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(MARK, "inside")
        .spawn()
        .context("cannot start my own program")?;
    let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    loop {
        if let Some((ended, status)) = wait(WaitOptions::empty())?
            && Some(ended) == child
        {
            let status = ExitStatus::from_raw(status.as_raw());
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
        }
    }
}

/// Says whether this process is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Mounts `source` over `target` in this mount namespace.
pub(crate) fn bind(source: &Path, target: &Path) -> Result<()> {
    quiet(Command::new("mount").arg("--bind").arg(source).arg(target)).map(drop)
}

/// Lets everybody open `/dev/fuse`, in this mount namespace only, by a node in `dir`.
pub(crate) fn open_fuse(dir: &Path) -> Result<()> {
    let node = dir.join("fuse");
    let mut make = Command::new("mknod");
    quiet(make.args(["-m", "666"]).arg(&node).args(["c", "10", "229"]))?;
    bind(&node, Path::new("/dev/fuse"))
}
