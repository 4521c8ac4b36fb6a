//! The user's terminal while a command runs on one of its session: bytes go to and fro as they are.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::getpgrp;
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, tcsetwinsize,
};

/// The user's terminal, handed to a session.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// As the shell has it.
    before: Option<Termios>,
    output: JoinHandle<()>,
    /// What reads the keys, and ends when it is told to.
    input: Option<(JoinHandle<()>, OwnedFd)>,
}

impl Terminal {
    /// Begins to relay between the standard streams that are a terminal and `master`.
    pub(crate) fn relay(master: &OwnedFd) -> io::Result<Self> {
        let output = File::from(master.try_clone()?);
        let output = thread::Builder::new()
            .name("mica-output".into())
            .spawn(move || show(output))?;
        let (mut before, mut input) = (None, None);
        if isatty(io::stdin()) {
            before = tcgetattr(io::stdin()).ok();
            let to = File::from(master.try_clone()?);
            let (until, end) = pipe_with(PipeFlags::CLOEXEC)?;
            let thread = thread::Builder::new()
                .name("mica-input".into())
                .spawn(move || type_in(to, &until))?;
            input = Some((thread, end));
        }
        let terminal = Self {
            before,
            output,
            input,
        };
        terminal.enter();
        Ok(terminal)
    }

    /// Leaves all keys to the session. In the background the terminal is another's.
    pub(crate) fn enter(&self) {
        if let Some(before) = &self.before
            && in_foreground()
        {
            let mut raw = before.clone();
            raw.make_raw();
            set(&raw);
        }
    }

    /// Gives the terminal back as it was.
    pub(crate) fn leave(&self) {
        give_back(self.before.as_ref());
    }

    /// Ends when all is shown that was written, and leaves what is typed from now on to this process. No process has the session's
    /// terminal any more.
    pub(crate) fn end(self) {
        // One that panicked has shown what it could.
        drop(self.output.join());
        if let Some((thread, end)) = self.input {
            drop(end);
            drop(thread.join());
        }
        give_back(self.before.as_ref());
    }
}

fn in_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

fn give_back(before: Option<&Termios>) {
    if let Some(before) = before
        && in_foreground()
    {
        set(before);
    }
}

fn set(how: &Termios) {
    if let Err(errno) = tcsetattr(io::stdin(), OptionalActions::Drain, how) {
        tracing::debug!(%errno, "the terminal stays as it is");
    }
}

/// Makes the session's terminal as large as the user's.
pub(crate) fn resize(master: &OwnedFd) {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    if let Some(size) = streams.iter().find_map(|fd| tcgetwinsize(fd).ok())
        && let Err(errno) = tcsetwinsize(master, size)
    {
        tracing::debug!(%errno, "the terminal keeps its size");
    }
}

/// Shows what is written to the session's terminal, until nobody has that open any more (`EIO`).
fn show(mut from: File) {
    let mut bytes = [0; 8192];
    loop {
        let read = match from.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let bytes = bytes.get(..read).unwrap_or_default();
        // Where nobody looks the command goes on all the same.
        if isatty(io::stdout()) {
            let mut to = io::stdout().lock();
            drop(to.write_all(bytes).and_then(|()| to.flush()));
        } else {
            drop(io::stderr().lock().write_all(bytes));
        }
    }
}

/// Hands on what is typed, until the other end of `until` is closed, or nobody reads it any more.
fn type_in(mut to: File, until: &OwnedFd) {
    let mut bytes = [0; 1024];
    let stdin = io::stdin();
    loop {
        let mut fds = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(until, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        if fds.last().is_some_and(|fd| !fd.revents().is_empty()) {
            return;
        }
        // Past the buffer of this process, which would keep what is for others.
        let read = match rustix::io::read(&stdin, &mut bytes) {
            Err(Errno::INTR) => continue,
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        if to.write_all(bytes.get(..read).unwrap_or_default()).is_err() {
            return;
        }
    }
}
