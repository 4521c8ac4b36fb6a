//! Errors as people see them: what failed, why, and what to do.
//!
//! ```text
//! error: cannot mount at `/mnt`
//! caused by: workdir `/tmp/w` and upperdir `/data/u` are on different filesystems
//! hint: ...
//! ```

use std::error::Error;
use std::io::{self, Write as _};
use std::iter;
use std::path::PathBuf;
use std::process::ExitCode;

use mica::{
    CheckError, CommitError, ConvertError, DoError, Escaped, ExportError, ImportError, Manner,
    MountError, OptionError, RemountError, SessionError, Told, UnmountError,
};
use mica_vfs::Errno;
use thiserror::Error;

use crate::cause::Cause;

/// Exit status of a failure.
const FAILED: u8 = 1;
/// Exit status of a command line that makes no sense.
const USAGE: u8 = 2;

/// Exit statuses of mount(8): a command line that makes no sense, what the system lacks, a mount that failed.
const MOUNT_USAGE: u8 = 1;
const MOUNT_SYSTEM: u8 = 2;
const MOUNT_FAILED: u8 = 32;

/// Why a command failed.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// The mount options are wrong.
    #[error(transparent)]
    Options(#[from] OptionError),
    /// `--stats` in the background, with no place to write to.
    #[error("`--stats` has no place to write to in the background")]
    NowhereForStats,
    /// The mount could not be made.
    #[error("cannot mount at {}", Escaped::new(mountpoint))]
    Mount {
        mountpoint: PathBuf,
        source: MountError,
    },
    /// An upper could not be checked.
    #[error("cannot check {}", Escaped::new(upper))]
    Check { upper: PathBuf, source: CheckError },
    /// An upper could not be converted.
    #[error("cannot convert {}", Escaped::new(upper))]
    Convert {
        upper: PathBuf,
        source: ConvertError,
    },
    /// An upper could not be exported.
    #[error("cannot export {}", Escaped::new(upper))]
    Export { upper: PathBuf, source: ExportError },
    /// A layer could not be imported.
    #[error("cannot import to {}", Escaped::new(dir))]
    Import { dir: PathBuf, source: ImportError },
    /// A file to be read cannot be opened.
    #[error("cannot open {}", Escaped::new(path))]
    Open { path: PathBuf, source: io::Error },
    /// The mount could not be changed.
    #[error("cannot remount {}", Escaped::new(mountpoint))]
    Remount {
        mountpoint: PathBuf,
        source: RemountError,
    },
    /// The command line of another program makes no sense.
    #[error("{message}")]
    Usage { message: String, hint: &'static str },
    /// The mount namespace that mount(8) names cannot be entered.
    #[error("cannot enter the mount namespace {}", Escaped::new(path))]
    Namespace { path: PathBuf, source: io::Error },
    /// The mount could not be removed.
    #[error("cannot unmount {}", Escaped::new(mountpoint))]
    Unmount {
        mountpoint: PathBuf,
        source: UnmountError,
    },
    /// The server failed after the mount was there.
    #[error("the server of {} failed", Escaped::new(mountpoint))]
    Serve {
        mountpoint: PathBuf,
        source: SessionError,
    },
    /// A session.
    #[error(transparent)]
    Session(#[from] DoError),
    /// A session was not committed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A process of a session has nobody to talk to.
    #[error("this is for `mica do` to call")]
    Inside { source: io::Error },
    /// A command cannot be run.
    #[error("cannot run {}", Escaped::new(program))]
    NotRun { program: PathBuf, source: Errno },
    /// Signals cannot be received.
    #[error("cannot receive signals")]
    Signals { source: io::Error },
    /// A file for messages or statistics cannot be opened.
    #[error("cannot write to {}", Escaped::new(path))]
    OpenFile { path: PathBuf, source: io::Error },
    /// The server cannot be run in the background.
    #[error("cannot run the server in the background")]
    Background { source: io::Error },
    /// The server was killed before the mount answered.
    #[error("the server was killed by signal {signal} before the mount answered")]
    Killed { signal: i32 },
    /// The server has said on stderr why it failed; only its status is left to pass on.
    #[error("the server failed with status {status}")]
    Reported { status: u8 },
}

impl CliError {
    /// Writes the error to stderr and returns the exit status, as the program of this manner has it.
    fn report(&self, manner: Manner) -> ExitCode {
        if let Self::Reported { status } = self {
            return ExitCode::from(*status);
        }
        // Without stderr there is nobody to tell.
        drop(io::stderr().lock().write_all(self.to_text().as_bytes()));
        let usage = matches!(
            self,
            Self::Options(_) | Self::NowhereForStats | Self::Usage { .. }
        );
        ExitCode::from(match manner {
            Manner::Mica if usage => USAGE,
            Manner::Mica | Manner::FuseOverlayfs => FAILED,
            Manner::Mount | Manner::SloppyMount if usage => MOUNT_USAGE,
            Manner::Mount | Manner::SloppyMount => match self {
                Self::Mount { .. } | Self::Remount { .. } => MOUNT_FAILED,
                _ => MOUNT_SYSTEM,
            },
        })
    }

    /// Returns error, causes and hint, one or more lines each.
    fn to_text(&self) -> String {
        let mut text = format!("error: {self}\n");
        let causes: Vec<String> = iter::successors(self.source(), |&error| error.source())
            .map(in_words)
            .collect();
        match causes.as_slice() {
            [] => {}
            [only] => text.push_str(&format!("caused by: {only}\n")),
            several => {
                text.push_str("caused by:\n");
                for (n, cause) in several.iter().enumerate() {
                    text.push_str(&format!("  {}: {cause}\n", n + 1));
                }
            }
        }
        if let Some(hint) = self.hint() {
            text.push_str(&format!("hint: {hint}\n"));
        }
        text
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Options(error) => error.hint(),
            Self::NowhereForStats => {
                Some("name a file with `--stats=FILE` or `--log FILE`, or stay in the foreground with `-f`".into())
            }
            Self::Mount { mountpoint, source } => source.hint(mountpoint),
            Self::Check { source, .. } => source.hint(),
            Self::Convert { source, .. } => source.hint(),
            Self::Export { source, .. } => source.hint(),
            Self::Import { source, .. } => source.hint(),
            Self::Unmount { mountpoint, source } => source.hint(mountpoint),
            Self::Remount { mountpoint, source } => source.hint(mountpoint),
            Self::Usage { hint, .. } => Some((*hint).into()),
            Self::Session(error) => error.hint(),
            Self::Commit(error) => error.hint(),
            Self::Background { .. } => Some("stay in the foreground with `-f`".into()),
            _ => None,
        }
    }
}

/// Says what failed, if anything did, and returns the exit status.
pub(crate) fn status(done: Result<(), CliError>, manner: Manner) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => failed.report(manner),
    }
}

/// Writes an error to stderr.
pub(crate) fn say(failed: &CliError) {
    // Without stderr there is nobody to tell.
    drop(io::stderr().lock().write_all(failed.to_text().as_bytes()));
}

/// Says what failed, and returns `status`.
pub(crate) fn report(failed: &CliError, status: u8) -> ExitCode {
    say(failed);
    ExitCode::from(status)
}

/// Shows one cause; a system error by its words and its name.
pub(crate) fn in_words(error: &(dyn Error + 'static)) -> String {
    let told = error.downcast_ref::<Told>().and_then(Told::number);
    let errno = match told.as_ref().or_else(|| error.downcast_ref::<Errno>()) {
        Some(errno) => Some(*errno),
        None => error
            .downcast_ref::<io::Error>()
            .and_then(Errno::from_io_error),
    };
    errno.map_or_else(|| error.to_string(), |errno| Cause(errno).to_string())
}

/// Writes what clap has to say, which may be the help that was asked for, and returns the exit status.
pub(crate) fn print_usage(refused: &clap::Error) -> ExitCode {
    // A reader that has seen enough (`mica help | head`) is no failure.
    drop(refused.print());
    if refused.use_stderr() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::SUCCESS
    }
}
