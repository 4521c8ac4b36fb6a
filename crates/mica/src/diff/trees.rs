//! What was in directories that are gone.

use std::path::PathBuf;

use mica_vfs::{Errno, FileType};

use super::{Aspects, Change, ChangeKind, Sides};
use crate::offline::Node;
use crate::options::path as path_of;

/// Adds a change for each object that was below a directory that is gone.
pub(super) fn list_deleted(
    changes: &mut Vec<Change>,
    unreadable: &mut Vec<(PathBuf, Errno)>,
    sides: &Sides,
) {
    let gone = |change: &&Change| change.kind == ChangeKind::Deleted && change.is_directory();
    let dirs = changes.iter().filter(gone);
    let mut left: Vec<(PathBuf, Node)> = dirs
        .filter_map(|change| Some((change.path.clone(), change.old.clone()?)))
        .collect();
    while let Some((path, dir)) = left.pop() {
        let names = match dir.names() {
            Ok(names) => names,
            Err(errno) => {
                unreadable.push((path, errno));
                continue;
            }
        };
        for name in names {
            let path = path.join(path_of(name.to_vec()));
            if sides.ignores(&path) {
                continue;
            }
            let node = match dir.child(&name) {
                Ok(Some(node)) => node,
                Ok(None) => continue,
                Err(errno) => {
                    unreadable.push((path, errno));
                    continue;
                }
            };
            if node.kind() == FileType::Directory {
                left.push((path.clone(), node.clone()));
            }
            changes.push(Change {
                path,
                from: None,
                kind: ChangeKind::Deleted,
                aspects: Aspects::empty(),
                old: Some(node),
                new: None,
                data: None,
            });
        }
    }
}
