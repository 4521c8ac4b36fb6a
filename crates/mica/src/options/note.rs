//! What is said of an option that was accepted and changes nothing.

use std::ffi::{OsStr, OsString};
use std::fmt;

use crate::Escaped;

/// An option that was accepted and changes nothing, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    option: OsString,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is so in any case.
    Moot(&'static str),
    /// Nobody knows it, and the program that was called ignores such options.
    Unknown,
    /// It was decided when the mount was made.
    Fixed,
}

impl Note {
    pub(super) const fn moot(option: OsString, reason: &'static str) -> Self {
        let why = Why::Moot(reason);
        Self { option, why }
    }

    pub(super) const fn unknown(option: OsString) -> Self {
        let why = Why::Unknown;
        Self { option, why }
    }

    pub(super) const fn fixed(option: OsString) -> Self {
        let why = Why::Fixed;
        Self { option, why }
    }

    /// Returns the option as it was written if it is unknown.
    #[must_use]
    pub fn ignored(&self) -> Option<&OsStr> {
        match self.why {
            Why::Unknown => Some(&self.option),
            Why::Moot(_) | Why::Fixed => None,
        }
    }
}

impl fmt::Display for Note {
    /// Writes one line: the option and the reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.why {
            Why::Moot(reason) => reason,
            Why::Unknown => "unknown, and ignored",
            Why::Fixed => "decided when the mount was made, and not changed by a remount",
        };
        write!(f, "{}: {reason}", Escaped::new(&self.option))
    }
}
