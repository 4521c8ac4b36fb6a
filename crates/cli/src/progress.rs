//! How far a long command is, shown to people alone: on stderr, and only if that is a terminal.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::CliError;

/// A line that counts, or nothing where nobody looks.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Whether a signal has come that ends the work.
    stop: Arc<AtomicBool>,
}

impl Progress {
    /// Starts to count objects; `what` says what is done with them.
    pub(crate) fn counting(what: &'static str) -> Self {
        // The target is a terminal or nothing.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // A template that is wrong leaves the usual look.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {human_pos} objects") {
            bar.set_style(style);
        }
        bar.set_message(what);
        let stop = Arc::default();
        Self { bar, stop }
    }

    /// Does the same for work that a signal ends between two steps, and that then says how to go on.
    pub(crate) fn interruptible(what: &'static str) -> Result<Self, CliError> {
        let progress = Self::counting(what);
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&progress.stop))
                .map_err(|source| CliError::Signals { source })?;
        }
        Ok(progress)
    }

    /// Shows how many objects are done, and says whether the work goes on.
    pub(crate) fn at(&self, objects: u64) -> ControlFlow<()> {
        self.bar.set_position(objects);
        self.bar.tick();
        if self.stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Takes the line away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
