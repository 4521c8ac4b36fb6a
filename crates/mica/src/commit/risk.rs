//! What a session of another user has that gives rights: who commits it has to know.

use std::os::unix::fs::MetadataExt as _;

use mica_vfs::{FileType, Mode};
use rustix::process::geteuid;

use super::error::{CommitError, Told};
use crate::diff::Entry;
use crate::offline::Node;
use crate::session::Session;

/// Returns whose the session is, if not this process's. Inside of its user namespace it is.
pub(super) fn other_owner(session: &Session) -> Option<u32> {
    let metadata = std::fs::metadata(session.dir()).ok()?;
    Some(metadata.uid()).filter(|owner| *owner != geteuid().as_raw())
}

/// Whether there is a journal that somebody else has made. A user cannot make a directory of root's.
pub(super) fn is_others(journal: &std::path::Path) -> bool {
    let metadata = std::fs::symlink_metadata(journal);
    metadata.is_ok_and(|found| found.uid() != geteuid().as_raw() || !found.is_dir())
}

/// Fails if the session is another user's, with a list of what has to be looked at.
pub(super) fn confirm(session: &Session, entries: &[Entry]) -> Result<(), CommitError> {
    let Some(owner) = other_owner(session) else {
        return Ok(());
    };
    let mut told = Vec::new();
    for entry in entries {
        if let Some(new) = &entry.new {
            look(&entry.path, new, owner, &mut told);
        }
    }
    Err(CommitError::Unconfirmed(told))
}

fn look(path: &std::path::Path, node: &Node, owner: u32, told: &mut Told<&'static str>) {
    let attr = node.attr();
    let mut tell = |what| told.push((path.to_owned(), what));
    if attr.kind == FileType::Regular && attr.mode.contains(Mode::SETUID) {
        tell("setuid");
    }
    if attr.kind == FileType::Regular && attr.mode.contains(Mode::SETGID) {
        tell("setgid");
    }
    if matches!(attr.kind, FileType::CharDevice | FileType::BlockDevice) {
        tell("a device");
    }
    if !matches!(node.xattr(b"security.capability"), Ok(None)) {
        tell("capabilities");
    }
    if attr.uid != owner {
        tell("of another owner");
    }
}
