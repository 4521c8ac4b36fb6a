//! The two sides of a session: its upper, and the tree under it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_host::{FdCache, HostFs, LayerAccess};
use mica_overlay::XattrNamespace;
use mica_vfs::{Errno, NodeId};
use rustix::fs::{Mode, OFlags, open};

use super::Glob;
use crate::offline::Node;
use crate::session::{DoError, Session, Whose, left_out};
use crate::stack::raise_fd_limit;

/// What a session changed, and what it is on.
#[derive(Debug)]
pub(crate) struct Sides {
    pub(crate) upper: Node,
    /// The tree with all that is mounted in it.
    pub(crate) lower: Node,
    /// Under which prefix the upper has its marks.
    pub(crate) xattrs: XattrNamespace,
    pub(crate) whose: Whose,
    /// Directories that are empty in the view, from the root of the tree on.
    pub(crate) left_out: Vec<PathBuf>,
    ignored: Vec<Glob>,
}

impl Sides {
    /// Opens them; `access` says whether the tree is to be changed.
    pub(crate) fn open(session: &Session, access: LayerAccess) -> Result<Self, DoError> {
        let fds = FdCache::new(raise_fd_limit());
        let (upper, lower) = (session.upper(), session.lower());
        let root = |path: &Path, access| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = open(path, flags, Mode::empty())
                .and_then(|fd| HostFs::across(fd, access, Arc::clone(&fds)))
                .and_then(|fs| Node::root(Arc::new(fs), NodeId::ROOT));
            opened.map_err(|source| DoError::Directory {
                path: path.to_owned(),
                source,
            })
        };
        Ok(Self {
            upper: root(&upper, LayerAccess::ReadOnly)?,
            lower: root(&lower, access)?,
            xattrs: session.xattrs(),
            whose: session.whose(),
            left_out: left_out(&lower)?,
            ignored: session.ignored().to_vec(),
        })
    }

    /// Takes the names, too, that are ignored.
    pub(crate) fn with_ignored(mut self) -> Self {
        self.ignored.clear();
        self
    }

    /// Whether nothing is to be told of a path of the view, and of what is below it.
    pub(crate) fn ignores(&self, path: &Path) -> bool {
        self.ignored.iter().any(|glob| glob.matches(path))
    }

    /// Finds an object of the tree by a path from its root.
    pub(crate) fn find(&self, path: &Path) -> Result<Option<Node>, Errno> {
        descend(&self.lower, path)
    }
}

/// Follows names through directories alone.
pub(crate) fn descend(root: &Node, path: &Path) -> Result<Option<Node>, Errno> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut node = root.clone();
    for name in path.strip_prefix("/").unwrap_or(path) {
        if node.kind() != mica_vfs::FileType::Directory {
            return Ok(None);
        }
        match node.child(name.as_bytes())? {
            Some(child) => node = child,
            None => return Ok(None),
        }
    }
    Ok(Some(node))
}
