//! Init: the first process of a session's PID namespace.
//!
//! It makes the view its root directory and starts the commands that fronts ask for: the one that made the session run, and those
//! that join it at its socket. It passes signals on to them and reaps whatever loses its parent. It ends with the last of
//! them: the kernel then ends whatever else runs in the session.
//!
//! It is one thread, as only that may fork.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mica_sys::namespace::{self, Namespaces};
use mica_sys::process::{Born, fork, fork_with};
use mica_vfs::Errno;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount};
use rustix::net::{SocketFlags, accept_with};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, kill_process, kill_process_group,
    set_dumpable_behavior, set_parent_process_death_signal, wait,
};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use signal_hook::consts::SIGCHLD;

use super::command::{self, Heard, Stdio};
use super::devices::{Devices, Groups, PROC};
use super::driver::Driver;
use super::error::{DoError, step};
use super::link::{Link, Message, Others};
use super::plan::Plan;
use super::run::{Run, Start};
use super::view::Network;
use super::{Exit, extras, kernel, leftovers, network, rights};

/// Makes init as a child of this process, in a PID namespace of its own. `socket` is its link, `joining` where others come to it. With
/// its number comes the stage's link to it.
///
/// It runs no program: to load one again takes the time of all that it does.
///
/// # Errors
///
/// As [`fork_with`].
pub(super) fn bear(socket: OwnedFd, joining: OwnedFd) -> Result<(Pid, Link), Errno> {
    let (link, theirs) = Link::pair()?;
    let given = [socket, joining, theirs.into_fd()];
    let init = fork_with(Born::FirstOfItsOwn, given, (), |given, ()| {
        // The front sees the link end.
        Err(u8::from(be(given).is_err()))
    })?;
    Ok((init, link))
}

/// Is init, until the last command in the session ends. What fails is told at the other end of the link.
fn be([socket, joining, stage]: [OwnedFd; 3]) -> io::Result<()> {
    let (front, stage) = (Link::of(socket), Link::of(stage));
    // A stage that is killed takes the session with it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let Some((Message::Plan(plan), _)) = front.receive()? else {
        return Err(Errno::PROTO.into());
    };
    // What has to be told is told by the link: nothing of the front's is held longer than its command runs.
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    let prepared = match Apart::make(&plan, &stage) {
        Err(error) => Err(error),
        Ok(apart) => match await_view(&plan, &stage)? {
            Awaited::View(view) => apart.enter(&plan, view),
            // It says why, and nobody else knows.
            Awaited::Nothing => return Ok(()),
        },
    };
    drop(stage);
    match prepared {
        Ok(prepared) => {
            dup2_stderr(&null)?;
            Init::new(front, joining, prepared)?.attend()
        }
        Err(error) => front.send(&Message::Failed(error.tell()), &[]),
    }
}

/// What comes of waiting for the view.
enum Awaited {
    /// It is this mount, which is nowhere yet; `None`: it is where it belongs.
    View(Option<OwnedFd>),
    /// The stage is gone.
    Nothing,
}

/// Waits until there is a view.
fn await_view(plan: &Plan, stage: &Link) -> io::Result<Awaited> {
    match plan.driver {
        Driver::Kernel(_) => Ok(Awaited::View(None)),
        Driver::Mica => Ok(match stage.receive()? {
            Some((Message::View, fds)) => Awaited::View(fds.into_iter().next()),
            _ => Awaited::Nothing,
        }),
    }
}

/// What init makes that needs nothing of the view, while the stage makes that.
struct Apart {
    /// The root directory of the machine.
    host: OwnedFd,
    devices: Devices,
}

impl Apart {
    fn make(plan: &Plan, stage: &Link) -> Result<Self, DoError> {
        enter_namespaces(plan)?;
        // A stage that ended before its end would be this process's has told nobody.
        let told = stage.send(&Message::Apart, &[]);
        told.map_err(|source| DoError::Start { source })?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let host = rustix::fs::open("/", flags, Mode::empty());
        let host = step("the way back", host)?;
        let groups = match &plan.users {
            Some(users) if users.alone() => Groups::One,
            _ => Groups::All,
        };
        let devices = Devices::make(&plan.memory(), groups).map_err(|error| match error {
            DoError::Step {
                step: PROC,
                source: source @ Errno::PERM,
            } if plan.users.is_some() => DoError::MaskedProc { source },
            error => error,
        })?;
        Ok(Self { host, devices })
    }

    /// Makes the view the root directory of this process, and gives up what only that takes.
    fn enter(self, plan: &Plan, view: Option<OwnedFd>) -> Result<Prepared, DoError> {
        let Self { host, devices } = self;
        if let Some(view) = view {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            let moved = move_mount(&view, "", CWD, plan.root(), flags);
            step("the view in its place", moved)?;
        }
        prepare(plan, host, devices)
    }
}

fn enter_namespaces(plan: &Plan) -> Result<(), DoError> {
    let new = Namespaces::MOUNT.and(Namespaces::IPC).and(Namespaces::UTS);
    match plan.view.network {
        Network::Host => step("namespaces", namespace::enter(new)),
        Network::None => {
            step("namespaces", namespace::enter(new.and(Namespaces::NET)))?;
            step("the loopback device", network::loopback_up())
        }
    }
}

fn prepare(plan: &Plan, host: OwnedFd, devices: Devices) -> Result<Prepared, DoError> {
    let parts = match plan.driver {
        Driver::Mica => Vec::new(),
        Driver::Kernel(_) => kernel::parts(plan)?,
    };
    // By its path: to enter the view is to ask its server, and this takes the kernel milliseconds.
    let pivoted = rustix::process::pivot_root(plan.root(), plan.root());
    step("the view the root directory", pivoted)?;
    let view = step("the way into the view", enter())?;
    if plan.users.is_some() {
        // Until somebody asks whose it is the kernel takes a root directory for that of an id that the namespace may not have, and lets
        // nobody write there.
        step("the view's root directory", rustix::fs::fstat(&view))?;
    }
    devices.mount(view.as_fd())?;
    let Devices { pts, empty, .. } = devices;
    extras::mount_all(view.as_fd(), host.as_fd(), plan, &parts)?;
    drop(host);
    // The old root lies over the new one.
    let gone = rustix::mount::unmount(".", UnmountFlags::DETACH);
    step("the machine's files unreachable", gone)?;
    // While this process may.
    if let Err(errno) = mica_sys::landlock::scope() {
        tracing::debug!(%errno, "abstract sockets of the machine are in reach");
    }
    step(
        "capabilities that can be given up",
        rights::keep(plan.view.capabilities, plan.users.is_some()),
    )?;
    // Nobody in the session looks into this process, whoever they are.
    step(
        "a closed process",
        set_dumpable_behavior(DumpableBehavior::NotDumpable),
    )?;
    Ok(Prepared { pts, view, empty })
}

/// Goes to the root directory and opens it.
fn enter() -> Result<OwnedFd, Errno> {
    rustix::process::chdir("/")?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/", flags, Mode::empty())
}

fn begin_in(start: &Start) -> Result<(), DoError> {
    let path = start.path();
    match (rustix::process::chdir(&path), start) {
        (Ok(()), _) => Ok(()),
        (Err(_), Start::Near(_)) => step("the start in `/`", rustix::process::chdir("/")),
        (Err(source), Start::In(_)) => Err(DoError::Directory { path, source }),
    }
}

/// Opens a terminal of the session like the one among `fds`, if there is one.
fn terminal(pts: BorrowedFd<'_>, fds: &[OwnedFd; 3]) -> Result<Option<command::Terminal>, Errno> {
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

/// A front, and its command.
struct Client {
    front: Link,
    /// `None`: it has not said yet what to run.
    command: Option<Started>,
}

struct Init {
    clients: Vec<Client>,
    /// Whether a front has said what to run.
    begun: bool,
    /// The socket at which others come; `None` at the end.
    joining: Option<OwnedFd>,
    /// What says that a child has changed.
    children: OwnedFd,
    pts: OwnedFd,
    /// The root directory.
    view: OwnedFd,
    /// Open for as long as this process runs: the kernel takes milliseconds to close a mount that is nowhere.
    _empty: OwnedFd,
}

/// What is made before any command.
struct Prepared {
    pts: OwnedFd,
    view: OwnedFd,
    empty: OwnedFd,
}

impl Init {
    fn new(front: Link, joining: OwnedFd, prepared: Prepared) -> io::Result<Self> {
        let Prepared { pts, view, empty } = prepared;
        let (children, changed) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        signal_hook::low_level::pipe::register(SIGCHLD, changed)?;
        let first = Client {
            front,
            command: None,
        };
        Ok(Self {
            clients: vec![first],
            begun: false,
            joining: Some(joining),
            children,
            pts,
            view,
            _empty: empty,
        })
    }

    /// Serves fronts and reaps, until there is no front left.
    fn attend(mut self) -> io::Result<()> {
        while self.is_in_use() {
            let ready = self.wait_for_any()?;
            let [joined, changed, said @ ..] = ready.as_slice() else {
                return Err(Errno::IO.into());
            };
            // From the last one on: one that goes leaves those before it where they are.
            for (at, _) in said.iter().enumerate().rev().filter(|(_, said)| **said) {
                self.hear(at);
            }
            if *changed {
                self.reap()?;
            }
            if *joined {
                self.admit();
            }
        }
        Ok(())
    }

    /// Whether a command runs, or the first one is still to be named. Who joins and finds no command comes again.
    fn is_in_use(&self) -> bool {
        let runs = |client: &Client| client.command.is_some();
        self.clients.iter().any(runs) || (!self.begun && !self.clients.is_empty())
    }

    /// Returns of the socket, of the children and of each front whether there is something to hear.
    fn wait_for_any(&self) -> io::Result<Vec<bool>> {
        let fronts = self.clients.iter().map(|client| client.front.as_fd());
        let joining = self.joining.as_ref().unwrap_or(&self.children);
        let all = [joining.as_fd(), self.children.as_fd()];
        let mut polled: Vec<_> = all
            .into_iter()
            .chain(fronts)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match poll(&mut polled, None) {
            Ok(_) => {}
            // A signal says it by the pipe, too.
            Err(Errno::INTR) => return Ok(vec![false, true]),
            Err(errno) => return Err(errno.into()),
        }
        Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect())
    }

    /// Ends all that still runs, listens no more, and has written what programs have stored through mappings of files.
    fn close(&mut self) {
        leftovers::end_all();
        self.joining = None;
        self.clients.clear();
        if let Err(errno) = rustix::fs::syncfs(&self.view) {
            tracing::debug!(%errno, "what was stored through mappings is written later");
        }
    }

    /// Takes in a front that joins.
    fn admit(&mut self) {
        let Some(joining) = &self.joining else { return };
        match accept_with(joining, SocketFlags::CLOEXEC) {
            Ok(socket) => self.clients.push(Client {
                front: Link::of(socket),
                command: None,
            }),
            // It has gone again.
            Err(errno) => tracing::debug!(%errno, "nobody joins"),
        }
    }

    /// Does what a front says.
    fn hear(&mut self, at: usize) {
        let Some(client) = self.clients.get_mut(at) else {
            return;
        };
        match (client.front.receive(), client.command) {
            (Ok(Some((Message::Run, fds))), None) => {
                self.begun = true;
                match start(&client.front, &self.pts, fds) {
                    Ok(Ok(started)) => client.command = Some(started),
                    Ok(Err(exit)) => self.leave(at, &Message::Ended(exit)),
                    Err(error) => self.leave(at, &Message::Failed(error.tell())),
                }
            }
            (Ok(Some((message, _))), Some(command)) => pass_on(command, &message),
            // Who makes no sense is sent away.
            (Ok(Some(_)) | Err(_), None) | (Ok(None), None) => drop(self.clients.remove(at)),
            (Ok(None) | Err(_), Some(command)) => {
                drop(self.clients.remove(at));
                leftovers::end(command.child);
            }
        }
    }

    /// Reaps all that have ended, and tells the fronts of their commands.
    fn reap(&mut self) -> io::Result<()> {
        let mut bytes = [0; 64];
        while rustix::io::read(&self.children, &mut bytes).is_ok_and(|count| count > 0) {}
        loop {
            let (pid, status) = match wait(WaitOptions::UNTRACED | WaitOptions::NOHANG) {
                Ok(Some(changed)) => changed,
                Ok(None) | Err(Errno::CHILD) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            };
            let Some(at) = self
                .clients
                .iter()
                .position(|client| client.command.is_some_and(|command| command.child == pid))
            else {
                continue;
            };
            let exit = if let Some(signal) = status.stopping_signal() {
                let front = self.clients.get(at).map(|client| &client.front);
                tell(front, &Message::Stopped(signal));
                continue;
            } else if let Some(code) = status.exit_status() {
                Exit::Code(u8::try_from(code).unwrap_or(u8::MAX))
            } else if let Some(signal) = status.terminating_signal() {
                Exit::Signal(signal)
            } else {
                continue;
            };
            let running = |client: &&Client| client.command.is_some();
            if self.clients.iter().filter(running).count() > 1 {
                leftovers::end(pid);
            }
            self.leave(at, &Message::Ended(exit));
        }
    }

    /// Tells a front its last words, and lets it go. To the last one it says so when nothing can change any more: taking the
    /// namespaces down takes longer.
    fn leave(&mut self, at: usize, last: &Message) {
        let Client { front, .. } = self.clients.remove(at);
        tell(Some(&front), last);
        let others = if self.is_in_use() {
            Others::Run
        } else {
            self.close();
            Others::None
        };
        tell(Some(&front), &Message::Left(others));
    }
}

/// Says something to a front, which may be gone: then its end of the link says so.
fn tell(front: Option<&Link>, message: &Message) {
    if let Some(Err(error)) = front.map(|front| front.send(message, &[])) {
        tracing::debug!(%error, "a front is not told");
    }
}

/// A command that runs.
#[derive(Clone, Copy)]
struct Started {
    /// The child of init, which leads the command's session.
    child: Pid,
    /// The command, which leads a group: that child, or one of it.
    command: Pid,
}

/// Starts a command, and gives its front its terminal.
fn start(front: &Link, pts: &OwnedFd, fds: Vec<OwnedFd>) -> Result<Result<Started, Exit>, DoError> {
    let failed = |source| DoError::Start { source };
    let errno = |errno: Errno| failed(errno.into());
    let Ok([file, given @ ..]) = <[OwnedFd; 4]>::try_from(fds) else {
        return Err(errno(Errno::PROTO));
    };
    let run = Run::from_file(file).map_err(failed)?;
    let terminal = step("a terminal", terminal(pts.as_fd(), &given))?;
    let stdio = Stdio { given, terminal };
    begin_in(&run.start)?;
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC).map_err(errno)?;
    let (given, wanted) = (&stdio, &run);
    let child = fork(Born::Here, move || {
        Err(command::become_it(given, wanted, tell))
    });
    let child = child.map_err(errno)?;
    let mut command = child;
    // Where a command began is no longer in use when it ends.
    if let Err(errno) = rustix::process::chdir("/") {
        tracing::debug!(%errno, "init stays where a command began");
    }
    while let Some(heard) = Heard::next(&told) {
        match heard {
            Heard::Command(pid) => command = pid,
            Heard::NotRun(errno) => return Ok(Err(Exit::NotRun(errno))),
        }
    }
    let master = stdio
        .terminal
        .as_ref()
        .map(|terminal| terminal.master.as_fd());
    // If the front has gone already, that is what is heard of it next, and its command is ended then.
    if let Err(error) = front.send(&Message::Started, master.as_slice()) {
        tracing::debug!(%error, "a front is not told");
    }
    Ok(Ok(Started { child, command }))
}

/// Does what the front says. The command may have ended: there is nobody to tell.
fn pass_on(Started { child, command }: Started, message: &Message) {
    let done = match message {
        Message::Signal(number) => match Signal::from_named_raw(*number) {
            // A terminal sends these to all that runs in the foreground.
            Some(signal @ (Signal::INT | Signal::QUIT | Signal::TSTP)) => {
                kill_process_group(command, signal)
            }
            Some(signal) => kill_process(command, signal),
            None => Err(Errno::INVAL),
        },
        Message::Continue if child == command => kill_process_group(command, Signal::CONT),
        // That lets its child go on.
        Message::Continue => kill_process(child, Signal::CONT),
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
