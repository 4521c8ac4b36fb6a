//! `mica commit`

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use mica::{CommitError, CommitManner, CommitSpec, Committed, Escaped, Glob, Session};
use rustix::termios::isatty;

use crate::args::CommitArgs;
use crate::cause::Cause;
use crate::error::CliError;
use crate::progress::Progress;
use crate::run::program;
use crate::sessions::{STATE, store};
use crate::within::{self, OfSession, view_path};

/// How long others are waited for without a word.
const MOMENT: Duration = Duration::from_secs(3);

/// How long they are waited for then.
const PATIENCE: Duration = Duration::from_secs(117);

/// Runs the command here, as the owner of the session, or in its user namespace.
pub(crate) fn start(args: &CommitArgs) -> ExitCode {
    if !args.as_owner {
        return within::outside(args);
    }
    let done = as_owner(args);
    done.unwrap_or_else(|failed| crate::error::status(Err(failed), mica::Manner::Mica))
}

/// Runs this command once more, as the user whose session it is.
fn as_owner(args: &CommitArgs) -> Result<ExitCode, CliError> {
    let store = store()?;
    let session = within::named_in(args, &store)?;
    let dir = store.dir().join(&session);
    let failed = |source| CliError::OpenFile {
        path: dir.clone(),
        source,
    };
    let owner = std::fs::metadata(&dir).map_err(failed)?;
    let words = std::env::args_os()
        .skip(1)
        .filter(|word| word != "--as-owner");
    let mut line = program();
    line.args(words).uid(owner.uid()).gid(owner.gid());
    // That user has other sessions.
    if let Some(state) = store.dir().parent().and_then(Path::parent) {
        line.env(STATE, state);
    }
    let status = line.status().map_err(failed)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(u8::MAX)))
}

impl OfSession for CommitArgs {
    fn target(&self) -> (Option<&OsStr>, &[OsString]) {
        within::split(&self.words)
    }

    fn ignored(&self) -> &[Glob] {
        &self.ignore
    }

    fn run(&self, session: &Session, paths: Vec<PathBuf>) -> Result<u8, CliError> {
        run(self, session, paths)
    }
}

/// Commits a session that this process can read.
fn run(args: &CommitArgs, session: &Session, paths: Vec<PathBuf>) -> Result<u8, CliError> {
    let at = |paths: &[PathBuf]| {
        let view = paths.iter().map(|path| view_path(session, path));
        view.collect()
    };
    let mut spec = CommitSpec {
        paths,
        force: args.force,
        ours: at(&args.ours),
        theirs: at(&args.theirs),
        dry_run: args.dry_run,
        confirmed: args.yes,
        wait: MOMENT,
    };
    let done = match commit(session, &mut spec) {
        Err(CommitError::Unconfirmed(risks)) if may_ask() => {
            list(&risks, ToString::to_string);
            if !agreed() {
                return Err(CommitError::Unconfirmed(Vec::new()).into());
            }
            spec.confirmed = true;
            commit(session, &mut spec)
        }
        done => done,
    };
    match done {
        Ok(committed) => {
            say(args, session, &committed);
            Ok(0)
        }
        Err(failed) => {
            explain(&failed);
            Err(failed.into())
        }
    }
}

/// Commits, and waits for others who do, with a line that says so when it takes longer.
fn commit(session: &Session, spec: &mut CommitSpec) -> Result<Committed, CommitError> {
    match attempt(session, spec) {
        Err(busy @ CommitError::Busy { .. }) if spec.wait == MOMENT => {
            told(&format!("{busy}, which is waited for"));
            spec.wait = PATIENCE;
            attempt(session, spec)
        }
        done => done,
    }
}

fn attempt(session: &Session, spec: &CommitSpec) -> Result<Committed, CommitError> {
    let progress = Progress::counting("committing");
    let done = session.commit(spec, &mut |steps| progress.at(steps));
    progress.finish();
    done
}

/// Says what was done, or would be.
fn say(args: &CommitArgs, session: &Session, committed: &Committed) {
    let name = session.name().to_string_lossy();
    if args.dry_run {
        let mut text = String::new();
        if committed.resumed {
            text.push_str("an interrupted commit would be finished\n");
        }
        for (path, manner) in &committed.changes {
            text.push_str(&format!("{:<10} {:#}\n", word(*manner), Escaped::new(path)));
        }
        // A reader that has seen enough is no failure.
        drop(io::stdout().lock().write_all(text.as_bytes()));
        return;
    }
    if args.quiet {
        return;
    }
    let what = if committed.resumed {
        "the interrupted commit is finished".to_owned()
    } else {
        format!("{} changes committed", committed.changes.len())
    };
    let end = if committed.ended {
        format!("session {name} has ended")
    } else {
        format!("mica diff {name}")
    };
    drop(
        io::stderr()
            .lock()
            .write_all(format!("{what} - {end}\n").as_bytes()),
    );
}

const fn word(manner: CommitManner) -> &'static str {
    match manner {
        CommitManner::Made => "make",
        CommitManner::Replaced => "replace",
        CommitManner::Written => "write",
        CommitManner::Removed => "remove",
        CommitManner::Renamed => "rename",
        CommitManner::Copied => "copy",
        CommitManner::Attributes => "attributes",
    }
}

/// Lists what stands against it.
pub(crate) fn explain(failed: &CommitError) {
    match failed {
        CommitError::Conflicts(conflicts) => {
            for one in conflicts {
                line(&one.path, &one.kind.to_string());
            }
        }
        CommitError::Unreadable(told) | CommitError::Refused(told) => {
            list(told, |errno| Cause(*errno).to_string())
        }
        CommitError::Half(told) => {
            list(told, |other| format!("belongs to {}", Escaped::new(other)))
        }
        CommitError::Unconfirmed(told) => list(told, ToString::to_string),
        _ => {}
    }
}

fn list<T>(told: &[(std::path::PathBuf, T)], shown: impl Fn(&T) -> String) {
    for (path, what) in told {
        line(path, &shown(what));
    }
}

fn line(path: &Path, what: &str) {
    told(&format!("{}: {what}", Escaped::new(path)));
}

fn told(text: &str) {
    drop(
        io::stderr()
            .lock()
            .write_all(format!("{text}\n").as_bytes()),
    );
}

fn may_ask() -> bool {
    isatty(io::stdin()) && isatty(io::stderr())
}

fn agreed() -> bool {
    drop(
        io::stderr()
            .lock()
            .write_all(b"Commit this session of another user? [y/N] "),
    );
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}
