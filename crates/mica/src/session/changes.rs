//! How much a session has changed.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Counts of what is in an upper, against the tree under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    /// Objects that the tree does not have.
    pub added: u64,
    /// Objects that it has in another form. A directory counts if it has become one.
    pub modified: u64,
    /// Names that are gone. What was below them is not counted.
    pub deleted: u64,
    /// Size of the data of files.
    pub bytes: u64,
    /// Directories and names that could not be looked at.
    pub unreadable: u64,
}

/// Counts what is in `upper`, the changes to `lower`.
pub(super) fn count(upper: &Path, lower: &Path) -> Changes {
    let mut changes = Changes::default();
    let mut left = vec![PathBuf::new()];
    while let Some(dir) = left.pop() {
        let entries = match fs::read_dir(upper.join(&dir)) {
            Ok(entries) => entries,
            Err(_) => {
                changes.unreadable += 1;
                continue;
            }
        };
        for entry in entries {
            let Ok((name, stat)) = entry.and_then(|e| Ok((e.file_name(), e.metadata()?))) else {
                changes.unreadable += 1;
                continue;
            };
            let path = dir.join(name);
            if note(&mut changes, &stat, fs::symlink_metadata(lower.join(&path))) {
                left.push(path);
            }
        }
    }
    changes
}

/// Counts an object of the upper, and returns whether it is a directory.
fn note(changes: &mut Changes, stat: &Metadata, below: io::Result<Metadata>) -> bool {
    if stat.file_type().is_char_device() && stat.rdev() == 0 {
        // A whiteout of what has gone in the meantime says nothing any more.
        changes.deleted += u64::from(below.is_ok());
        return false;
    }
    if stat.is_file() {
        changes.bytes += stat.len();
    }
    match below {
        Err(_) => changes.added += 1,
        Ok(below) if stat.is_dir() && below.is_dir() => {}
        Ok(_) => changes.modified += 1,
    }
    stat.is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tree_has_is_modified_and_what_it_has_not_is_added() {
        let dir = tempfile::tempdir().unwrap();
        let (upper, lower) = (dir.path().join("u"), dir.path().join("l"));
        for at in ["u/same", "u/new", "l/same"] {
            fs::create_dir_all(dir.path().join(at)).unwrap();
        }
        for (at, text) in [("u/same/f", "12345"), ("l/same/f", ""), ("u/new/f", "123")] {
            fs::write(dir.path().join(at), text).unwrap();
        }
        let expected = Changes {
            added: 2,
            modified: 1,
            bytes: 8,
            ..Changes::default()
        };
        assert_eq!(count(&upper, &lower), expected);
    }
}
