//! Directories of the upper, and what merges with them.

use std::path::PathBuf;

use mica_overlay::Layer;
use mica_vfs::{Attr, FileName, FileType, Filesystem, NodeId};

use crate::offline::is_device_whiteout;

/// A directory of the upper.
pub(super) struct Dir<'a> {
    pub(super) node: NodeId,
    pub(super) attr: Attr,
    /// From the root of the upper.
    pub(super) path: PathBuf,
    /// What merges with it: a filesystem and a directory of it. Topmost first.
    pub(super) below: Vec<Below<'a>>,
}

/// A directory of a lower, with the reference that is held on it.
pub(super) struct Below<'a> {
    fs: &'a dyn Filesystem,
    node: NodeId,
    owned: bool,
}

impl Below<'_> {
    /// Tells whether it shows a name.
    pub(super) fn has(&self, name: FileName<'_>) -> bool {
        match self.fs.lookup(self.node, name) {
            Ok(entry) => {
                self.fs.forget(entry.node, 1);
                !is_device_whiteout(&entry.attr)
            }
            Err(_) => false,
        }
    }
}

impl Drop for Below<'_> {
    fn drop(&mut self) {
        if self.owned {
            self.fs.forget(self.node, 1);
        }
    }
}

/// Returns the roots of the lowers.
pub(super) fn roots(lowers: &[Layer]) -> Vec<Below<'_>> {
    let roots = lowers.iter().map(|lower| Below {
        fs: &*lower.fs,
        node: lower.root,
        owned: false,
    });
    roots.collect()
}

/// Returns the directories called `name` that merge with one of the upper.
pub(super) fn merging<'a>(below: &[Below<'a>], name: FileName<'_>) -> Vec<Below<'a>> {
    let mut merged = Vec::new();
    for lower in below {
        let Ok(entry) = lower.fs.lookup(lower.node, name) else {
            continue;
        };
        let found = Below {
            fs: lower.fs,
            node: entry.node,
            owned: true,
        };
        if entry.attr.kind != FileType::Directory {
            break;
        }
        merged.push(found);
    }
    merged
}
