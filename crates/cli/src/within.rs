//! Work on a session by a process that has its ids: outside, and inside of the session's user namespace.

use std::ffi::{OsStr, OsString};
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
    /// The session, if it names one, and paths.
    fn target(&self) -> (Option<&OsStr>, &[OsString]);

    /// Names that it leaves out.
    fn ignored(&self) -> &[Glob] {
        &[]
    }

    /// Does it, at and below paths of the view, and returns the exit status.
    fn run(&self, session: &Session, paths: Vec<PathBuf>) -> Result<u8, CliError>;
}

/// Splits words into a session, which is the first one if it has no slash, and paths.
pub(crate) fn split(words: &[OsString]) -> (Option<&OsStr>, &[OsString]) {
    match words.split_first() {
        Some((first, rest)) if !first.as_bytes().contains(&b'/') => (Some(first), rest),
        _ => (None, words),
    }
}

/// Returns the name of the session: the one that was used last if there is none.
pub(crate) fn named_in(args: &impl OfSession, store: &Sessions) -> Result<OsString, CliError> {
    if let (Some(name), _) = args.target() {
        return Ok(name.to_owned());
    }
    let latest = store.latest()?.map(OsString::from);
    latest.ok_or(CliError::Usage {
        message: "there is no session".into(),
        hint: "make one: `mica do -- CMD`",
    })
}

/// Runs a command here, or in the user namespace of the session that it names.
pub(crate) fn outside(args: &impl OfSession) -> ExitCode {
    let run = || -> Result<u8, CliError> {
        let store = store()?;
        let mut session = store.open(&named_in(args, &store)?)?;
        let mut line = itself("do-within");
        line.arg("--").args(std::env::args_os().skip(1));
        match session.within(&mut line)? {
            Some(status) => Ok(status),
            None => here(args, &mut session),
        }
    };
    status_of(run())
}

fn status_of(done: Result<u8, CliError>) -> ExitCode {
    match done {
        Ok(status) => ExitCode::from(status),
        Err(failed) => error::status(Err(failed), Manner::Mica),
    }
}

/// Runs it in this process.
fn here(args: &impl OfSession, session: &mut Session) -> Result<u8, CliError> {
    session.ignore(args.ignored());
    let paths = args.target().1.iter();
    let paths = paths.map(|word| view_path(session, Path::new(word)));
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
    Ok(dispatch(words, session).unwrap_or_else(|failed| {
        error::say(&failed);
        FAILED
    }))
}

/// Exit status of a command that failed.
const FAILED: u8 = 1;

/// Is the process inside.
pub(crate) fn inside(args: WithinArgs) -> ExitCode {
    status_of(enter().and_then(|mut session| dispatch(args.arguments, &mut session)))
}

fn dispatch(words: Vec<OsString>, session: &mut Session) -> Result<u8, CliError> {
    let words = [OsString::from("mica")].into_iter().chain(words);
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Diff(args)) => here(&args, session),
        Ok(Command::Commit(args)) => here(&args, session),
        Ok(Command::Discard(args)) => here(&args, session),
        _ => Err(CliError::Inside {
            source: io::ErrorKind::InvalidInput.into(),
        }),
    }
}

/// Enters the user namespace of a session, which it returns.
fn enter() -> Result<Session, CliError> {
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
