//! A server that outlives the command that started it.
//!
//! The server is this same program, run once more in a session of its own. Its stdout is a pipe to the caller, who
//! waits: one byte says that the mount answers, an end without a byte that it failed. Until then the server talks to
//! the caller's stderr; afterwards it holds nothing of the caller's, so a shell that reads the output of
//! `mica mount` sees its end.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};

use crate::args::MountArgs;
use crate::error::CliError;
use crate::run::program;

/// Starts the server and waits until its mount answers.
pub(crate) fn start(args: &MountArgs) -> Result<(), CliError> {
    let failed = |source| CliError::Background { source };
    // The caller's other descriptors stay the caller's: a pipe in them would never end. An older kernel keeps them.
    if let Err(errno) = mica_sys::fds::close_on_exec() {
        tracing::debug!(%errno, "descriptors of the caller are inherited");
    }
    let mut server = program()
        .args(args.for_server())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut byte = [0];
    let answered = match server.stdout.take() {
        Some(mut pipe) => pipe.read_exact(&mut byte).is_ok(),
        None => false,
    };
    if answered {
        return Ok(());
    }
    let status = server.wait().map_err(failed)?;
    Err(ended_early(status))
}

/// Says how a server ended that never said that its mount answers.
fn ended_early(status: ExitStatus) -> CliError {
    match (status.signal(), status.code()) {
        (Some(signal), _) => CliError::Killed { signal },
        (None, code) => CliError::Reported {
            // 0 is an end without a mount, too: somebody unmounted it at once.
            status: code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
        },
    }
}

/// Leaves the caller's session: its terminal sends this process no signals from here on.
pub(crate) fn leave_session() -> Result<(), CliError> {
    match rustix::process::setsid() {
        Ok(_) => Ok(()),
        Err(errno) => Err(CliError::Background {
            source: errno.into(),
        }),
    }
}

/// The caller of a server in the background, who waits until the mount answers.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Opened before the server confines itself, which then reaches no `/dev`.
    null: File,
}

impl Caller {
    /// Prepares to let it go.
    pub(crate) fn find() -> Result<Self, CliError> {
        let null = File::options().read(true).write(true).open("/dev/null");
        null.map(|null| Self { null })
            .map_err(|source| CliError::Background { source })
    }

    /// Lets go of all that is the caller's, then tells it that the mount answers.
    pub(crate) fn tell(self) -> Result<(), CliError> {
        self.detach()
            .map_err(|source| CliError::Background { source })
    }

    fn detach(&self) -> io::Result<()> {
        let mut caller = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        rustix::stdio::dup2_stdin(&self.null)?;
        rustix::stdio::dup2_stdout(&self.null)?;
        rustix::stdio::dup2_stderr(&self.null)?;
        // Last: the caller ends when it has read this.
        caller.write_all(b"\n")?;
        Ok(())
    }
}
