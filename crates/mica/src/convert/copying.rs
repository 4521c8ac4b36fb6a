//! Copying one object: built under a temporary name, with all that it has, and then given its name.

use mica_vfs::{
    Caller, Errno, FileName, FileType, KillPriv, Mode, RenameFlags, SetAttr, SetTime, SyncScope,
    XattrMode, XattrName,
};

use crate::offline::Node;

/// The temporary name.
pub(super) const TEMPORARY: &[u8] = b"#new";

/// Lost by what comes after it in the order of the others.
const CAPABILITY: &[u8] = b"security.capability";

/// Who makes objects; they get their owners afterwards.
pub(crate) fn maker() -> Caller {
    Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        umask: 0,
    }
}

/// Copies `from`, of a directory what it is itself, to `name` in `dir`. Regular files get the data of `data`. Attributes are
/// copied if `keeps` says so. What is there stays.
///
/// # Errors
///
/// What the layers answer; what was begun lies in `scratch`.
pub(super) fn copy(
    (from, data): (&Node, &Node),
    scratch: &Node,
    (dir, name): (&Node, &[u8]),
    keeps: &dyn Fn(&[u8]) -> bool,
) -> Result<(), Errno> {
    if dir.child(name)?.is_some() {
        return Ok(());
    }
    clear(scratch)?;
    let made = make(from, scratch, TEMPORARY)?;
    let owner = (from.attr().uid, from.attr().gid);
    dress((from, data), &made, (owner, from.attr().mode), &|name| {
        keeps(name).then(|| name.to_vec())
    })?;
    if made.kind() == FileType::Regular {
        made.fs().fsync(made.id(), SyncScope::Data)?;
    }
    publish(scratch, dir, name, RenameFlags::NOREPLACE)
}

/// Gives `made` all that `from` has, with the data of `data`, the owner, group and mode that are given, and attributes by the
/// names that `named` gives them. Nothing of it need be on disk then.
pub(crate) fn dress(
    (from, data): (&Node, &Node),
    made: &Node,
    ((uid, gid), mode): ((u32, u32), Mode),
    named: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
) -> Result<(), Errno> {
    let (fs, id, attr) = (made.fs(), made.id(), *from.attr());
    if attr.kind == FileType::Regular {
        let length = attr.size.min(data.attr().size);
        fs.copy_from(id, &**data.fs(), data.id(), length)?;
        if length != attr.size {
            let size = SetAttr {
                size: Some(attr.size),
                ..SetAttr::default()
            };
            fs.set_attr(id, &size)?;
        }
    }
    let is = made.attr();
    let owner = SetAttr {
        uid: (is.uid != uid).then_some(uid),
        gid: (is.gid != gid).then_some(gid),
        ..SetAttr::default()
    };
    fs.set_attr(id, &owner)?;
    for stored in from.xattr_names()? {
        let (Some(name), Some(value)) = (named(&stored), from.xattr(&stored)?) else {
            continue;
        };
        let name = XattrName::new(&name)?;
        fs.set_xattr(id, name, &value, XattrMode::Set, KillPriv::Keep)?;
    }
    let rest = SetAttr {
        mode: (attr.kind != FileType::Symlink).then_some(mode),
        atime: Some(SetTime::At(attr.atime)),
        mtime: Some(SetTime::At(attr.mtime)),
        ..SetAttr::default()
    };
    fs.set_attr(id, &rest).map(drop)
}

/// Makes an empty object of the type of `from`.
pub(crate) fn make(from: &Node, dir: &Node, name: &[u8]) -> Result<Node, Errno> {
    let (fs, id, name) = (dir.fs(), dir.id(), FileName::new(name)?);
    let private = Mode::new(0o700);
    let made = match from.kind() {
        FileType::Regular => fs.create(&maker(), id, name, Mode::new(0o600))?,
        FileType::Directory => fs.mkdir(&maker(), id, name, private)?,
        FileType::Symlink => {
            let target = from.fs().read_link(from.id())?;
            fs.symlink(&maker(), id, name, &target)?
        }
        kind => fs.mknod(&maker(), id, name, kind, Mode::empty(), from.attr().rdev)?,
    };
    Ok(dir.adopt(made.node, made.attr))
}

/// Gives what lies under the temporary name its own.
pub(super) fn publish(
    scratch: &Node,
    dir: &Node,
    name: &[u8],
    flags: RenameFlags,
) -> Result<(), Errno> {
    let (from, to) = (FileName::new(TEMPORARY)?, FileName::new(name)?);
    match scratch.fs().rename(scratch.id(), from, dir.id(), to, flags) {
        // A filesystem without the flag: that nothing is there was looked at.
        Err(Errno::INVAL) if flags == RenameFlags::NOREPLACE => {
            let plain = RenameFlags::empty();
            scratch.fs().rename(scratch.id(), from, dir.id(), to, plain)
        }
        done => done,
    }
}

/// Removes what an interrupted step left under the temporary name.
pub(super) fn clear(scratch: &Node) -> Result<(), Errno> {
    let name = FileName::new(TEMPORARY)?;
    match scratch.child(TEMPORARY)? {
        None => Ok(()),
        Some(node) if node.kind() == FileType::Directory => scratch.fs().rmdir(scratch.id(), name),
        Some(_) => scratch.fs().unlink(scratch.id(), name),
    }
}

/// Sets the times of a directory that was changed.
pub(crate) fn set_times(
    node: &Node,
    (atime, mtime): (mica_vfs::Time, mica_vfs::Time),
) -> Result<(), Errno> {
    let times = SetAttr {
        atime: Some(SetTime::At(atime)),
        mtime: Some(SetTime::At(mtime)),
        ..SetAttr::default()
    };
    node.fs().set_attr(node.id(), &times).map(drop)
}

/// Gives a file the capability that it had before it was written to.
pub(super) fn set_capability(node: &Node, value: &[u8]) -> Result<(), Errno> {
    let name = XattrName::new(CAPABILITY)?;
    let (mode, kill) = (XattrMode::Set, KillPriv::Keep);
    node.fs().set_xattr(node.id(), name, value, mode, kill)
}
