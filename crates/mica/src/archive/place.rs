//! Where in the new directory the next object is made.
//!
//! The directories on the way are open, and each gets its time back when it is left: so none is remembered that is not on the
//! way. Every step is a lookup of one name in one directory, and a symbolic link is no step.

use std::collections::HashMap;

use mica_overlay::XattrNamespace;
use mica_vfs::{
    Attr, Errno, FileName, FileType, KillPriv, Mode, SetAttr, SetTime, Time, XattrMode, XattrName,
};

use super::error::Flaw;
use crate::convert::maker;
use crate::offline::{Node, is_device_whiteout};

/// The attribute by which a directory gives its ACL to what is made in it.
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
/// What the owner of a directory needs to change it.
const OWNERS: Mode = Mode::from_bits_retain(0o700);

/// Why an entry is not made.
#[derive(Debug)]
pub(super) enum Stop {
    Flaw(Flaw),
    Errno(Errno),
    Read(std::io::Error),
    Stopped,
}

impl From<Flaw> for Stop {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// A directory on the way.
#[derive(Debug)]
pub(super) struct Level {
    name: Box<[u8]>,
    pub(super) node: Node,
    times: (Time, Time),
    /// The mode that it gets back, if it is closed to its owner.
    mode: Option<Mode>,
    /// Whether what is made in it gets an ACL.
    pub(super) gives_acl: bool,
}

/// The way to the directory in which the next object is made.
#[derive(Debug)]
pub(super) struct Place {
    root: Level,
    way: Vec<Level>,
    /// Directories that had no entry so far, by their numbers.
    implied: HashMap<u64, Vec<u8>>,
    xattrs: XattrNamespace,
    /// Whether directories that are closed to their owner are closed to this process.
    is_owner: bool,
}

impl Place {
    pub(super) fn new(root: &Node, xattrs: XattrNamespace) -> Result<Self, Errno> {
        let is_owner = !rustix::process::geteuid().is_root();
        Ok(Self {
            root: Level::open(b"", root.clone(), is_owner)?,
            way: Vec::new(),
            implied: HashMap::new(),
            xattrs,
            is_owner,
        })
    }

    /// Goes to a directory; those that are missing on the way are made.
    ///
    /// # Errors
    ///
    /// Something on the way is no directory.
    pub(super) fn enter(&mut self, names: &[&[u8]]) -> Result<&Level, Stop> {
        let known = self.way.iter().zip(names);
        let common = known
            .take_while(|(level, name)| *level.name == ***name)
            .count();
        self.leave_to(common)?;
        for (nth, name) in names.iter().enumerate().skip(common) {
            let dir = self.here().node.clone();
            let node = match dir.child(name)? {
                Some(node) if node.kind() == FileType::Directory => node,
                found => {
                    let path = names.get(..=nth).unwrap_or_default().join(&b'/');
                    self.imply(found, name, path)?
                }
            };
            self.way.push(Level::open(name, node, self.is_owner)?);
        }
        Ok(self.here())
    }

    fn here(&self) -> &Level {
        self.way.last().unwrap_or(&self.root)
    }

    /// Makes a directory that the archive has no entry of, so far.
    fn imply(&mut self, found: Option<Node>, name: &[u8], path: Vec<u8>) -> Result<Node, Stop> {
        let dir = self.here().node.clone();
        if let Some(found) = found {
            if !is_device_whiteout(found.attr()) {
                return Err(Flaw::Through(found.kind()).into());
            }
            dir.fs().unlink(dir.id(), FileName::new(name)?)?;
            let node = make_dir(&dir, name)?;
            self.make_opaque(&node)?;
            self.implied.insert(node.attr().ino.0, path);
            return Ok(node);
        }
        let node = make_dir(&dir, name)?;
        self.implied.insert(node.attr().ino.0, path);
        Ok(node)
    }

    /// Whether a directory had no entry so far. It has one now.
    pub(super) fn was_implied(&mut self, node: &Node) -> bool {
        self.implied.remove(&node.attr().ino.0).is_some()
    }

    /// Marks a directory as one that hides what is below it.
    pub(super) fn make_opaque(&self, node: &Node) -> Result<(), Errno> {
        let name = [self.xattrs.prefix(), b"opaque"].concat();
        let (name, mode) = (XattrName::new(&name)?, XattrMode::Set);
        node.fs()
            .set_xattr(node.id(), name, b"y", mode, KillPriv::Keep)
    }

    fn leave_to(&mut self, depth: usize) -> Result<(), Errno> {
        while self.way.len() > depth {
            if let Some(level) = self.way.pop() {
                level.close()?;
            }
        }
        Ok(())
    }

    /// Leaves all directories, and returns the paths of those that the archive has no entry of.
    pub(super) fn leave(mut self) -> Result<Vec<Vec<u8>>, Errno> {
        self.leave_to(0)?;
        self.root.close()?;
        let mut implied: Vec<_> = self.implied.into_values().collect();
        implied.sort_unstable();
        Ok(implied)
    }
}

impl Level {
    fn open(name: &[u8], node: Node, is_owner: bool) -> Result<Self, Errno> {
        let Attr {
            mode, atime, mtime, ..
        } = *node.attr();
        let is_closed = is_owner && !mode.contains(OWNERS);
        if is_closed {
            set_mode(&node, mode | OWNERS)?;
        }
        Ok(Self {
            name: name.into(),
            times: (atime, mtime),
            mode: is_closed.then_some(mode),
            gives_acl: node.xattr(DEFAULT_ACL)?.is_some(),
            node,
        })
    }

    fn close(self) -> Result<(), Errno> {
        if let Some(mode) = self.mode {
            set_mode(&self.node, mode)?;
        }
        set_times(&self.node, self.times)
    }
}

/// Makes a directory as archives have those that they do not mention.
fn make_dir(dir: &Node, name: &[u8]) -> Result<Node, Errno> {
    let made = dir
        .fs()
        .mkdir(&maker(), dir.id(), FileName::new(name)?, Mode::new(0o755))?;
    Ok(dir.adopt(made.node, made.attr))
}

fn set_mode(node: &Node, mode: Mode) -> Result<(), Errno> {
    let change = SetAttr {
        mode: Some(mode),
        ..SetAttr::default()
    };
    node.fs().set_attr(node.id(), &change).map(drop)
}

pub(super) fn set_times(node: &Node, (atime, mtime): (Time, Time)) -> Result<(), Errno> {
    let change = SetAttr {
        atime: Some(SetTime::At(atime)),
        mtime: Some(SetTime::At(mtime)),
        ..SetAttr::default()
    };
    node.fs().set_attr(node.id(), &change).map(drop)
}

/// Removes all that is in a directory.
pub(super) fn clear(root: &Node) -> Result<(), Errno> {
    let is_owner = !rustix::process::geteuid().is_root();
    let open = |node: &Node| {
        if is_owner && !node.attr().mode.contains(OWNERS) {
            set_mode(node, node.attr().mode | OWNERS)?;
        }
        node.names()
    };
    let mut stack = vec![(
        root.clone(),
        Vec::from(*b"").into_boxed_slice(),
        open(root)?,
    )];
    while let Some((dir, name, names)) = stack.last_mut() {
        let Some(next) = names.pop() else {
            let name = std::mem::take(name);
            stack.pop();
            if let Some((parent, ..)) = stack.last() {
                parent.fs().rmdir(parent.id(), FileName::new(&name)?)?;
            }
            continue;
        };
        match dir.child(&next)? {
            None => {}
            Some(node) if node.kind() == FileType::Directory => {
                let names = open(&node)?;
                stack.push((node, next, names));
            }
            Some(_) => dir.fs().unlink(dir.id(), FileName::new(&next)?)?,
        }
    }
    Ok(())
}
