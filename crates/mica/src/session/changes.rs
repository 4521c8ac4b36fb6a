//! How much a session has changed.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::error::DoError;
use super::front::Stage;
use super::link::Work;
use super::plan::Bytes;
use super::{Joined, Session, unlisted};
use crate::diff::Deleted;

/// Counts of what a session changed, as [`Session::diff`] has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Changes {
    /// Objects that the tree does not have.
    pub added: u64,
    /// Objects that it has in another form, or under another name.
    pub modified: u64,
    /// Names that are gone. What was below them is not counted.
    pub deleted: u64,
    /// Size of the data of files that were added or modified.
    pub bytes: u64,
    /// Directories and names that could not be looked at.
    pub unreadable: u64,
    /// Directories of the machine that commands wanted to list, and may not. A [`Diff`](crate::Diff) does not tell of them.
    pub unlisted: u64,
}

impl Changes {
    /// Whether nothing changed, as far as it could be looked at.
    #[must_use]
    pub fn is_none(&self) -> bool {
        let unlisted = self.unlisted;
        *self
            == Self {
                unlisted,
                ..Self::default()
            }
    }
}

impl Session {
    /// Counts its changes. `stage` is the command line of a process that calls [`be_stage`](super::be_stage) with its standard
    /// input: it is started for a session of an ordinary user in which something changed.
    ///
    /// # Errors
    ///
    /// The session's directory, or the tree under it, cannot be read.
    pub fn changes(&self, stage: &mut Command) -> Result<Changes, DoError> {
        let counted = self.counted(stage)?;
        Ok(Changes {
            unlisted: unlisted::count(&self.dir),
            ..counted
        })
    }

    fn counted(&self, stage: &mut Command) -> Result<Changes, DoError> {
        if is_untouched(&self.upper(), &self.lower()).unwrap_or(false) {
            return Ok(Changes::default());
        }
        match &self.record.users {
            Some(users) if !self.whose().are_recorded() => {
                let work = Work::Count(Bytes::of(&self.dir));
                let memory = self.memory.as_ref().map(|upper| upper.as_fd());
                let given: Vec<_> = memory.into_iter().collect();
                let stage = Stage::start(stage)?;
                stage.work(work, users, &given, &mut super::on)
            }
            _ => self.count(),
        }
    }

    /// Counts its changes in this process, which has its ids.
    pub(super) fn count(&self) -> Result<Changes, DoError> {
        Ok(self.diff(Deleted::AsOne)?.count())
    }
}

impl Joined {
    /// Counts the changes that there are by now, as [`Session::changes`] does.
    ///
    /// # Errors
    ///
    /// The session's directory, or the tree under it, cannot be read.
    pub fn changes(&self, stage: &mut Command) -> Result<Changes, DoError> {
        Session::seen(&self.dir, self.record.clone(), None).changes(stage)
    }
}

/// Whether nothing is in an upper, and it has the permissions of the tree.
fn is_untouched(upper: &Path, lower: &Path) -> io::Result<bool> {
    let same = fs::metadata(upper)?.mode() == fs::metadata(lower)?.mode();
    Ok(same && fs::read_dir(upper)?.next().is_none())
}
