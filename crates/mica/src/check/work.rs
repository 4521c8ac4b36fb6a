//! The work directory: what is left over in it.

use std::path::{Path, PathBuf};

use mica_overlay::XattrNamespace;
use mica_vfs::{Errno, FileType};

use super::finding::{Area, Finding, Fix};
use super::trouble::Trouble;
use crate::offline::{Node, is_device_whiteout};
use crate::options::path as path_of;

/// Looks at all of a work directory but the entries of its index.
pub(super) fn look(work: &Node, _: XattrNamespace) -> Result<Vec<Finding>, Errno> {
    let mut findings = Vec::new();
    for name in work.names()? {
        let path = Path::new("/").join(path_of(name.to_vec()));
        let Some(node) = work.child(&name)? else {
            continue;
        };
        let is_dir = node.kind() == FileType::Directory;
        match &*name {
            b"work" if is_dir => scratch(&node, &path, &mut findings)?,
            b"index" if is_dir => {}
            [b'#', ..] => findings.push(stale(path)),
            b"lost+found" => {}
            _ => findings.push(finding(path, Trouble::Strange, None)),
        }
    }
    Ok(findings)
}

/// Looks at `work`, where objects are prepared.
fn scratch(work: &Node, path: &Path, findings: &mut Vec<Finding>) -> Result<(), Errno> {
    for name in work.names()? {
        let Some(node) = work.child(&name)? else {
            continue;
        };
        let path = path.join(path_of(name.to_vec()));
        if &*name == b"incompat" && node.kind() == FileType::Directory {
            for feature in node.names()? {
                let path = path.join(path_of(feature.to_vec()));
                let feature = String::from_utf8_lossy(&feature).into_owned();
                findings.push(finding(path, Trouble::Incompatible { feature }, None));
            }
        } else if !is_device_whiteout(node.attr()) {
            // A whiteout is what all others of a mount were links to: the kernel leaves it behind when it unmounts.
            findings.push(stale(path));
        }
    }
    Ok(())
}

pub(super) fn stale(path: PathBuf) -> Finding {
    finding(path, Trouble::StaleTemporary, Some(Fix::Remove))
}

pub(super) fn finding(path: PathBuf, trouble: Trouble, fix: Option<Fix>) -> Finding {
    let area = Area::Work;
    Finding {
        area,
        path,
        trouble,
        fix,
    }
}
