//! Whether an upper and its work directory are what an overlay left there, and mending what can be mended.
//!
//! The directories are read as they lie on disk, while no mount uses them. Each thing that is wrong is a [`Finding`]: what,
//! where, how bad, and whether there is a [`Fix`] that loses nothing. Given the lowers, more can be told: whether redirects
//! lead anywhere, whether metacopies have data, what whiteouts hide.
//!
//! # Invariants
//!
//! - A fix is one step that leaves the merged tree as it is, so a check that is killed while it repairs leaves a
//!   directory that the next one goes on with.
//! - A lower is never changed.

mod finding;
mod index;
mod links;
mod repair;
mod trouble;
mod upper;
mod work;

use std::path::PathBuf;

use mica_host::LayerAccess;
use mica_overlay::XattrNamespace;
use mica_vfs::Errno;
use thiserror::Error;

use crate::offline::{Lowers, namespace_of};
use crate::stack::{AtRest, Opening, StackError};
pub use finding::{Area, Finding, Fix, Severity};
pub use trouble::Trouble;

/// What is checked.
#[derive(Debug, Clone, Default)]
pub struct CheckSpec {
    /// The upper directory.
    pub upper: PathBuf,
    /// Its work directory.
    pub work: Option<PathBuf>,
    /// The lowers that the upper was used with, topmost first; may be empty.
    pub lowers: Vec<PathBuf>,
    /// Data-only lowers, which are asked for data in turn.
    pub data: Vec<PathBuf>,
    /// Where the marks are kept; `None` for what the upper itself tells.
    pub xattrs: Option<XattrNamespace>,
    /// Whether findings are mended.
    pub repair: bool,
}

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// What is wrong at the end, in the order of paths: the upper first, then the work directory.
    pub findings: Vec<Finding>,
    /// What was wrong and is mended.
    pub repaired: Vec<Finding>,
    /// What should have been mended and could not be.
    pub failed: Vec<(Finding, Errno)>,
    /// How many objects were looked at.
    pub objects: u64,
    /// Where the marks are kept.
    pub xattrs: XattrNamespace,
}

impl Checked {
    /// Whether nothing is wrong. Notes do not count: they say what is unusual.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.trouble.severity() == Severity::Note)
    }
}

/// Why nothing could be checked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The directories cannot be opened, or a mount uses them.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The upper or the work directory cannot be read.
    #[error("cannot read the directories")]
    Read(#[source] Errno),
}

impl CheckError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Stack(error) => error.hint(),
            Self::Read(_) => None,
        }
    }
}

/// Checks an upper and its work directory, and mends what it finds if that is asked for.
///
/// `progress` is called with the number of objects looked at so far.
///
/// # Errors
///
/// [`CheckError`]: the directories cannot be opened, or a mount uses them.
pub fn check(spec: &CheckSpec, progress: &mut dyn FnMut(u64)) -> Result<Checked, CheckError> {
    let access = if spec.repair {
        LayerAccess::ReadWrite
    } else {
        LayerAccess::ReadOnly
    };
    let at_rest = AtRest::open(&Opening {
        upper: &spec.upper,
        work: spec.work.as_deref(),
        lowers: &[&spec.lowers[..], &spec.data].concat(),
        access,
    })?;
    let xattrs = match spec.xattrs {
        Some(xattrs) => xattrs,
        None => namespace_of(&at_rest.upper).map_err(CheckError::Read)?,
    };
    let lowers = Lowers::new(at_rest.lowers.clone(), spec.data.len(), xattrs);
    let mut checked = look(&at_rest, &lowers, progress)?;
    if spec.repair {
        let fixable = checked.findings.iter().filter(|found| found.fix.is_some());
        let outcomes: Vec<_> = fixable
            .map(|finding| (finding.clone(), repair::mend(&at_rest, finding)))
            .collect();
        checked = look(&at_rest, &lowers, progress)?;
        for (finding, mended) in outcomes {
            match mended {
                Ok(()) => checked.repaired.push(finding),
                Err(errno) => checked.failed.push((finding, errno)),
            }
        }
    }
    Ok(checked)
}

fn look(
    at_rest: &AtRest,
    lowers: &Lowers,
    progress: &mut dyn FnMut(u64),
) -> Result<Checked, CheckError> {
    let xattrs = lowers.xattrs();
    let has_work = at_rest.work.is_some();
    let (mut findings, objects) =
        upper::look(&at_rest.upper, lowers, has_work, progress).map_err(CheckError::Read)?;
    if let Some(work) = &at_rest.work {
        findings.extend(work::look(work, xattrs).map_err(CheckError::Read)?);
        findings.extend(index::look(work, &at_rest.upper, lowers).map_err(CheckError::Read)?);
    }
    Ok(Checked {
        findings,
        repaired: Vec::new(),
        failed: Vec::new(),
        objects,
        xattrs,
    })
}
