//! Directories that get other names: first all of them go aside, deepest first, then they come to their places.
//!
//! In between their new names become free, whatever had them: another directory that moves, or what was removed.
//! One whose place is on another filesystem is copied there before anything goes aside, and removed where it is then.

use std::path::{Path, PathBuf};

use mica_vfs::Errno;

use super::error::Told;
use super::plan::Id;
use crate::diff::{Entry, Sides, What};
use crate::offline::Node;

/// How a directory comes to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Renamed,
    /// As a copy of what the session shows of it, on another filesystem.
    Copied,
}

/// A directory that moves.
#[derive(Debug)]
struct Move {
    from: PathBuf,
    to: PathBuf,
    old: Node,
    way: Way,
    /// A directory above that stays where it is.
    anchor: PathBuf,
    /// Where it is meanwhile.
    staged: PathBuf,
}

/// All of them, those that were deepest first.
#[derive(Debug, Default)]
pub(super) struct Moves(Vec<Move>);

impl Moves {
    /// Finds those among `entries`. `refused` hears of what cannot go aside.
    pub(super) fn of(
        entries: &[Entry],
        sides: &Sides,
        refused: &mut Told<Errno>,
    ) -> Result<Self, Errno> {
        let stays = |dir: &Path| {
            let mut known = entries.iter();
            known.any(|e| e.below == dir && e.what == What::Merged && e.source.is_none())
        };
        let mut moves = Vec::new();
        for entry in entries {
            let (What::Moved { from }, Some(old)) = (&entry.what, &entry.old) else {
                continue;
            };
            let anchor = from.ancestors().skip(1).find(|dir| stays(dir));
            let anchor = anchor.unwrap_or(Path::new("/")).to_owned();
            let mut target = entry.path.as_path();
            let target = loop {
                // The nearest directory that there is: what is new above it is made there.
                target = target.parent().unwrap_or(Path::new("/"));
                if stays(target) || target == Path::new("/") {
                    break target.to_owned();
                }
            };
            let mount = |path: &Path| Ok(sides.find(path)?.map(|node| node.attr().dev));
            let here = Some(old.attr().dev);
            if mount(&anchor)? != here {
                refused.push((entry.path.clone(), Errno::XDEV));
            }
            let near = mount(&target)? == here;
            moves.push(Move {
                from: from.clone(),
                to: entry.path.clone(),
                old: old.clone(),
                way: if near { Way::Renamed } else { Way::Copied },
                anchor,
                staged: PathBuf::new(),
            });
        }
        moves.sort_by_key(|one| std::cmp::Reverse(one.from.components().count()));
        Ok(Self(moves))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns where one is, what it is, and the directory to stage it in.
    pub(super) fn source(&self, nth: usize) -> Option<(PathBuf, Node, PathBuf)> {
        let one = self.0.get(nth)?;
        Some((one.from.clone(), one.old.clone(), one.anchor.clone()))
    }

    /// Notes where one goes meanwhile.
    pub(super) fn stage(&mut self, nth: usize, to: PathBuf) {
        if let Some(one) = self.0.get_mut(nth) {
            one.staged = to;
        }
    }

    /// Returns where a path of the tree leads when all of them are aside.
    pub(super) fn now(&self, path: &Path) -> PathBuf {
        // The deepest come first.
        let found = self.0.iter().find_map(|one| {
            let rest = path.strip_prefix(&one.from).ok()?;
            Some(if rest.as_os_str().is_empty() {
                one.staged.clone()
            } else {
                one.staged.join(rest)
            })
        });
        found.unwrap_or_else(|| path.to_owned())
    }

    /// Returns where a name of a path of the tree is then, whatever has it: what had it may be elsewhere.
    pub(super) fn place(&self, path: &Path) -> PathBuf {
        match (path.parent(), path.file_name()) {
            (Some(dir), Some(name)) => self.now(dir).join(name),
            _ => path.to_owned(),
        }
    }

    /// Returns how one comes to a path of the view, and what it is.
    pub(super) fn at(&self, path: &Path) -> Option<(Way, &Node)> {
        let found = self.0.iter().find(|one| one.to == path);
        found.map(|one| (one.way, &one.old))
    }

    /// Whether what was at this path of the tree is copied: `None` is not.
    pub(super) fn is_copied(&self, from: Option<&Path>) -> bool {
        self.copied().any(|one| Some(one.from.as_path()) == from)
    }

    /// Returns a directory of the filesystem of one that is copied, which itself stays where it is.
    pub(super) fn anchor(&self, from: Option<&Path>) -> Option<PathBuf> {
        let mut copied = self.copied();
        let found = copied.find(|one| Some(one.from.as_path()) == from);
        found.map(|one| one.anchor.clone())
    }

    /// Whether an object is one of them.
    pub(super) fn has(&self, node: &Node) -> bool {
        let id = Id::of(node.attr());
        self.ids().any(|one| one == id)
    }

    /// Lists which objects they are.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        self.0.iter().map(|one| Id::of(one.old.attr()))
    }

    /// Lists what is copied.
    pub(super) fn originals(&self) -> impl Iterator<Item = &Node> {
        self.copied().map(|one| &one.old)
    }

    fn copied(&self) -> impl Iterator<Item = &Move> {
        self.0.iter().filter(|one| one.way == Way::Copied)
    }

    /// Lists where those are that have been copied.
    pub(super) fn remains(&self) -> Vec<(PathBuf, Node)> {
        let remains = self.copied();
        remains
            .map(|one| (one.staged.clone(), one.old.clone()))
            .collect()
    }

    /// Lists where those are that are renamed, and where they are to be, those above others first.
    pub(super) fn places(&self) -> Vec<(PathBuf, PathBuf, Id)> {
        let renamed = self.0.iter().filter(|one| one.way == Way::Renamed);
        let mut places: Vec<_> = renamed.collect();
        places.sort_by_key(|one| one.to.components().count());
        let place = |one: &Move| (one.staged.clone(), one.to.clone(), Id::of(one.old.attr()));
        places.into_iter().map(place).collect()
    }
}
