//! The two directories that are written to, and what their filesystem must be able to do.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use mica_host::{FdCache, Features, HostFs, LayerAccess, Owners, Recorded};
use mica_overlay::{Index, Layer, Upper, XattrNamespace};
use mica_vfs::{Errno, Filesystem, NodeId};

use super::error::{Role, StackError};
use super::half_converted::refuse_half_converted;
use super::in_use::InUse;
use super::index::refuse_index;
use super::limited::{Limited, Limits};
use super::opened::Opened;
use super::owners::RootRecord;
use super::reach::{self, Reach};
use super::warning::StackWarning;
use super::{casefold, foreign};
use crate::options::UpperSpec;

/// The directories that are written to.
#[derive(Debug)]
pub(super) struct Writable {
    pub(super) upper: Opened,
    pub(super) work: Opened,
    pub(super) reach: Reach,
    /// The mount through which both are open, if it is this process's own.
    pub(super) copy: Option<OwnedFd>,
}

impl Writable {
    pub(super) fn open(spec: &UpperSpec) -> Result<Self, StackError> {
        let mut upper = Opened::open(Role::Upper, &spec.dir)?;
        let mut work = Opened::open(Role::Work, &spec.work)?;
        let (reach, copy) = reach::narrow(&mut upper, &mut work);
        Ok(Self {
            upper,
            work,
            reach,
            copy,
        })
    }

    pub(super) fn claim(&self) -> Result<[InUse; 2], StackError> {
        Ok([InUse::claim(&self.upper)?, InUse::claim(&self.work)?])
    }

    /// Makes a layer of the two, if their filesystem can be one.
    pub(super) fn into_upper(
        self,
        (xattrs, index): (XattrNamespace, Index),
        (owners, like): (Owners, Option<Recorded>),
        limits: Limits,
        fds: &Arc<FdCache>,
        lowers: &[Layer],
        warnings: &mut Vec<StackWarning>,
    ) -> Result<(Upper, Features, Option<RootRecord>), StackError> {
        let Self { upper, work, .. } = self;
        let label = upper.dir.path.display().to_string();
        let open = |source| StackError::Open {
            dir: upper.dir.clone(),
            source,
        };
        let fs = HostFs::new(upper.fd, LayerAccess::ReadWrite, Arc::clone(fds)).map_err(open)?;
        let fs = fs.with_owners(owners);
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
        let fs = Arc::new(fs);
        let record = RootRecord::prepare(&fs, owners, &upper.dir, like)?;
        let fs: Arc<dyn Filesystem> = match limits == Limits::default() {
            true => fs,
            false => Arc::new(Limited::over(fs, limits).map_err(open)?),
        };
        let layer = Layer {
            fs,
            root: NodeId::ROOT,
            label,
        };
        casefold::refuse_casefold(&upper.dir, &layer)?;
        refuse_half_converted(&upper.dir, &layer)?;
        foreign::refuse_foreign(&upper.dir, &layer, lowers, xattrs, warnings)?;
        let made = Upper {
            layer,
            work: scratch,
        };
        if index == Index::Off {
            refuse_index(&work.dir, &made)?;
        }
        Ok((made, features, record))
    }
}
