//! From a child of init to the command.
//!
//! Without a terminal that child becomes the command. With one it leads the session of the terminal, and the command is its child: what
//! leads a session has nobody there who could let it go on, and so no key stops it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use mica_sys::process::{Born, fork};
use mica_vfs::Errno;
use rustix::fs::Mode;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, ioctl_tiocsctty, kill_process, kill_process_group, setpgid,
    setsid, waitpid,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::{isatty, tcsetpgrp};

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

/// What init hears of a child that is to be the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// This process is, and leads a group of its own.
    Command(Pid),
    /// It cannot be run.
    NotRun(i32),
}

impl Heard {
    /// Waits for what is said; `None` when the program runs.
    pub(super) fn next(from: &OwnedFd) -> Option<Self> {
        let mut number = [0; 4];
        let read = rustix::io::retry_on_intr(|| rustix::io::read(from, &mut number));
        if read != Ok(number.len()) {
            return None;
        }
        let number = i32::from_ne_bytes(number);
        if number > 0 {
            return Some(Self::NotRun(number));
        }
        number
            .checked_neg()
            .and_then(Pid::from_raw)
            .map(Self::Command)
    }

    /// Says it. Init is not gone while its child is there.
    fn say(self, to: &OwnedFd) -> Result<(), Errno> {
        let number = match self {
            Self::Command(pid) => -pid.as_raw_pid(),
            Self::NotRun(errno) => errno,
        };
        rustix::io::write(to, &number.to_ne_bytes()).map(drop)
    }
}

/// Becomes the command, in the current directory, or its parent until it ends, and returns the status to end with. Says at `tell` what
/// there is to say.
pub(super) fn become_it(stdio: &Stdio, run: &Run, tell: OwnedFd) -> u8 {
    let led = setsid().and_then(|_| match &stdio.terminal {
        None => Ok(Err(tell)),
        Some(terminal) => {
            ioctl_tiocsctty(&terminal.slave)?;
            lead(&terminal.slave, stdio, run, tell).map(Ok)
        }
    });
    match led {
        Ok(Ok(status)) => status,
        Ok(Err(tell)) => replaced(stdio, run, &tell),
        // Init hears that the link ends, and then the status.
        Err(_) => NOT_RUN,
    }
}

/// Status of a process that is not the command in the end.
const NOT_RUN: u8 = 126;

/// Runs the program in the place of this process. If that cannot be, says why.
fn replaced(stdio: &Stdio, run: &Run, tell: &OwnedFd) -> u8 {
    let errno = match prepare(stdio, run) {
        Ok(()) => execute(run),
        Err(errno) => errno,
    };
    // Nobody is left to hear of another failure.
    let _unheard = Heard::NotRun(errno.raw_os_error()).say(tell);
    NOT_RUN
}

/// Has a child be the command, in the foreground of the terminal, and ends as that does.
fn lead(slave: &OwnedFd, stdio: &Stdio, run: &Run, tell: OwnedFd) -> Result<u8, Errno> {
    let (ready, go) = pipe_with(PipeFlags::CLOEXEC)?;
    let child = fork(Born::Here, || {
        // In the background it could not read what is typed.
        match rustix::io::retry_on_intr(|| rustix::io::read(&ready, &mut [0])) {
            Ok(1) => Err(replaced(stdio, run, &tell)),
            _ => Err(NOT_RUN),
        }
    })?;
    let said = setpgid(Some(child), Some(child))
        .and_then(|()| tcsetpgrp(slave, child))
        .and_then(|()| Heard::Command(child).say(&tell))
        .and_then(|()| rustix::io::write(&go, &[1]).map(drop));
    if said.is_err() {
        kill_process(child, Signal::KILL)?;
    }
    // Init waits for the end of that of the child.
    drop(tell);
    follow(child)
}

/// Stops and goes on as the command does, until it ends.
fn follow(command: Pid) -> Result<u8, Errno> {
    loop {
        let status = match waitpid(Some(command), WaitOptions::UNTRACED) {
            Ok(Some((_, status))) => status,
            Ok(None) | Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        if status.stopping_signal().is_some() {
            // Init sees it, and has this process go on when the front does.
            kill_process(getpid(), Signal::STOP)?;
            kill_process_group(command, Signal::CONT)?;
        } else if let Some(code) = status.exit_status() {
            return Ok(u8::try_from(code).unwrap_or(u8::MAX));
        } else if let Some(number) = status.terminating_signal() {
            if let Some(signal) = Signal::from_named_raw(number) {
                kill_process(getpid(), signal)?;
            }
            // This process does not end by it.
            return Ok(u8::try_from(number).map_or(u8::MAX, |number| number.saturating_add(128)));
        }
    }
}

fn prepare(stdio: &Stdio, run: &Run) -> Result<(), Errno> {
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
