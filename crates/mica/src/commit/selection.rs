//! Which changes are committed: all, or those at and below some paths, as long as they do not tear apart what belongs together.

use std::path::{Path, PathBuf};

use super::error::{CommitError, Told};
use super::plan::{Rest, Taken};
use crate::diff::{Aspects, Entry, Sides, What, descend, pairs};
use crate::session::Bytes;

/// What is committed, and what that leaves.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) entries: Vec<Entry>,
    pub(super) rest: Rest,
}

impl Selection {
    /// Takes what `paths` name; none: all.
    pub(super) fn of(
        entries: Vec<Entry>,
        sides: &Sides,
        paths: &[PathBuf],
    ) -> Result<Self, CommitError> {
        if paths.is_empty() {
            let rest = Rest::Nothing;
            return Ok(Self { entries, rest });
        }
        let halves = halves(&entries, sides, paths);
        if !halves.is_empty() {
            return Err(CommitError::Half(halves));
        }
        let named = |path: &Path| paths.iter().any(|at| path.starts_with(at));
        let mut left = Vec::new();
        for entry in entries.iter().filter(|entry| named(&entry.path)) {
            if entry.what != What::Merged {
                left.push(taken(sides, &entry.path));
            }
            if let What::Moved { from } = &entry.what {
                left.push(taken(sides, from));
            }
        }
        let entries = entries.into_iter().filter_map(|mut entry| {
            if named(&entry.path) {
                return Some(entry);
            }
            // Directories above are passed through: they must be what they were.
            let above =
                entry.what == What::Merged && paths.iter().any(|at| at.starts_with(&entry.path));
            entry.aspects = Aspects::empty();
            above.then_some(entry)
        });
        Ok(Self {
            entries: entries.collect(),
            rest: Rest::AllBut(left),
        })
    }
}

/// Notes what is to be taken out of the upper, and the times that this would change.
pub(super) fn taken(sides: &Sides, path: &Path) -> Taken {
    let dir = path.parent().unwrap_or(path);
    let above = descend(&sides.upper, dir).ok().flatten().map(|dir| {
        let [read, changed] = [dir.attr().atime, dir.attr().mtime];
        [(read.secs, read.nanos), (changed.secs, changed.nanos)]
    });
    let path = Bytes::of(path);
    Taken { path, above }
}

/// Finds what would be torn apart: a path that is named, and one that is not.
pub(super) fn halves(entries: &[Entry], sides: &Sides, paths: &[PathBuf]) -> Told<PathBuf> {
    let named = |path: &Path| paths.iter().any(|at| path.starts_with(at));
    let mut halves = Vec::new();
    let mut both = |one: &Path, other: &Path| {
        if named(one) && !named(other) {
            halves.push((one.to_owned(), other.to_owned()));
        }
    };
    for (new, gone) in pairs(entries, sides) {
        if let (Some(new), Some(gone)) = (entries.get(new), entries.get(gone)) {
            both(&new.path, &gone.path);
            both(&gone.path, &new.path);
        }
    }
    let moved = |entry: &&Entry| matches!(entry.what, What::Moved { .. });
    for entry in entries {
        if let What::Moved { from } = &entry.what {
            both(&entry.path, from);
            both(from, &entry.path);
        }
        // What it is in is new, or was moved.
        if entry.in_new
            && let Some(dir) = entry.path.parent()
        {
            both(&entry.path, dir);
        }
        for dir in entries.iter().filter(moved) {
            let What::Moved { from } = &dir.what else {
                continue;
            };
            if entry.path.starts_with(&dir.path) {
                both(&entry.path, &dir.path);
            }
            // What came out of a directory before that was moved.
            if matches!(&entry.what, What::Moved { from: out } if out.starts_with(from)) {
                both(&dir.path, &entry.path);
            }
        }
    }
    halves
}
