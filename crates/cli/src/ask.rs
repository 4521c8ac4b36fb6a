//! The question at the end of `mica do --ask`.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::isatty;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};

use crate::error::CliError;

/// What is to become of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Commit,
    Keep,
    Discard,
    /// Shows the changes line by line, and asks again.
    Patch,
}

const QUESTION: &str = "Commit, keep, discard, or show the patch? [c/k/d/p] ";

/// Fails if there is nobody to ask.
pub(crate) fn check() -> Result<(), CliError> {
    if isatty(io::stdin()) && isatty(io::stdout()) && isatty(io::stderr()) {
        return Ok(());
    }
    Err(CliError::Usage {
        message: "`--ask` needs a terminal as standard input, output and error".into(),
        hint: "leave it out, and see the changes later: `mica diff`",
    })
}

/// Asks until the answer is one. Who goes away, or interrupts it, keeps the session.
pub(crate) fn ask() -> Result<Answer, CliError> {
    let failed = |source| CliError::Signals { source };
    let (interrupted, end) = UnixStream::pair().map_err(failed)?;
    let mut hooks = Vec::new();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let end = end.try_clone().map_err(failed)?;
        hooks.push(pipe::register(signal, end).map_err(failed)?);
    }
    let answer = loop {
        drop(io::stderr().lock().write_all(QUESTION.as_bytes()));
        let Some(line) = read_line(&interrupted) else {
            drop(io::stderr().lock().write_all(b"\n"));
            break Answer::Keep;
        };
        if let Some(answer) = answer(&line) {
            break answer;
        }
    };
    for hook in hooks {
        unregister(hook);
    }
    Ok(answer)
}

/// Waits for a line of the terminal; `None` if it is closed, or something else is to be read at `interrupted`.
fn read_line(interrupted: &UnixStream) -> Option<Vec<u8>> {
    let stdin = io::stdin();
    let mut fds = [
        PollFd::new(&stdin, PollFlags::IN),
        PollFd::new(interrupted, PollFlags::IN),
    ];
    loop {
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
            Ok(_) => break,
        }
    }
    if fds.last().is_some_and(|fd| !fd.revents().is_empty()) {
        return None;
    }
    // A terminal gives a line at a time.
    let mut line = vec![0; 4096];
    let read = stdin.lock().read(&mut line).ok().filter(|&read| read > 0)?;
    line.truncate(read);
    Some(line)
}

fn answer(line: &[u8]) -> Option<Answer> {
    match line.trim_ascii() {
        b"c" | b"commit" => Some(Answer::Commit),
        b"k" | b"keep" => Some(Answer::Keep),
        b"d" | b"discard" => Some(Answer::Discard),
        b"p" | b"patch" => Some(Answer::Patch),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_letters_or_words() {
        assert_eq!(answer(b"c\n"), Some(Answer::Commit));
        assert_eq!(answer(b" discard \n"), Some(Answer::Discard));
        for line in [&b""[..], b"\n", b"y\n", b"cd\n", b"C\n"] {
            assert_eq!(answer(line), None, "{line:?}");
        }
    }
}
