//! Taking changes out of a session without committing them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mica_host::LayerAccess;

use super::error::CommitError;
use super::rest::remove;
use super::selection::halves;
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
            let at = self.upper().join(path.strip_prefix("/").unwrap_or(path));
            removed(&at, path).map_err(|source| DoError::Store {
                action: "remove",
                path: at,
                source,
            })?;
        }
        Ok(())
    }
}

/// Removes what is at a path, which may have nothing. The root stays.
fn removed(at: &Path, path: &Path) -> io::Result<()> {
    if path == Path::new("/") {
        for entry in fs::read_dir(at)? {
            remove(&entry?.path())?;
        }
        return Ok(());
    }
    match remove(at) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(()),
        done => done,
    }
}
