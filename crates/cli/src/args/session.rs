//! `mica do` and what is done with its sessions.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

/// Run a command on a private copy of this machine's files, then say what it changed
///
/// The command sees all files that its user sees, and every change it makes is kept apart, in a session: the machine stays
/// as it is. Its exit status is passed on; 125 says that Mica failed, 126 that the command cannot be run, 127 that there
/// is none of that name, 128 and more that a signal ended it.
#[derive(Debug, Clone, Args)]
#[command(after_help = DO_HELP)]
pub(crate) struct DoArgs {
    /// Call the session NAME, or go on with the one of that name, beside what runs in it; otherwise it gets the next number
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<OsString>,

    /// Discard the session when the command has ended, unless others use it
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

/// Start a shell in a session, beside what runs there
#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    /// Its name or number
    #[arg(value_name = "NAME")]
    pub(crate) name: OsString,
}

/// List the sessions
#[derive(Debug, Args)]
pub(crate) struct SessionsArgs {
    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Option<SessionsCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    Prune(PruneArgs),
}

/// Remove sessions that were not used for some time, with all that was changed in them
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// How long: a number and `s`, `m`, `h`, `d` or `w`
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) older_than: Duration,
}

/// Reads a time such as `90s`, `30m`, `12h`, `7d`, `2w`; a number alone is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        other => {
            return Err(format!(
                "`{other}` is no unit of time: write s, m, h, d or w"
            ));
        }
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "a number comes first, as in `7d`".to_owned())?;
    match number.checked_mul(unit) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err("so long nothing lasts".to_owned()),
    }
}

/// Remove a session with all that was changed in it
#[derive(Debug, Args)]
pub(crate) struct DiscardArgs {
    /// Its name or number
    #[arg(value_name = "NAME")]
    pub(crate) name: OsString,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [
            ("0", 0),
            ("90", 90),
            ("5s", 5),
            ("2m", 120),
            ("1h", 3600),
            ("7d", 604_800),
            ("1w", 604_800),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "d", "1y", "-1d", "1.5h", "99999999999999999w", "1 d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
