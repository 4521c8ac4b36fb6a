//! Copying what a session changed: the upper as it is, with marks, hard links, holes and times.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use mica_host::{FdCache, HostFs, LayerAccess};
use mica_vfs::{Errno, FileName, FileType, NodeId};

use rustix::fs::{Mode as RawMode, OFlags, openat};

use super::error::DoError;
use crate::convert::{dress, make};
use crate::offline::Node;
use crate::options::path as path_of;
use crate::stack::raise_fd_limit;

/// Copies what is in the directory `from` to `to`, which is empty or has a part of it, and puts it on disk. `told` hears how many objects are done, and
/// may stop it.
pub(super) fn copy_all(
    from: OwnedFd,
    to: OwnedFd,
    told: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<(), DoError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let disk = openat(&to, ".", flags, RawMode::empty()).map_err(at("/".into()))?;
    let fds = FdCache::new(raise_fd_limit());
    let root = |fd, access| {
        HostFs::new(fd, access, Arc::clone(&fds))
            .and_then(|fs| Node::root(Arc::new(fs), NodeId::ROOT))
            .map_err(at("/".into()))
    };
    let mut job = Job {
        links: HashMap::new(),
        told,
        done: 0,
    };
    job.tree(
        root(from, LayerAccess::ReadOnly)?,
        root(to, LayerAccess::ReadWrite)?,
    )?;
    // Who describes the session afterwards relies on it.
    rustix::fs::syncfs(&disk).map_err(at("/".into()))
}

fn at(path: PathBuf) -> impl FnOnce(Errno) -> DoError {
    move |source| DoError::Copy { path, source }
}

struct Job<'a> {
    /// The copies of files of several names, by number.
    links: HashMap<u64, Node>,
    told: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    done: u64,
}

/// A directory whose entries are being copied.
struct Frame {
    from: Node,
    to: Node,
    path: PathBuf,
    names: std::vec::IntoIter<Box<[u8]>>,
}

impl Frame {
    fn of(from: Node, to: Node, path: PathBuf) -> Result<Self, DoError> {
        let names = from.names().map_err(at(path.clone()))?.into_iter();
        Ok(Self {
            from,
            to,
            path,
            names,
        })
    }
}

impl Job<'_> {
    fn tree(&mut self, from: Node, to: Node) -> Result<(), DoError> {
        let mut stack = vec![Frame::of(from, to, "/".into())?];
        while let Some(frame) = stack.last_mut() {
            let Some(name) = frame.names.next() else {
                // Its mode may forbid what was done in it, and its times were changed by that.
                complete(&frame.from, &frame.to).map_err(at(frame.path.clone()))?;
                stack.pop();
                continue;
            };
            self.done += 1;
            if (self.told)(self.done).is_break() {
                return Err(DoError::Stopped);
            }
            let path = frame.path.join(path_of(name.to_vec()));
            if let Some((from, to)) = self.entry(frame, &name).map_err(at(path.clone()))? {
                stack.push(Frame::of(from, to, path)?);
            }
        }
        Ok(())
    }

    /// Copies an entry; returns a directory with its copy, which is still empty.
    fn entry(&mut self, frame: &Frame, name: &[u8]) -> Result<Option<(Node, Node)>, Errno> {
        let Some(from) = frame.from.child(name)? else {
            return Ok(None);
        };
        let is_dir = from.kind() == FileType::Directory;
        let several = !is_dir && from.attr().nlink > 1;
        if several && let Some(first) = self.links.get(&from.attr().ino.0) {
            let (fs, dir) = (frame.to.fs(), frame.to.id());
            match fs.link(first.id(), dir, FileName::new(name)?) {
                Ok(entry) => {
                    drop(frame.to.adopt(entry.node, entry.attr));
                    return Ok(None);
                }
                // The next one starts another group.
                Err(Errno::MLINK) => {}
                Err(errno) => return Err(errno),
            }
        }
        let to = match frame.to.child(name)? {
            None => make(&from, &frame.to, name)?,
            // It was begun before.
            Some(there) if is_dir && there.kind() == FileType::Directory => there,
            Some(_) => {
                frame.to.fs().unlink(frame.to.id(), FileName::new(name)?)?;
                make(&from, &frame.to, name)?
            }
        };
        if is_dir {
            return Ok(Some((from, to)));
        }
        complete(&from, &to)?;
        if several {
            self.links.insert(from.attr().ino.0, to);
        }
        Ok(None)
    }
}

/// Gives a copy all that its original has.
fn complete(from: &Node, to: &Node) -> Result<(), Errno> {
    let owner = (from.attr().uid, from.attr().gid);
    dress((from, from), to, (owner, from.attr().mode), &|name| {
        Some(name.to_vec())
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::path::Path;

    use super::*;

    fn copied(from: &Path, to: &Path) -> Result<(), DoError> {
        let open = |path: &Path| OwnedFd::from(fs::File::open(path).unwrap());
        copy_all(open(from), open(to), &mut |_| ControlFlow::Continue(()))
    }

    #[test]
    fn a_copy_has_names_holes_times_and_modes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("d/e")).unwrap();
        fs::create_dir(&to).unwrap();
        let sparse = fs::File::create(from.join("d/sparse")).unwrap();
        sparse.set_len(64 << 20).unwrap();
        fs::write(from.join("d/f"), "text").unwrap();
        fs::hard_link(from.join("d/f"), from.join("d/e/again")).unwrap();
        std::os::unix::fs::symlink("../f", from.join("d/e/link")).unwrap();
        fs::set_permissions(from.join("d/e"), Permissions::from_mode(0o2510)).unwrap();
        fs::set_permissions(from.join("d/f"), Permissions::from_mode(0o640)).unwrap();
        copied(&from, &to).unwrap();
        for path in ["", "d", "d/e", "d/f", "d/sparse", "d/e/again", "d/e/link"] {
            let (was, is) = (from.join(path), to.join(path));
            let (was, is) = (
                fs::symlink_metadata(was).unwrap(),
                fs::symlink_metadata(is).unwrap(),
            );
            let told = |of: &fs::Metadata| (of.mode(), of.uid(), of.mtime(), of.mtime_nsec());
            assert_eq!(told(&is), told(&was), "{path}");
            assert_eq!(is.nlink(), was.nlink(), "{path}");
        }
        let ino = |path: &str| fs::metadata(to.join(path)).unwrap().ino();
        assert_eq!(ino("d/f"), ino("d/e/again"));
        assert_eq!(fs::read(to.join("d/f")).unwrap(), b"text");
        assert!(fs::metadata(to.join("d/sparse")).unwrap().blocks() < 1024);
    }

    #[test]
    fn who_is_told_may_stop_it() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for path in [&from, &to] {
            fs::create_dir(path).unwrap();
        }
        for name in ["a", "b", "c"] {
            fs::write(from.join(name), "").unwrap();
        }
        let open = |path: &Path| OwnedFd::from(fs::File::open(path).unwrap());
        let stopped = copy_all(open(&from), open(&to), &mut |done| match done {
            1 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        });
        assert!(matches!(stopped, Err(DoError::Stopped)), "{stopped:?}");
        assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
        copied(&from, &to).unwrap();
        assert_eq!(fs::read_dir(&to).unwrap().count(), 3);
    }
}
