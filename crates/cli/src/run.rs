//! `mica do`: the front of a session. It stays outside, with the terminal, and passes signals on.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use mica::{
    DoError, Entered, Event, Exit, Joined, Lack, Manner, Others, RunSpec, Running, Session,
    Sessions, Signaller, StageBy, ViewSpec, Who,
};
use mica_sys::heap;
use mica_vfs::Errno;
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::args::{DoArgs, ShellArgs};
use crate::ask;
use crate::cause::Cause;
use crate::closing::{End, close};
use crate::deadline::Deadline;
use crate::error::{self, CliError};
use crate::log;
use crate::progress::Progress;
use crate::run_spec::{own_shell, spec_of};
use crate::sessions::store;
use crate::settle::{Settling, Then};
use crate::terminal::Terminal;

/// Exit status of a failure of Mica, which a command need not know.
pub(crate) const FAILED: u8 = 125;

/// Exit status of a command that took too long, as that of timeout(1).
const TIMED_OUT: u8 = 124;

/// Those that are passed on to the command.
const SIGNALS: [i32; 9] = [
    SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGTSTP,
];

/// Runs a command in a session and says what it changed.
pub(crate) fn run(args: &DoArgs) -> ExitCode {
    let store = match store() {
        Ok(store) => store,
        Err(failed) => return error::report(&failed, FAILED),
    };
    let then = Then::of(args);
    let checked = if then == Then::Ask {
        ask::check()
    } else {
        Ok(())
    };
    let spec = match checked.and_then(|()| spec_of(args)) {
        Ok(spec) => spec,
        Err(failed) => return error::report(&failed, FAILED),
    };
    let name = args.name.as_deref();
    let job = Job {
        enter: &|| match &args.from {
            Some(from) => fork(&store, from, name).map(Entered::Idle),
            None => store.enter(name, args.lower.as_deref()),
        },
        spec,
        then,
        named: args.name.is_some(),
        timeout: args.timeout,
    };
    job.status(&store)
}

/// Makes a session that begins as another one is.
fn fork(store: &Sessions, from: &OsStr, name: Option<&OsStr>) -> Result<Session, DoError> {
    let progress = Progress::counting("copying");
    let stage = &mut itself("do-stage");
    let forked = store.fork(from, name, stage, &mut |objects| progress.at(objects));
    progress.finish();
    forked
}

/// Runs a shell in a session that there is.
pub(crate) fn shell(args: &ShellArgs) -> ExitCode {
    let store = match store() {
        Ok(store) => store,
        Err(failed) => return error::report(&failed, FAILED),
    };
    let job = Job {
        enter: &|| store.enter_known(&args.name),
        spec: RunSpec {
            command: vec![own_shell()],
            dir: None,
            who: Who::Same,
            environment: None,
            view: ViewSpec::default(),
        },
        then: Then::Keep,
        named: true,
        timeout: None,
    };
    job.status(&store)
}

/// What is to be done in which session.
struct Job<'a> {
    enter: &'a dyn Fn() -> Result<Entered, DoError>,
    spec: RunSpec,
    then: Then,
    /// Whether the user calls the session by a name.
    named: bool,
    /// How long the command may run.
    timeout: Option<Duration>,
}

impl Job<'_> {
    fn status(&self, store: &Sessions) -> ExitCode {
        match self.run(store) {
            Ok(exit) => ExitCode::from(exit.status()),
            Err(failed) => error::report(&failed, FAILED),
        }
    }

    fn run(&self, store: &Sessions) -> Result<Exit, CliError> {
        loop {
            match (self.enter)()? {
                Entered::Idle(session) => return self.run_alone(session),
                Entered::Running(joined) => match self.run_beside(store, &joined) {
                    // What ran there ended meanwhile.
                    Err(CliError::Session(DoError::Gone)) => {}
                    done => return done,
                },
            }
        }
    }

    /// Makes a session run.
    fn run_alone(&self, mut session: Session) -> Result<Exit, CliError> {
        session.on_lack(say_lack);
        let mut line = itself("do-stage");
        let ran = self.command(|stdio| session.start(&self.spec, stage_by(&mut line), stdio));
        let (exit, others) = match ran {
            Ok(ended) => ended,
            Err(failed) => {
                // What nobody named and nothing changed in is nothing to keep.
                let unchanged = || {
                    session
                        .changes(&mut itself("do-stage"))
                        .is_ok_and(|changes| changes.is_none())
                };
                if !self.named && unchanged() {
                    // Why nothing was run is what the user has to hear.
                    if let Err(error) = session.discard(&mut itself("do-stage")) {
                        tracing::warn!(%error, "an empty session stays");
                    }
                }
                return Err(failed);
            }
        };
        // What goes away needs no last word.
        if (others, self.then) != (Others::None, Then::Remove) {
            session.note_end(exit)?;
        }
        let settling = Settling::of(session)?;
        match others {
            Others::None => settling.settle(self.then, self.named, exit),
            Others::Run => {
                settling.close(self.end());
                Ok(exit)
            }
        }
    }

    /// Runs in a session in which something runs.
    fn run_beside(&self, store: &Sessions, joined: &Joined) -> Result<Exit, CliError> {
        let (exit, others) = self.command(|stdio| joined.start(&self.spec, stdio))?;
        let name = joined.name();
        let mut end = match others {
            Others::Run => self.end(),
            Others::None => End::Kept,
        };
        if others == Others::None && self.then != Then::Keep {
            match store.open(name) {
                Ok(session) => {
                    return Settling::of(session)?.settle(self.then, self.named, exit);
                }
                // Who entered it meanwhile decides.
                Err(DoError::Running { .. } | DoError::Missing { .. }) => end = self.end(),
                Err(error) => return Err(error.into()),
            }
        }
        // What the command came to is not lost with a session that somebody else commits or removes now.
        match joined.changes(&mut itself("do-stage")) {
            Ok(changes) => close(changes, name, end),
            Err(failed) => error::say(&failed.into()),
        }
        Ok(exit)
    }

    /// What becomes of a session that others use.
    fn end(&self) -> End {
        match self.then {
            Then::Keep => End::Kept,
            _ => End::InUse,
        }
    }

    /// Starts the command and stays with it.
    fn command(
        &self,
        start: impl FnOnce([BorrowedFd<'_>; 3]) -> Result<Running, DoError>,
    ) -> Result<(Exit, Others), CliError> {
        // Before the command runs: what comes while it is started must reach it.
        let signals = Signals::new(SIGNALS).map_err(|source| CliError::Signals { source })?;
        let streams = (io::stdin(), io::stdout(), io::stderr());
        let stdio = [streams.0.as_fd(), streams.1.as_fd(), streams.2.as_fd()];
        let running = start(stdio)?;
        let deadline = match self.timeout {
            Some(time) => Some(Deadline::start(time, running.signaller())?),
            None => None,
        };
        let (exit, others) = attend(running, signals, deadline.as_ref())?;
        if let Exit::NotRun(errno) = exit {
            let program = self.spec.command.first().cloned().unwrap_or_default();
            error::say(&CliError::NotRun {
                program: program.into(),
                source: Errno::from_raw_os_error(errno),
            });
        }
        Ok((exit, others))
    }
}

/// This program once more.
pub(crate) fn program() -> Command {
    let mut line = Command::new("/proc/self/exe");
    line.arg0("mica");
    line
}

/// Says what the view lacks.
fn say_lack(lack: &Lack) {
    let text = format!("warning: {lack}: {}\n", Cause(lack.errno()));
    // Without stderr there is nobody to tell.
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// This program, as another process of a session.
pub(crate) fn itself(part: &str) -> Command {
    let mut line = program();
    line.arg(part);
    line
}

/// Relays between the terminal and the command until that has ended.
fn attend(
    running: Running,
    signals: Signals,
    deadline: Option<&Deadline>,
) -> Result<(Exit, Others), CliError> {
    let failed = |source| CliError::Signals { source };
    let master = running.terminal();
    let sized = master.map(OwnedFd::try_clone).transpose().map_err(failed)?;
    let passing = running.signaller();
    thread::Builder::new()
        .name("mica-signals".into())
        .spawn(move || pass_on(signals, &passing, sized.as_ref()))
        .map_err(failed)?;
    // Last: whatever fails from now on gives the terminal back.
    let terminal = master.map(Terminal::relay).transpose().map_err(failed)?;
    let exit = wait(&running, terminal.as_ref(), deadline);
    let ended = exit.and_then(|exit| Ok((exit, running.finish()?)));
    // A session that is lost leaves no terminal behind that nobody can type at.
    if let Some(terminal) = terminal {
        terminal.end();
    }
    Ok(ended?)
}

/// Waits until the command has ended, and stops when it does.
fn wait(
    running: &Running,
    terminal: Option<&Terminal>,
    deadline: Option<&Deadline>,
) -> Result<Exit, DoError> {
    loop {
        match running.wait()? {
            Event::Ended(_) if deadline.is_some_and(Deadline::passed) => {
                return Ok(Exit::Code(TIMED_OUT));
            }
            Event::Ended(exit) => return Ok(exit),
            Event::Stopped(_) => stop(terminal, &running.signaller()),
        }
    }
}

fn pass_on(mut signals: Signals, command: &Signaller, terminal: Option<&OwnedFd>) {
    for signal in signals.forever() {
        match terminal {
            // The kernel tells the command of the size itself.
            Some(master) if signal == SIGWINCH => crate::terminal::resize(master),
            _ => {
                // It may have ended; so does this process then.
                drop(command.send(signal));
            }
        }
    }
}

/// Stops as the command has, so that the shell goes on, and goes on with it.
fn stop(terminal: Option<&Terminal>, command: &Signaller) {
    if let Some(terminal) = terminal {
        terminal.leave();
    }
    if let Err(error) = emulate_default_handler(SIGTSTP) {
        tracing::debug!(%error, "this process does not stop");
    }
    if let Some(terminal) = terminal {
        terminal.enter();
    }
    drop(command.resume());
}

/// How a stage is made that `line` would be.
fn stage_by(line: &mut Command) -> StageBy<'_> {
    // What it has met is written to a file, which a copy of this process would not have.
    if cfg!(feature = "planted") {
        return line.into();
    }
    StageBy::Copy(
        |link| u8::from(error::status(be_stage(link), Manner::Mica) != ExitCode::SUCCESS),
        line,
    )
}

/// Is the stage of a session, by a command line of its own.
pub(crate) fn stage() -> Result<(), CliError> {
    let socket = io::stdin().as_fd().try_clone_to_owned();
    be_stage(socket.map_err(|source| CliError::Inside { source })?)
}

fn be_stage(link: OwnedFd) -> Result<(), CliError> {
    heap::share();
    log::warnings_to_stderr();
    mica::be_stage(link).map_err(|source| CliError::Inside { source })
}
