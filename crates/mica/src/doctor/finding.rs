//! What doctor finds, and what follows from it.

use std::error::Error;

use thiserror::Error as ThisError;

use super::rows::{Reaction, Row};

/// Who could overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// The kernel's overlayfs.
    Kernel,
    /// Mica.
    Mica,
}

/// Whether a mount works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As asked for.
    Works,
    /// There is a mount, and something is not as its user expects.
    WorksWithLess,
    /// There is none.
    Refuses,
}

/// One thing that keeps a driver from mounting as asked for.
#[derive(Debug)]
pub struct Finding {
    /// Which case it is.
    pub row: &'static Row,
    /// What it does to the mount.
    pub verdict: Verdict,
    /// In words; its sources tell more.
    pub error: Box<dyn Error + Send + Sync>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A cause that is no error of a mount.
#[derive(Debug, ThisError)]
#[error("{0}")]
struct Told(String);

impl Finding {
    fn new(
        (row, verdict): (&'static Row, Verdict),
        error: impl Error + Send + Sync + 'static,
        hint: Option<String>,
    ) -> Self {
        Self {
            row,
            verdict,
            error: Box::new(error),
            hint,
        }
    }

    /// Says that the kernel does in this case what the table says, in `words`.
    pub(super) fn kernel(row: &'static Row, words: String, hint: impl Into<String>) -> Self {
        Self::of_kernel(row, Told(words), Some(hint.into()))
    }

    /// The same in the words of an error of Mica, which refuses this, too.
    pub(super) fn of_kernel(
        row: &'static Row,
        error: impl Error + Send + Sync + 'static,
        hint: Option<String>,
    ) -> Self {
        let verdict = match row.kernel {
            Reaction::Refuses(_) => Verdict::Refuses,
            Reaction::Mounts | Reaction::Fails(_) => Verdict::WorksWithLess,
            Reaction::None => Verdict::Works,
        };
        Self::new((row, verdict), error, hint)
    }

    /// Says that Mica refuses.
    pub(super) fn refused(
        row: &'static Row,
        error: impl Error + Send + Sync + 'static,
        hint: Option<String>,
    ) -> Self {
        Self::new((row, Verdict::Refuses), error, hint)
    }

    /// Says that Mica mounts with less.
    pub(super) fn less(
        row: &'static Row,
        error: impl Error + Send + Sync + 'static,
        hint: Option<String>,
    ) -> Self {
        Self::new((row, Verdict::WorksWithLess), error, hint)
    }

    /// The same in words that no mount says.
    pub(super) fn told(row: &'static Row, words: String, hint: impl Into<String>) -> Self {
        Self::less(row, Told(words), Some(hint.into()))
    }

    /// Says what one should know of a mount that works as asked for.
    pub(super) fn noted(row: &'static Row, words: String, hint: impl Into<String>) -> Self {
        Self::new((row, Verdict::Works), Told(words), Some(hint.into()))
    }
}
