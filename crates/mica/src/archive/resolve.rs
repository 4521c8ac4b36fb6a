//! What redirects and metacopies lead to: the same path in the union of the upper and its lowers.
//!
//! A directory that was renamed is exported whole, as a plain one that hides what is below it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_host::{FdCache, HostFs, MountTree};
use mica_overlay::{Metacopies, XattrNamespace};
use mica_vfs::{Errno, FileType, Filesystem, NodeId};
use rustix::fs::{Mode, OFlags};

use crate::mountinfo::mounts;
use crate::offline::{Lowers, Node, Place};
use crate::options::{Identity, RedirectDir, StackSpec, path as path_of};
use crate::session::Session;
use crate::stack::{LayerDir, Role, Stack, StackError};

/// What lies below an upper.
pub(super) enum Beneath {
    /// Directories, topmost first, and data-only ones.
    Dirs(Vec<PathBuf>, Vec<PathBuf>),
    /// The tree of a session.
    Machine {
        /// As a layer.
        fs: Arc<HostFs>,
        /// What is mounted in it: a session may have had something else there.
        mountpoints: Vec<PathBuf>,
    },
}

impl Beneath {
    /// Opens the tree of a session, as it is now. Its mounts are reached by their names; the session's own directory and its
    /// neighbours are not there, as they were not in the session.
    pub(super) fn of(session: &Session) -> Result<Self, StackError> {
        let lower = session.lower();
        let failed = |source| StackError::Open {
            dir: lower_dir(&lower),
            source,
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&lower, flags, Mode::empty()).map_err(failed)?;
        let store = session.dir().parent();
        let store = store.and_then(|store| store.strip_prefix(&lower).ok());
        let tree = MountTree {
            root,
            mountpoints: Vec::new(),
            hidden: store.map(Path::to_owned).into_iter().collect(),
            foreign: Some(session.xattrs().prefix()),
            unmapped: None,
        };
        let fs = HostFs::tree(tree, FdCache::new(FDS)).map_err(failed)?;
        let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        let points = mounts(&table).map(|mount| mount.point());
        let points = points.filter_map(|point| Some(point.strip_prefix(&lower).ok()?.to_owned()));
        Ok(Self::Machine {
            fs: Arc::new(fs),
            mountpoints: points.collect(),
        })
    }

    /// Returns the directories that are named.
    pub(super) fn dirs(&self) -> Vec<PathBuf> {
        match self {
            Self::Dirs(lowers, data) => [&lowers[..], data].concat(),
            Self::Machine { .. } => Vec::new(),
        }
    }

    /// Returns the layers, given what was opened of the directories.
    pub(super) fn lowers(&self, opened: &[Node], xattrs: XattrNamespace) -> Result<Lowers, Errno> {
        Ok(match self {
            Self::Dirs(_, data) => Lowers::new(opened.to_vec(), data.len(), xattrs),
            Self::Machine { fs, .. } => {
                let fs: Arc<dyn Filesystem> = Arc::<HostFs>::clone(fs);
                Lowers::new(vec![Node::root(fs, NodeId::ROOT)?], 0, xattrs)
            }
        })
    }

    /// Whether something is mounted at or below one of these places of the machine.
    pub(super) fn has_mounts(&self, places: &[Place]) -> bool {
        let Self::Machine { mountpoints, .. } = self else {
            return false;
        };
        places.iter().any(|place| {
            let names = place.path.iter().map(|name| path_of(name.to_vec()));
            let path: PathBuf = names.collect();
            mountpoints.iter().any(|point| point.starts_with(&path))
        })
    }
}

fn lower_dir(path: &Path) -> LayerDir {
    LayerDir {
        role: Role::Lower,
        path: path.to_owned(),
    }
}

/// How many files of the machine stay open for the next one.
const FDS: usize = 64;

/// The union of an upper and its lowers, to be read.
#[derive(Debug)]
pub(super) struct Merged {
    root: Node,
    /// What the layers take to live.
    _stack: Stack,
}

impl Merged {
    /// Lays `upper` over what is beneath; `None` if there is nothing.
    pub(super) fn open(
        upper: &Path,
        beneath: &Beneath,
        xattrs: XattrNamespace,
        owners: mica_host::Owners,
    ) -> Result<Option<Self>, StackError> {
        let (lowers, data) = match beneath {
            Beneath::Dirs(lowers, _) if lowers.is_empty() => return Ok(None),
            Beneath::Dirs(lowers, data) => (lowers.as_slice(), data.clone()),
            Beneath::Machine { .. } => (&[][..], Vec::new()),
        };
        let spec = StackSpec {
            data,
            xattrs,
            redirects: RedirectDir::On,
            metacopies: Metacopies::On,
            identity: Identity {
                owners,
                ..Identity::default()
            },
            ..StackSpec::new([&[upper.to_owned()][..], lowers].concat())
        };
        let stack = match beneath {
            Beneath::Dirs(..) => Stack::open(&spec)?,
            Beneath::Machine { fs, .. } => Stack::above_tree(&spec, Arc::clone(fs))?,
        };
        let fs: Arc<dyn Filesystem> = Arc::<mica_overlay::Overlay>::clone(stack.overlay());
        let root = Node::root(fs, NodeId::ROOT).map_err(|source| StackError::Open {
            dir: lower_dir(upper),
            source,
        })?;
        Ok(Some(Self {
            root,
            _stack: stack,
        }))
    }

    /// Finds the object at a path of the upper.
    pub(super) fn find(&self, path: &Path) -> Result<Node, Errno> {
        use std::os::unix::ffi::OsStrExt as _;
        let mut node = self.root.clone();
        for name in path.iter().skip(1) {
            node = node.child(name.as_bytes())?.ok_or(Errno::NOENT)?;
        }
        Ok(node)
    }
}

/// Visits all that is in a directory of a union, each directory before what is in it.
pub(super) fn below<E>(
    dir: Node,
    path: PathBuf,
    visit: &mut dyn FnMut(&Path, &Node) -> Result<(), E>,
    failed: impl Fn(&Path, Errno) -> E,
) -> Result<(), E> {
    let names = dir.names().map_err(|errno| failed(&path, errno))?;
    let mut stack = vec![(dir, path, names.into_iter())];
    while let Some((dir, path, names)) = stack.last_mut() {
        let Some(name) = names.next() else {
            stack.pop();
            continue;
        };
        let path = path.join(path_of(name.to_vec()));
        let found = dir.child(&name).map_err(|errno| failed(&path, errno))?;
        let node = found.ok_or_else(|| failed(&path, Errno::NOENT))?;
        visit(&path, &node)?;
        if node.kind() == FileType::Directory {
            let names = node.names().map_err(|errno| failed(&path, errno))?;
            stack.push((node, path, names.into_iter()));
        }
    }
    Ok(())
}
