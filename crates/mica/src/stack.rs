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
pub(crate) mod error;
mod foreign;
mod half_converted;
mod holder;
pub(crate) mod in_use;
mod index;
mod limited;
mod namespaces;
mod opened;
pub(crate) mod others;
mod owners;
pub(crate) mod place;
mod reach;
pub(crate) mod unmapped;
mod warning;
mod writable;

use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use mica_host::{FdCache, Features, HostFs, MountTree, Owners, Recorded};
use mica_overlay::{Config, Layer, Overlay, SetupError, Unmapped, Upper, Witness, XattrNamespace};
use mica_vfs::{Caller, NodeId, Uuid};
use rustix::process::{Resource, Rlimit};
use rustix::thread::CapabilitySet;

use apart::check_separate;
pub(crate) use at_rest::{AtRest, Opening, is_record};
pub use error::{Boundary, LayerDir, Role, StackError};
pub use foreign::ForeignMark;
pub use holder::{Holder, Overlayer};
use in_use::InUse;
pub use limited::Limits;
use opened::{Opened, coherent, open_data, open_lowers};
use owners::{RootRecord, recorded_root, with_overflow_ids};
pub use reach::Reach;
pub use warning::StackWarning;
use writable::Writable;

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
    /// The mount through which both are open. Last: to close it takes a while.
    _copy: Option<OwnedFd>,
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
        Self::of(spec, Checked::new(spec)?)
    }

    /// Opens the upper of `spec` over a tree of mounts. What `spec` says of lowers is not looked at.
    ///
    /// The tree may hold the upper, if it hides it. `witness` makes the one that is told of the tree's objects before they change.
    /// Nobody is looked for who uses the directories, too: they belong to a session, which is locked.
    ///
    /// # Errors
    ///
    /// A [`StackError`] that names the directory that does not fit.
    pub(crate) fn over_tree(
        spec: &StackSpec,
        tree: MountTree,
        witness: impl FnOnce(Arc<HostFs>) -> Arc<dyn Witness>,
    ) -> Result<Self, StackError> {
        let (mut checked, fs) = Checked::over_tree(spec, tree)?;
        checked.config.witness = Some(witness(fs));
        Self::of(spec, checked)
    }

    /// Lays the lowers of `spec` over a tree of mounts, to be read. Nobody is looked for who uses the directories.
    ///
    /// # Errors
    ///
    /// A [`StackError`] that names the directory that does not fit.
    pub(crate) fn above_tree(spec: &StackSpec, tree: Arc<HostFs>) -> Result<Self, StackError> {
        let fds = FdCache::new(raise_fd_limit());
        let (owners, coherence) = (spec.identity.owners, spec.coherence);
        let opened = open_lowers(spec)?.into_iter();
        let layers = opened.map(|dir| dir.into_lower(owners, coherence, &fds));
        let mut layers = layers.collect::<Result<Vec<_>, _>>()?;
        layers.push(Layer {
            fs: tree,
            root: NodeId::ROOT,
            label: "the machine".into(),
        });
        let layers = (layers, Vec::new());
        let checked = Checked::assemble(spec, fds, layers, (None, None), (Vec::new(), Vec::new()))?;
        Self::of(spec, checked)
    }

    fn of(spec: &StackSpec, checked: Checked) -> Result<Self, StackError> {
        let Checked {
            upper,
            lowers,
            data,
            config,
            record,
            fds,
            features,
            reach,
            warnings,
            in_use,
            copy,
        } = checked;
        let overlay = Overlay::with_data(upper, lowers, data, config)
            .map_err(|error| not_stacked(spec, error))?;
        if let Some(record) = record {
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
            fds,
            features,
            recovered,
            xattrs: spec.xattrs,
            reach,
            warnings,
            _in_use: in_use,
            _copy: copy,
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

/// Directories that fit together, and what an overlay of them is made of.
#[derive(Debug)]
struct Checked {
    upper: Option<Upper>,
    lowers: Vec<Layer>,
    data: Vec<Layer>,
    config: Config,
    record: Option<RootRecord>,
    fds: Arc<FdCache>,
    features: Option<Features>,
    reach: Option<Reach>,
    warnings: Vec<StackWarning>,
    in_use: Vec<InUse>,
    copy: Option<OwnedFd>,
}

impl Checked {
    fn new(spec: &StackSpec) -> Result<Self, StackError> {
        if spec.xattrs == XattrNamespace::Trusted && !Stack::may_use_trusted() {
            return Err(StackError::Trusted);
        }
        let fds = FdCache::new(raise_fd_limit());
        let lowers = open_lowers(spec)?;
        let data = open_data(spec)?;
        let writable = spec.upper.as_ref().map(Writable::open).transpose()?;
        check_separate(lowers.iter().chain(&data), writable.as_ref())?;

        let mut in_use = Vec::new();
        let mut warnings = Vec::new();
        if let Some(writable) = &writable {
            in_use.extend(writable.claim()?);
        }
        refuse_shared(writable.as_ref(), lowers.iter().chain(&data), &mut warnings)?;
        let owners = spec.identity.owners;
        let like = recorded_root(&lowers, owners, &fds)?;
        let layers = |opened: Vec<Opened>| {
            let layers = opened
                .into_iter()
                .map(|dir| dir.into_lower(owners, spec.coherence, &fds));
            layers.collect::<Result<Vec<_>, _>>()
        };
        let lowers = (layers(lowers)?, layers(data)?);
        Self::assemble(spec, fds, lowers, (writable, like), (in_use, warnings))
    }

    /// Takes a tree of mounts as the only lower.
    fn over_tree(spec: &StackSpec, tree: MountTree) -> Result<(Self, Arc<HostFs>), StackError> {
        let fds = FdCache::new(raise_fd_limit());
        let writable = spec.upper.as_ref().map(Writable::open).transpose()?;
        check_separate(std::iter::empty(), writable.as_ref())?;
        let in_use = match &writable {
            Some(writable) => writable.claim()?.into_iter().collect(),
            None => Vec::new(),
        };
        let dir = LayerDir {
            role: Role::Lower,
            path: spec.lower.first().cloned().unwrap_or_default(),
        };
        let label = dir.path.display().to_string();
        let fs = HostFs::tree(tree, Arc::clone(&fds)).and_then(|fs| coherent(fs, spec.coherence));
        let fs = match fs {
            Ok(fs) => Arc::new(fs),
            Err(source) => return Err(StackError::Open { dir, source }),
        };
        let lower = Layer {
            fs: Arc::clone(&fs) as _,
            root: NodeId::ROOT,
            label,
        };
        let lowers = (vec![lower], Vec::new());
        let checked = Self::assemble(spec, fds, lowers, (writable, None), (in_use, Vec::new()))?;
        Ok((checked, fs))
    }

    /// Takes upper and work directory into use, and says how the overlay of them is to be.
    fn assemble(
        spec: &StackSpec,
        fds: Arc<FdCache>,
        (lowers, data): (Vec<Layer>, Vec<Layer>),
        (mut writable, like): (Option<Writable>, Option<Recorded>),
        (in_use, mut warnings): (Vec<InUse>, Vec<StackWarning>),
    ) -> Result<Self, StackError> {
        let owners = spec.identity.owners;
        let mut features = None;
        let mut record = None;
        let reach = writable.as_ref().map(|writable| writable.reach.clone());
        let copy = writable.as_mut().and_then(|writable| writable.copy.take());
        let upper = match writable {
            Some(writable) => {
                let (upper, found, root) = writable.into_upper(
                    (spec.xattrs, spec.index),
                    (owners, like),
                    spec.limits,
                    &fds,
                    &lowers,
                    &mut warnings,
                )?;
                features = Some(found);
                record = root;
                Some(upper)
            }
            None => None,
        };
        #[cfg(feature = "planted")]
        let (upper, lowers) = crate::planted::under(upper, lowers);
        let config = Config {
            xattrs: spec.xattrs,
            redirects: spec.redirects.in_xattrs(spec.xattrs),
            index: spec.index,
            xino: spec.xino,
            uuid: spec.uuid.with(fresh_uuid()),
            mounter: Caller {
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
                umask: 0,
            },
            durability: spec.durability,
            // Recorded owners are known, whoever they are (OVL-77).
            unmapped: match spec.identity.owners {
                Owners::Real => unmapped::unmapped(),
                Owners::Xattr(_) => Unmapped::default(),
            },
            coherence: spec.coherence,
            ids: with_overflow_ids(&spec.identity.ids),
            acls: spec.identity.acls,
            permissions: spec.identity.permissions,
            unlisted: spec.identity.unlisted,
            dir_links: spec.identity.dir_links,
            metacopies: spec.metacopies,
            // The other half is for the files that are in use.
            nameless_max: fds.limit() / 2,
            ..Config::default()
        };
        Ok(Self {
            upper,
            lowers,
            data,
            config,
            record,
            fds,
            features,
            reach,
            warnings,
            in_use,
            copy,
        })
    }
}

/// Says in this module's words why the layers are no overlay.
fn not_stacked(spec: &StackSpec, error: SetupError) -> StackError {
    match (error, &spec.upper) {
        (SetupError::Incompatible { feature }, Some(upper)) => StackError::Incompatible {
            upper: LayerDir {
                role: Role::Upper,
                path: upper.dir.clone(),
            },
            work: LayerDir {
                role: Role::Work,
                path: upper.work.clone(),
            },
            feature,
        },
        (error, _) => error.into(),
    }
}

/// Refuses an upper and a work directory that an overlay of another program writes to, and warns of such a lower.
fn refuse_shared<'a>(
    writable: Option<&Writable>,
    lowers: impl Iterator<Item = &'a Opened>,
    warnings: &mut Vec<StackWarning>,
) -> Result<(), StackError> {
    let written: Vec<&Opened> = writable.iter().flat_map(|w| [&w.upper, &w.work]).collect();
    let others = in_use::settled(&written);
    for written in written {
        in_use::refuse_shared(written, &others, warnings)?;
    }
    for lower in lowers {
        in_use::warn_of_shared_lower(lower, &others, warnings);
    }
    Ok(())
}

/// Raises the limit of open files to what this process may have, and returns how many of them a cache may keep.
pub(crate) fn raise_fd_limit() -> usize {
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

/// Makes a UUID as the kernel does (`uuid_gen`, version 4). That of an overlay only has to differ from others.
fn fresh_uuid() -> Uuid {
    let random = RandomState::new();
    let (high, low) = (random.hash_one(0_u8), random.hash_one(1_u8));
    let bits = u128::from(high) << 64 | u128::from(low);
    let version = bits & !(0xf << 76) | 4 << 76;
    Uuid((version & !(3 << 62) | 2 << 62).to_be_bytes())
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
