//! Making a literal's objects in a filesystem.

use mica_vfs::{Errno, FileType, Filesystem, NodeId, Time};

use super::{Body, Item, PREFIX, Tree};
use crate::Walk;

/// Makes the objects of a literal in the directory `root`. A directory that exists is changed, not replaced.
///
/// # Panics
///
/// If the literal is none, or an object cannot be made, with what and why.
pub fn build(fs: &dyn Filesystem, root: NodeId, tree: impl Into<Tree>) {
    tree.into().build(fs, root, PREFIX);
}

impl Tree {
    /// Makes the objects in the directory `root`; the overlay's own attributes begin with `prefix`.
    ///
    /// # Panics
    ///
    /// If one cannot be made, with which and why.
    pub fn build(&self, fs: &dyn Filesystem, root: NodeId, prefix: &str) {
        let walk = Walk::at(fs, root);
        for item in &self.0 {
            make(walk, item, prefix)
                .and_then(|()| adorn(walk, item))
                .unwrap_or_else(|errno| panic!("cannot build `{}`: {errno}", item.path));
        }
        // Last, and the deepest first: making a name moves the time of its directory.
        for item in self.0.iter().rev() {
            if let Some(secs) = item.time {
                let time = Time { secs, nanos: 0 };
                walk.utimens(&item.path, time, time)
                    .unwrap_or_else(|errno| panic!("cannot date `{}`: {errno}", item.path));
            }
        }
    }
}

fn make(walk: Walk<'_>, item: &Item, prefix: &str) -> Result<(), Errno> {
    let path = item.path.as_str();
    match &item.body {
        Body::Directory | Body::Opaque | Body::Whiteouts => {
            let exists = walk
                .stat(path)
                .is_ok_and(|attr| attr.kind == FileType::Directory);
            if !exists {
                walk.mkdir_mode(path, item.mode())?;
            }
            let mark: &[u8] = match item.body {
                Body::Opaque => b"y",
                Body::Whiteouts => b"x",
                _ => return Ok(()),
            };
            walk.setxattr(path, &format!("{prefix}opaque"), mark)
        }
        Body::File(data) => {
            walk.create(path, item.mode())?;
            if data.is_empty() {
                return Ok(());
            }
            walk.write_at(path, 0, data)
        }
        Body::Hole(size) => {
            walk.create(path, item.mode())?;
            walk.truncate(path, *size)
        }
        Body::Symlink(target) => walk.symlink(target, path),
        Body::Link(old) => walk.link(old, path),
        Body::Special(kind, rdev) => walk.mknod(path, *kind, item.mode(), *rdev),
        Body::XattrWhiteout => {
            walk.create(path, item.mode())?;
            walk.setxattr(path, &format!("{prefix}whiteout"), b"y")
        }
    }
}

/// Gives the attributes. Owner before mode, and both before xattrs: a chown takes setuid and capabilities away.
fn adorn(walk: Walk<'_>, item: &Item) -> Result<(), Errno> {
    if let Some((uid, gid)) = item.owner {
        walk.chown(&item.path, uid, gid)?;
    }
    if let Some(mode) = item.mode
        && !matches!(item.body, Body::Symlink(_))
    {
        walk.chmod(&item.path, mode)?;
    }
    for (name, value) in &item.xattrs {
        walk.setxattr(&item.path, name, value)?;
    }
    if item.flags.is_empty() {
        return Ok(());
    }
    let held = walk.hold(&item.path)?;
    let flags = walk.fs().file_flags(held.node())? | item.flags;
    walk.fs().set_file_flags(held.node(), flags)
}
