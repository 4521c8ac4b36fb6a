//! Converting into a new directory: a copy first, then the steps that would be done in place.

use std::path::{Path, PathBuf};

use mica_host::LayerAccess;
use mica_vfs::Errno;

use super::apply::{Site, apply, rehearse};
use super::copying::set_times;
use super::journal::Journal;
use super::output::copy_tree;
use super::plan::Plan;
use super::scratch::{Scratch, mark, purpose_on};
use super::{
    ConvertError, ConvertSpec, Converted, Pace, finish, found, look, make_scratch, no_room, open,
    other, purpose_of, remove_unused, scratch_node,
};
use crate::offline::Node;
use crate::stack::{AtRest, Opening};

pub(super) fn to_output(
    spec: &ConvertSpec,
    output: &Path,
    pace: &mut Pace<'_>,
) -> Result<Converted, ConvertError> {
    let journal_failed = |source| ConvertError::Journal {
        at: output.to_owned(),
        source,
    };
    let source = open(spec, spec.work.as_deref(), LayerAccess::ReadOnly)?;
    let (surveyed, from) = look(spec, &source)?;
    make_output(output).map_err(journal_failed)?;
    let scratch = make_scratch(output, None)?;
    let target = AtRest::open(&Opening {
        upper: output,
        work: Some(scratch.path()),
        // So it is seen whether one lies inside the other.
        lowers: &[&[spec.upper.clone()][..], &spec.lowers, &spec.data].concat(),
        access: LayerAccess::ReadWrite,
    })?;
    let purpose = purpose_of(spec, &target.lowers);
    let marked = purpose_on(&target.upper).map_err(journal_failed)?;
    let mut site = Site {
        upper: &source.upper,
        scratch: scratch_node(&target)?,
        lowers: &source.lowers,
        xattrs: from,
    };
    rehearse(&site, &surveyed.plan).map_err(|refused| {
        if marked.is_none() {
            remove_unused(&scratch);
        }
        no_room(refused)
    })?;
    match &marked {
        Some(marked) if *marked != purpose => return Err(other(marked)),
        Some(_) => {}
        // All was done but the last step.
        None if is_begun(&scratch, &purpose) && !is_empty(&target.upper)? => {
            scratch.remove().map_err(journal_failed)?;
            return Ok(Converted {
                steps: 0,
                found: Vec::new(),
                resumed: true,
            });
        }
        None if is_empty(&target.upper)? => {
            let journal = Journal {
                purpose: purpose.clone(),
                xattrs: from,
                plan: Plan::default(),
            };
            scratch.write(&journal).map_err(journal_failed)?;
            mark(&target.upper, &purpose).map_err(journal_failed)?;
        }
        None => {
            remove_unused(&scratch);
            let output = output.to_owned();
            return Err(ConvertError::NotEmpty { output });
        }
    }
    let trees = (&source.upper, &target.upper);
    copy_tree(trees, site.scratch, &surveyed.plan, from, pace)?;
    site.upper = &target.upper;
    apply(&site, &surveyed.plan, pace)?;
    let attr = source.upper.attr();
    set_times(&target.upper, (attr.atime, attr.mtime)).map_err(journal_failed)?;
    finish(&target, &scratch, pace)?;
    Ok(Converted {
        steps: surveyed.objects + surveyed.plan.steps(),
        found: found(surveyed.forms),
        resumed: marked.is_some(),
    })
}

/// Whether the journal tells of this very conversion.
fn is_begun(scratch: &Scratch, purpose: &[u8]) -> bool {
    let journal = scratch.journal();
    matches!(journal, Ok(Some(journal)) if journal.purpose == purpose)
}

fn is_empty(dir: &Node) -> Result<bool, ConvertError> {
    let names = dir.names().map_err(|source| ConvertError::Step {
        path: PathBuf::from("/"),
        source,
    })?;
    Ok(names.is_empty())
}

fn make_output(output: &Path) -> Result<(), Errno> {
    match std::fs::create_dir(output) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
        }
        _ => Ok(()),
    }
}
