//! A directory of the stack, opened once and looked around.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use mica_host::{FdCache, HostFs, LayerAccess, OpenLayerError, Owners, open_layer};
use mica_overlay::Layer;
use mica_vfs::{Coherence, Errno, NodeId};
use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat};

use super::casefold;
use super::error::{LayerDir, Role, StackError};
use super::half_converted::refuse_half_converted;
use super::place::{self, DirId, Place};
use crate::options::StackSpec;

/// A directory of the stack, open.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) dir: LayerDir,
    /// What the layer is made of. It may be open through a private copy of its mount, which has no directory above.
    pub(super) fd: OwnedFd,
    pub(super) place: Place,
    pub(super) above: Vec<DirId>,
}

impl Opened {
    pub(super) fn open(role: Role, path: &Path) -> Result<Self, StackError> {
        let access = match role {
            Role::Lower | Role::Data => LayerAccess::ReadOnly,
            Role::Upper | Role::Work => LayerAccess::ReadWrite,
        };
        Self::open_for(role, path, access)
    }

    /// Opens a directory for less than its role allows, perhaps.
    pub(super) fn open_for(
        role: Role,
        path: &Path,
        access: LayerAccess,
    ) -> Result<Self, StackError> {
        let dir = LayerDir {
            role,
            path: path.to_owned(),
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

    pub(super) fn into_lower(
        self,
        owners: Owners,
        coherence: Coherence,
        fds: &Arc<FdCache>,
    ) -> Result<Layer, StackError> {
        let label = self.dir.path.display().to_string();
        let fs = HostFs::new(self.fd, LayerAccess::ReadOnly, Arc::clone(fds))
            .and_then(|fs| coherent(fs, coherence));
        let fs = fs.map_err(|source| StackError::Open {
            dir: self.dir.clone(),
            source,
        })?;
        let layer = Layer {
            fs: Arc::new(fs.with_owners(owners)),
            root: NodeId::ROOT,
            label,
        };
        casefold::refuse_casefold(&self.dir, &layer)?;
        refuse_half_converted(&self.dir, &layer)?;
        Ok(layer)
    }
}

pub(super) fn open_lowers(spec: &StackSpec) -> Result<Vec<Opened>, StackError> {
    let lowers = spec.lower.iter();
    lowers.map(|path| Opened::open(Role::Lower, path)).collect()
}

pub(super) fn open_data(spec: &StackSpec) -> Result<Vec<Opened>, StackError> {
    let data = spec.data.iter();
    data.map(|path| Opened::open(Role::Data, path)).collect()
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

/// Lets others change a lower meanwhile, if they do.
pub(super) fn coherent(fs: HostFs, coherence: Coherence) -> Result<HostFs, Errno> {
    match coherence {
        Coherence::Exclusive => Ok(fs),
        Coherence::Shared => fs.shared(),
    }
}
