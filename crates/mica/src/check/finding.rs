//! One thing that is wrong: what, where, how bad, and what would mend it.

use std::fmt;
use std::path::PathBuf;

use super::trouble::Trouble;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is refused, or shown wrongly.
    Error,
    /// Something small is shown wrongly, or will be if it is used in another way.
    Warning,
    /// Unusual, and without harm.
    Note,
}

impl Severity {
    /// Returns the word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Which of the two directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// The upper directory.
    Upper,
    /// The work directory.
    Work,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which directory it is in.
    pub area: Area,
    /// Where it is in there; `/` is the directory itself.
    pub path: PathBuf,
    /// What it is.
    pub trouble: Trouble,
    /// What mends it without a loss; `None` if nothing does.
    pub fix: Option<Fix>,
}

/// A step that mends something.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fix {
    /// Removes an extended attribute.
    RemoveXattr {
        /// Its full name.
        name: Vec<u8>,
    },
    /// Sets an extended attribute.
    SetXattr {
        /// Its full name.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// Removes the object, and all that is in it.
    Remove,
    /// Puts a whiteout in the form of a device in the object's place.
    Whiteout,
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoveXattr { name } => write!(f, "remove `{}`", name.escape_ascii()),
            Self::SetXattr { name, value } => {
                write!(
                    f,
                    "set `{}` to `{}`",
                    name.escape_ascii(),
                    value.escape_ascii()
                )
            }
            Self::Remove => f.write_str("remove it"),
            Self::Whiteout => f.write_str("put a whiteout of the other form in its place"),
        }
    }
}
