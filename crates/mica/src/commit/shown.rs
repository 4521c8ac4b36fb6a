//! What a session shows at a path, of which a copy is made: an object of its upper, or one of the machine that shows through.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use mica_overlay::Fate;
use mica_vfs::{Errno, FileType};

use super::moves::{Moves, Way};
use crate::diff::{Entry, Sides, What};
use crate::offline::{Node, is_whiteout};
use crate::session::Base;

/// An object by device and number.
pub(super) type Key = (u64, u64);

/// Where an object lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// In the upper.
    Session,
    /// In the tree under it.
    Machine,
}

/// An object as the session shows it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) node: Node,
    pub(super) side: Side,
    /// The directory of the machine that shows through it.
    below: Option<Node>,
    /// By what its other names are known, if it has any.
    pub(super) keys: Vec<Key>,
}

/// What is known of directories that are copied to another filesystem.
#[derive(Debug, Default)]
pub(super) struct Crossing<'a> {
    entries: HashMap<&'a Path, &'a Entry>,
    /// Files of the machine with several names that were changed by one of them, and what they are now.
    changed: HashMap<Key, &'a Node>,
    /// By which names they were. Another name of such a file may have been replaced.
    together: HashSet<&'a Path>,
    /// How many names of files with several, changed or not, are in directories that are copied.
    names: HashMap<Key, u64>,
}

impl<'a> Crossing<'a> {
    pub(super) fn of(entries: &'a [Entry], moves: &Moves, base: &Base) -> Result<Self, Errno> {
        let mut crossing = Self::default();
        if moves.originals().next().is_none() {
            return Ok(crossing);
        }
        for entry in entries {
            crossing.entries.insert(&entry.path, entry);
            if let (true, Some(old), Some(new)) = (is_together(entry, base), &entry.old, &entry.new)
            {
                crossing.changed.insert(key(old), new);
                crossing.together.insert(&entry.path);
            }
        }
        for dir in moves.originals() {
            crossing.count(dir, moves)?;
        }
        Ok(crossing)
    }

    /// Counts the names in a directory that is copied. One in it that moves elsewhere is no part of that.
    fn count(&mut self, dir: &Node, moves: &Moves) -> Result<(), Errno> {
        let mut left = vec![dir.clone()];
        while let Some(dir) = left.pop() {
            for name in dir.names()? {
                match dir.child(&name)?.filter(|child| !moves.has(child)) {
                    Some(child) if child.kind() == FileType::Directory => left.push(child),
                    Some(child) if child.attr().nlink > 1 => {
                        *self.names.entry(key(&child)).or_default() += 1;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Whether a file that was changed in a directory that is copied has names elsewhere, which change with it.
    pub(super) fn stays_elsewhere(&self, path: &Path, old: &Node) -> bool {
        let copied = self.names.get(&key(old)).copied();
        self.together.contains(path) && copied.unwrap_or(0) < u64::from(old.attr().nlink)
    }
}

/// Finds what has the data of metacopies.
pub(super) fn metacopies(entries: &[Entry]) -> HashMap<Key, &Node> {
    let both = entries
        .iter()
        .filter_map(|entry| entry.new.as_ref().zip(entry.data.as_ref()));
    both.map(|(new, data)| (key(new), data)).collect()
}

/// Whether a file of the machine was changed by one of several names, and the others with it.
fn is_together(entry: &Entry, base: &Base) -> bool {
    let several = |old: &&Node| entry.what == What::Modified && old.attr().nlink > 1;
    let old = entry.old.as_ref().filter(several);
    let recorded = old.and_then(|old| base.of(&entry.below, old.attr()));
    recorded.is_some_and(|recorded| recorded.fate == Fate::Copied)
}

impl Shown {
    /// Takes an object of the upper, and the directory of the machine that shows through it.
    pub(super) fn session(node: &Node, below: Option<&Node>) -> Self {
        Self {
            keys: several(node).into_iter().collect(),
            node: node.clone(),
            side: Side::Session,
            below: below.cloned(),
        }
    }

    fn machine(node: Node, crossing: &Crossing<'_>) -> Self {
        let mut keys: Vec<_> = several(&node).into_iter().collect();
        let changed = keys.iter().find_map(|key| crossing.changed.get(key));
        let (node, side) = match changed {
            Some(&changed) => {
                keys.extend(several(changed));
                (changed.clone(), Side::Session)
            }
            None => (node, Side::Machine),
        };
        Self {
            node,
            side,
            below: None,
            keys,
        }
    }

    /// Lists the names in a directory.
    pub(super) fn names(&self) -> Result<BTreeSet<Box<[u8]>>, Errno> {
        let mut names: BTreeSet<_> = self.node.names()?.into_iter().collect();
        if let Some(below) = &self.below {
            names.extend(below.names()?);
        }
        Ok(names)
    }

    /// Returns what a directory shows at a name, whose path in the view is `path`; `None`: nothing, or what comes there by a
    /// rename.
    pub(super) fn child(
        &self,
        name: &[u8],
        path: &Path,
        sides: &Sides,
        moves: &Moves,
        crossing: &Crossing<'_>,
    ) -> Result<Option<Self>, Errno> {
        let found = self.node.child(name)?;
        if self.side == Side::Machine {
            return Ok(found.map(|node| Self::machine(node, crossing)));
        }
        let lower = match &self.below {
            Some(below) => below.child(name)?,
            None => None,
        };
        let through = |lower: Option<Node>| lower.map(|node| Self::machine(node, crossing));
        let Some(new) = found.filter(|_| !sides.ignores(path)) else {
            return Ok(through(lower));
        };
        if is_whiteout(&new, sides.xattrs)? {
            // What is neither gone nor elsewhere was left to the machine.
            let hidden = crossing.entries.contains_key(path)
                || lower.as_ref().is_some_and(|lower| moves.has(lower));
            return Ok(through(lower.filter(|_| !hidden)));
        }
        match moves.at(path) {
            Some((Way::Renamed, _)) => return Ok(None),
            Some((Way::Copied, old)) => return Ok(Some(Self::session(&new, Some(old)))),
            None if self.below.is_none() => return Ok(Some(Self::session(&new, None))),
            None => {}
        }
        let Some(entry) = crossing.entries.get(path) else {
            return Ok(through(lower));
        };
        let below = entry.old.as_ref();
        let mut shown = Self::session(&new, below.filter(|_| entry.what == What::Merged));
        let known = below.filter(|_| crossing.together.contains(path));
        shown.keys.extend(known.map(key));
        Ok(Some(shown))
    }
}

fn several(node: &Node) -> Option<Key> {
    (node.kind() != FileType::Directory && node.attr().nlink > 1).then(|| key(node))
}

pub(super) fn key(node: &Node) -> Key {
    (node.attr().dev.0, node.attr().ino.0)
}
