//! `mica do` and what is done with its sessions.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// Run a command on a private copy of this machine's files, then say what it changed
///
/// The command sees all files that its user sees, and every change it makes is kept apart, in a session: the machine stays
/// as it is. Its exit status is passed on; 125 says that Mica failed, 126 that the command cannot be run, 127 that there
/// is none of that name, 128 and more that a signal ended it.
#[derive(Debug, Clone, Args)]
#[command(after_help = DO_HELP)]
pub(crate) struct DoArgs {
    /// Call the session NAME, or go on with the one of that name; otherwise it gets the next number
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<OsString>,

    /// Discard the session when the command has ended
    #[arg(long)]
    pub(crate) rm: bool,

    /// Begin in DIR; otherwise in the current directory, or in / if the command does not see that
    #[arg(short = 'C', long = "directory", value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Be root of the session, as installers want it
    #[arg(long)]
    pub(crate) as_root: bool,

    /// Work on the tree DIR instead of /
    #[arg(long, value_name = "DIR")]
    pub(crate) lower: Option<PathBuf>,

    /// The command and its arguments; without one, your shell
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,
}

const DO_HELP: &str = r"Examples:
  mica do -- sh -c 'rm -rf /usr/share/doc && echo hi > /etc/motd'
  mica do --name try --as-root -- make install
  mica sessions
  mica discard try";

/// List the sessions
#[derive(Debug, Args)]
pub(crate) struct SessionsArgs {
    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

/// Remove a session with all that was changed in it
#[derive(Debug, Args)]
pub(crate) struct DiscardArgs {
    /// Its name or number
    #[arg(value_name = "NAME")]
    pub(crate) name: OsString,
}

/// Work on a session in its user namespace, for the one at the other end of stdin
#[derive(Debug, Args)]
pub(crate) struct WithinArgs {
    #[arg(
        value_name = "ARGUMENT",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) arguments: Vec<OsString>,
}

/// Be a process of a session, for the one at the other end of stdin
#[derive(Debug, Args)]
pub(crate) struct InsideArgs {
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,
}
