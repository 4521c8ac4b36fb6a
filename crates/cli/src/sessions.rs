//! `mica sessions` and `mica discard`.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use mica::{Activity, Escaped, Manner, Session, SessionInfo, Sessions};
use serde_json::{Value, json};

use crate::args::{DiscardArgs, PruneArgs, SessionsArgs, SessionsCommand};
use crate::commit;
use crate::error::{self, CliError};
use crate::print::print;
use crate::run::itself;
use crate::within::{self, OfSession};

/// The variable that says where programs keep what they know.
pub(crate) const STATE: &str = "XDG_STATE_HOME";

/// Where those of root are.
const OF_ROOT: &str = "/var/lib/mica/sessions";

/// Finds the sessions of this user.
pub(crate) fn store() -> Result<Sessions, CliError> {
    let dir = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute())
    };
    let state = match (dir(STATE), dir("HOME")) {
        (Some(state), _) => state,
        (None, _) if rustix::process::geteuid().is_root() => {
            return Ok(Sessions::new(OF_ROOT.into()));
        }
        (None, Some(home)) => home.join(".local/state"),
        (None, None) => {
            return Err(CliError::Usage {
                message:
                    "there is no place for sessions, as neither HOME nor XDG_STATE_HOME is set"
                        .into(),
                hint: "name one: `XDG_STATE_HOME=/some/directory mica ...`",
            });
        }
    };
    Ok(Sessions::new(state.join("mica/sessions")))
}

/// Lists the sessions.
pub(crate) fn list(args: &SessionsArgs) -> Result<(), CliError> {
    if let Some(SessionsCommand::Prune(args)) = &args.command {
        return prune(args);
    }
    let list = store()?.list()?;
    let text = if args.json {
        let all: Vec<Value> = list.iter().map(as_json).collect();
        format!("{}\n", Value::from(all))
    } else {
        list.iter().map(as_line).collect()
    };
    print(&text);
    Ok(())
}

fn as_line(info: &SessionInfo) -> String {
    let state = match info.activity {
        Activity::Running => "running",
        Activity::Idle => "idle",
    };
    let mut line = format!("{:<8} {state:<8} {}", info.name, Escaped::new(&info.lower));
    for word in &info.command {
        line.push_str(&format!(" {}", Escaped::new(word)));
    }
    line.push('\n');
    line
}

fn as_json(info: &SessionInfo) -> Value {
    let command: Vec<_> = info
        .command
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    json!({
        "name": info.name,
        "lower": info.lower.to_string_lossy(),
        "created": info.created,
        "used": info.used,
        "running": info.activity == Activity::Running,
        "command": command,
    })
}

/// Removes the sessions that were not used for some time, and says which.
fn prune(args: &PruneArgs) -> Result<(), CliError> {
    let before = SystemTime::now().checked_sub(args.older_than);
    let before = before.unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(
        store()?.prune(before, &mut itself("do-stage"), &mut |name| {
            print(&format!("{name}\n"));
        })?,
    )
}

/// Removes a session, or takes back what it changed at and below paths.
pub(crate) fn discard(args: &DiscardArgs) -> ExitCode {
    if !args.paths.is_empty() {
        return within::outside(args);
    }
    let all = || -> Result<(), CliError> {
        let session = store()?.open(&args.name)?;
        Ok(session.discard(&mut itself("do-stage"))?)
    };
    error::status(all(), Manner::Mica)
}

impl OfSession for DiscardArgs {
    fn target(&self) -> (Option<&OsStr>, &[OsString]) {
        (Some(&self.name), &self.paths)
    }

    fn run(&self, session: &Session, paths: Vec<PathBuf>) -> Result<u8, CliError> {
        match session.take_back(&paths) {
            Ok(()) => Ok(0),
            Err(failed) => {
                commit::explain(&failed);
                Err(failed.into())
            }
        }
    }
}
