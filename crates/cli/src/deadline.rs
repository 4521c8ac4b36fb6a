//! How long a command may run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mica::Signaller;
use signal_hook::consts::{SIGKILL, SIGTERM};

use crate::error::CliError;

/// What a command that was asked to end may still do.
const GRACE: Duration = Duration::from_secs(5);

/// Ends a command when its time is over.
#[derive(Debug)]
pub(crate) struct Deadline(Arc<AtomicBool>);

impl Deadline {
    pub(crate) fn start(time: Duration, command: Signaller) -> Result<Self, CliError> {
        let passed = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&passed);
        thread::Builder::new()
            .name("mica-deadline".into())
            .spawn(move || {
                thread::sleep(time);
                told.store(true, Ordering::SeqCst);
                // It may have ended by now; then so does this process.
                drop(command.send(SIGTERM));
                thread::sleep(GRACE);
                drop(command.send(SIGKILL));
            })
            .map_err(|source| CliError::Signals { source })?;
        Ok(Self(passed))
    }

    /// Whether the command was asked to end.
    pub(crate) fn passed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
