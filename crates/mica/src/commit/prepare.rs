//! From what a session changed to a plan: what can be made beforehand is made, beside the place that it is for.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use mica_overlay::Fate;
use mica_vfs::{Access, Attr, Errno, FallocateMode, FileName, FileType, Mode};

use super::Pace;
use super::build::Linked;
use super::error::CommitError;
use super::journal::Journal;
use super::moves::Moves;
use super::plan::{Id, Plan, Rest, Step, TEMPORARY, VERSION};
use super::shown::{Crossing, Key, Shown};
use super::sync::Unsynced;
use crate::convert::{maker, set_times};
use crate::diff::{Aspects, Entry, Sides, What};
use crate::offline::Node;
use crate::session::{Base, Bytes};

/// What is being prepared.
pub(super) struct Preparation<'a, 'p> {
    pub(super) sides: &'a Sides,
    pub(super) base: &'a Base,
    pub(super) journal: &'a mut Journal,
    pub(super) pace: &'a mut Pace<'p>,
    /// What temporary names begin with, with which those of no other session do.
    pub(super) prefix: String,
    pub(super) made: u64,
    /// Files with several names: what has the first of them on a device.
    pub(super) links: HashMap<(Key, u64), Linked>,
    /// Names to give in the end: that of a file of the machine, and another one. Until the journal is sealed nothing of the
    /// machine is touched: even its ctime would make it look as if others had changed it.
    pub(super) names: Vec<(PathBuf, PathBuf)>,
    pub(super) moves: Moves,
    pub(super) crossing: Crossing<'a>,
    /// What has the data of files of the upper that have none.
    pub(super) metacopies: HashMap<Key, &'a Node>,
    pub(super) steps: Vec<Step>,
    pub(super) unsynced: Unsynced,
}

impl Preparation<'_, '_> {
    /// Makes what can be made, and says what is left.
    pub(super) fn run(mut self, entries: &[Entry], rest: Rest) -> Result<Plan, CommitError> {
        for nth in 0..self.moves.len() {
            let Some((from, old, anchor)) = self.moves.source(nth) else {
                continue;
            };
            let to = anchor.join(self.fresh_name());
            let id = Id::of(old.attr());
            self.steps.push(rename(&from, &to, id));
            self.moves.stage(nth, to);
        }
        // Names of files that stay what they are come first: the others are links to those. What is in a directory that is
        // copied is touched when that is done.
        let order = |entry: &&Entry| match &entry.what {
            _ if self.moves.is_copied(entry.in_source.as_deref()) => 2,
            What::Modified => 0,
            _ => 1,
        };
        let mut ordered: Vec<_> = entries.iter().collect();
        ordered.sort_by_key(order);
        for entry in ordered {
            self.pace.step()?;
            let prepared = self.entry(entry);
            prepared.map_err(|source| CommitError::Prepare {
                path: entry.path.clone(),
                source,
            })?;
        }
        let made = std::mem::take(&mut self.unsynced);
        made.sync().map_err(|source| CommitError::Prepare {
            path: "/".into(),
            source,
        })?;
        for (staged, old) in self.moves.remains() {
            self.steps.push(remove(&staged, &old));
        }
        for (staged, to, id) in self.moves.places() {
            self.steps.push(rename(&staged, &to, id));
        }
        for (from, to) in std::mem::take(&mut self.names) {
            self.steps.push(Step::Link {
                from: Bytes::of(from),
                to: Bytes::of(to),
            });
        }
        self.times(entries, &rest);
        Ok(Plan {
            version: VERSION,
            steps: self.steps,
            rest,
            changes: entries.len() as u64,
        })
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Errno> {
        let there = self.moves.place(&entry.below);
        // What is in a directory that is made or copied comes with that, or is renamed into it.
        let in_copy = self.moves.is_copied(entry.in_source.as_deref());
        let in_made = entry.in_new || in_copy;
        if let (What::Moved { from }, Some(old)) = (&entry.what, &entry.old) {
            if let Some(covered) = entry.covered.as_ref().filter(|_| !in_made) {
                self.steps.push(remove(&there, covered));
            }
            let is_copied = self.moves.is_copied(Some(from));
            if let (true, false, Some(new)) = (is_copied, in_made, &entry.new) {
                self.beside(entry, &Shown::session(new, Some(old)), None)?;
            } else if !is_copied {
                let staged = self.moves.now(from);
                self.attributes(&staged, entry, old);
            }
            return Ok(());
        }
        if in_copy {
            return self.elsewhere(entry);
        }
        if entry.in_new {
            return Ok(());
        }
        match (&entry.what, &entry.old, &entry.new) {
            (What::Deleted, Some(old), _) => self.steps.push(remove(&there, old)),
            (What::Merged, Some(old), _) => self.attributes(&there, entry, old),
            (What::Modified, Some(old), Some(new)) => {
                if !entry.aspects.contains(Aspects::CONTENT) {
                    self.remember(entry, new, old);
                    self.attributes(&there, entry, old);
                } else if stays(self.sides, self.base, entry, old)? {
                    self.remember(entry, new, old);
                    self.fill(entry, old, new)?;
                } else {
                    match self.beside(entry, &Shown::session(new, None), Some(old)) {
                        // What cannot be made anew as it is, in owner or place, is written to.
                        Err(Errno::PERM | Errno::ACCESS | Errno::INVAL)
                            if new.kind() == FileType::Regular =>
                        {
                            self.remember(entry, new, old);
                            self.fill(entry, old, new)?;
                        }
                        made => made?,
                    }
                }
            }
            (_, old, Some(new)) => {
                // One rename puts what is no directory in the place of another such thing.
                let dir = FileType::Directory;
                if let Some(old) = old
                    .as_ref()
                    .filter(|old| old.kind() == dir || new.kind() == dir)
                {
                    self.steps.push(remove(&there, old));
                }
                self.beside(entry, &Shown::session(new, None), None)?;
            }
            (_, _, None) => {}
        }
        Ok(())
    }

    /// Has a file that is changed and copied change where it has names that stay, too.
    fn elsewhere(&mut self, entry: &Entry) -> Result<(), Errno> {
        let (Some(old), Some(new)) = (&entry.old, &entry.new) else {
            return Ok(());
        };
        if !self.crossing.stays_elsewhere(&entry.path, old) {
            return Ok(());
        }
        if entry.aspects.contains(Aspects::CONTENT) {
            return self.fill(entry, old, new);
        }
        self.attributes(&self.moves.now(&entry.below), entry, old);
        Ok(())
    }

    fn attributes(&mut self, path: &Path, entry: &Entry, old: &Node) {
        if entry.aspects.is_empty() {
            return;
        }
        // A link has no attributes that can be set but its owner and its time.
        let mut aspects = entry.aspects;
        aspects.set(
            Aspects::MODE,
            aspects.contains(Aspects::MODE) && old.kind() != FileType::Symlink,
        );
        self.steps.push(Step::Attributes {
            path: Bytes::of(path),
            changed: Bytes::of(&entry.path),
            aspects: aspects.bits(),
        });
    }

    /// Prepares a file to be written to: what is in it is kept, and there is room for what will be.
    fn fill(&mut self, entry: &Entry, old: &Node, new: &Node) -> Result<(), Errno> {
        if entry.data.is_some() {
            // What has its data may be gone when it is written.
            return Err(Errno::OPNOTSUPP);
        }
        // ETXTBSY, EACCES and EROFS come here, and not when it is too late.
        old.fs().host_file(old.id(), Access::Write)?;
        self.journal.back_up(old).map_err(errno)?;
        if !is_sparse(new.attr()) && new.attr().size > old.attr().size {
            self.reserve(entry, new.attr().size - old.attr().size)?;
        }
        let there = self.moves.now(&entry.below);
        self.steps.push(Step::Fill {
            path: Bytes::of(&there),
            changed: Bytes::of(&entry.path),
        });
        self.attributes(&there, entry, old);
        Ok(())
    }

    /// Takes room on the filesystem of a file, which is given back right before that is written to.
    fn reserve(&mut self, entry: &Entry, room: u64) -> Result<(), Errno> {
        // Nothing is done to a directory that is copied.
        let copied = entry.in_source.as_deref();
        let below = match self.moves.anchor(copied) {
            Some(anchor) => anchor,
            None => entry.below.parent().unwrap_or(&entry.below).to_owned(),
        };
        let dir = self.sides.find(&below)?.ok_or(Errno::NOENT)?;
        let name = self.fresh_name();
        let path = below.join(&name);
        self.journal.note(&path).map_err(errno)?;
        let made = match dir.fs().create(
            &maker(),
            dir.id(),
            FileName::new(name.as_bytes())?,
            Mode::new(0o600),
        ) {
            Ok(made) => dir.adopt(made.node, made.attr),
            // Who may write to the file alone has to do without.
            Err(Errno::ACCESS | Errno::PERM) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        match made
            .fs()
            .fallocate(made.id(), FallocateMode::empty(), 0, room)
        {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
        let path = self.moves.now(&path);
        self.steps.push(remove(&path, &made));
        Ok(())
    }

    /// Makes an object beside its place, to be renamed.
    fn beside(&mut self, entry: &Entry, new: &Shown, old: Option<&Node>) -> Result<(), Errno> {
        let below = entry.below.parent().unwrap_or(&entry.below);
        let dir = self.sides.find(below)?.ok_or(Errno::NOENT)?;
        let name = self.fresh_name();
        let temporary = below.join(&name);
        if dir.child(name.as_bytes())?.is_some() {
            return Err(Errno::EXIST);
        }
        if self.is_link_to_there(new, &dir, &entry.path) {
            return Ok(());
        }
        let keeps_owner = !entry.aspects.contains(Aspects::OWNER);
        let owner = self.owner(new, old.filter(|_| keeps_owner))?;
        self.journal.note(&temporary).map_err(errno)?;
        let made = self.build(new, (&dir, name.as_bytes()), &entry.path, owner);
        let made = match made {
            Ok(made) => made,
            Err(errno) => {
                super::apply::remove_tree(&dir, name.as_bytes(), None)?;
                return Err(errno);
            }
        };
        let (from, to) = (self.moves.now(&temporary), self.moves.place(&entry.below));
        let id = Id::of(made.attr());
        self.steps.push(rename(&from, &to, id));
        self.unsynced.add(&dir)
    }

    fn fresh_name(&mut self) -> String {
        self.made += 1;
        format!("{TEMPORARY}{}.{}", self.prefix, self.made)
    }

    /// Has directories in which something changes, or did for a while, get the times that they have in the session.
    fn times(&mut self, entries: &[Entry], rest: &Rest) {
        let changed = |entry: &&Entry| entry.what != What::Merged && entry.what != What::Modified;
        let mut touched: HashSet<PathBuf> = HashSet::new();
        for entry in entries
            .iter()
            .filter(|entry| changed(entry) || entry.aspects.contains(Aspects::CONTENT))
        {
            touched.extend(entry.path.parent().map(Path::to_owned));
            if let What::Moved { from } = &entry.what {
                touched.extend(from.parent().map(Path::to_owned));
            }
        }
        // The root of the upper is made with the session. A directory above what is selected is somebody else's concern.
        let others = entries.iter().filter(|entry| {
            matches!(entry.what, What::Merged | What::Moved { .. })
                && *rest == Rest::Nothing
                && entry.path != Path::new("/")
        });
        for entry in others {
            if let (Some(old), Some(new)) = (&entry.old, &entry.new)
                && old.attr().mtime != new.attr().mtime
            {
                touched.insert(entry.path.clone());
            }
        }
        let all = &self.sides.upper;
        let mut touched: Vec<_> = touched.into_iter().collect();
        touched.sort();
        for dir in touched {
            // What was itself made anew has its times, unless something came into it afterwards.
            if let Ok(Some(node)) = crate::diff::descend(all, &dir)
                && node.kind() == FileType::Directory
            {
                self.steps.push(Step::Times {
                    path: Bytes::of(&dir),
                    changed: Bytes::of(&dir),
                });
            }
        }
    }
}

/// Whether a file has to stay the one that it is: it has other names, or something is mounted on its name.
pub(super) fn stays(sides: &Sides, base: &Base, entry: &Entry, old: &Node) -> Result<bool, Errno> {
    if old.kind() != FileType::Regular {
        return Ok(false);
    }
    let parent = entry.below.parent().unwrap_or(&entry.below);
    let parent = sides.find(parent)?.ok_or(Errno::NOENT)?;
    let copied = base.of(&entry.below, old.attr());
    let copied = copied.is_some_and(|recorded| recorded.fate == Fate::Copied);
    Ok(parent.attr().dev != old.attr().dev || (old.attr().nlink > 1 && copied))
}

/// Whether a file has holes.
pub(super) fn is_sparse(attr: &Attr) -> bool {
    attr.blocks.saturating_mul(512) < attr.size
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

fn rename(from: &Path, to: &Path, id: Id) -> Step {
    Step::Rename {
        from: Bytes::of(from),
        to: Bytes::of(to),
        id,
    }
}

fn remove(path: &Path, node: &Node) -> Step {
    Step::Remove {
        path: Bytes::of(path),
        id: Id::of(node.attr()),
    }
}

/// Gives a directory times.
pub(super) fn copy_times(from: &Node, to: &Node) -> Result<(), Errno> {
    set_times(to, (from.attr().atime, from.attr().mtime))
}
