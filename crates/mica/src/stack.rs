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

mod casefold;
mod error;
mod foreign;
mod holder;
mod in_use;
mod index;
mod leftovers;
mod namespaces;
mod others;
mod place;
mod warning;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use mica_host::{FdCache, Features, HostFs, LayerAccess, OpenLayerError, open_layer};
use mica_overlay::{Config, Layer, Overlay, Upper, XattrNamespace};
use mica_vfs::{Caller, Errno, NodeId};
use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat};
use rustix::process::{Resource, Rlimit};
use rustix::thread::CapabilitySet;

pub use error::{Boundary, LayerDir, Role, StackError};
pub use foreign::ForeignMark;
pub use holder::{Holder, Overlayer};
use in_use::InUse;
use place::{DirId, Place};
pub use warning::StackWarning;

use crate::options::{StackSpec, UpperSpec};

/// The most files of the layers that stay open for the next request.
const FDS_KEPT: u64 = 256;

/// An opened stack: the overlay and what it needs to live.
#[derive(Debug)]
pub struct Stack {
    overlay: Arc<Overlay>,
    fds: Arc<FdCache>,
    features: Option<Features>,
    warnings: Vec<StackWarning>,
    /// The upper and the work directory, if there are any.
    _in_use: Vec<InUse>,
}

impl Stack {
    /// Opens the layers and lays them over each other, without mounting anything.
    ///
    /// Each layer takes an open file, and those in use take more: the limit of open files of this process is raised
    /// as far as it goes.
    ///
    /// # Errors
    ///
    /// A [`StackError`] that names the directory that does not fit.
    pub fn open(spec: &StackSpec) -> Result<Self, StackError> {
        if spec.xattrs == XattrNamespace::Trusted && !may_use_trusted() {
            return Err(StackError::Trusted);
        }
        let fds = FdCache::new(raise_fd_limit());
        let lowers = open_lowers(spec)?;
        let writable = spec.upper.as_ref().map(Writable::open).transpose()?;
        check_separate(&lowers, writable.as_ref())?;

        let mut in_use = Vec::new();
        let mut warnings = Vec::new();
        if let Some(writable) = &writable {
            in_use.extend(writable.claim()?);
        }
        refuse_shared(writable.as_ref(), &lowers, &mut warnings)?;
        let lowers = lowers.into_iter().map(|opened| opened.into_lower(&fds));
        let lowers = lowers.collect::<Result<Vec<_>, _>>()?;
        let mut features = None;
        let upper = match writable {
            Some(writable) => {
                let (upper, found) =
                    writable.into_upper(spec.xattrs, &fds, &lowers, &mut warnings)?;
                features = Some(found);
                Some(upper)
            }
            None => None,
        };
        let config = Config {
            xattrs: spec.xattrs,
            mounter: Caller {
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
                umask: 0,
            },
            ..Config::default()
        };
        Ok(Self {
            overlay: Arc::new(Overlay::new(upper, lowers, config)?),
            fds,
            features,
            warnings,
            _in_use: in_use,
        })
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
}

/// A directory of the stack, open.
#[derive(Debug)]
struct Opened {
    dir: LayerDir,
    /// What the layer is made of. Of a lower it may be a private copy of its mount, which has no directory above.
    fd: OwnedFd,
    place: Place,
    above: Vec<DirId>,
}

impl Opened {
    fn open(role: Role, path: &Path) -> Result<Self, StackError> {
        let dir = LayerDir {
            role,
            path: path.to_owned(),
        };
        let access = match role {
            Role::Lower => LayerAccess::ReadOnly,
            Role::Upper | Role::Work => LayerAccess::ReadWrite,
        };
        let fd = match open_layer(path, access) {
            Ok(fd) => fd,
            Err(error) => return Err(not_opened(dir, error)),
        };
        let (place, above) = match look_around(path) {
            Ok(found) => found,
            Err(source) => return Err(StackError::Open { dir, source }),
        };
        if access == LayerAccess::ReadWrite
            && let Err(source) = accessat(&fd, c".", Access::WRITE_OK, AtFlags::EACCESS)
        {
            return Err(match source {
                Errno::ROFS => StackError::ReadOnly { dir },
                source => StackError::NotWritable { dir, source },
            });
        }
        Ok(Self {
            dir,
            fd,
            place,
            above,
        })
    }

    fn into_lower(self, fds: &Arc<FdCache>) -> Result<Layer, StackError> {
        let label = self.dir.path.display().to_string();
        let fs = HostFs::new(self.fd, LayerAccess::ReadOnly, Arc::clone(fds));
        let fs = fs.map_err(|source| StackError::Open {
            dir: self.dir.clone(),
            source,
        })?;
        let layer = Layer {
            fs: Arc::new(fs),
            root: NodeId::ROOT,
            label,
        };
        casefold::refuse_casefold(&self.dir, &layer)?;
        Ok(layer)
    }
}

fn open_lowers(spec: &StackSpec) -> Result<Vec<Opened>, StackError> {
    let lowers = spec.lower.iter();
    lowers.map(|path| Opened::open(Role::Lower, path)).collect()
}

/// Finds where a directory is and what is above it. Fails where it cannot be read and searched.
fn look_around(path: &Path) -> Result<(Place, Vec<DirId>), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty())?;
    accessat(&dir, c".", Access::EXEC_OK, AtFlags::EACCESS)?;
    Ok((Place::of(&dir)?, place::above(&dir)?))
}

/// Says in this module's words why a directory was not opened.
fn not_opened(dir: LayerDir, error: OpenLayerError) -> StackError {
    match error {
        OpenLayerError::NotFound { .. } => StackError::Missing { dir },
        OpenLayerError::NotADirectory { .. } => StackError::NotDirectory { dir },
        OpenLayerError::PermissionDenied { .. } => StackError::Open {
            dir,
            source: Errno::ACCESS,
        },
        OpenLayerError::Failed { errno, .. } => StackError::Open { dir, source: errno },
        other => StackError::Layer { dir, source: other },
    }
}

/// The directories that are written to.
#[derive(Debug)]
struct Writable {
    upper: Opened,
    work: Opened,
}

impl Writable {
    fn open(spec: &UpperSpec) -> Result<Self, StackError> {
        Ok(Self {
            upper: Opened::open(Role::Upper, &spec.dir)?,
            work: Opened::open(Role::Work, &spec.work)?,
        })
    }

    fn claim(&self) -> Result<[InUse; 2], StackError> {
        Ok([InUse::claim(&self.upper)?, InUse::claim(&self.work)?])
    }

    /// Makes a layer of the two, if their filesystem can be one.
    fn into_upper(
        self,
        xattrs: XattrNamespace,
        fds: &Arc<FdCache>,
        lowers: &[Layer],
        warnings: &mut Vec<StackWarning>,
    ) -> Result<(Upper, Features), StackError> {
        let Self { upper, work } = self;
        let label = upper.dir.path.display().to_string();
        let open = |source| StackError::Open {
            dir: upper.dir.clone(),
            source,
        };
        let fs = HostFs::new(upper.fd, LayerAccess::ReadWrite, Arc::clone(fds)).map_err(open)?;
        let scratch = fs.attach(work.fd).map_err(open)?;
        let features = match fs.probe(scratch, xattrs.prefix()) {
            Ok(features) => features,
            Err(Errno::ROFS) => return Err(StackError::ReadOnly { dir: upper.dir }),
            Err(source) => {
                return Err(StackError::Probe {
                    work: work.dir,
                    source,
                });
            }
        };
        if !features.d_type {
            return Err(StackError::NoDirentType { upper: upper.dir });
        }
        if !features.whiteout {
            return Err(StackError::NoWhiteout { upper: upper.dir });
        }
        if !features.xattr {
            let namespace = match xattrs {
                XattrNamespace::Trusted => "trusted.overlay.",
                XattrNamespace::User => "user.overlay.",
            };
            return Err(StackError::NoXattr {
                upper: upper.dir,
                namespace,
            });
        }
        let layer = Layer {
            fs: Arc::new(fs),
            root: NodeId::ROOT,
            label,
        };
        casefold::refuse_casefold(&upper.dir, &layer)?;
        foreign::refuse_foreign(&upper.dir, &layer, lowers, xattrs, warnings)?;
        let made = Upper {
            layer,
            work: scratch,
        };
        index::refuse_index(&work.dir, &made)?;
        leftovers::warn_of_leftovers(&work.dir, &made, warnings);
        Ok((made, features))
    }
}

/// Refuses an upper and a work directory that an overlay of another program writes to, and warns of such a lower.
fn refuse_shared(
    writable: Option<&Writable>,
    lowers: &[Opened],
    warnings: &mut Vec<StackWarning>,
) -> Result<(), StackError> {
    let others = others::others();
    for written in writable.iter().flat_map(|w| [&w.upper, &w.work]) {
        in_use::refuse_shared(written, &others, warnings)?;
    }
    for lower in lowers {
        in_use::warn_of_shared_lower(lower, &others, warnings);
    }
    Ok(())
}

/// Checks that no directory of the stack is, or lies inside, another one, and that upper and work are on one mount.
fn check_separate(lowers: &[Opened], writable: Option<&Writable>) -> Result<(), StackError> {
    let written = writable.iter().flat_map(|w| [&w.upper, &w.work]);
    let all: Vec<&Opened> = written.chain(lowers).collect();
    let mut known: HashMap<DirId, &Opened> = HashMap::new();
    for &opened in &all {
        if let Some(first) = known.insert(opened.place.id, opened) {
            return Err(StackError::Same {
                first: first.dir.clone(),
                second: opened.dir.clone(),
            });
        }
    }
    if let Some(Writable { upper, work }) = writable
        && !upper.place.same_mount(work.place)
    {
        let boundary = if upper.place.same_filesystem(work.place) {
            Boundary::Mount
        } else {
            Boundary::Filesystem
        };
        return Err(StackError::Apart {
            upper: upper.dir.clone(),
            work: work.dir.clone(),
            boundary,
        });
    }
    for &inner in &all {
        if let Some(outer) = inner.above.iter().find_map(|id| known.get(id)) {
            return Err(StackError::Inside {
                inner: inner.dir.clone(),
                outer: outer.dir.clone(),
            });
        }
    }
    Ok(())
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
    let half = current.map_or(FDS_KEPT, |files| files / 2).min(FDS_KEPT);
    usize::try_from(half).unwrap_or(usize::MAX)
}

/// Tells whether this process may read and write `trusted.*` attributes: the kernel hides them from everybody without
/// `CAP_SYS_ADMIN` in the initial user namespace, as if there were none.
fn may_use_trusted() -> bool {
    let privileged = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    privileged && in_initial_user_namespace()
}

/// Tells it by the identity map of the initial namespace; where /proc is not mounted, it is taken for granted.
pub(crate) fn in_initial_user_namespace() -> bool {
    match std::fs::read_to_string("/proc/self/uid_map") {
        Ok(map) => map.split_ascii_whitespace().eq(["0", "0", "4294967295"]),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests;
