//! The fault that `MICA_PLANT` names, in a build that shows whether tests find it; and, in the file that `MICA_MET` names,
//! which rules took effect.

use std::env;
use std::fs::File;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::OnceLock;

/// Plants it, and opens the file. Returns the status to end with: after `MICA_PLANT=list`, which lists all, and after a name that is none.
pub(crate) fn plant() -> Option<ExitCode> {
    if let Err(error) = open_met() {
        say(&format!("mica: cannot open the file of MICA_MET: {error}"));
        return Some(ExitCode::FAILURE);
    }
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
    say(&format!("mica: there is no fault `{name}`"));
    Some(ExitCode::from(2))
}

/// The file that `MICA_MET` names. Opened at the start: a server cannot reach it later.
static MET: OnceLock<File> = OnceLock::new();

/// Opens the file of `MICA_MET`, if there is one.
fn open_met() -> io::Result<()> {
    let Some(path) = env::var_os("MICA_MET") else {
        return Ok(());
    };
    let file = File::options().append(true).create(true).open(path)?;
    // Nobody has set it: this is called once.
    drop(MET.set(file));
    Ok(())
}

/// Adds to the file of `MICA_MET` how often each rule took effect: `RULE=COUNT`, separated by spaces.
pub(crate) fn note_met() {
    let Some(mut file) = MET.get() else {
        return;
    };
    let words: Vec<String> = mica::planted::met()
        .map(|(rule, count)| format!("{rule}={count}"))
        .collect();
    // One write(2), for other servers may add theirs.
    if let Err(error) = file.write_all(format!("{}\n", words.join(" ")).as_bytes()) {
        say(&format!("mica: cannot write the file of MICA_MET: {error}"));
    }
}

fn say(text: &str) {
    drop(
        io::stderr()
            .lock()
            .write_all(format!("{text}\n").as_bytes()),
    );
}
