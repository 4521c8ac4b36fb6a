//! How far a long command is, shown to people alone: on stderr, and only if that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line that counts, or nothing where nobody looks.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

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
        Self(bar)
    }

    /// Shows how many objects are done.
    pub(crate) fn at(&self, objects: u64) {
        self.0.set_position(objects);
        self.0.tick();
    }

    /// Takes the line away.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
