//! What was made is on disk before the journal is sealed, and what was done before the session goes.
//!
//! A few objects are synced one by one. Of many the filesystems are: that is one wait for the disk, not one for each.

use std::collections::HashMap;

use mica_vfs::{Access, Errno, FileType, HostFile, SyncScope};
use rustix::fs::{fstatfs, syncfs};

use super::plan::device;
use crate::offline::Node;

/// So many are a few.
const FEW: usize = 64;
/// `FUSE_SUPER_MAGIC`: of what syncfs(2) is told there its server hears nothing.
const FUSE: i64 = 0x6573_5546;

/// Objects that are to be on disk.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    few: Vec<Node>,
    /// If there are more: a file of each filesystem by device. `None`: it cannot be synced as a whole.
    filesystems: HashMap<u64, Option<HostFile>>,
}

impl Unsynced {
    /// Adds an object, to which nothing is done afterwards.
    pub(super) fn add(&mut self, node: &Node) -> Result<(), Errno> {
        if self.few.len() < FEW {
            self.few.push(node.clone());
            return Ok(());
        }
        let known = self.filesystems.get(&device(node.attr()));
        let whole = match known {
            Some(file) => file.is_some(),
            None if node.kind() == FileType::Regular => {
                let file = whole(node);
                let found = file.is_some();
                self.filesystems.insert(device(node.attr()), file);
                found
            }
            None => false,
        };
        if whole { Ok(()) } else { sync(node) }
    }

    /// Waits until all of them are on disk.
    pub(super) fn sync(self) -> Result<(), Errno> {
        for file in self.filesystems.values().flatten() {
            syncfs(&file.0)?;
        }
        let of_whole = |node: &&Node| {
            let file = self.filesystems.get(&device(node.attr()));
            file.is_some_and(Option::is_some)
        };
        self.few
            .iter()
            .filter(|node| !of_whole(node))
            .try_for_each(sync)
    }
}

/// Opens a file by which its filesystem can be synced.
fn whole(node: &Node) -> Option<HostFile> {
    let file = node.fs().host_file(node.id(), Access::Read).ok()??;
    let found = fstatfs(&file.0).ok()?;
    (found.f_type != FUSE).then_some(file)
}

fn sync(node: &Node) -> Result<(), Errno> {
    match node.fs().fsync(node.id(), SyncScope::All) {
        // Who may not read a directory, or not write to its filesystem, cannot sync it.
        Err(Errno::ACCESS | Errno::ROFS) if node.kind() == FileType::Directory => Ok(()),
        synced => synced,
    }
}
