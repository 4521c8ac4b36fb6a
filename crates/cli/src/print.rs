//! Results on stdout.

use std::io::{self, Write as _};

/// Prints what was asked for. A reader that has seen enough is no failure.
pub(crate) fn print(text: &str) {
    drop(io::stdout().lock().write_all(text.as_bytes()));
}
