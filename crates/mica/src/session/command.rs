//! From a child of init to the command.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use mica_vfs::Errno;
use rustix::fs::Mode;
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::isatty;

use super::run::Run;

/// What a command reads and writes.
#[derive(Debug)]
pub(super) struct Stdio {
    /// Standard input, output and error of the front.
    pub(super) given: [OwnedFd; 3],
    /// What stands in the place of each that is a terminal.
    pub(super) terminal: Option<Terminal>,
}

/// A terminal of the session.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) master: OwnedFd,
    pub(super) slave: OwnedFd,
}

/// Becomes the command, in the current directory, or says why it cannot be run. The process is spoiled then.
pub(super) fn become_it(stdio: &Stdio, run: &Run) -> Errno {
    match prepare(stdio, run) {
        Ok(()) => execute(run),
        Err(errno) => errno,
    }
}

fn prepare(stdio: &Stdio, run: &Run) -> Result<(), Errno> {
    setsid()?;
    if let Some(terminal) = &stdio.terminal {
        ioctl_tiocsctty(&terminal.slave)?;
    }
    rustix::process::umask(Mode::from_raw_mode(run.umask));
    let [stdin, stdout, stderr] = &stdio.given;
    dup2_stdin(stdio.shown(stdin))?;
    dup2_stdout(stdio.shown(stdout))?;
    dup2_stderr(stdio.shown(stderr))
}

impl Stdio {
    fn shown<'a>(&'a self, given: &'a OwnedFd) -> BorrowedFd<'a> {
        match &self.terminal {
            Some(terminal) if isatty(given) => terminal.slave.as_fd(),
            _ => given.as_fd(),
        }
    }
}

fn execute(run: &Run) -> Errno {
    let mut words = run.words();
    let Some(program) = words.next() else {
        return Errno::NOENT;
    };
    let mut command = Command::new(program);
    command.args(words).env_clear().envs(run.environment());
    if let Ok(dir) = std::env::current_dir() {
        command.env("PWD", dir);
    }
    // Its signals are as they were before Rust ignored SIGPIPE.
    Errno::from_io_error(&command.exec()).unwrap_or(Errno::IO)
}
