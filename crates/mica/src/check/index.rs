//! The index of a work directory: what each entry ties together (ovl_verify_index).

use std::path::{Path, PathBuf};

use mica_overlay::Origin;
use mica_vfs::{Errno, FileType};

use super::finding::{Area, Finding, Fix};
use super::links::Links;
use super::trouble::Trouble;
use super::upper::is_gone;
use super::work::{finding, stale};
use crate::offline::{Lowers, Marks, Node, is_device_whiteout};
use crate::options::path as path_of;

/// Looks at the index, if there is one.
pub(super) fn look(work: &Node, upper: &Node, lowers: &Lowers) -> Result<Vec<Finding>, Errno> {
    let Some(index) = work.child(b"index")? else {
        return Ok(Vec::new());
    };
    if index.kind() != FileType::Directory {
        return Ok(Vec::new());
    }
    let mut look = Look {
        lowers,
        findings: Vec::new(),
    };
    look.binding(&index, upper)?;
    for name in index.names()? {
        let Some(entry) = index.child(&name)? else {
            continue;
        };
        let path = Path::new("/index").join(path_of(name.to_vec()));
        look.entry(&name, &entry, path)?;
    }
    Ok(look.findings)
}

struct Look<'a> {
    lowers: &'a Lowers,
    findings: Vec<Finding>,
}

impl Look<'_> {
    /// Checks that the index belongs to this upper, and the upper to the topmost lower (ovl_verify_fh).
    fn binding(&mut self, index: &Node, upper: &Node) -> Result<(), Errno> {
        let xattrs = self.lowers.xattrs();
        let marks = Marks::read(index, xattrs)?;
        if let Some(value) = marks.get("upper")
            && !is_handle_of(value, upper)
        {
            let at = PathBuf::from("/index");
            self.findings
                .push(finding(at, Trouble::IndexOtherUpper, None));
        }
        let marks = Marks::read(upper, xattrs)?;
        if let (Some(value), Some(lower)) = (marks.get("origin"), self.lowers.roots().first())
            && !is_handle_of(value, &lower.node)
        {
            self.findings.push(Finding {
                area: Area::Upper,
                path: PathBuf::from("/"),
                trouble: Trouble::IndexOtherLower,
                fix: None,
            });
        }
        Ok(())
    }

    fn entry(&mut self, name: &[u8], entry: &Node, path: PathBuf) -> Result<(), Errno> {
        if name.first() == Some(&b'#') {
            if !is_device_whiteout(entry.attr()) {
                self.findings.push(stale(path));
            }
            return Ok(());
        }
        let value = from_hex(name);
        let Some((value, origin)) = value.and_then(|value| {
            let origin = Origin::parse(&value).ok()?;
            Some((value, origin))
        }) else {
            let fix = spare(entry)?;
            self.findings.push(finding(path, Trouble::IndexName, fix));
            return Ok(());
        };
        if is_device_whiteout(entry.attr()) {
            return Ok(());
        }
        let marks = Marks::read(entry, self.lowers.xattrs())?;
        if entry.kind() == FileType::Directory {
            return self.directory(&marks, entry, path);
        }
        let trouble = if marks.get("origin") != Some(&*value) {
            Some(Trouble::IndexStale)
        } else if is_gone(&origin, self.lowers) {
            Some(Trouble::IndexNoTarget)
        } else {
            self.links(&marks, &origin, entry)
        };
        if let Some(trouble) = trouble {
            let fix = match trouble {
                Trouble::WrongLinks { .. } => None,
                Trouble::IndexOrphan => Some(Fix::Remove),
                _ => spare(entry)?,
            };
            self.findings.push(finding(path, trouble, fix));
        }
        Ok(())
    }

    /// Checks the entry of a directory: its `upper` leads to one that is there.
    fn directory(&mut self, marks: &Marks, entry: &Node, path: PathBuf) -> Result<(), Errno> {
        let upper = marks.get("upper").map(Origin::parse);
        let gone = match upper {
            None => true,
            Some(Err(_)) => true,
            Some(Ok(origin)) => entry.fs().attr_by_handle(&origin.handle) == Err(Errno::STALE),
        };
        if gone {
            let fix = spare(entry)?;
            self.findings.push(finding(path, Trouble::IndexOrphan, fix));
        }
        Ok(())
    }

    /// Checks the number of names of an indexed file.
    fn links(&self, marks: &Marks, origin: &Origin, entry: &Node) -> Option<Trouble> {
        let links = Links::parse(marks.get("nlink")?)?;
        let upper = entry.attr().nlink;
        let lowers = self.lowers.roots().iter();
        let mut lower = lowers
            .filter(|lower| lower.node.fs().uuid() == origin.uuid)
            .filter_map(|lower| lower.node.fs().attr_by_handle(&origin.handle).ok());
        let lower = lower.next().map(|attr| attr.nlink);
        // The index itself is one of the names, and none of the union's.
        let least = i64::from(upper) - 1;
        let recorded = links.names(upper, lower.unwrap_or(0));
        if let (Links::Lower(_), None) = (links, lower) {
            return None;
        }
        if recorded == 0 && upper == 1 {
            return Some(Trouble::IndexOrphan);
        }
        let most = lower.map_or(i64::MAX, |lower| least + i64::from(lower));
        (recorded < least.max(1) || recorded > most).then_some(Trouble::WrongLinks {
            recorded,
            least: least.max(1),
            most,
        })
    }
}

/// Returns how an entry is removed if nothing is lost with it: its file has another name, or it is empty.
fn spare(entry: &Node) -> Result<Option<Fix>, Errno> {
    let spare = match entry.kind() {
        FileType::Directory => entry.names()?.is_empty(),
        FileType::CharDevice => is_device_whiteout(entry.attr()) || entry.attr().nlink > 1,
        _ => entry.attr().nlink > 1,
    };
    Ok(spare.then_some(Fix::Remove))
}

/// Whether a stored handle is that of `node`. One that cannot be told is taken for it.
fn is_handle_of(value: &[u8], node: &Node) -> bool {
    let Ok(stored) = Origin::parse(value) else {
        return false;
    };
    match node.fs().file_handle(node.id()) {
        Ok(handle) => handle == stored.handle,
        Err(_) => true,
    }
}

/// Reads bytes that are written as pairs of lower-case hexadecimal digits.
fn from_hex(name: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = name.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    pairs.collect()
}
