//! Work on a session by a process that has its ids: outside, and inside of the session's user namespace.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
use mica::{Glob, Manner, Session, Sessions};

use crate::args::{Cli, Command, WithinArgs};
use crate::error::{self, CliError};
use crate::run::itself;
use crate::sessions::store;

/// A command line that names a session.
pub(crate) trait OfSession {
    /// A session, or paths, or both.
    fn words(&self) -> &[OsString];

    /// Names that it leaves out.
    fn ignored(&self) -> &[Glob];

    /// Does it, at and below paths of the view, and returns the exit status.
    fn run(&self, session: &Session, paths: Vec<PathBuf>) -> Result<u8, CliError>;
}

/// Runs a command here, or in the user namespace of the session that it names.
pub(crate) fn outside(args: &impl OfSession) -> ExitCode {
    let done = elsewhere(args).and_then(|done| match done {
        Some(status) => Ok(status),
        None => here(args, None),
    });
    status_of(done)
}

fn status_of(done: Result<u8, CliError>) -> ExitCode {
    match done {
        Ok(status) => ExitCode::from(status),
        Err(failed) => error::status(Err(failed), Manner::Mica),
    }
}

fn elsewhere(args: &impl OfSession) -> Result<Option<u8>, CliError> {
    let store = store()?;
    let session = session_in(args.words(), &store)?.0;
    let mut line = itself("do-within");
    line.arg("--").args(std::env::args_os().skip(1));
    // Who is root inside has no other sessions.
    if let Some(state) = store.dir().parent().and_then(Path::parent) {
        line.env("XDG_STATE_HOME", state);
    }
    Ok(store.within(&session, &mut line)?)
}

/// Runs it in this process, on a session that is open or on the one that it names.
fn here(args: &impl OfSession, held: Option<&mut Session>) -> Result<u8, CliError> {
    let mut opened;
    let (session, rest) = match held {
        Some(session) => (session, args.words()),
        None => {
            let store = store()?;
            let (name, rest) = session_in(args.words(), &store)?;
            opened = store.open(&name)?;
            (&mut opened, rest)
        }
    };
    session.ignore(args.ignored());
    let paths = rest.iter().map(|word| view_path(session, Path::new(word)));
    let paths = paths.collect();
    args.run(session, paths)
}

/// Runs a command of this program on a session that is open, here or in its user namespace, and returns its exit status. What failed
/// was said.
pub(crate) fn on(session: &mut Session, words: &[&str]) -> Result<u8, CliError> {
    let mut line = itself("do-within");
    line.arg("--").args(words);
    if let Some(status) = session.within(&mut line)? {
        return Ok(status);
    }
    let words = words.iter().map(OsString::from).collect();
    Ok(dispatch(words, Some(session)).unwrap_or_else(|failed| {
        error::say(&failed);
        FAILED
    }))
}

/// Exit status of a command that failed.
const FAILED: u8 = 1;

/// Is the process inside.
pub(crate) fn inside(args: WithinArgs) -> ExitCode {
    status_of(enter().and_then(|mut held| dispatch(args.arguments, held.as_mut())))
}

fn dispatch(words: Vec<OsString>, held: Option<&mut Session>) -> Result<u8, CliError> {
    let words = [OsString::from("mica")].into_iter().chain(words);
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Diff(args)) => here(&args, held),
        Ok(Command::Commit(args)) => here(&args, held),
        _ => Err(CliError::Inside {
            source: io::ErrorKind::InvalidInput.into(),
        }),
    }
}

/// Enters the user namespace; returns the session, if who started this process has it open.
fn enter() -> Result<Option<Session>, CliError> {
    let failed = |source| CliError::Inside { source };
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let within = mica::be_within(socket).map_err(failed)?;
    rustix::stdio::dup2_stdin(within.stdin).map_err(|errno| failed(errno.into()))?;
    Ok(within.session)
}

/// Finds what a path that the user typed is in the view of a session.
pub(crate) fn view_path(session: &Session, path: &Path) -> PathBuf {
    // Of another tree than this one the current directory is no part.
    let here = if session.lower() == Path::new("/") {
        std::env::current_dir().unwrap_or_else(|_| "/".into())
    } else {
        PathBuf::from("/")
    };
    plain(&here.join(path))
}

pub(crate) fn session_in<'w>(
    words: &'w [OsString],
    store: &Sessions,
) -> Result<(OsString, &'w [OsString]), CliError> {
    match words.split_first() {
        Some((first, rest)) if !first.as_bytes().contains(&b'/') => Ok((first.clone(), rest)),
        _ => Ok((latest(store)?, words)),
    }
}

/// Finds the session that was used last.
fn latest(store: &Sessions) -> Result<OsString, CliError> {
    let list = store.list()?;
    let number = |name: &str| name.parse::<u64>().ok();
    let latest = list
        .iter()
        .max_by_key(|info| (info.used, info.created, number(&info.name)));
    latest
        .map(|info| OsString::from(&info.name))
        .ok_or(CliError::Usage {
            message: "there is no session".into(),
            hint: "make one: `mica do -- CMD`",
        })
}

/// Takes `.` and `..` away: no symbolic link is followed, as what is meant is a name.
fn plain(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}
