//! Applying what a session changed to the machine.
//!
//! # How
//!
//! What others changed meanwhile is looked for first, then what this process may not write: either ends it with nothing touched.
//! New data is made beside its place ([`prepare`]), then the journal is sealed ([`journal`]), then the rest is done ([`apply`]).
//! A commit that is killed before the seal is undone by the next one, one that is killed after it is finished.

mod apply;
mod build;
mod conflict;
mod error;
mod journal;
mod late;
mod moves;
mod plan;
mod prepare;
mod rest;
mod rights;
mod risk;
mod selection;
mod shown;
mod sync;
mod take_back;
mod turn;

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mica_host::LayerAccess;
use mica_vfs::{Errno, Time};

use conflict::Judge;
pub use error::{CommitError, Conflict, ConflictKind};
use journal::Journal;
use late::Late;
use moves::Moves;
use plan::{Plan, Rest};
use prepare::Preparation;
use rights::Rights;
use selection::Selection;
use shown::Crossing;
use sync::Unsynced;
pub use turn::LockedBy;
use turn::Turn;

use crate::diff::{Entry, Sides, Survey, What};
use crate::session::Session;

/// What to commit, and what to do about conflicts.
#[derive(Debug, Clone, Default)]
pub struct CommitSpec {
    /// Paths of the view: what is at and below them; none: all.
    pub paths: Vec<PathBuf>,
    /// Take all that the session has, whatever others did.
    pub force: bool,
    /// Take what the session has at and below these paths, whatever others did.
    pub ours: Vec<PathBuf>,
    /// Leave the machine as it is at and below these paths, where others changed it.
    pub theirs: Vec<PathBuf>,
    /// Change nothing.
    pub dry_run: bool,
    /// What a session of another user has that gives rights has been looked at.
    pub confirmed: bool,
    /// How long to wait while others commit to the tree, to one above it or in it.
    pub wait: Duration,
}

/// How a change comes to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It is made.
    Made,
    /// It takes the place of what is there.
    Replaced,
    /// The file that is there is written to.
    Written,
    /// It is removed.
    Removed,
    /// It is renamed.
    Renamed,
    /// It is copied to its new place, which is on another filesystem, and removed from the old one.
    Copied,
    /// It gets other attributes.
    Attributes,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// Each change by its path in the view; empty if a commit was gone on with.
    pub changes: Vec<(PathBuf, Manner)>,
    /// Whether a commit that had been interrupted was gone on with.
    pub resumed: bool,
    /// Whether the session has ended, as nothing is left of it.
    pub ended: bool,
}

/// Counts steps, and stops where the caller says so.
struct Pace<'a> {
    done: u64,
    told: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
}

impl Pace<'_> {
    /// Begins a step.
    fn step(&mut self) -> Result<(), CommitError> {
        self.done += 1;
        match (self.told)(self.done) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(CommitError::Stopped),
        }
    }
}

impl Session {
    /// Applies its changes to the tree that it is on. `progress` is told how many steps are done, and may stop it: then it is as
    /// if it was killed there. When nothing is left of the session, it has ended.
    ///
    /// # Errors
    ///
    /// A [`CommitError`]; it says whether something was changed.
    pub fn commit(
        &self,
        spec: &CommitSpec,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Committed, CommitError> {
        let journal = Journal::at(self.journal());
        let mut pace = Pace {
            done: 0,
            told: progress,
        };
        // What it says is done, whatever that is: it has to be one's own.
        if risk::is_others(journal.dir()) {
            let path = journal.dir().to_owned();
            return Err(CommitError::OthersJournal { path });
        }
        // All is on the machine, and the session has no upper any more.
        if rest::is_over(self) {
            if !spec.dry_run {
                self.remove()?;
            }
            return Ok(Committed {
                resumed: true,
                ended: !spec.dry_run,
                ..Committed::default()
            });
        }
        let _turn = Turn::take(&self.lower(), spec.wait)?;
        let sides = Sides::open(self, LayerAccess::ReadWrite)?;
        match journal.sealed() {
            Ok(None) => {}
            Ok(Some(_)) if spec.dry_run => {
                let resumed = true;
                return Ok(Committed {
                    resumed,
                    ..Committed::default()
                });
            }
            Ok(Some(plan)) => {
                let ended = self.carry_out(&sides, &plan, &journal, &mut pace)?;
                let (resumed, changes) = (true, Vec::new());
                return Ok(Committed {
                    changes,
                    resumed,
                    ended,
                });
            }
            Err(source) => return Err(journal_error(&journal, source)),
        }
        if !spec.dry_run {
            undo(&sides, &journal)?;
        }
        self.commit_anew(spec, &sides, journal, &mut pace)
    }

    fn commit_anew(
        &self,
        spec: &CommitSpec,
        sides: &Sides,
        mut journal: Journal,
        pace: &mut Pace<'_>,
    ) -> Result<Committed, CommitError> {
        let began = late::now();
        let survey = Survey::of(sides)?;
        if !survey.unreadable.is_empty() {
            return Err(CommitError::Unreadable(survey.unreadable));
        }
        let selection = Selection::of(survey.entries, sides, &spec.paths)?;
        let base = self.base()?;
        let judge = Judge {
            sides,
            base: &base,
            created: Time {
                secs: i64::try_from(self.created()).unwrap_or(i64::MAX),
                nanos: 0,
            },
        };
        let entries = settle(&judge, spec, selection.entries)?;
        let mut refused = Vec::new();
        let failed = |source| CommitError::Prepare {
            path: "/".into(),
            source,
        };
        let moves = Moves::of(&entries, sides, &mut refused).map_err(failed)?;
        let rights = Rights::of(sides, &moves, self.lower());
        for entry in &entries {
            checked(rights.check(entry, &mut refused), entry)?;
        }
        if !refused.is_empty() {
            refused.dedup();
            return Err(CommitError::Refused(refused));
        }
        if !spec.confirmed {
            risk::confirm(self, &entries)?;
        }
        let changes = entries
            .iter()
            .filter_map(|entry| Some((entry.path.clone(), manner(entry, &moves)?)));
        let mut changes: Vec<_> = changes.collect();
        if spec.dry_run {
            mark_written(&mut changes, &entries, sides, &base);
            return Ok(Committed {
                changes,
                ..Committed::default()
            });
        }
        let late = Late::of(&entries, &moves, spec, began);
        let crossing = Crossing::of(&entries, &moves, &base).map_err(failed)?;
        journal
            .begin()
            .map_err(|source| journal_error(&journal, source))?;
        let preparation = Preparation {
            sides,
            base: &base,
            journal: &mut journal,
            pace,
            prefix: format!("{}.{}", self.name().to_string_lossy(), self.created()),
            made: 0,
            links: HashMap::new(),
            names: Vec::new(),
            moves,
            crossing,
            metacopies: shown::metacopies(&entries),
            steps: Vec::new(),
            unsynced: Unsynced::default(),
        };
        let prepared = preparation.run(&entries, selection.rest).and_then(|plan| {
            let conflicts = late.conflicts(sides).map_err(failed)?;
            match conflicts.is_empty() {
                true => Ok(plan),
                false => Err(CommitError::Conflicts(conflicts)),
            }
        });
        let plan = match prepared {
            Ok(plan) => plan,
            // As if it was killed.
            Err(CommitError::Stopped) => return Err(CommitError::Stopped),
            Err(failed) => {
                undo(sides, &journal)?;
                return Err(failed);
            }
        };
        pace.step()?;
        journal
            .seal(&plan)
            .map_err(|source| journal_error(&journal, source))?;
        let ended = self.carry_out(sides, &plan, &journal, pace)?;
        let resumed = false;
        Ok(Committed {
            changes,
            resumed,
            ended,
        })
    }

    /// Carries out a sealed plan, and takes what was committed out of the session. Returns whether that has ended.
    fn carry_out(
        &self,
        sides: &Sides,
        plan: &Plan,
        journal: &Journal,
        pace: &mut Pace<'_>,
    ) -> Result<bool, CommitError> {
        apply::apply(sides, plan, pace)?;
        pace.step()?;
        rest::leave(self, plan).map_err(|source| journal_error(journal, source))?;
        pace.step()?;
        if plan.rest == Rest::Nothing {
            self.remove()?;
            return Ok(true);
        }
        let removed = journal.remove();
        removed.map_err(|errno| journal_error(journal, errno.into()))?;
        Ok(false)
    }
}

fn journal_error(journal: &Journal, source: io::Error) -> CommitError {
    CommitError::Journal {
        path: journal.dir().to_owned(),
        source,
    }
}

fn checked<T>(done: Result<T, Errno>, entry: &Entry) -> Result<T, CommitError> {
    done.map_err(|source| CommitError::Prepare {
        path: entry.path.clone(),
        source,
    })
}

/// Removes what was made by a commit that was not sealed.
fn undo(sides: &Sides, journal: &Journal) -> Result<(), CommitError> {
    let made = journal
        .made()
        .map_err(|source| journal_error(journal, source))?;
    for path in made.iter().rev() {
        let remove = || -> Result<(), Errno> {
            let parent = path.parent().unwrap_or(path);
            let name = build::last(path);
            // Whatever the journal says, nothing else is removed.
            if !name.starts_with(plan::TEMPORARY.as_bytes()) {
                return Ok(());
            }
            match sides.find(parent)? {
                Some(dir) => apply::remove_tree(&dir, name, None),
                None => Ok(()),
            }
        };
        remove().map_err(|source| CommitError::Prepare {
            path: path.clone(),
            source,
        })?;
    }
    journal
        .remove()
        .map_err(|errno| journal_error(journal, errno.into()))
}

/// Sorts out what others changed, too, and returns what is to be committed.
fn settle(
    judge: &Judge<'_>,
    spec: &CommitSpec,
    entries: Vec<Entry>,
) -> Result<Vec<Entry>, CommitError> {
    let among = |paths: &[PathBuf], path: &Path| paths.iter().any(|at| path.starts_with(at));
    let (mut kept, mut conflicts, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        let Some(conflict) = checked(judge.judge(&entry), &entry)? else {
            kept.push(entry);
            continue;
        };
        let at = |paths| among(paths, &entry.path) || among(paths, &conflict.path);
        if at(&spec.theirs) {
            theirs.push(entry.path.clone());
        } else if spec.force || at(&spec.ours) {
            kept.push(entry);
        } else {
            conflicts.push(conflict);
        }
    }
    if !conflicts.is_empty() {
        conflicts.dedup();
        return Err(CommitError::Conflicts(conflicts));
    }
    kept.retain(|entry| !theirs.iter().any(|at| entry.path.starts_with(at)));
    Ok(kept)
}

fn manner(entry: &Entry, moves: &Moves) -> Option<Manner> {
    use crate::diff::Aspects;
    Some(match &entry.what {
        What::Added => Manner::Made,
        What::Deleted => Manner::Removed,
        What::Moved { from } if moves.is_copied(Some(from)) => Manner::Copied,
        What::Moved { .. } => Manner::Renamed,
        What::Replaced | What::Retyped => Manner::Replaced,
        What::Merged | What::Modified if entry.aspects.is_empty() => return None,
        What::Modified if entry.aspects.contains(Aspects::CONTENT) => Manner::Replaced,
        What::Merged | What::Modified => Manner::Attributes,
    })
}

/// Tells of the files that are written to.
fn mark_written(
    changes: &mut [(PathBuf, Manner)],
    entries: &[Entry],
    sides: &Sides,
    base: &crate::session::Base,
) {
    for (path, manner) in changes
        .iter_mut()
        .filter(|(_, manner)| *manner == Manner::Replaced)
    {
        let entry = entries.iter().find(|entry| entry.path == *path);
        if let Some(entry) = entry
            && let (What::Modified, Some(old)) = (&entry.what, &entry.old)
            && prepare::stays(sides, base, entry, old).unwrap_or(false)
        {
            *manner = Manner::Written;
        }
    }
}
