//! What a mount with `index=on` leaves in its work directory.

use mica_overlay::Upper;
use mica_vfs::{Cookie, Errno, FileName, FileType, Filesystem, Flow, NodeId};

use super::error::{LayerDir, StackError};

/// The most entries that are looked at.
const ENTRIES_MAX: usize = 1_000;

/// Refuses a work directory whose index ties names of one file together: each entry is a changed file, which names that
/// only a lower has are to show, too. The kernel without `index=on` shows them with their old content, and says nothing.
///
/// # Errors
///
/// [`StackError::Index`]
pub(super) fn refuse_index(work: &LayerDir, upper: &Upper) -> Result<(), StackError> {
    let fs = &*upper.layer.fs;
    match ties_names(fs, upper.work) {
        Ok(false) => Ok(()),
        Ok(true) => Err(StackError::Index { work: work.clone() }),
        Err(source) => Err(StackError::Open {
            dir: work.clone(),
            source,
        }),
    }
}

/// Tells whether the index of work directory `work` holds a file that has a name elsewhere.
fn ties_names(fs: &dyn Filesystem, work: NodeId) -> Result<bool, Errno> {
    let index = match fs.lookup(work, FileName::new(b"index")?) {
        Ok(index) => index,
        Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(errno),
    };
    let tied = if index.attr.kind == FileType::Directory {
        any_tied(fs, index.node)
    } else {
        Ok(false)
    };
    fs.forget(index.node, 1);
    tied
}

fn any_tied(fs: &dyn Filesystem, index: NodeId) -> Result<bool, Errno> {
    let mut names = Vec::new();
    fs.read_dir(index, Cookie::START, &mut |entry| {
        names.push(entry.name.to_owned());
        if names.len() < ENTRIES_MAX {
            Flow::Continue
        } else {
            Flow::Stop
        }
    })?;
    for name in names {
        let entry = fs.lookup(index, name.as_name())?;
        fs.forget(entry.node, 1);
        // Directories and whiteouts are there for nfs_export, which changes no view; one link is what a crash left.
        let other = matches!(entry.attr.kind, FileType::Directory | FileType::CharDevice);
        if !other && entry.attr.nlink > 1 {
            return Ok(true);
        }
    }
    Ok(false)
}
