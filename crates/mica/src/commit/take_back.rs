//! Taking changes out of a session without committing them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mica_host::LayerAccess;

use super::error::CommitError;
use super::rest::take;
use super::selection::{halves, taken};
use crate::diff::{Sides, Survey};
use crate::session::{DoError, Session};

impl Session {
    /// Takes back what it changed at and below `paths` of its view: that is again as the machine has it. What belongs together is not
    /// torn apart, as by [`Session::commit`]. It is done by a process that has the ids of the session
    /// ([`Session::within`](crate::Session::within)).
    ///
    /// # Errors
    ///
    /// A [`CommitError`]. Unless something cannot be removed, nothing was.
    pub fn take_back(&self, paths: &[PathBuf]) -> Result<(), CommitError> {
        if self.journal().exists() {
            let name = self.name().into();
            return Err(DoError::Unfinished { name }.into());
        }
        let sides = Sides::open(self, LayerAccess::ReadOnly)?.with_ignored();
        let survey = Survey::of(&sides)?;
        if !survey.unreadable.is_empty() {
            return Err(CommitError::Unreadable(survey.unreadable));
        }
        let torn = halves(&survey.entries, &sides, paths);
        if !torn.is_empty() {
            return Err(CommitError::Half(torn));
        }
        for path in paths {
            self.remove_at(&sides, path)
                .map_err(|source| DoError::Store {
                    action: "remove",
                    path: self.upper().join(path.strip_prefix("/").unwrap_or(path)),
                    source,
                })?;
        }
        Ok(())
    }

    /// Removes what is at a path of the upper, which may have nothing. The root stays.
    fn remove_at(&self, sides: &Sides, path: &Path) -> io::Result<()> {
        let upper = self.upper();
        if path != Path::new("/") {
            return take(&upper, &taken(sides, path));
        }
        for entry in fs::read_dir(&upper)? {
            take(&upper, &taken(sides, &path.join(entry?.file_name())))?;
        }
        Ok(())
    }
}
