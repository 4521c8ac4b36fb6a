//! Owners of a stack that are not those of its files: `xattr_permissions=`, `uidmapping=` and the like.

use std::sync::Arc;

use mica_host::{FdCache, HostFs, LayerAccess, Owners, Recorded};
use mica_overlay::IdMap;
use mica_vfs::Errno;

use super::{LayerDir, Opened, StackError};

/// The record of an upper's root, by which other programs tell that owners are recorded in it. It is written when nothing
/// else can go wrong.
#[derive(Debug)]
pub(super) struct RootRecord {
    fs: Arc<HostFs>,
    dir: LayerDir,
    name: &'static str,
    like: Option<Recorded>,
}

impl RootRecord {
    /// Finds out whether `fs`, the layer of `dir`, can record owners; `None` if it need not, or its root is recorded.
    pub(super) fn prepare(
        fs: &Arc<HostFs>,
        owners: Owners,
        dir: &LayerDir,
        like: Option<Recorded>,
    ) -> Result<Option<Self>, StackError> {
        let Owners::Xattr(form) = owners else {
            return Ok(None);
        };
        let record = Self {
            fs: Arc::clone(fs),
            dir: dir.clone(),
            name: form.name().to_str().unwrap_or_default(),
            like,
        };
        match fs.probe_owners() {
            Ok(()) => {}
            Err(source) => return Err(record.refused(source)),
        }
        match fs.recorded_root() {
            Ok(None) => Ok(Some(record)),
            Ok(Some(_)) => Ok(None),
            Err(source) => Err(StackError::Open {
                dir: record.dir,
                source,
            }),
        }
    }

    pub(super) fn write(self) -> Result<(), StackError> {
        match self.fs.record_root(self.like) {
            Ok(()) => Ok(()),
            Err(source) => Err(self.refused(source)),
        }
    }

    fn refused(self, source: Errno) -> StackError {
        StackError::NoOwnerXattr {
            upper: self.dir,
            name: self.name,
            source,
        }
    }
}

/// Finds what an upper's root is to be shown as: what is recorded of the topmost lower's that has anything recorded.
pub(super) fn recorded_root(
    lowers: &[Opened],
    owners: Owners,
    fds: &Arc<FdCache>,
) -> Result<Option<Recorded>, StackError> {
    if owners == Owners::Real {
        return Ok(None);
    }
    for lower in lowers {
        let named = |source| StackError::Open {
            dir: lower.dir.clone(),
            source,
        };
        let fd = lower
            .fd
            .try_clone()
            .map_err(|error| named(Errno::from_io_error(&error).unwrap_or(Errno::MFILE)))?;
        let fs = HostFs::new(fd, LayerAccess::ReadOnly, Arc::clone(fds)).map_err(named)?;
        let found = fs.with_owners(owners).recorded_root().map_err(named)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Fills in what the kernel of this machine shows for an id without a mapping.
pub(super) fn with_overflow_ids(ids: &IdMap) -> IdMap {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    let parsed = |name: &str| read(name).ok()?.trim().parse().ok();
    let mut ids = ids.clone();
    ids.users.overflow = parsed("overflowuid").unwrap_or(ids.users.overflow);
    ids.groups.overflow = parsed("overflowgid").unwrap_or(ids.groups.overflow);
    ids
}
