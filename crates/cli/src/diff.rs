//! `mica diff`

mod json;
mod pager;
mod text;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::PathBuf;

use mica::{Deleted, Diff, Glob, Session};

use crate::args::DiffArgs;
use crate::cause::Cause;
use crate::error::CliError;
use crate::within::{self, OfSession};
use pager::Output;
use text::Paint;

/// Exit status where not all of a session could be looked at.
const IN_PART: u8 = 1;

impl OfSession for DiffArgs {
    fn target(&self) -> (Option<&OsStr>, &[OsString]) {
        within::split(&self.words)
    }

    fn ignored(&self) -> &[Glob] {
        &self.ignore
    }

    fn run(&self, session: &Session, paths: Vec<PathBuf>) -> Result<u8, CliError> {
        let deleted = if self.full {
            Deleted::Whole
        } else {
            Deleted::AsOne
        };
        let mut diff = session.diff(deleted)?;
        if !paths.is_empty() {
            let concerns = |change: &mica::Change| paths.iter().any(|path| change.concerns(path));
            diff.changes.retain(concerns);
        }
        drop(show(self, session, &diff));
        for (path, errno) in &diff.unreadable {
            let text = format!(
                "cannot read {}: {}\n",
                mica::Escaped::new(path),
                Cause(*errno)
            );
            drop(std::io::stderr().write_all(text.as_bytes()));
        }
        Ok(if diff.unreadable.is_empty() {
            0
        } else {
            IN_PART
        })
    }
}

/// Writes what was asked for. A reader that has seen enough is no failure.
fn show(args: &DiffArgs, session: &Session, diff: &Diff) -> std::io::Result<()> {
    let paint = Paint::choose(args.color);
    let mut output = Output::open(args.no_pager || args.json || args.null);
    let to = &mut output;
    if args.json {
        to.write_all(json::show(session, diff).as_bytes())?;
    } else if args.stat {
        text::stat(to, diff, paint)?;
    } else if args.patch {
        text::patch(to, diff, paint)?;
    } else {
        for change in &diff.changes {
            to.write_all(&text::line(change, args, paint))?;
        }
    }
    output.end()
}
