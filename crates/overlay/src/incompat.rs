//! `work/incompat`: marks in the work directory of what a mount must know to go on with it (OVL-51, OVL-66).
//!
//! Everything in the directory names a feature, and a mount that finds one refuses. A volatile mount leaves
//! `work/incompat/volatile/dirty`, also at its end: only who knows that the machine did not crash since can take it away.

use mica_vfs::{Caller, Cookie, Errno, FileName, FileType, Flow, Mode, RenameFlags};

use crate::error::SetupError;
use crate::stack::LayerNode;
use crate::work::{PRIVATE, Work, make_readable};

/// The directory of the marks, in the work directory.
pub(crate) const INCOMPAT: &[u8] = b"incompat";

/// Refuses a work directory that a mount with other promises used (ovl_workdir_cleanup_recurse).
pub(crate) fn refuse(work: &LayerNode) -> Result<(), SetupError> {
    let failed = |source| SetupError::Work {
        action: "read",
        name: "work/incompat".into(),
        source,
    };
    match feature(work).map_err(failed)? {
        Some(feature) => Err(SetupError::Incompatible { feature }),
        None => Ok(()),
    }
}

/// Returns the name of a feature that the work directory is marked with.
fn feature(work: &LayerNode) -> Result<Option<String>, Errno> {
    let Some((incompat, attr)) = work.child(FileName::new(INCOMPAT)?)? else {
        return Ok(None);
    };
    if attr.kind != FileType::Directory {
        return Ok(None);
    }
    let mut feature = None;
    let mut list = || {
        incompat
            .fs()
            .read_dir(incompat.id, Cookie::START, &mut |entry| {
                feature = Some(entry.name.to_string());
                Flow::Stop
            })
    };
    match list() {
        // The kernel's directories are closed to all but root.
        Err(Errno::ACCESS) => {
            make_readable(&incompat, &attr)?;
            list()?;
        }
        listed => listed?,
    }
    Ok(feature)
}

/// Marks the work directory as one of a volatile mount, with the names and modes that the kernel gives
/// (ovl_create_volatile_dirty).
///
/// The mark appears by one rename: a mount that fails here leaves nothing by which the next one would be refused.
pub(crate) fn mark_volatile(work: &Work, mounter: &Caller) -> Result<(), Errno> {
    let dir = &work.dir;
    let fs = dir.fs();
    // A mounter without `CAP_DAC_OVERRIDE` could neither fill nor remove a directory that is closed to its owner.
    let mode = if mounter.uid == 0 {
        Mode::empty()
    } else {
        PRIVATE
    };
    let name = work.temp_name();
    let incompat = fs.mkdir(mounter, dir.id, name.as_name(), mode)?;
    let incompat = LayerNode::adopt(&dir.layer, &incompat);
    let temp = work.temp(name, FileType::Directory);
    let volatile = fs.mkdir(mounter, incompat.id, FileName::new(b"volatile")?, mode)?;
    let volatile = LayerNode::adopt(&dir.layer, &volatile);
    let dirty = FileName::new(b"dirty")?;
    let dirty = fs.create(mounter, volatile.id, dirty, Mode::empty())?;
    drop(LayerNode::adopt(&dir.layer, &dirty));
    temp.publish(dir, FileName::new(INCOMPAT)?, RenameFlags::empty())
}
