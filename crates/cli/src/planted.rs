//! The fault that `MICA_PLANT` names, in a build that shows whether tests find it.

use std::env;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Plants it. Returns the status to end with: after `MICA_PLANT=list`, which lists all, and after a name that is none.
pub(crate) fn plant() -> Option<ExitCode> {
    let name = env::var_os("MICA_PLANT")?;
    if name == "list" {
        let lines: Vec<String> = mica::planted::plants()
            .map(|(name, about)| format!("{name} {about}\n"))
            .collect();
        let written = io::stdout().lock().write_all(lines.concat().as_bytes());
        return Some(written.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS));
    }
    let name = name.to_string_lossy();
    if mica::planted::plant(&name) {
        return None;
    }
    let text = format!("mica: there is no fault `{name}`\n");
    drop(io::stderr().lock().write_all(text.as_bytes()));
    Some(ExitCode::from(2))
}
