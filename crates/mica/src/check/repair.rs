//! Mending: one finding, one step.

use mica_vfs::{
    Caller, Errno, FileName, FileType, KillPriv, Mode, Rdev, RenameFlags, SetAttr, SetTime,
    XattrMode, XattrName,
};

use super::finding::{Area, Finding, Fix};
use crate::offline::Node;
use crate::stack::AtRest;
use std::os::unix::ffi::OsStrExt as _;

/// The name under which something is made in the work directory before it gets its place.
const TEMPORARY: &[u8] = b"#mica-check";

/// Does what `finding.fix` says. Times of directories stay as they are: the fix is not a change of the tree.
///
/// # Errors
///
/// What the layer answers; `ENOENT` if the object is gone.
pub(super) fn mend(at_rest: &AtRest, finding: &Finding) -> Result<(), Errno> {
    let root = match finding.area {
        Area::Upper => &at_rest.upper,
        Area::Work => at_rest.work.as_ref().ok_or(Errno::NOENT)?,
    };
    let names: Vec<&[u8]> = finding
        .path
        .iter()
        .map(|name| name.as_bytes())
        .filter(|name| *name != b"/")
        .collect();
    let Some((last, dirs)) = names.split_last() else {
        return on_object(root, finding);
    };
    let mut dir = root.clone();
    for name in dirs {
        dir = dir.child(name)?.ok_or(Errno::NOENT)?;
    }
    let before = dir.fs().get_attr(dir.id())?;
    match &finding.fix {
        Some(Fix::Remove) => remove(&dir, last)?,
        Some(Fix::Whiteout) => put_whiteout(at_rest, &dir, last)?,
        _ => return on_object(&dir.child(last)?.ok_or(Errno::NOENT)?, finding),
    }
    let times = SetAttr {
        atime: Some(SetTime::At(before.atime)),
        mtime: Some(SetTime::At(before.mtime)),
        ..SetAttr::default()
    };
    dir.fs().set_attr(dir.id(), &times).map(drop)
}

fn on_object(node: &Node, finding: &Finding) -> Result<(), Errno> {
    let fs = node.fs();
    match &finding.fix {
        Some(Fix::RemoveXattr { name }) => {
            match fs.remove_xattr(node.id(), XattrName::new(name)?) {
                // Another name of the same file came first.
                Err(Errno::NODATA) => Ok(()),
                done => done,
            }
        }
        Some(Fix::SetXattr { name, value }) => {
            let name = XattrName::new(name)?;
            fs.set_xattr(node.id(), name, value, XattrMode::Set, KillPriv::Keep)
        }
        Some(Fix::Remove | Fix::Whiteout) | None => Err(Errno::INVAL),
    }
}

/// Removes a name and all that is below it, children first and without following anything.
fn remove(dir: &Node, name: &[u8]) -> Result<(), Errno> {
    let mut stack: Vec<(Node, Box<[u8]>)> = vec![(dir.clone(), name.into())];
    while let Some((parent, name)) = stack.last().cloned() {
        let file_name = FileName::new(&name)?;
        let Some(node) = parent.child(&name)? else {
            stack.pop();
            continue;
        };
        if node.attr().dev != parent.attr().dev {
            return Err(Errno::BUSY);
        }
        if node.kind() != FileType::Directory {
            parent.fs().unlink(parent.id(), file_name)?;
            stack.pop();
            continue;
        }
        let inside = node.names()?;
        if inside.is_empty() {
            parent.fs().rmdir(parent.id(), file_name)?;
            stack.pop();
        }
        stack.extend(inside.into_iter().map(|name| (node.clone(), name)));
    }
    Ok(())
}

/// Puts a device in the place of `name` by one rename.
fn put_whiteout(at_rest: &AtRest, dir: &Node, name: &[u8]) -> Result<(), Errno> {
    let work = at_rest.work.as_ref().ok_or(Errno::NOENT)?;
    let fs = work.fs();
    let temporary = FileName::new(TEMPORARY)?;
    if work.child(TEMPORARY)?.is_some() {
        fs.unlink(work.id(), temporary)?;
    }
    let caller = Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        umask: 0,
    };
    let (kind, mode) = (FileType::CharDevice, Mode::empty());
    let made = fs.mknod(&caller, work.id(), temporary, kind, mode, Rdev::WHITEOUT)?;
    drop(work.adopt(made.node, made.attr));
    let (from, to) = (work.id(), dir.id());
    fs.rename(
        from,
        temporary,
        to,
        FileName::new(name)?,
        RenameFlags::empty(),
    )
}
