//! What others do while a commit is prepared, which takes as long as there is to copy: it is looked for before the seal.

use std::path::{Path, PathBuf};

use mica_vfs::{Errno, FileType, Time};
use rustix::time::{ClockId, clock_gettime};

use super::CommitSpec;
use super::error::{Conflict, ConflictKind};
use super::moves::Moves;
use super::plan::Id;
use crate::diff::{Entry, Sides, What};
use crate::offline::Node;
use crate::options::path as path_of;

/// What is looked at again. A directory that is renamed is not, nor one that stays: what others do in them is kept.
#[derive(Debug)]
pub(super) struct Late {
    began: Time,
    files: Vec<(PathBuf, Node)>,
    /// Directories that are copied or removed, with all that is in them.
    dirs: Vec<(PathBuf, Node)>,
    /// Names that are made, which nobody has.
    names: Vec<PathBuf>,
    /// What others may change, as the session's side is taken: what was there, and what is to be.
    forced: Vec<(PathBuf, Option<Id>, FileType)>,
    /// Where directories are that go elsewhere. Without them there is no side to take.
    from: Vec<(PathBuf, Id)>,
    /// What they are, wherever they are.
    moved: Vec<Id>,
}

impl Late {
    /// Takes what is to be committed, but for what is so whatever others do.
    pub(super) fn of(entries: &[Entry], moves: &Moves, spec: &CommitSpec, began: Time) -> Self {
        let mut late = Self {
            began,
            files: Vec::new(),
            dirs: Vec::new(),
            names: Vec::new(),
            forced: Vec::new(),
            from: Vec::new(),
            moved: moves.ids().collect(),
        };
        for entry in entries {
            let all = |paths: &[PathBuf], path: &Path| {
                let mut at = paths.iter();
                at.any(|at| path.starts_with(at) || entry.path.starts_with(at))
            };
            if let (What::Moved { from }, Some(old)) = (&entry.what, &entry.old) {
                late.from.push((from.clone(), Id::of(old.attr())));
                if moves.is_copied(Some(from)) && !spec.force && !all(&spec.ours, from) {
                    late.dirs.push((from.clone(), old.clone()));
                }
            }
            if entry.in_new {
                continue;
            }
            let there = match &entry.what {
                What::Merged => continue,
                What::Moved { .. } => &entry.covered,
                _ => &entry.old,
            };
            if spec.force || all(&spec.ours, &entry.below) {
                if let Some(new) = entry.new.as_ref().filter(|_| !entry.vacated) {
                    let there = there.as_ref().map(|there| Id::of(there.attr()));
                    let path = entry.below.clone();
                    late.forced.push((path, there, new.kind()));
                }
                continue;
            }
            match there {
                // A directory whose attributes change stays.
                Some(old) if old.kind() == FileType::Directory && entry.what == What::Modified => {}
                Some(old) => late.add(&entry.below, old),
                // One of what goes elsewhere becomes free.
                None if entry.vacated => {}
                None => late.names.push(entry.below.clone()),
            }
        }
        late
    }

    /// Takes what is removed, or another object then.
    fn add(&mut self, path: &Path, old: &Node) {
        let list = match old.kind() {
            FileType::Directory => &mut self.dirs,
            _ => &mut self.files,
        };
        list.push((path.to_owned(), old.clone()));
    }

    /// Finds what was changed since the beginning.
    pub(super) fn conflicts(&self, sides: &Sides) -> Result<Vec<Conflict>, Errno> {
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
        for (path, dir) in &self.dirs {
            let kind = self.below(path, dir)?.map(ConflictKind::Below);
            found.extend(kind.map(|kind| conflict(path, kind)));
        }
        for path in &self.names {
            if sides.find(path)?.is_some() {
                found.push(conflict(path, ConflictKind::New));
            }
        }
        for (path, old, kind) in &self.forced {
            // One rename has to put the new one there.
            let there = sides.find(path)?;
            let there = there.filter(|there| Some(Id::of(there.attr())) != *old);
            let dir = FileType::Directory;
            if there.is_some_and(|there| there.kind() == dir || *kind == dir) {
                found.push(conflict(path, ConflictKind::Replaced));
            }
        }
        for (path, id) in &self.from {
            let there = sides.find(path)?;
            if there.is_none_or(|there| Id::of(there.attr()) != *id) {
                found.push(conflict(path, ConflictKind::Gone));
            }
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
