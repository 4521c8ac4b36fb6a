//! What becomes of a session when the last command in it has ended.

use mica::{Changes, Exit, Session};

use crate::args::DoArgs;
use crate::ask::{Answer, ask};
use crate::closing::{End, close};
use crate::error::{self, CliError};
use crate::progress::Progress;
use crate::run::{FAILED, itself};
use crate::within;

/// What is to become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Keep,
    Remove,
    /// Whoever is at the terminal says it.
    Ask,
    /// It is committed if the status of the command is 0; otherwise this.
    Commit(Otherwise),
}

/// What is to become of a session that is not committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Otherwise {
    Keep,
    Remove,
}

impl Then {
    /// Reads it from the command line.
    pub(crate) fn of(args: &DoArgs) -> Self {
        match (args.ask, args.commit_on_success, args.rm || args.memory) {
            (true, ..) => Self::Ask,
            (_, true, _) if args.rm => Self::Commit(Otherwise::Remove),
            (_, true, _) => Self::Commit(Otherwise::Keep),
            (.., true) => Self::Remove,
            (.., false) => Self::Keep,
        }
    }
}

/// A session that has come to its end.
#[derive(Debug)]
pub(crate) struct Settling {
    session: Session,
    changes: Changes,
}

impl Settling {
    /// Counts what was changed.
    pub(crate) fn of(session: Session) -> Result<Self, CliError> {
        let changes = session.changes(&mut itself("do-stage"))?;
        Ok(Self { session, changes })
    }

    /// Does what is to be done, says what that was, and returns the status to end with.
    pub(crate) fn settle(self, then: Then, named: bool, exit: Exit) -> Result<Exit, CliError> {
        let untouched = self.changes.is_none();
        if matches!(then, Then::Ask | Then::Commit(_)) {
            self.session.shut();
        }
        match then {
            Then::Keep => self.keep(exit),
            Then::Remove => self.remove(exit),
            // There is nothing to ask about, or to commit.
            Then::Ask | Then::Commit(_) if untouched && !named => self.remove(exit),
            Then::Ask if untouched => self.keep(exit),
            Then::Ask => self.ask(exit),
            Then::Commit(_) if exit == Exit::Code(0) => self.commit(exit),
            Then::Commit(Otherwise::Remove) => self.remove(exit),
            Then::Commit(Otherwise::Keep) => self.keep(exit),
        }
    }

    /// Says what was changed, and what became of it.
    pub(crate) fn close(&self, end: End) {
        close(self.changes, self.session.name(), end);
    }

    fn keep(mut self, exit: Exit) -> Result<Exit, CliError> {
        self.put_on_disk()?;
        self.close(End::Kept);
        Ok(exit)
    }

    fn remove(self, exit: Exit) -> Result<Exit, CliError> {
        let name = self.session.name().to_owned();
        self.session.discard(&mut itself("do-stage"))?;
        close(self.changes, &name, End::Removed);
        Ok(exit)
    }

    fn commit(mut self, exit: Exit) -> Result<Exit, CliError> {
        self.put_on_disk()?;
        if self.try_commit()? {
            return Ok(exit);
        }
        self.close(End::Kept);
        Ok(Exit::Code(FAILED))
    }

    /// Returns whether it is committed; if not, the reason was said.
    fn try_commit(&mut self) -> Result<bool, CliError> {
        let done = within::on(&mut self.session, &["commit", "--quiet"])? == 0;
        if done {
            self.close(End::Committed);
        }
        Ok(done)
    }

    fn ask(mut self, exit: Exit) -> Result<Exit, CliError> {
        within::on(&mut self.session, &["diff"])?;
        loop {
            match ask()? {
                Answer::Keep => return self.keep(exit),
                Answer::Discard => return self.remove(exit),
                Answer::Patch => {
                    within::on(&mut self.session, &["diff", "--patch"])?;
                }
                // What cannot be committed, or kept, is asked about again.
                Answer::Commit => match self.put_on_disk() {
                    Ok(()) if self.try_commit()? => return Ok(exit),
                    Ok(()) => {}
                    Err(failed) => error::say(&failed),
                },
            }
        }
    }

    /// Puts on disk what is in memory.
    fn put_on_disk(&mut self) -> Result<(), CliError> {
        if !self.session.is_in_memory() {
            return Ok(());
        }
        let progress = Progress::counting("copying");
        let stage = &mut itself("do-stage");
        let kept = self
            .session
            .keep(stage, &mut |objects| progress.at(objects));
        progress.finish();
        Ok(kept?)
    }
}
