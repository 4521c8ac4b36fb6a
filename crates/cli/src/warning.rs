//! Warnings as people see them: what is wrong, and what to do.

use std::io::{self, Write as _};

use mica::StackWarning;

/// Says what is wrong with the layers of a mount, on stderr and in the log.
pub(crate) fn say(warnings: &[StackWarning]) {
    for warning in warnings {
        tracing::warn!("{warning}");
        let mut text = format!("warning: {warning}\n");
        if let Some(hint) = warning.hint() {
            text.push_str(&format!("hint: {hint}\n"));
        }
        // Without stderr there is nobody to tell.
        drop(io::stderr().lock().write_all(text.as_bytes()));
    }
}
