//! The list of sessions, and the end of those that nobody used for long.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mica_vfs::Errno;
use rustix::fs::FlockOperation;

use super::Session;
use super::error::DoError;
use super::joining::connect;
use super::lock::{lock_in, take};
use super::plan::Bytes;
use super::record::{Record, draft_in, record_in};
use super::store::{Sessions, failed};

/// Whether a command runs in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// One does.
    Running,
    /// None does.
    Idle,
}

/// A session as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its name.
    pub name: String,
    /// The tree that it is on.
    pub lower: PathBuf,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When a command last began or ended in it, in seconds since 1970.
    pub used: u64,
    /// Whether a command runs in it.
    pub activity: Activity,
    /// The last command, as it was given.
    pub command: Vec<std::ffi::OsString>,
}

impl Sessions {
    /// Lists all sessions by name, numbers first. One that cannot be read is left out.
    ///
    /// # Errors
    ///
    /// The directory cannot be read. That there is none is no error.
    pub fn list(&self) -> Result<Vec<SessionInfo>, DoError> {
        let names = self.names()?;
        Ok(names
            .into_iter()
            .filter_map(|name| self.info(name))
            .collect())
    }

    /// Returns the name of the session that was used last; `None` if there is no session.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    pub fn latest(&self) -> Result<Option<String>, DoError> {
        let number = |name: &str| name.parse::<u64>().ok();
        let names = self.names()?.into_iter();
        let latest = names
            .filter_map(|name| Some((described(&self.dir().join(&name))?, name)))
            .max_by_key(|((record, used), name)| (*used, record.created, number(name)));
        Ok(latest.map(|(_, name)| name))
    }

    /// Removes the sessions in which nothing runs and nothing began or ended since `before`, and those that were not made to their end,
    /// and tells the name of each. `stage` is as
    /// [`Session::discard`] takes it.
    ///
    /// # Errors
    ///
    /// One of them cannot be removed.
    pub fn prune(
        &self,
        before: SystemTime,
        stage: &mut Command,
        told: &mut dyn FnMut(&str),
    ) -> Result<(), DoError> {
        let before = before.duration_since(UNIX_EPOCH).unwrap_or_default();
        for info in self.list()? {
            if info.used > before.as_secs() || info.activity == Activity::Running {
                continue;
            }
            match self.open(OsStr::new(&info.name)) {
                Ok(session) => session.discard(stage)?,
                // Somebody was faster, whatever he does with it.
                Err(DoError::Running { .. } | DoError::Missing { .. }) => continue,
                Err(error) => return Err(error),
            }
            told(&info.name);
        }
        for name in self.names()? {
            if let Some(session) = self.abandoned(&name, before) {
                session.discard(stage)?;
                told(&name);
            }
        }
        Ok(())
    }

    /// Finds a session that was being made before that moment, by a process that is gone.
    fn abandoned(&self, name: &str, before: Duration) -> Option<Session> {
        let dir = self.dir().join(name);
        let begun = fs::metadata(draft_in(&dir)).ok()?.mtime();
        if u64::try_from(begun).ok()? > before.as_secs() {
            return None;
        }
        let lock = take(&dir).ok()?;
        let record = Record::read_draft(&dir).ok()?;
        // One that is whole was only being written to.
        if Record::read(&dir).is_ok() {
            return None;
        }
        Some(Session::new(dir, record, Some(lock)))
    }

    fn info(&self, name: String) -> Option<SessionInfo> {
        let dir = self.dir().join(&name);
        let (record, used) = described(&dir)?;
        Some(SessionInfo {
            name,
            lower: record.lower(),
            created: record.created,
            used,
            activity: activity(&dir)?,
            command: record.command.iter().map(Bytes::to_os_string).collect(),
        })
    }

    /// Lists the names of all that is in the directory and may be a session, numbers first.
    pub(super) fn names(&self) -> Result<Vec<String>, DoError> {
        let entries = match fs::read_dir(self.dir()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("read", self.dir())(error)),
        };
        let names = entries.map(|entry| Ok(entry?.file_name()));
        let names: io::Result<Vec<_>> = names.collect();
        let names = names.map_err(failed("read", self.dir()))?;
        let mut names: Vec<_> = names
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort_by_cached_key(|name| (name.parse::<u64>().unwrap_or(u64::MAX), name.clone()));
        Ok(names)
    }
}

/// Reads what a session is, and when a command last began or ended in it, in seconds since 1970.
fn described(dir: &Path) -> Option<(Record, u64)> {
    let record = Record::read(dir).ok()?;
    let used = fs::metadata(record_in(dir)).ok()?.mtime();
    Some((record, u64::try_from(used).unwrap_or(0)))
}

fn activity(dir: &Path) -> Option<Activity> {
    let lock = File::open(lock_in(dir)).ok()?;
    Some(
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
            // What ends listens no more, and what changes a session that does not run never did.
            Err(Errno::WOULDBLOCK) if connect(dir).is_ok() => Activity::Running,
            _ => Activity::Idle,
        },
    )
}
