//! From the names of directories to an overlay that is ready to be served.
//!
//! Everything that can be wrong with the directories is found here, before anything is mounted: each is opened once,
//! and all that follows works on that open directory, so a path that changes in between changes nothing.
//!
//! # Invariants
//!
//! - What the kernel's overlayfs refuses is refused. So is what it lets pass to the user's harm: an upper that is in
//!   use, an upper inside a lower, an upper whose listings would show whiteouts.
//! - Until all checks are passed nothing is written but the probe's scratch files, in the work directory.

mod apart;
mod at_rest;
mod casefold;
mod checked;
pub(crate) mod error;
mod foreign;
mod half_converted;
mod holder;
pub(crate) mod in_use;
mod index;
mod namespaces;
mod opened;
pub(crate) mod others;
mod owners;
pub(crate) mod place;
mod reach;
pub(crate) mod unmapped;
mod warning;
mod writable;

use std::path::PathBuf;
use std::sync::Arc;

use mica_host::{FdCache, Features};
use mica_overlay::{Overlay, XattrNamespace};
use rustix::process::{Resource, Rlimit};
use rustix::thread::CapabilitySet;

pub(crate) use at_rest::{AtRest, Opening};
use checked::{Checked, not_stacked};
pub use error::{Boundary, LayerDir, Role, StackError};
pub use foreign::ForeignMark;
pub use holder::{Holder, Overlayer};
use in_use::InUse;
use opened::Opened;
pub use reach::Reach;
pub use warning::StackWarning;

use crate::options::StackSpec;

/// The most files of the layers that stay open for the next request.
const FDS_KEPT: u64 = 256;

/// An opened stack: the overlay and what it needs to live.
#[derive(Debug)]
pub struct Stack {
    overlay: Arc<Overlay>,
    fds: Arc<FdCache>,
    features: Option<Features>,
    recovered: Option<Recovered>,
    xattrs: XattrNamespace,
    reach: Option<Reach>,
    warnings: Vec<StackWarning>,
    /// The upper and the work directory, if there are any.
    _in_use: Vec<InUse>,
}

/// A work directory in which a mount had left unfinished work, which was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The work directory, as the user named it.
    pub work: PathBuf,
    /// How many objects that mount was making or changing when it ended.
    pub objects: usize,
}

impl Stack {
    /// Tells whether this process may read and write `trusted.*` attributes: the kernel hides them from everybody without
    /// `CAP_SYS_ADMIN` in the initial user namespace, as if there were none.
    #[must_use]
    pub fn may_use_trusted() -> bool {
        let privileged = rustix::thread::capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
        privileged && in_initial_user_namespace()
    }

    /// Opens the layers and lays them over each other, without mounting anything.
    ///
    /// Each layer takes an open file, and those in use take more: the limit of open files of this process is raised
    /// as far as it goes.
    ///
    /// # Errors
    ///
    /// A [`StackError`] that names the directory that does not fit.
    pub fn open(spec: &StackSpec) -> Result<Self, StackError> {
        let stack = Checked::new(spec)?;
        let overlay = Overlay::with_data(stack.upper, stack.lowers, stack.data, stack.config)
            .map_err(|error| not_stacked(spec, error))?;
        if let Some(record) = stack.record {
            record.write().inspect_err(|_| overlay.abandon())?;
        }
        let recovered = match (&spec.upper, overlay.recovered()) {
            (None, _) | (_, 0) => None,
            (Some(upper), objects) => Some(Recovered {
                work: upper.work.clone(),
                objects,
            }),
        };
        Ok(Self {
            overlay: Arc::new(overlay),
            fds: stack.fds,
            features: stack.features,
            recovered,
            xattrs: spec.xattrs,
            reach: stack.reach,
            warnings: stack.warnings,
            _in_use: stack.in_use,
        })
    }

    /// Looks whether [`open`](Self::open) would succeed, by all that it does before it lays the layers over each other. Nothing
    /// is changed but the probe's scratch files in the work directory, which are removed.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub(crate) fn examine(spec: &StackSpec) -> Result<Vec<StackWarning>, StackError> {
        let checked = Checked::new(spec)?;
        if let Some(upper) = checked.upper {
            Overlay::examine(upper, checked.lowers, &checked.config)
                .map_err(|error| not_stacked(spec, error))?;
        }
        Ok(checked.warnings)
    }

    /// Returns the overlay, a [`Filesystem`](mica_vfs::Filesystem).
    #[must_use]
    pub fn overlay(&self) -> &Arc<Overlay> {
        &self.overlay
    }

    /// Returns the open files of the layers.
    pub(crate) fn fds(&self) -> &Arc<FdCache> {
        &self.fds
    }

    /// Returns how far the upper and its work directory let their server reach; `None` without an upper.
    #[must_use]
    pub fn reach(&self) -> Option<&Reach> {
        self.reach.as_ref()
    }

    /// Returns where the overlay keeps its marks.
    #[must_use]
    pub fn xattrs(&self) -> XattrNamespace {
        self.xattrs
    }

    /// Returns what a user should know of the directories, though they can be a stack.
    #[must_use]
    pub fn warnings(&self) -> &[StackWarning] {
        &self.warnings
    }

    /// Returns what the upper filesystem can do; `None` without an upper.
    #[must_use]
    pub fn features(&self) -> Option<Features> {
        self.features
    }

    /// Returns what was cleaned up after a mount that ended without unmounting, if there was anything.
    #[must_use]
    pub fn recovered(&self) -> Option<&Recovered> {
        self.recovered.as_ref()
    }
}

/// Raises the limit of open files to what this process may have, and returns how many of them a cache may keep.
fn raise_fd_limit() -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // As it is, it does, too: the cache is sized by what can be had.
    let current = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // Half of what was meant for this process, also where more can be had.
    let meant = [current, limit.current].into_iter().flatten().min();
    let half = meant.map_or(FDS_KEPT, |files| files / 2).min(FDS_KEPT);
    usize::try_from(half).unwrap_or(usize::MAX)
}

/// Tells whether this process is in it, by the identity map of the initial namespace; where /proc is not mounted, it is taken for granted.
pub(crate) fn in_initial_user_namespace() -> bool {
    match std::fs::read_to_string("/proc/self/uid_map") {
        Ok(map) => map.split_ascii_whitespace().eq(["0", "0", "4294967295"]),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests;
