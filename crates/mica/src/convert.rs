//! Converting an upper: between the forms of whiteouts, between the prefixes of marks, and to one without redirects.
//!
//! The whole upper is looked at first, and what the form asked for has no way to say is refused before anything is touched.
//! What is to be done is a plan, which is put on disk as a journal; then it is carried out. Interrupted at any point, it is
//! gone on with by asking for it again, and until then no mount takes the upper.
//!
//! # Invariants
//!
//! - A lower is never changed; nor is the upper, if the result goes to a new directory.
//! - Nothing is removed or replaced but whiteouts.
//! - While anything is half done, the root of the directory carries a mark that mounts refuse.

mod apply;
mod copying;
mod error;
mod form;
mod journal;
mod output;
mod plain;
mod plan;
mod scratch;
mod survey;
mod unsayable;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use mica_host::LayerAccess;
use mica_overlay::XattrNamespace;
use mica_vfs::Errno;

use crate::offline::{Lowers, Node, namespace_of};
use crate::stack::{AtRest, Opening, Stack};
use apply::{Site, apply, rehearse};
pub(crate) use copying::maker;
pub use error::ConvertError;
use error::Failure;
pub use form::Form;
pub(crate) use form::{AUFS, NAMED, NAMED_OPAQUE, named};
use journal::Journal;
use output::copy_tree;
use plan::Plan;
pub(crate) use scratch::{FEATURE, MARKS, Scratch, mark, purpose_on, unmark};
use survey::{Purpose, Surveyed, survey};
pub use unsayable::Unsayable;

/// What is converted, and to what.
#[derive(Debug, Clone, Default)]
pub struct ConvertSpec {
    /// The upper directory.
    pub upper: PathBuf,
    /// Its work directory, for the journal; without one that lies beside the upper.
    pub work: Option<PathBuf>,
    /// The lowers that redirects and metacopies lead to, topmost first.
    pub lowers: Vec<PathBuf>,
    /// Data-only lowers, which are asked for data in turn.
    pub data: Vec<PathBuf>,
    /// The form of whiteouts; `None` leaves each as it is.
    pub to: Option<Form>,
    /// Where marks are kept then; `None` leaves them where they are.
    pub prefix: Option<XattrNamespace>,
    /// Whether what redirects and metacopies lead to is copied.
    pub no_redirects: bool,
    /// A new directory for the result; without it the upper itself is changed.
    pub output: Option<PathBuf>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// How many steps it took, those of an attempt before among them.
    pub steps: u64,
    /// The forms of whiteouts that were found; empty if an attempt was gone on with.
    pub found: Vec<Form>,
    /// Whether an interrupted attempt was gone on with.
    pub resumed: bool,
}

/// Counts steps, and stops where the caller says so.
struct Pace<'a> {
    done: u64,
    told: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
}

impl Pace<'_> {
    /// Begins a step.
    fn step(&mut self) -> Result<(), Failure> {
        self.done += 1;
        self.check()
    }

    /// Is at a point between two changes.
    fn check(&mut self) -> Result<(), Failure> {
        match (self.told)(self.done) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Failure::Stopped),
        }
    }
}

/// Converts an upper.
///
/// `progress` is called between any two changes with the number of steps so far, and may stop the conversion: what is on
/// disk then is what a kill leaves there.
///
/// # Errors
///
/// [`ConvertError`]; each says whether anything was changed.
pub fn convert(
    spec: &ConvertSpec,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Converted, ConvertError> {
    if spec.prefix == Some(XattrNamespace::Trusted) && !Stack::may_use_trusted() {
        return Err(ConvertError::Trusted);
    }
    let mut pace = Pace {
        done: 0,
        told: progress,
    };
    match &spec.output {
        None => in_place(spec, &mut pace),
        Some(output) => to_output(spec, output, &mut pace),
    }
}

fn in_place(spec: &ConvertSpec, pace: &mut Pace<'_>) -> Result<Converted, ConvertError> {
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

fn to_output(
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
    copying::set_times(&target.upper, (attr.atime, attr.mtime)).map_err(journal_failed)?;
    finish(&target, &scratch, pace)?;
    Ok(Converted {
        steps: surveyed.objects + surveyed.plan.steps(),
        found: found(surveyed.forms),
        resumed: marked.is_some(),
    })
}

/// Looks at the whole upper.
fn look(spec: &ConvertSpec, at_rest: &AtRest) -> Result<(Surveyed, XattrNamespace), ConvertError> {
    let upper = &at_rest.upper;
    let from = namespace_of(upper).map_err(|source| ConvertError::Step {
        path: PathBuf::from("/"),
        source,
    })?;
    let target = spec.prefix.unwrap_or(from);
    if from != target
        && spec.output.is_none()
        && let Some(work) = &spec.work
        && std::fs::read_dir(work.join("index")).is_ok_and(|mut index| index.next().is_some())
    {
        let work = work.clone();
        return Err(ConvertError::Index { work });
    }
    let purpose = Purpose {
        to: spec.to,
        from,
        target,
        no_redirects: spec.no_redirects,
    };
    let lowers = Lowers::new(at_rest.lowers.clone(), spec.data.len(), from);
    match survey(upper, &lowers, purpose) {
        Ok(surveyed) => Ok((surveyed, from)),
        Err((path, why)) => Err(ConvertError::Unsayable { path, why }),
    }
}

/// Puts all on disk, and only then says that it is done.
fn finish(at_rest: &AtRest, scratch: &Scratch, pace: &mut Pace<'_>) -> Result<(), ConvertError> {
    let failed = |source| in_journal(scratch, source);
    pace.check()?;
    at_rest.sync().map_err(failed)?;
    pace.check()?;
    unmark(&at_rest.upper).map_err(failed)?;
    at_rest.sync().map_err(failed)?;
    pace.check()?;
    scratch.remove().map_err(failed)
}

fn open(
    spec: &ConvertSpec,
    work: Option<&Path>,
    access: LayerAccess,
) -> Result<AtRest, ConvertError> {
    Ok(AtRest::open(&Opening {
        upper: &spec.upper,
        work,
        lowers: &[&spec.lowers[..], &spec.data].concat(),
        access,
    })?)
}

fn make_scratch(beside: &Path, work: Option<&Path>) -> Result<Scratch, ConvertError> {
    let failed = |at: &Path, source| ConvertError::Journal {
        at: at.to_owned(),
        source,
    };
    let scratch = Scratch::of(beside, work).map_err(|errno| failed(beside, errno))?;
    scratch
        .make()
        .map_err(|errno| failed(scratch.path(), errno))?;
    Ok(scratch)
}

/// Removes the place for a journal again, unless there is one in it.
fn remove_unused(scratch: &Scratch) {
    if matches!(scratch.journal(), Ok(None)) {
        // It is in nobody's way.
        scratch.remove().ok();
    }
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

fn scratch_node(at_rest: &AtRest) -> Result<&Node, ConvertError> {
    at_rest.work.as_ref().ok_or(ConvertError::Stopped)
}

fn in_journal(scratch: &Scratch, source: Errno) -> ConvertError {
    let at = scratch.path().to_owned();
    ConvertError::Journal { at, source }
}

fn other(purpose: &[u8]) -> ConvertError {
    let purpose = String::from_utf8_lossy(purpose).into_owned();
    ConvertError::Other { purpose }
}

fn no_room((path, errno): (PathBuf, Errno)) -> ConvertError {
    let why = match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::RANGE | Errno::TOOBIG => Unsayable::NoRoom,
        errno => Unsayable::Unreadable(errno),
    };
    ConvertError::Unsayable { path, why }
}

/// Writes what is asked for, to be compared when it is asked for again. Lowers are told by their numbers.
fn purpose_of(spec: &ConvertSpec, lowers: &[Node]) -> Vec<u8> {
    let mut words = vec!["mica convert".to_owned()];
    if let Some(to) = spec.to {
        words.push(format!("--to {to}"));
    }
    words.push(match spec.prefix {
        None => String::new(),
        Some(XattrNamespace::Trusted) => "--prefix trusted".into(),
        Some(XattrNamespace::User) => "--prefix user".into(),
    });
    if spec.no_redirects {
        words.push("--no-redirects".into());
        for lower in lowers {
            words.push(format!("({})", lower.attr().ino.0));
        }
    }
    words.retain(|word| !word.is_empty());
    words.join(" ").into_bytes()
}

fn found(forms: [bool; 4]) -> Vec<Form> {
    let all = [Form::Device, Form::Xattr, Form::Named, Form::Old];
    let with = all.into_iter().zip(forms);
    with.filter(|(_, found)| *found)
        .map(|(form, _)| form)
        .collect()
}
