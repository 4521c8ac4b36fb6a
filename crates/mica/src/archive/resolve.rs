//! What redirects and metacopies lead to: the same path in the union of the upper and its lowers.
//!
//! A directory that was renamed is exported whole, as a plain one that hides what is below it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_overlay::{Index, Metacopies, XattrNamespace, Xino};
use mica_vfs::{Coherence, Errno, FileType, Filesystem, NodeId};

use crate::offline::Node;
use crate::options::{Identity, OverlayUuid, RedirectDir, StackSpec, path as path_of};
use crate::stack::{Stack, StackError};

/// The union of an upper and its lowers, to be read.
#[derive(Debug)]
pub(super) struct Merged {
    root: Node,
    /// What the layers take to live.
    _stack: Stack,
}

impl Merged {
    /// Lays `upper` over the others.
    pub(super) fn open(
        upper: &Path,
        (lowers, data): (&[PathBuf], &[PathBuf]),
        xattrs: XattrNamespace,
        owners: mica_host::Owners,
    ) -> Result<Self, StackError> {
        let identity = Identity {
            owners,
            ..Identity::default()
        };
        let stack = Stack::open(&StackSpec {
            lower: [&[upper.to_owned()][..], lowers].concat(),
            data: data.to_vec(),
            upper: None,
            xattrs,
            redirects: RedirectDir::On,
            metacopies: Metacopies::On,
            index: Index::Off,
            xino: Xino::Off,
            uuid: OverlayUuid::Auto,
            coherence: Coherence::Exclusive,
            durability: crate::Durability::Auto,
            identity,
        })?;
        let fs: Arc<dyn Filesystem> = Arc::<mica_overlay::Overlay>::clone(stack.overlay());
        let root = Node::root(fs, NodeId::ROOT).map_err(|source| StackError::Open {
            dir: crate::LayerDir {
                role: crate::Role::Lower,
                path: upper.to_owned(),
            },
            source,
        })?;
        Ok(Self {
            root,
            _stack: stack,
        })
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
