//! The directory that an archive is imported to.

use std::path::Path;

use mica_host::{LayerAccess, OwnerXattr, Owners as Recording};
use mica_vfs::Errno;

use super::error::ImportError;
use super::import::{ImportOwners, ImportSpec};
use super::place::{clear, set_times};
use crate::convert::{IMPORT, Scratch, mark, purpose_on, unmark};
use crate::stack::{AtRest, Opening};

/// Makes the directory, if there is none; returns whether there was none.
pub(super) fn make(dir: &Path) -> Result<bool, ImportError> {
    match std::fs::create_dir(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(ImportError::Make {
            dir: dir.to_owned(),
            source: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        }),
    }
}

/// The directory, open and marked.
pub(super) struct Target {
    pub(super) at_rest: AtRest,
    /// Where objects are prepared, if their owners are recorded.
    pub(super) scratch: Option<Scratch>,
}

impl Target {
    pub(super) fn open(spec: &ImportSpec) -> Result<Self, ImportError> {
        let prepare = |source| ImportError::Prepare {
            dir: spec.dir.clone(),
            source,
        };
        let (scratch, recording) = match spec.owners {
            ImportOwners::Real | ImportOwners::Mine => (None, Recording::Real),
            ImportOwners::Recorded => {
                let scratch = Scratch::of(&spec.dir, None).map_err(prepare)?;
                scratch.make().map_err(prepare)?;
                (Some(scratch), Recording::Xattr(OwnerXattr::User))
            }
        };
        let opened = AtRest::open_with(
            &Opening {
                upper: &spec.dir,
                work: scratch.as_ref().map(Scratch::path),
                lowers: &[],
                access: LayerAccess::ReadWrite,
            },
            recording,
        );
        let begun = opened.map_err(ImportError::from).and_then(|at_rest| {
            begin(&at_rest, spec)?;
            Ok(at_rest)
        });
        match begun {
            Ok(at_rest) => Ok(Self { at_rest, scratch }),
            Err(error) => {
                // It is empty, and in nobody's way.
                if let Some(scratch) = scratch {
                    scratch.remove().ok();
                }
                Err(error)
            }
        }
    }

    /// Removes what was made.
    pub(super) fn undo(self, made: Option<&Path>) -> Result<(), Errno> {
        let root = &self.at_rest.upper;
        clear(root)?;
        let attr = *root.attr();
        unmark(root)?;
        set_times(root, (attr.atime, attr.mtime))?;
        if let Some(scratch) = &self.scratch {
            scratch.remove()?;
        }
        if let Some(dir) = made {
            std::fs::remove_dir(dir)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        }
        Ok(())
    }
}

/// Marks the directory, which is empty or has what an interrupted import left.
fn begin(at_rest: &AtRest, spec: &ImportSpec) -> Result<(), ImportError> {
    let prepare = |source| ImportError::Prepare {
        dir: spec.dir.clone(),
        source,
    };
    let root = &at_rest.upper;
    match purpose_on(root).map_err(prepare)? {
        Some(purpose) if purpose == IMPORT => clear(root).map_err(prepare)?,
        None if root.names().map_err(prepare)?.is_empty() => {
            mark(root, IMPORT).map_err(prepare)?;
        }
        _ => {
            let dir = spec.dir.clone();
            return Err(ImportError::NotEmpty { dir });
        }
    }
    if spec.owners == ImportOwners::Recorded {
        at_rest.record_root().map_err(prepare)?;
    }
    Ok(())
}
