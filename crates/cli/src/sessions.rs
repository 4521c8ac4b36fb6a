//! `mica sessions` and `mica discard`.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use mica::{Activity, DoError, Escaped, SessionInfo, Sessions};
use serde_json::{Value, json};

use crate::args::{DiscardArgs, PruneArgs, SessionsArgs, SessionsCommand};
use crate::error::CliError;
use crate::run::itself;

/// Where those of root are.
const OF_ROOT: &str = "/var/lib/mica/sessions";

/// Finds the sessions of this user.
pub(crate) fn store() -> Result<Sessions, CliError> {
    let dir = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute())
    };
    let state = match (dir("XDG_STATE_HOME"), dir("HOME")) {
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
    // A reader that has seen enough is no failure.
    drop(io::stdout().lock().write_all(text.as_bytes()));
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
    let store = store()?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let before = now.saturating_sub(args.older_than).as_secs();
    for info in store.list()? {
        if info.used > before || info.activity == Activity::Running {
            continue;
        }
        match store.open(OsStr::new(&info.name)) {
            Ok(session) => session.discard(&mut itself("do-stage"))?,
            // Somebody was faster, whatever he does with it.
            Err(DoError::Running { .. } | DoError::Missing { .. }) => continue,
            Err(error) => return Err(error.into()),
        }
        drop(writeln!(io::stdout(), "{}", info.name));
    }
    Ok(())
}

/// Removes a session.
pub(crate) fn discard(args: &DiscardArgs) -> Result<(), CliError> {
    let session = store()?.open(&args.name)?;
    Ok(session.discard(&mut itself("do-stage"))?)
}
