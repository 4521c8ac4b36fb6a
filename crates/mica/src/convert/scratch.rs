//! What a conversion keeps while it runs: a directory for its journal and for objects under construction, and a mark on the
//! root of the upper that keeps mounts away.
//!
//! In a work directory it lies in `work/incompat`, for which the kernel refuses the upper, too. Without one it lies beside
//! the upper.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use mica_vfs::{Errno, KillPriv, XattrMode, XattrName};

use super::journal::Journal;
use crate::offline::Node;
use crate::stack::Stack;

/// The directory in `work/incompat`.
pub(crate) const FEATURE: &str = "mica-convert";
/// The plan, and what it is written to before it is complete.
const JOURNAL: &str = "journal";
const JOURNAL_NEW: &str = "journal.new";

/// The mark on the root of an upper that is being converted.
pub(crate) const MARKS: [&[u8]; 2] = [b"trusted.mica.convert", b"user.mica.convert"];

/// The directory.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Finds where it is, or would be.
    pub(crate) fn of(upper: &Path, work: Option<&Path>) -> Result<Self, Errno> {
        let path = match work {
            Some(work) => work.join("work/incompat").join(FEATURE),
            None => {
                // The path may end with `..`, or with a symbolic link.
                let upper = upper.canonicalize().map_err(|error| errno(&error))?;
                let name = upper.file_name().ok_or(Errno::INVAL)?;
                let mut hidden = std::ffi::OsString::from(".");
                hidden.push(name);
                hidden.push(".");
                hidden.push(FEATURE);
                upper.with_file_name(hidden)
            }
        };
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it, if it is not there.
    pub(crate) fn make(&self) -> Result<(), Errno> {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&self.path);
        made.map_err(|error| errno(&error))
    }

    /// Reads the journal; `None` if there is none that is complete.
    pub(super) fn journal(&self) -> Result<Option<Journal>, Errno> {
        match fs::read(self.path.join(JOURNAL)) {
            Ok(bytes) => Ok(Journal::decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(errno(&error)),
        }
    }

    /// Puts the journal on disk, then gives it its name.
    pub(super) fn write(&self, journal: &Journal) -> Result<(), Errno> {
        let write = || -> io::Result<()> {
            let new = self.path.join(JOURNAL_NEW);
            let mut file = File::create(&new)?;
            file.write_all(&journal.encode())?;
            file.sync_all()?;
            fs::rename(new, self.path.join(JOURNAL))?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|error| errno(&error))
    }

    /// Removes it, and of the directories above it those that were made for it and are empty.
    pub(crate) fn remove(&self) -> Result<(), Errno> {
        let remove = || -> io::Result<()> {
            // The journal first: a half-removed one says nothing.
            for name in [JOURNAL, JOURNAL_NEW] {
                match fs::remove_file(self.path.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            match fs::remove_dir_all(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            if let Some(incompat) = self.path.parent()
                && incompat.ends_with("work/incompat")
            {
                // Another feature may be in it.
                drop(fs::remove_dir(incompat));
            }
            Ok(())
        };
        remove().map_err(|error| errno(&error))
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Reads what the mark on a root says.
pub(crate) fn purpose_on(root: &Node) -> Result<Option<Vec<u8>>, Errno> {
    for mark in MARKS {
        if let Some(value) = root.xattr(mark)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// The purpose of an import: a part of a layer is in the directory.
pub(crate) const IMPORT: &[u8] = b"mica import";

/// Marks a root as one of a layer that is being converted or imported.
pub(crate) fn mark(root: &Node, purpose: &[u8]) -> Result<(), Errno> {
    let [trusted, user] = MARKS;
    let name = if Stack::may_use_trusted() {
        trusted
    } else {
        user
    };
    let (name, mode) = (XattrName::new(name)?, XattrMode::Set);
    root.fs()
        .set_xattr(root.id(), name, purpose, mode, KillPriv::Keep)
}

/// Takes the mark away.
pub(crate) fn unmark(root: &Node) -> Result<(), Errno> {
    for mark in MARKS {
        match root.fs().remove_xattr(root.id(), XattrName::new(mark)?) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            // Nobody but root sees the first one.
            Err(Errno::PERM) if mark == MARKS[0] => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
