//! A walk through an upper, each object with what lies below it.
//!
//! The walk keeps its own stack, so no tree is too deep for it, and enters no other filesystem that is mounted inside.

use std::path::{Path, PathBuf};

use mica_overlay::{Redirect, parse_redirect};
use mica_vfs::{Errno, FileType};

use super::below::{Lowers, Place, Start, Want};
use super::marks::Marks;
use super::node::Node;
use crate::options::path as path_of;

/// A directory of the upper on the way to an object.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) node: Node,
    /// From the root of the upper; the root is `/`.
    pub(crate) path: PathBuf,
    pub(crate) marks: Marks,
    /// What it merges with, topmost first.
    pub(crate) below: Vec<Place>,
}

/// An object of the upper. Of the root, `parent` is `None`.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    pub(crate) parent: Option<&'a Dir>,
    pub(crate) name: &'a [u8],
    pub(crate) path: &'a Path,
    pub(crate) node: &'a Node,
    pub(crate) marks: &'a Marks,
    /// What a directory merges with; of others nothing.
    pub(crate) below: &'a [Place],
}

/// What is told of a walk.
pub(crate) trait Visit {
    /// Takes an object; a directory before what is in it.
    fn object(&mut self, object: &Object<'_>) -> Result<(), Errno>;

    /// Takes a directory after all that is in it.
    fn leave(&mut self, dir: &Dir) -> Result<(), Errno> {
        let _ = dir;
        Ok(())
    }

    /// Hears of a place that belongs to another filesystem, mounted there.
    fn elsewhere(&mut self, path: &Path) {
        let _ = path;
    }

    /// Hears of an object that cannot be read. The walk goes on without it.
    fn unreadable(&mut self, path: &Path, errno: Errno);
}

/// A directory whose entries are being visited.
struct Frame {
    dir: Dir,
    names: std::vec::IntoIter<Box<[u8]>>,
}

/// Walks through the upper.
///
/// # Errors
///
/// That of the root, and those of `visit`.
pub(crate) fn walk(root: &Node, lowers: &Lowers, visit: &mut dyn Visit) -> Result<(), Errno> {
    let xattrs = lowers.xattrs();
    let dir = Dir {
        node: root.clone(),
        path: PathBuf::from("/"),
        marks: Marks::read(root, xattrs)?,
        // Roots merge whatever they carry (OVL-5).
        below: lowers.roots().to_vec(),
    };
    visit.object(&Object {
        parent: None,
        name: b"",
        path: &dir.path,
        node: root,
        marks: &dir.marks,
        below: &dir.below,
    })?;
    let names = root.names()?.into_iter();
    let mut stack = vec![Frame { dir, names }];
    while let Some(frame) = stack.last_mut() {
        let Some(name) = frame.names.next() else {
            if let Some(frame) = stack.pop() {
                visit.leave(&frame.dir)?;
            }
            continue;
        };
        let path = frame.dir.path.join(path_of(name.to_vec()));
        match enter(&frame.dir, &name, &path, lowers, visit) {
            Ok(Some(next)) => stack.push(next),
            Ok(None) => {}
            Err(Stop::Here(errno)) => visit.unreadable(&path, errno),
            Err(Stop::Walk(errno)) => return Err(errno),
        }
    }
    Ok(())
}

/// What ends: the look at one object, or the walk.
enum Stop {
    Here(Errno),
    Walk(Errno),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Here(errno)
    }
}

fn enter(
    parent: &Dir,
    name: &[u8],
    path: &Path,
    lowers: &Lowers,
    visit: &mut dyn Visit,
) -> Result<Option<Frame>, Stop> {
    let Some(node) = parent.node.child(name)? else {
        return Ok(None);
    };
    if node.attr().dev != parent.node.attr().dev {
        visit.elsewhere(path);
        return Ok(None);
    }
    let marks = Marks::read(&node, lowers.xattrs())?;
    let is_dir = node.kind() == FileType::Directory;
    let below = if is_dir && !marks.is_opaque() {
        merging(&parent.below, name, &marks, lowers)?
    } else {
        Vec::new()
    };
    let object = Object {
        parent: Some(parent),
        name,
        path,
        node: &node,
        marks: &marks,
        below: &below,
    };
    visit.object(&object).map_err(Stop::Walk)?;
    if !is_dir {
        return Ok(None);
    }
    let names = node.names()?.into_iter();
    let path = path.to_owned();
    Ok(Some(Frame {
        dir: Dir {
            node,
            path,
            marks,
            below,
        },
        names,
    }))
}

/// Finds what a directory of the upper merges with.
fn merging(
    parents: &[Place],
    name: &[u8],
    marks: &Marks,
    lowers: &Lowers,
) -> Result<Vec<Place>, Errno> {
    let start = match marks.get("redirect").map(parse_redirect) {
        None => Start::Name(name),
        Some(Ok(redirect @ (Redirect::Name(_) | Redirect::Path(_)))) => Start::Redirect(redirect),
        Some(Err(_)) => return Ok(Vec::new()),
    };
    lowers.find(parents, start, Want::Directories)
}
