//! Init: the first process of a session's PID namespace.
//!
//! It makes the view its root directory, starts the command, passes signals on to it, reaps whatever loses its parent,
//! and ends with the command: the kernel then ends whatever else runs in the session.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use mica_sys::namespace::{self, Namespaces};
use mica_sys::process::{Born, fork};
use mica_vfs::Errno;
use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, kill_process, kill_process_group,
    set_dumpable_behavior, set_parent_process_death_signal, wait,
};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::command::{self, Stdio};
use super::devices::{self, Groups};
use super::error::{DoError, step};
use super::link::{Link, Message};
use super::plan::{Plan, Start};
use super::{Exit, rights};

/// Is init of a session and runs `command` in it, until that ends: `socket` is the standard input that the
/// [stage](super::be_stage) gave it.
///
/// It has to be called by the first thread of a process that does nothing else. What fails is told at the other end.
///
/// # Errors
///
/// The other end is gone, or makes no sense.
pub fn be_init(socket: OwnedFd, command: &[OsString]) -> io::Result<()> {
    let front = Arc::new(Link::of(socket));
    // A stage that is killed takes the session with it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let Some((Message::Plan(plan), fds)) = front.receive()? else {
        return Err(Errno::PROTO.into());
    };
    match prepare(&plan, fds).and_then(|stdio| start(&front, stdio, command)) {
        Ok(Started::Running(pid)) => attend(&front, pid),
        Ok(Started::Not(exit)) => front.send(&Message::Ended(exit), &[]),
        Err(error) => front.send(&Message::Failed(error.tell()), &[]),
    }
}

/// Makes the view the root directory of this process, and gives up what only that takes.
fn prepare(plan: &Plan, fds: Vec<OwnedFd>) -> Result<Stdio, DoError> {
    let new = Namespaces::MOUNT.and(Namespaces::IPC).and(Namespaces::UTS);
    step("namespaces", namespace::enter(new))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(plan.root(), flags, Mode::empty());
    let root = step("the way into the view", root)?;
    let groups = match &plan.users {
        Some(users) if users.alone() => Groups::One,
        _ => Groups::All,
    };
    let pts = devices::mount_all(root.as_fd(), groups)?;
    let terminal = step("a terminal", terminal(pts.as_fd(), &fds))?;
    step("the view the root directory", enter(root.as_fd()))?;
    begin_in(&plan.start)?;
    step(
        "capabilities that can be given up",
        rights::keep(plan.users.is_some()),
    )?;
    // Nobody in the session looks into this process, whoever they are.
    step(
        "a closed process",
        set_dumpable_behavior(DumpableBehavior::NotDumpable),
    )?;
    Ok(Stdio {
        given: fds,
        terminal,
    })
}

fn enter(root: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(root)?;
    // The old root lies over the new one then, and goes.
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

fn begin_in(start: &Start) -> Result<(), DoError> {
    let (Start::In(path) | Start::Near(path)) = start;
    let path = path.to_path();
    match (rustix::process::chdir(&path), start) {
        (Ok(()), _) => Ok(()),
        (Err(_), Start::Near(_)) => step("the start in `/`", rustix::process::chdir("/")),
        (Err(source), Start::In(_)) => Err(DoError::Directory { path, source }),
    }
}

/// Opens a terminal of the session like the one among `fds`, if there is one.
fn terminal(pts: BorrowedFd<'_>, fds: &[OwnedFd]) -> Result<Option<command::Terminal>, Errno> {
    let Some(like) = fds.iter().find(|fd| isatty(fd)) else {
        return Ok(None);
    };
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(pts, "ptmx", flags, Mode::empty())?;
    unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    tcsetattr(&slave, OptionalActions::Now, &tcgetattr(like)?)?;
    tcsetwinsize(&slave, tcgetwinsize(like)?)?;
    Ok(Some(command::Terminal { master, slave }))
}

/// What became of the command.
enum Started {
    Running(Pid),
    Not(Exit),
}

/// Starts the command, and gives the front its terminal.
fn start(front: &Link, stdio: Stdio, words: &[OsString]) -> Result<Started, DoError> {
    let start = |errno: Errno| DoError::Start {
        source: errno.into(),
    };
    let (told, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(start)?;
    let pid = fork(Born::Here, || -> Result<Infallible, u8> {
        let errno = command::become_it(&stdio, words);
        // Init is not gone while its child is there.
        match rustix::io::write(&tell, &errno.raw_os_error().to_ne_bytes()) {
            Ok(_) => Err(126),
            Err(_) => Err(125),
        }
    });
    let pid = pid.map_err(start)?;
    drop(tell);
    let mut number = [0; 4];
    // The end of the pipe without a word: the program runs.
    if rustix::io::read(&told, &mut number).map_err(start)? == number.len() {
        let errno = Errno::from_raw_os_error(i32::from_ne_bytes(number));
        return Ok(Started::Not(Exit::NotRun(errno.raw_os_error())));
    }
    let master = stdio
        .terminal
        .as_ref()
        .map(|terminal| terminal.master.as_fd());
    let sent = front.send(&Message::Started, master.as_slice());
    sent.map_err(|source| DoError::Start { source })?;
    Ok(Started::Running(pid))
}

/// Reaps until the command ends, and passes on meanwhile what the front says.
fn attend(front: &Arc<Link>, command: Pid) -> io::Result<()> {
    let link = Arc::clone(front);
    thread::Builder::new()
        .name("mica-signals".into())
        .spawn(move || {
            while let Ok(Some((message, _))) = link.receive() {
                pass_on(command, &message);
            }
        })?;
    loop {
        let Some((pid, status)) = wait(WaitOptions::UNTRACED)? else {
            continue;
        };
        if pid != command {
            continue;
        }
        if let Some(signal) = status.stopping_signal() {
            front.send(&Message::Stopped(signal), &[])?;
        } else if let Some(code) = status.exit_status() {
            let code = u8::try_from(code).unwrap_or(u8::MAX);
            return front.send(&Message::Ended(Exit::Code(code)), &[]);
        } else if let Some(signal) = status.terminating_signal() {
            return front.send(&Message::Ended(Exit::Signal(signal)), &[]);
        }
    }
}

/// Does what the front says. The command may have ended: there is nobody to tell.
fn pass_on(command: Pid, message: &Message) {
    let done = match message {
        Message::Signal(number) => match Signal::from_named_raw(*number) {
            // A terminal sends these to all that runs in the foreground.
            Some(signal @ (Signal::INT | Signal::QUIT | Signal::TSTP)) => {
                kill_process_group(command, signal)
            }
            Some(signal) => kill_process(command, signal),
            None => Err(Errno::INVAL),
        },
        Message::Continue => kill_process_group(command, Signal::CONT),
        _ => Err(Errno::INVAL),
    };
    if let Err(errno) = done {
        tracing::debug!(%errno, "not passed on");
    }
}

/// Says where a program was looked for.
#[must_use]
pub(super) fn is_missing(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR)
}
