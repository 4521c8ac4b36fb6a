//! Work on a session by a process that has its ids: outside, and inside of the session's user namespace.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
use mica::{Manner, Session, Sessions};

use crate::args::{Cli, Command, DiffArgs, WithinArgs};
use crate::error::{self, CliError};
use crate::run::itself;
use crate::sessions::store;

/// A command line that names a session.
pub(crate) trait OfSession {
    /// A session, or paths, or both.
    fn words(&self) -> &[OsString];
}

impl OfSession for DiffArgs {
    fn words(&self) -> &[OsString] {
        &self.words
    }
}

/// Runs a command here, or in the user namespace of the session that it names.
pub(crate) fn outside<A: OfSession>(
    args: &A,
    run: impl FnOnce(&A) -> Result<ExitCode, CliError>,
) -> ExitCode {
    let done = elsewhere(args).and_then(|done| match done {
        Some(status) => Ok(ExitCode::from(status)),
        None => run(args),
    });
    done.unwrap_or_else(|failed| error::status(Err(failed), Manner::Mica))
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

/// Is the process inside.
pub(crate) fn inside(args: WithinArgs) -> ExitCode {
    let done = enter().and_then(|()| {
        let words = [OsString::from("mica")].into_iter().chain(args.arguments);
        match Cli::try_parse_from(words).map(|cli| cli.command) {
            Ok(Command::Diff(args)) => crate::diff::run(&args),
            Ok(Command::Commit(args)) => crate::commit::run(&args),
            _ => Err(CliError::Inside {
                source: io::ErrorKind::InvalidInput.into(),
            }),
        }
    });
    done.unwrap_or_else(|failed| error::status(Err(failed), Manner::Mica))
}

fn enter() -> Result<(), CliError> {
    let failed = |source| CliError::Inside { source };
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let stdin = mica::be_within(socket).map_err(failed)?;
    rustix::stdio::dup2_stdin(stdin).map_err(|errno| failed(errno.into()))
}

/// Opens what the words of a command line name: a session, which is the first one if it has no slash, and paths in its view.
pub(crate) fn chosen(words: &[OsString]) -> Result<(Session, Vec<PathBuf>), CliError> {
    let store = store()?;
    let (name, rest) = session_in(words, &store)?;
    let session = store.open(&name)?;
    let paths = rest.iter().map(|word| view_path(&session, Path::new(word)));
    let paths = paths.collect();
    Ok((session, paths))
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
