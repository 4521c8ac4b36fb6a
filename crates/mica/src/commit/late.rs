//! What others do while a commit is prepared, which takes as long as there is to copy: it is looked for before the seal.

use std::path::{Path, PathBuf};

use mica_vfs::{Errno, FileType, Time};
use rustix::time::{ClockId, clock_gettime};

use super::CommitSpec;
use super::error::{Conflict, ConflictKind};
use super::moves::Moves;
use super::plan::Id;
use crate::diff::{Entry, What};
use crate::offline::Node;
use crate::options::path as path_of;

/// What is looked at again. A directory that is renamed is not: what others do in it comes with it.
#[derive(Debug)]
pub(super) struct Late {
    began: Time,
    files: Vec<(PathBuf, Node)>,
    copied: Vec<(PathBuf, Node)>,
    /// Directories that are none of those, wherever they are.
    moved: Vec<Id>,
}

impl Late {
    /// Takes what is to be committed, but for what is so whatever others do.
    pub(super) fn of(entries: &[Entry], moves: &Moves, spec: &CommitSpec, began: Time) -> Self {
        let mut late = Self {
            began,
            files: Vec::new(),
            copied: Vec::new(),
            moved: moves.ids().collect(),
        };
        for entry in entries {
            let path = match &entry.what {
                What::Moved { from } if moves.is_copied(Some(from)) => from,
                What::Modified | What::Deleted | What::Retyped if !entry.in_new => &entry.below,
                _ => continue,
            };
            let all = |paths: &[PathBuf]| {
                let mut at = paths.iter();
                at.any(|at| path.starts_with(at) || entry.path.starts_with(at))
            };
            let Some(old) = entry
                .old
                .as_ref()
                .filter(|_| !spec.force && !all(&spec.ours))
            else {
                continue;
            };
            let list = match old.kind() {
                FileType::Directory if matches!(entry.what, What::Moved { .. }) => &mut late.copied,
                FileType::Directory => continue,
                _ => &mut late.files,
            };
            list.push((path.clone(), old.clone()));
        }
        late
    }

    /// Finds what was changed since the beginning.
    pub(super) fn conflicts(&self) -> Result<Vec<Conflict>, Errno> {
        let mut found = Vec::new();
        let conflict = |path: &Path, kind| Conflict {
            path: path.to_owned(),
            kind,
        };
        for (path, old) in &self.files {
            match old.fs().get_attr(old.id()) {
                Ok(is) if is.ctime == old.attr().ctime => {}
                Ok(_) => found.push(conflict(path, ConflictKind::Changed)),
                Err(_) => found.push(conflict(path, ConflictKind::Gone)),
            }
        }
        for (path, dir) in &self.copied {
            let kind = self.below(path, dir)?.map(ConflictKind::Below);
            found.extend(kind.map(|kind| conflict(path, kind)));
        }
        Ok(found)
    }

    fn below(&self, path: &Path, dir: &Node) -> Result<Option<PathBuf>, Errno> {
        let mut left = vec![(path.to_owned(), dir.clone())];
        while let Some((path, dir)) = left.pop() {
            if dir.fs().get_attr(dir.id())?.ctime >= self.began {
                return Ok(Some(path));
            }
            for name in dir.names()? {
                let path = path.join(path_of(name.to_vec()));
                match dir.child(&name)? {
                    Some(child) if self.moved.contains(&Id::of(child.attr())) => {}
                    Some(child) if child.kind() == FileType::Directory => left.push((path, child)),
                    Some(child) if child.attr().ctime < self.began => {}
                    _ => return Ok(Some(path)),
                }
            }
        }
        Ok(None)
    }
}

/// Returns the time that what is changed now has at least.
pub(super) fn now() -> Time {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    Time {
        secs: now.tv_sec,
        nanos: u32::try_from(now.tv_nsec).unwrap_or(0),
    }
}
