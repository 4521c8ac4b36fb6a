//! What a mount would find in a work directory, told without changing anything.

use std::sync::Arc;

use mica_vfs::{Errno, FileFlags, FileName, FileType, NodeId};

use crate::error::SetupError;
use crate::incompat;
use crate::stack::{LayerInfo, LayerNode};
use crate::work::{names_in, unfinished};

/// How deep leftovers are looked at.
const DEPTH_MAX: usize = 16;

/// Refuses what preparing the work directory would refuse, and returns how many unfinished objects that would remove.
///
/// # Errors
///
/// [`SetupError::Incompatible`], [`SetupError::Work`]
pub(crate) fn examine(upper: &Arc<LayerInfo>, work: NodeId) -> Result<usize, SetupError> {
    let failed = |action| {
        move |source| SetupError::Work {
            action,
            name: "work".to_owned(),
            source,
        }
    };
    let name = FileName::new(b"work").map_err(failed("name"))?;
    let entry = match upper.fs.lookup(work, name) {
        Ok(entry) => entry,
        Err(Errno::NOENT) => return Ok(0),
        Err(errno) => return Err(failed("look up")(errno)),
    };
    let old = LayerNode::adopt(upper, &entry);
    if entry.attr.kind != FileType::Directory {
        return Ok(0);
    }
    match incompat::refuse(&old) {
        // It is closed to this user, whose mount would open it: what is in it is seen then.
        Err(SetupError::Work {
            source: Errno::ACCESS,
            ..
        }) => return Ok(0),
        refused => refused?,
    }
    if is_kept(&old, 0).map_err(failed("read"))? {
        return Err(failed("empty")(Errno::PERM));
    }
    unfinished(&old).map_err(failed("read"))
}

/// Tells whether something in a directory is immutable or append-only, which keeps it from being removed.
fn is_kept(dir: &LayerNode, depth: usize) -> Result<bool, Errno> {
    if has_flag(dir) {
        return Ok(true);
    }
    for (name, _) in names_in(dir.fs(), dir.id)? {
        let Some((child, attr)) = dir.child(name.as_name())? else {
            continue;
        };
        let kept = match attr.kind {
            FileType::Directory if depth < DEPTH_MAX => is_kept(&child, depth + 1)?,
            FileType::Directory | FileType::Regular => has_flag(&child),
            _ => false,
        };
        if kept {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A filesystem without file flags keeps nothing.
fn has_flag(object: &LayerNode) -> bool {
    let kept = FileFlags::IMMUTABLE | FileFlags::APPEND;
    let flags = object.fs().file_flags(object.id);
    flags.is_ok_and(|flags| flags.intersects(kept))
}
