//! `session.json`: what a session is. docs/do.md describes it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Exit;
use super::error::DoError;
use super::plan::{Bytes, Users};
use crate::diff::Glob;

const NAME: &str = "session.json";
/// What it is called before it is whole, and while the session is not.
const DRAFT: &str = "session.json.new";
/// The version of the format. A session of another one is not touched.
const VERSION: u32 = 1;

/// What is kept of a session beside its changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    /// The tree that it is on.
    pub(super) lower: Bytes,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// Ids inside and outside; none: a session of root.
    pub(super) users: Option<Users>,
    /// The last command.
    pub(super) command: Vec<Bytes>,
    /// How it ended; none: it runs, or the machine stopped.
    pub(super) ended: Option<Exit>,
    /// Whether the changes are in the memory of what runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) in_memory: bool,
    /// What nothing is told of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ignored: Vec<Glob>,
}

impl Record {
    pub(super) fn new(lower: &Path) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            version: VERSION,
            lower: Bytes::of(lower),
            created: now.map_or(0, |since| since.as_secs()),
            users: None,
            command: Vec::new(),
            ended: None,
            in_memory: false,
            ignored: Vec::new(),
        }
    }

    pub(super) fn lower(&self) -> PathBuf {
        self.lower.to_path()
    }

    pub(super) fn set_command(&mut self, words: &[OsString]) {
        self.command = words.iter().map(Bytes::of).collect();
        self.ended = None;
    }

    /// Reads that of the session in `dir`.
    pub(super) fn read(dir: &Path) -> Result<Self, DoError> {
        Self::read_from(record_in(dir))
    }

    /// Reads that of a session in `dir` that is being made.
    pub(super) fn read_draft(dir: &Path) -> Result<Self, DoError> {
        Self::read_from(draft_in(dir))
    }

    fn read_from(path: PathBuf) -> Result<Self, DoError> {
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(source) => {
                return Err(DoError::Store {
                    action: "read",
                    path,
                    source,
                });
            }
        };
        match serde_json::from_slice(&text) {
            Ok(record) => Ok(record),
            Err(source) => Err(DoError::Format { path, source }),
        }
    }

    /// Writes it in the place of the one before.
    pub(super) fn write(&self, dir: &Path) -> Result<(), DoError> {
        self.write_draft(dir)?;
        let path = record_in(dir);
        std::fs::rename(draft_in(dir), &path).map_err(failed(path))
    }

    /// Writes that of a session which is being made: nobody takes it for one, but who cleans up knows whose it is.
    pub(super) fn write_draft(&self, dir: &Path) -> Result<(), DoError> {
        let path = draft_in(dir);
        let written = || -> io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.write_all(b"\n")
        };
        written().map_err(failed(path.clone()))
    }
}

/// Where the description of a session is.
pub(super) fn record_in(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Where the description of a session is that is being made.
pub(super) fn draft_in(dir: &Path) -> PathBuf {
    dir.join(DRAFT)
}

fn failed(path: PathBuf) -> impl FnOnce(io::Error) -> DoError {
    move |source| DoError::Store {
        action: "write",
        path,
        source,
    }
}
