//! Where a long text goes: to a pager on a terminal, to stdout elsewhere.

use std::env;
use std::io::{self, Write};
use std::process::{Child, Command, Stdio};

use rustix::termios::isatty;

/// stdout, or a program that shows a text page by page.
#[derive(Debug)]
pub(super) enum Output {
    Plain(io::BufWriter<io::Stdout>),
    Paged(Child),
}

impl Output {
    pub(super) fn open(plain: bool) -> Self {
        let pager = env::var_os("MICA_PAGER").or_else(|| env::var_os("PAGER"));
        let pager = pager.unwrap_or_else(|| "less".into());
        let none = pager.is_empty() || pager == "cat";
        if plain || none || !isatty(io::stdout()) {
            return Self::Plain(io::BufWriter::new(io::stdout()));
        }
        let mut command = Command::new("sh");
        command.arg("-c").arg(pager).stdin(Stdio::piped());
        // What git gives less: colours go through, and what fits on the screen stays there.
        for (name, value) in [("LESS", "FRX"), ("LV", "-c")] {
            if env::var_os(name).is_none() {
                command.env(name, value);
            }
        }
        match command.spawn() {
            Ok(child) => Self::Paged(child),
            Err(_) => Self::Plain(io::BufWriter::new(io::stdout())),
        }
    }

    /// Waits until it is read.
    pub(super) fn end(self) -> io::Result<()> {
        match self {
            Self::Plain(mut out) => out.flush(),
            Self::Paged(mut child) => {
                drop(child.stdin.take());
                child.wait().map(drop)
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Paged(child) => match &mut child.stdin {
                Some(stdin) => stdin.write(bytes),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Paged(_) => Ok(()),
        }
    }
}
