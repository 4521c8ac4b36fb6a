//! Converting an upper where it lies: a journal first, then what it says.

use mica_host::LayerAccess;

use super::apply::{Site, apply, rehearse};
use super::journal::Journal;
use super::scratch::{Scratch, mark, purpose_on};
use super::{
    ConvertError, ConvertSpec, Converted, Pace, finish, found, in_journal, look, make_scratch,
    no_room, open, other, purpose_of, remove_unused, scratch_node,
};
use crate::stack::AtRest;

pub(super) fn in_place(spec: &ConvertSpec, pace: &mut Pace<'_>) -> Result<Converted, ConvertError> {
    let work = spec.work.as_deref();
    // Whether a mount uses the directories is known before anything is made in them.
    drop(open(spec, work, LayerAccess::ReadOnly)?);
    let scratch = make_scratch(&spec.upper, work)?;
    let at_rest = match open(spec, Some(scratch.path()), LayerAccess::ReadWrite) {
        Ok(at_rest) => at_rest,
        Err(error) => {
            remove_unused(&scratch);
            return Err(error);
        }
    };
    let purpose = purpose_of(spec, &at_rest.lowers);
    let begun = begin(spec, &at_rest, (&scratch, &purpose), pace);
    let (journal, converted) = match begun {
        Ok(Some(begun)) => begun,
        Ok(None) => {
            scratch
                .remove()
                .map_err(|source| in_journal(&scratch, source))?;
            return Ok(Converted {
                steps: 0,
                found: Vec::new(),
                resumed: false,
            });
        }
        Err(error) => {
            if !matches!(error, ConvertError::Stopped) {
                remove_unused(&scratch);
            }
            return Err(error);
        }
    };
    let site = Site {
        upper: &at_rest.upper,
        scratch: scratch_node(&at_rest)?,
        lowers: &at_rest.lowers,
        xattrs: journal.xattrs,
    };
    apply(&site, &journal.plan, pace)?;
    finish(&at_rest, &scratch, pace)?;
    Ok(converted)
}

/// Reads the journal of an interrupted conversion, or makes a plan, puts it on disk and marks the upper; `None` if there is
/// nothing to do.
fn begin(
    spec: &ConvertSpec,
    at_rest: &AtRest,
    (scratch, purpose): (&Scratch, &[u8]),
    pace: &mut Pace<'_>,
) -> Result<Option<(Journal, Converted)>, ConvertError> {
    let journal_failed = |source| in_journal(scratch, source);
    let marked = purpose_on(&at_rest.upper).map_err(journal_failed)?;
    if let Some(marked) = marked {
        if marked != purpose {
            return Err(other(&marked));
        }
        let journal = scratch.journal().map_err(journal_failed)?;
        let Some(journal) = journal.filter(|journal| journal.purpose == purpose) else {
            let at = scratch.path().to_owned();
            return Err(ConvertError::NoJournal { at });
        };
        let converted = Converted {
            steps: journal.plan.steps(),
            found: Vec::new(),
            resumed: true,
        };
        return Ok(Some((journal, converted)));
    }
    let (surveyed, from) = look(spec, at_rest)?;
    let journal = Journal {
        purpose: purpose.to_vec(),
        xattrs: from,
        plan: surveyed.plan,
    };
    let site = Site {
        upper: &at_rest.upper,
        scratch: scratch_node(at_rest)?,
        lowers: &at_rest.lowers,
        xattrs: from,
    };
    rehearse(&site, &journal.plan).map_err(no_room)?;
    if journal.plan.dirs.is_empty() {
        return Ok(None);
    }
    pace.check()?;
    scratch.write(&journal).map_err(journal_failed)?;
    pace.check()?;
    mark(&at_rest.upper, purpose).map_err(journal_failed)?;
    at_rest.sync().map_err(journal_failed)?;
    let converted = Converted {
        steps: journal.plan.steps(),
        found: found(surveyed.forms),
        resumed: false,
    };
    Ok(Some((journal, converted)))
}
