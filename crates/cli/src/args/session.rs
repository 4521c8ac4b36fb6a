//! `mica do` and what is done with its sessions.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use mica::{Glob, GlobError, ViewAccess};

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

    /// Begin with what the session N changed, in which nothing may run: a new session, and N stays as it is
    #[arg(long, value_name = "N", conflicts_with_all = ["lower", "memory"])]
    pub(crate) from: Option<OsString>,

    /// Discard the session when the command has ended, unless others use it
    #[arg(long)]
    pub(crate) rm: bool,

    /// When the command has ended, show what it changed and ask what to do: commit, keep or discard it
    #[arg(long, conflicts_with_all = ["rm", "commit_on_success", "ro"])]
    pub(crate) ask: bool,

    /// Commit what the command changed if its status is 0. What cannot be committed is said and kept, and the status is 125
    #[arg(long, conflicts_with = "ro")]
    pub(crate) commit_on_success: bool,

    /// Leave names out of what is listed, counted and committed, also later: as `*.o` in any directory, as `/var/cache/**`
    /// from the root on. May be repeated
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    pub(crate) ignore: Vec<Glob>,

    /// Begin in DIR; otherwise in the current directory, or in / if the command does not see that
    #[arg(short = 'C', long = "directory", value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Be root of the session, as installers want it
    #[arg(long)]
    pub(crate) as_root: bool,

    /// Work on the tree DIR instead of /
    #[arg(long, value_name = "DIR")]
    pub(crate) lower: Option<PathBuf>,

    /// Keep the changes in memory, and nothing of them at the end but by --ask or --commit-on-success
    #[arg(long, conflicts_with = "name")]
    pub(crate) memory: bool,

    /// The most that --memory takes, as in `512m`
    #[arg(long, value_name = "SIZE", requires = "memory", value_parser = bytes)]
    pub(crate) size: Option<u64>,

    /// The most objects that --memory takes
    #[arg(long, value_name = "N", requires = "memory")]
    pub(crate) inodes: Option<u64>,

    /// Let changes of PATH be made on the machine itself; sockets there can be used. May be repeated, as may the next five
    #[arg(long, value_name = "PATH")]
    pub(crate) write: Vec<PathBuf>,

    /// Show SRC of the machine itself, not a copy, at DST; with `:ro` for reading only
    #[arg(long, value_name = "SRC:DST[:ro]", value_parser = bind)]
    pub(crate) bind: Vec<Bind>,

    /// Put an empty directory in memory at PATH
    #[arg(long, value_name = "PATH")]
    pub(crate) tmpfs: Vec<PathBuf>,

    /// Let PATH not exist
    #[arg(long, value_name = "PATH")]
    pub(crate) hide: Vec<PathBuf>,

    /// Show directories that you may not list as empty
    #[arg(long)]
    pub(crate) hide_unreadable: bool,

    /// Let sockets of the machine be used: ssh, dbus, x11, wayland
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub(crate) share: Vec<Share>,

    /// Keep a capability, such as SYS_PTRACE, besides the usual ones
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_add: Vec<String>,

    /// Let nothing be changed but what --write, --bind and --tmpfs name
    #[arg(long)]
    pub(crate) ro: bool,

    /// The network: the machine's, or none but the session's own loopback device
    #[arg(long, value_name = "NETWORK", default_value = "host")]
    pub(crate) net: Net,

    /// Set an environment variable; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) setenv: Vec<(OsString, OsString)>,

    /// Take an environment variable away; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) unsetenv: Vec<OsString>,

    /// Begin with an empty environment, to which --setenv adds
    #[arg(long)]
    pub(crate) clearenv: bool,

    /// End the command after TIME (`90s`, `30m`, `12h`), by TERM, and by KILL five seconds later; the status is 124 then
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,

    /// The command and its arguments; without one, your shell
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,
}

/// A network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Net {
    Host,
    None,
}

/// Sockets that programs of a desktop expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Share {
    Ssh,
    Dbus,
    X11,
    Wayland,
}

/// What `--bind` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bind {
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) access: ViewAccess,
}

/// Reads `SRC:DST` or `SRC:DST:ro`.
fn bind(text: &str) -> Result<Bind, String> {
    let (paths, access) = match text.strip_suffix(":ro") {
        Some(paths) => (paths, ViewAccess::ReadOnly),
        None => (text, ViewAccess::ReadWrite),
    };
    match paths.split_once(':') {
        Some((source, target)) if !source.is_empty() && target.starts_with('/') => Ok(Bind {
            source: source.into(),
            target: target.into(),
            access,
        }),
        _ => Err("write SRC:DST or SRC:DST:ro, and DST from `/` on".to_owned()),
    }
}

/// Reads a pattern of names.
pub(crate) fn glob(text: &str) -> Result<Glob, GlobError> {
    Glob::parse(text.as_ref())
}

/// Reads `NAME=VALUE`.
fn variable(text: &str) -> Result<(OsString, OsString), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Reads a number of bytes, with k, m or g behind it for powers of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match lower.get(digits.len()..).unwrap_or_default() {
        "" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        other => return Err(format!("`{other}` is no unit of size: write k, m or g")),
    };
    let number: Option<u64> = digits.parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(unit));
    bytes
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| "write a number, as in `512m`".to_owned())
}

const DO_HELP: &str = r"Examples:
  mica do -- sh -c 'rm -rf /usr/share/doc && echo hi > /etc/motd'
  mica do --name try --as-root -- make install
  mica do --from try -- make check
  mica do --ask --ignore '*.log' -- ./configure
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

/// Remove a session with all that was changed in it, or take back a part of that
#[derive(Debug, Args)]
pub(crate) struct DiscardArgs {
    /// Its name or number
    #[arg(value_name = "NAME")]
    pub(crate) name: OsString,

    /// What was changed at and below PATH is again as the machine has it, and the session goes on
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, size) in [("1", 1), ("2k", 2048), ("3M", 3 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "0", "m", "1t", "-1", "99999999999999g"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn binds_have_two_paths() {
        let made = |source: &str, target: &str, access| {
            let (source, target) = (source.into(), target.into());
            Ok(Bind {
                source,
                target,
                access,
            })
        };
        assert_eq!(bind("a:/b"), made("a", "/b", ViewAccess::ReadWrite));
        assert_eq!(bind("/a:/b:ro"), made("/a", "/b", ViewAccess::ReadOnly));
        for text in ["", "/a", "/a:b", ":/b", "/a:ro"] {
            assert!(bind(text).is_err(), "{text}");
        }
    }

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
