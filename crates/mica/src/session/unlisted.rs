//! `unlisted`: which directories of the machine the commands of a session wanted to list and may not. docs/do.md describes it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::error::DoError;

/// So many are told apart, and noted.
const MOST: usize = 10_000;

/// Where it is.
pub(super) fn unlisted_in(dir: &Path) -> PathBuf {
    dir.join("unlisted")
}

/// The file, open to append to: paths, each with a NUL byte.
#[derive(Debug)]
pub(super) struct UnlistedLog {
    file: File,
    known: Mutex<HashSet<Vec<u8>>>,
}

impl UnlistedLog {
    /// Opens that of the session in `dir`, or makes it.
    pub(super) fn open(dir: &Path) -> Result<Self, DoError> {
        let path = unlisted_in(dir);
        let open = || -> io::Result<Self> {
            let file = File::options().append(true).create(true).open(&path)?;
            let known = Mutex::new(read(&path)?);
            Ok(Self { file, known })
        };
        open().map_err(|source| DoError::Store {
            action: "open",
            path: path.clone(),
            source,
        })
    }

    /// Notes a directory, once.
    pub(super) fn note(&self, path: Vec<u8>) {
        let mut line = path.clone();
        line.push(0);
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MOST || !known.insert(path) {
                return;
            }
        }
        // One call: those of several threads do not mix.
        if let Err(error) = (&self.file).write_all(&line) {
            tracing::debug!(%error, "a directory that may not be listed is not counted");
        }
    }
}

/// Counts those of the session in `dir`.
pub(super) fn count(dir: &Path) -> u64 {
    read(&unlisted_in(dir)).map_or(0, |known| known.len() as u64)
}

fn read(path: &Path) -> io::Result<HashSet<Vec<u8>>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        text => text?,
    };
    let paths = text
        .split(|&byte| byte == 0)
        .filter(|path| !path.is_empty());
    Ok(paths.map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directory_counts_once_however_often_it_is_met() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(count(dir.path()), 0);
        for _ in 0..2 {
            let log = UnlistedLog::open(dir.path()).unwrap();
            for path in ["/a", "/a b", "/a"] {
                log.note(path.into());
            }
        }
        assert_eq!(count(dir.path()), 2);
        assert_eq!(fs::read(unlisted_in(dir.path())).unwrap(), b"/a\0/a b\0");
    }
}
