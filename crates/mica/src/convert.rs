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
mod in_place;
mod journal;
mod output;
mod plain;
mod plan;
mod scratch;
mod survey;
mod to_output;
mod unsayable;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use mica_host::LayerAccess;
use mica_overlay::XattrNamespace;
use mica_vfs::Errno;

use crate::offline::{Lowers, Node, namespace_of};
use crate::stack::{AtRest, Opening, Stack};
pub(crate) use copying::{dress, make, maker, set_times};
pub use error::ConvertError;
use error::Failure;
pub use form::Form;
pub(crate) use form::{AUFS, NAMED, NAMED_OPAQUE, named};
use in_place::in_place;
pub(crate) use scratch::{FEATURE, IMPORT, MARKS, Scratch, mark, purpose_on, unmark};
use survey::{Purpose, Surveyed, survey};
use to_output::to_output;
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
