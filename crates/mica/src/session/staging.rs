//! How the stage comes to be: by running a program, or as a copy of this process.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use mica_sys::process::{Born, fork_with, is_alone};
use mica_sys::signals;
use mica_vfs::Errno;
use rustix::fs::{Mode, OFlags};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::Pid;
use rustix::stdio::{dup2_stdin, dup2_stdout};

/// How the stage of a session is made.
#[derive(Debug)]
pub enum StageBy<'a> {
    /// By running this, the command line of a program that calls [`be_stage`](super::be_stage) with its standard input.
    Program(&'a mut Command),
    /// As a copy of this process, if that has one thread: to load a program takes a tenth of the time that a session takes to begin. The
    /// copy runs the function, which calls [`be_stage`](super::be_stage) with what it is given, and ends with the status that this
    /// returns. With more threads the program is run.
    ///
    /// The copy has the standard error of this process and no other descriptor of it, and takes signals as a program does that was
    /// just run. What this process has set for all of itself is set there, too, and must need no descriptor: a panic hook, say.
    ///
    /// It has a copy of this process's memory as well, for as long as it serves. Who keeps secrets there, or has a library handle `SIGCHLD`,
    /// has a program run.
    Copy(fn(OwnedFd) -> u8, &'a mut Command),
}

impl<'a> From<&'a mut Command> for StageBy<'a> {
    fn from(line: &'a mut Command) -> Self {
        Self::Program(line)
    }
}

impl StageBy<'_> {
    /// Makes it. `link` is its end of the link to this process.
    pub(super) fn make(self, link: OwnedFd) -> io::Result<Pid> {
        match self {
            Self::Copy(stage, _) if is_alone() == Ok(true) => copy(link, stage),
            Self::Copy(_, line) | Self::Program(line) => run(link, line),
        }
    }
}

fn copy(link: OwnedFd, stage: fn(OwnedFd) -> u8) -> io::Result<Pid> {
    /// The first descriptor that is none of the standard three, which this process may lack.
    const FIRST: i32 = 3;
    let link = fcntl_dupfd_cloexec(&link, FIRST)?;
    Ok(fork_with(Born::Here, [link], stage, |[link], stage| {
        become_new().map_err(|_| 1)?;
        Err::<Infallible, _>(stage(link))
    })?)
}

/// Is what the child of a fork would be that runs a program, with nothing to read or to write to but standard error.
fn become_new() -> Result<(), Errno> {
    // First, as what a terminal sends to the front's group would end it from here on.
    rustix::process::setsid()?;
    signals::forget()?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)
}

fn run(link: OwnedFd, line: &mut Command) -> io::Result<Pid> {
    let child = line
        .stdin(Stdio::from(link))
        .stdout(Stdio::null())
        .spawn()?;
    // The command line keeps the stage's end open, which then never ends.
    line.stdin(Stdio::null());
    Ok(Pid::from_child(&child))
}
