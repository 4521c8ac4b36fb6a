//! From a child of init to the command.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use mica_vfs::Errno;
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::isatty;

/// What a command reads and writes.
#[derive(Debug)]
pub(super) struct Stdio {
    /// Standard input, output and error of the front.
    pub(super) given: Vec<OwnedFd>,
    /// What stands in the place of each that is a terminal.
    pub(super) terminal: Option<Terminal>,
}

/// A terminal of the session.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) master: OwnedFd,
    pub(super) slave: OwnedFd,
}

/// Becomes the command, or says why it cannot be run. The process is spoiled then.
pub(super) fn become_it(stdio: &Stdio, words: &[OsString]) -> Errno {
    match prepare(stdio) {
        Ok(()) => run(words),
        Err(errno) => errno,
    }
}

fn prepare(stdio: &Stdio) -> Result<(), Errno> {
    setsid()?;
    if let Some(terminal) = &stdio.terminal {
        ioctl_tiocsctty(&terminal.slave)?;
    }
    let [stdin, stdout, stderr] = stdio.given.as_slice() else {
        return Err(Errno::PROTO);
    };
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

fn run(words: &[OsString]) -> Errno {
    let Some((program, arguments)) = words.split_first() else {
        return Errno::NOENT;
    };
    let mut command = Command::new(program);
    command.args(arguments);
    if let Ok(dir) = std::env::current_dir() {
        command.env("PWD", dir);
    }
    // Its signals are as they were before Rust ignored SIGPIPE.
    Errno::from_io_error(&command.exec()).unwrap_or(Errno::IO)
}
