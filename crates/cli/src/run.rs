//! `mica do`: the front of a session. It stays outside, with the terminal, and passes signals on.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;

use mica::{Changes, DoError, Event, Exit, RunSpec, Running, Session, Signaller, Who};
use mica_sys::heap;
use mica_vfs::Errno;
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::args::{DoArgs, InsideArgs};
use crate::error::{self, CliError};
use crate::sessions::store;
use crate::terminal::Terminal;

/// Exit status of a failure of Mica, which a command need not know.
const FAILED: u8 = 125;

/// Those that are passed on to the command.
const SIGNALS: [i32; 9] = [
    SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGTSTP,
];

/// Runs a command in a session and says what it changed.
pub(crate) fn run(args: &DoArgs) -> ExitCode {
    match run_in_session(args) {
        Ok(exit) => ExitCode::from(exit.status()),
        Err(failed) => error::report(&failed, FAILED),
    }
}

fn run_in_session(args: &DoArgs) -> Result<Exit, CliError> {
    let lower = args.lower.as_deref().unwrap_or(Path::new("/"));
    let mut session = store()?.create(args.name.as_deref(), lower)?;
    match run_command(args, &mut session) {
        Ok(exit) => {
            close(args, session, exit)?;
            Ok(exit)
        }
        Err(failed) => {
            // What nobody named and nothing changed in is nothing to keep.
            if args.name.is_none() && session.changes() == Changes::default() {
                session.discard(&mut itself("do-stage", &[]))?;
            }
            Err(failed)
        }
    }
}

fn run_command(args: &DoArgs, session: &mut Session) -> Result<Exit, CliError> {
    // Before the command runs: what comes while it is started must reach it.
    let signals = Signals::new(SIGNALS).map_err(|source| CliError::Signals { source })?;
    let spec = spec_of(args);
    let streams = (io::stdin(), io::stdout(), io::stderr());
    let stdio = [streams.0.as_fd(), streams.1.as_fd(), streams.2.as_fd()];
    let mut stage = itself("do-stage", &spec.command);
    let exit = attend(session.start(&spec, &mut stage, stdio)?, signals)?;
    if let Exit::NotRun(errno) = exit {
        let program = spec.command.first().cloned().unwrap_or_default();
        error::say(&CliError::NotRun {
            program: program.into(),
            source: Errno::from_raw_os_error(errno),
        });
    }
    Ok(exit)
}

fn spec_of(args: &DoArgs) -> RunSpec {
    let command = if args.command.is_empty() {
        vec![env::var_os("SHELL").unwrap_or("/bin/sh".into())]
    } else {
        args.command.clone()
    };
    // Of another tree than this one the current directory is no part.
    let dir = match (&args.dir, &args.lower) {
        (Some(dir), _) => Some(dir.clone()),
        (None, Some(_)) => Some(PathBuf::from("/")),
        (None, None) => None,
    };
    RunSpec {
        command,
        dir,
        who: if args.as_root { Who::Root } else { Who::Same },
    }
}

/// This program, as another process of a session.
pub(crate) fn itself(part: &str, command: &[OsString]) -> Command {
    let mut line = Command::new("/proc/self/exe");
    line.arg0("mica").args([part, "--"]).args(command);
    line
}

/// Relays between the terminal and the command until that has ended.
fn attend(running: Running, signals: Signals) -> Result<Exit, CliError> {
    let failed = |source| CliError::Signals { source };
    let terminal = match running.terminal() {
        Some(master) => Some(Terminal::relay(master).map_err(failed)?),
        None => None,
    };
    let master = match running.terminal() {
        Some(master) => Some(master.try_clone().map_err(failed)?),
        None => None,
    };
    let signaller = running.signaller();
    let passing = signaller.clone();
    thread::Builder::new()
        .name("mica-signals".into())
        .spawn(move || pass_on(signals, &passing, master.as_ref()))
        .map_err(failed)?;
    let exit = loop {
        match running.wait()? {
            Event::Ended(exit) => break exit,
            Event::Stopped(_) => stop(terminal.as_ref(), &signaller),
        }
    };
    running.finish()?;
    if let Some(terminal) = terminal {
        terminal.end();
    }
    Ok(exit)
}

fn pass_on(mut signals: Signals, command: &Signaller, terminal: Option<&std::os::fd::OwnedFd>) {
    for signal in signals.forever() {
        match terminal {
            // The kernel tells the command of the size itself.
            Some(master) if signal == SIGWINCH => crate::terminal::resize(master),
            _ => {
                // It may have ended; so does this process then.
                drop(command.send(signal));
            }
        }
    }
}

/// Stops as the command has, so that the shell goes on, and goes on with it.
fn stop(terminal: Option<&Terminal>, command: &Signaller) {
    if let Some(terminal) = terminal {
        terminal.leave();
    }
    if let Err(error) = emulate_default_handler(SIGTSTP) {
        tracing::debug!(%error, "this process does not stop");
    }
    if let Some(terminal) = terminal {
        terminal.enter();
    }
    drop(command.resume());
}

/// Says what was changed, and what can be done about it.
fn close(args: &DoArgs, mut session: Session, exit: Exit) -> Result<(), DoError> {
    let changes = session.changes();
    let name = session.name().to_string_lossy();
    let line = if args.rm {
        format!("{} - removed\n", counts(changes))
    } else {
        format!(
            "{} - mica diff {name} \u{b7} mica commit {name} \u{b7} mica discard {name}\n",
            counts(changes)
        )
    };
    if args.rm {
        session.discard(&mut itself("do-stage", &[]))?;
    } else {
        session.note_end(exit)?;
    }
    // Without stderr there is nobody to tell.
    drop(io::stderr().lock().write_all(line.as_bytes()));
    Ok(())
}

fn counts(changes: Changes) -> String {
    let Changes {
        added,
        modified,
        deleted,
        bytes,
        unreadable,
    } = changes;
    let mut text = format!(
        "{added} added, {modified} modified, {deleted} deleted, {}",
        size(bytes)
    );
    if unreadable > 0 {
        text.push_str(&format!(", {unreadable} not readable"));
    }
    text
}

/// Writes a size with one digit after the point.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = UNITS.iter();
    let mut shown = unit.next().unwrap_or(&"");
    // In tenths.
    let mut rest = u128::from(bytes) * 10 / 1024;
    for next in unit {
        if rest < 10240 {
            break;
        }
        (rest, shown) = (rest / 1024, next);
    }
    format!("{}.{} {shown}", rest / 10, rest % 10)
}

/// Is the stage of a session.
pub(crate) fn stage(args: &InsideArgs) -> Result<(), CliError> {
    heap::share();
    let failed = |source| CliError::Inside { source };
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    mica::be_stage(socket, &mut itself("do-init", &args.command)).map_err(failed)
}

/// Is init of a session.
pub(crate) fn init(args: &InsideArgs) -> Result<(), CliError> {
    let failed = |source| CliError::Inside { source };
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    mica::be_init(socket, &args.command).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (4_299_161, "4.0 MiB"),
            (4_300_000, "4.1 MiB"),
            (1 << 40, "1.0 TiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            let shown = size(bytes);
            assert!(shown == text || bytes == u64::MAX, "{bytes}: {shown}");
        }
    }
}
