//! Why an upper is not converted, or not to the end.

use std::path::PathBuf;

use mica_vfs::Errno;
use thiserror::Error;

use super::unsayable::Unsayable;
use crate::Escaped;
use crate::stack::StackError;

/// Why an upper is not converted. What is said of the upper holds for the new directory, too, if there is one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The directories cannot be opened, or a mount uses them. Nothing was changed.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The form asked for has no way to say what the upper holds. Nothing was changed.
    #[error("{} keeps the upper from being converted: {why}", Escaped::new(path))]
    Unsayable {
        /// The object, from the root of the upper.
        path: PathBuf,
        /// What there is no way to say.
        why: Unsayable,
    },
    /// The prefix of a work directory with an index cannot be changed. Nothing was changed.
    #[error("the index in {} has marks of the old prefix", Escaped::new(work))]
    Index {
        /// The work directory.
        work: PathBuf,
    },
    /// `trusted.overlay.*` needs privileges that this process lacks. Nothing was changed.
    #[error("the `trusted.overlay.*` attributes need CAP_SYS_ADMIN in the initial user namespace")]
    Trusted,
    /// The new directory holds something else. Nothing was changed.
    #[error("{} is not empty", Escaped::new(output))]
    NotEmpty {
        /// The new directory.
        output: PathBuf,
    },
    /// Another conversion of the upper was interrupted. Nothing was changed.
    #[error("another conversion was interrupted: `{purpose}`")]
    Other {
        /// What it was, in words.
        purpose: String,
    },
    /// The upper is half converted, and the journal is not where it is looked for. Nothing was changed.
    #[error(
        "the upper is half converted, and there is no journal at {}",
        Escaped::new(at)
    )]
    NoJournal {
        /// Where it should be.
        at: PathBuf,
    },
    /// The place for the journal cannot be made or used.
    #[error("cannot keep a journal in {}", Escaped::new(at))]
    Journal {
        /// The place.
        at: PathBuf,
        /// Why.
        source: Errno,
    },
    /// A step failed. The conversion is gone on with by asking for it again.
    #[error("cannot convert {}", Escaped::new(path))]
    Step {
        /// The object, from the root of the upper.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// The caller stopped it. It is gone on with by asking for it again.
    #[error("stopped")]
    Stopped,
}

impl ConvertError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Stack(error) => return error.hint(),
            Self::Unsayable { why, .. } => why.hint()?.into(),
            Self::Index { work } => format!(
                "give the tie between names up with `rm -r {:#}`, or convert to a new directory with `--output`",
                Escaped::new(&work.join("index"))
            ),
            Self::Trusted => "run as root, or use `--prefix user`".into(),
            Self::NotEmpty { .. } => "name a directory that does not exist".into(),
            Self::Other { .. } => "run it to its end first".into(),
            Self::NoJournal { .. } => {
                "name the same `--work` as when the conversion was begun, or leave it out if it was left out".into()
            }
            Self::Journal { source: Errno::XDEV | Errno::ROFS | Errno::ACCESS, .. } => {
                "name a directory on the mount of the upper with `--work DIR`".into()
            }
            Self::Step { source: Errno::NOSPC | Errno::DQUOT, .. } => {
                "make room, and run the same command again: it goes on where it was".into()
            }
            Self::Step { .. } | Self::Stopped => {
                "run the same command again: it goes on where it was".into()
            }
            Self::Journal { .. } => return None,
        })
    }
}

/// Why the steps ended early.
#[derive(Debug)]
pub(super) enum Failure {
    Stopped,
    At { path: PathBuf, source: Errno },
}

impl Failure {
    pub(super) fn at(path: PathBuf, source: Errno) -> Self {
        Self::At { path, source }
    }
}

impl From<Failure> for ConvertError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Stopped => Self::Stopped,
            Failure::At { path, source } => Self::Step { path, source },
        }
    }
}
