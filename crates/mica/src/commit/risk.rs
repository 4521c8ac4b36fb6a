//! What a session of another user has that gives rights: who commits it has to know.

use std::os::unix::fs::MetadataExt as _;

use mica_vfs::{FileType, Mode};
use rustix::process::geteuid;

use super::error::{CommitError, Told};
use crate::diff::Entry;
use crate::offline::Node;
use crate::session::Session;

/// Fails if the session is another user's, with a list of what has to be looked at.
pub(super) fn confirm(session: &Session, entries: &[Entry]) -> Result<(), CommitError> {
    let owner = match std::fs::metadata(session.dir()) {
        Ok(metadata) => metadata.uid(),
        Err(_) => return Ok(()),
    };
    // Inside of the user namespace both are the same.
    if owner == geteuid().as_raw() {
        return Ok(());
    }
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
