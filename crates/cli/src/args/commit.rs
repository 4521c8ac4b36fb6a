//! The command line of `mica commit`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use mica::Glob;

use super::session::glob;

/// Apply what a session changed to this machine
///
/// What others changed meanwhile is refused, unless you say which side to take, and so is what you may not write: then
/// nothing is changed. A commit that is interrupted is undone or finished when the command is run again. When all of a
/// session is committed it has ended, and is removed.
#[derive(Debug, Clone, Args)]
#[command(after_help = COMMIT_HELP)]
pub(crate) struct CommitArgs {
    /// The session, by default the latest; then paths, to commit what is at and below them. What has a `/` is a path
    #[arg(value_name = "SESSION|PATH")]
    pub(crate) words: Vec<OsString>,

    /// Say what would be done, and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Take all that the session has, whatever others changed
    #[arg(long)]
    pub(crate) force: bool,

    /// Take what the session has at and below PATH, whatever others changed; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) ours: Vec<PathBuf>,

    /// Leave what others changed at and below PATH, and drop what the session has there; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) theirs: Vec<PathBuf>,

    /// Say nothing when it is done
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,

    /// Leave names out, as `mica do --ignore` does; may be repeated
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    pub(crate) ignore: Vec<Glob>,

    /// Commit another user's session without a question
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,

    /// Commit another user's session as that user, who may write less than you
    #[arg(long, conflicts_with = "yes")]
    pub(crate) as_owner: bool,
}

const COMMIT_HELP: &str = r"Exit status:
  0  all that was asked for is committed
  1  nothing is changed, and stderr says why; or the commit was interrupted,
     and goes on when the command is run again
  2  the command line makes no sense

Examples:
  mica commit -n
  mica commit 3
  mica commit try /etc/motd
  mica commit 3 --theirs /etc/resolv.conf";
