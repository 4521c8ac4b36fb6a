//! Why a commit was not made.

use std::io;
use std::path::PathBuf;

use mica_vfs::Errno;
use thiserror::Error;

use super::turn::LockedBy;
use crate::Escaped;
use crate::session::DoError;

/// What others did to an object that a session changed, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Where it is on the machine.
    pub path: PathBuf,
    /// What happened.
    pub kind: ConflictKind,
}

/// What happened to an object meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConflictKind {
    /// Its data or its attributes changed.
    Changed,
    /// Its permissions or its owner changed.
    Attributes,
    /// It is gone, or has another name.
    Gone,
    /// Another object has its name.
    Replaced,
    /// An object of another type has its name.
    Retyped,
    /// The name did not exist.
    New,
    /// This object below it changed, or is new.
    Below(PathBuf),
    /// Something is mounted there, or below.
    Mounted(PathBuf),
}

impl std::fmt::Display for ConflictKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Changed => f.write_str("was changed meanwhile"),
            Self::Attributes => f.write_str("has other permissions or another owner now"),
            Self::Gone => f.write_str("is gone"),
            Self::Replaced => f.write_str("is another object now"),
            Self::Retyped => f.write_str("has another type now"),
            Self::New => f.write_str("did not exist"),
            Self::Below(path) => write!(f, "{} below was changed meanwhile", Escaped::new(path)),
            Self::Mounted(path) => write!(f, "something is mounted at {}", Escaped::new(path)),
        }
    }
}

/// A list of objects, each with what is to be said of it.
pub(super) type Told<T> = Vec<(PathBuf, T)>;

/// Why a commit was not made. Nothing was changed, but for [`CommitError::Begun`] and, once it was sealed,
/// [`CommitError::Stopped`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The session cannot be used.
    #[error(transparent)]
    Session(#[from] DoError),
    /// Something of the session cannot be read.
    #[error("cannot read all that the session changed")]
    Unreadable(Vec<(PathBuf, Errno)>),
    /// Others changed what the session changed.
    #[error("what the session changed was changed meanwhile")]
    Conflicts(Vec<Conflict>),
    /// Something may not be written.
    #[error("not all of it can be written")]
    Refused(Vec<(PathBuf, Errno)>),
    /// The paths take a change and leave one that belongs to it: the path of either.
    #[error("the paths leave out what belongs to what they name")]
    Half(Vec<(PathBuf, PathBuf)>),
    /// The session is of another user, and what it holds has to be looked at first.
    #[error("the session is another user's")]
    Unconfirmed(Vec<(PathBuf, &'static str)>),
    /// A commit that another user began was interrupted: what its journal says would be done, whatever that is.
    #[error("{} is another user's", Escaped::new(path))]
    OthersJournal {
        /// The journal.
        path: PathBuf,
    },
    /// Others commit to the tree, or to one above it or in it.
    #[error("{} is locked by {}", Escaped::new(path), shown(holder.as_ref()))]
    Busy {
        /// The directory that they have locked.
        path: PathBuf,
        /// Who, if that can be told.
        holder: Option<LockedBy>,
    },
    /// Something could not be made; what was made before is removed again.
    #[error("cannot prepare {}", Escaped::new(path))]
    Prepare {
        /// For what.
        path: PathBuf,
        /// Why not.
        source: Errno,
    },
    /// The journal cannot be read or written.
    #[error("cannot use the journal {}", Escaped::new(path))]
    Journal {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A step failed after the first one was made. The next commit goes on.
    #[error("cannot finish the commit at {}", Escaped::new(path))]
    Begun {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: Errno,
    },
    /// The caller said so.
    #[error("the commit was stopped")]
    Stopped,
}

fn shown(holder: Option<&LockedBy>) -> String {
    holder.map_or_else(|| "another process".into(), ToString::to_string)
}

impl CommitError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Session(error) => return error.hint(),
            Self::Conflicts(_) => {
                "`--ours PATH` takes the session's, `--theirs PATH` leaves the machine's, `--force` takes all of the session's".into()
            }
            Self::Half(_) => "name both paths, or neither".into(),
            Self::Unconfirmed(_) => {
                "`--yes` if that is what you want, or `--as-owner` to commit no more than its user may write".into()
            }
            Self::OthersJournal { .. } => "who began the commit can go on with it; `--as-owner` does as the session's user".into(),
            Self::Busy { .. } => "when that has ended, the same command again".into(),
            Self::Begun { .. } => "when the cause is gone, the same command goes on where it ended".into(),
            _ => return None,
        })
    }
}
