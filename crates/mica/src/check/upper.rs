//! The upper: each object's marks, and what lies below it.

mod foreign;
mod marks;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use mica_overlay::{XattrNamespace, parse_metacopy, parse_opaque, parse_redirect};
use mica_vfs::{Attr, Errno, FileType};

use super::finding::{Area, Finding, Fix};
use super::trouble::Trouble;
use crate::offline::{Dir, Lowers, Node, Object, Start, Visit, Want, is_device_whiteout, walk};
pub(super) use marks::is_gone;

/// How often progress is told.
const PROGRESS_EVERY: u64 = 256;

/// Looks at all of an upper; returns what is wrong and how many objects there are.
pub(super) fn look(
    upper: &Node,
    lowers: &Lowers,
    has_work: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<(Vec<Finding>, u64), Errno> {
    let mut look = Look {
        lowers,
        has_work,
        progress,
        findings: Vec::new(),
        objects: 0,
        other_lowers: false,
        impure_wanted: HashSet::new(),
    };
    walk(upper, lowers, &mut look)?;
    if look.other_lowers {
        // Those may be the wrong lowers: what hides nothing in them may hide something in others.
        for finding in &mut look.findings {
            if finding.trouble == Trouble::NothingHidden {
                finding.fix = None;
            }
        }
    }
    let mut findings = look.findings;
    findings.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((findings, look.objects))
}

struct Look<'a> {
    lowers: &'a Lowers,
    has_work: bool,
    progress: &'a mut dyn FnMut(u64),
    findings: Vec<Finding>,
    objects: u64,
    /// Whether something tells that the lowers are not those of this upper.
    other_lowers: bool,
    /// Directories in which something with an origin was met.
    impure_wanted: HashSet<PathBuf>,
}

impl Visit for Look<'_> {
    fn object(&mut self, object: &Object<'_>) -> Result<(), Errno> {
        self.objects += 1;
        if self.objects.is_multiple_of(PROGRESS_EVERY) {
            (self.progress)(self.objects);
        }
        let attr = object.node.attr();
        if is_device_whiteout(attr) {
            return self.whiteout(object);
        }
        self.marks_in_place(object);
        self.foreign_xattrs(object)?;
        self.foreign_name(object)?;
        match attr.kind {
            FileType::Directory => self.directory(object),
            FileType::Regular if attr.size == 0 && object.marks.has("whiteout") => {
                let fix = self.has_work.then_some(Fix::Whiteout);
                self.found(object, Trouble::XattrWhiteout, fix);
                return Ok(());
            }
            FileType::Regular => self.metacopy(object)?,
            _ => {}
        }
        self.origin(object);
        Ok(())
    }

    fn leave(&mut self, dir: &Dir) -> Result<(), Errno> {
        if self.impure_wanted.remove(&dir.path) && !dir.marks.has("impure") {
            let fix = Fix::SetXattr {
                name: self.name("impure"),
                value: b"y".to_vec(),
            };
            self.at(&dir.path, Trouble::NotImpure, Some(fix));
        }
        Ok(())
    }

    fn elsewhere(&mut self, path: &Path) {
        self.at(path, Trouble::Mountpoint, None);
    }

    fn unreadable(&mut self, path: &Path, errno: Errno) {
        self.at(path, Trouble::Unreadable(errno), None);
    }
}

impl Look<'_> {
    fn found(&mut self, object: &Object<'_>, trouble: Trouble, fix: Option<Fix>) {
        self.at(object.path, trouble, fix);
    }

    fn at(&mut self, path: &Path, trouble: Trouble, fix: Option<Fix>) {
        self.findings.push(Finding {
            area: Area::Upper,
            path: path.to_owned(),
            trouble,
            fix,
        });
    }

    fn name(&self, mark: &str) -> Vec<u8> {
        [self.lowers.xattrs().prefix(), mark.as_bytes()].concat()
    }

    fn without(&self, mark: &str) -> Option<Fix> {
        let name = self.name(mark);
        Some(Fix::RemoveXattr { name })
    }

    fn knows_lowers(&self) -> bool {
        !self.lowers.roots().is_empty()
    }

    fn whiteout(&mut self, object: &Object<'_>) -> Result<(), Errno> {
        let Some(parent) = object.parent else {
            return Ok(());
        };
        // The roots merge also if they are marked opaque.
        let alone = parent.marks.is_opaque() && parent.path != Path::new("/");
        if alone || (self.knows_lowers() && parent.below.is_empty()) {
            // One with an origin is listed as if it merged, without whiteouts.
            let (trouble, fix) = if parent.marks.has("origin") {
                (Trouble::NothingHidden, Some(Fix::Remove))
            } else {
                (Trouble::ListedWhiteout, Some(Fix::Remove))
            };
            self.found(object, trouble, fix);
        } else if self.knows_lowers() {
            let start = Start::Name(object.name);
            if self
                .lowers
                .find(&parent.below, start, Want::Anything)?
                .is_empty()
            {
                self.found(object, Trouble::NothingHidden, Some(Fix::Remove));
            }
        }
        Ok(())
    }

    fn directory(&mut self, object: &Object<'_>) {
        let marks = object.marks;
        if let Some(value) = marks.get("opaque") {
            match parse_opaque(value) {
                Err(bad) => self.found(object, Trouble::MalformedMark(bad), None),
                Ok(_) if object.parent.is_none() && marks.is_opaque() => {
                    let fix = self.without("opaque");
                    self.found(object, Trouble::OpaqueRoot, fix);
                }
                Ok(_) => {}
            }
        }
        let Some(value) = marks.get("redirect") else {
            if marks.has("origin")
                && self.knows_lowers()
                && object.below.is_empty()
                && !marks.is_opaque()
                // In one that merges with nothing, neither do those that were moved there.
                && object.parent.is_some_and(|parent| !parent.below.is_empty())
            {
                self.other_lowers = true;
                self.found(object, Trouble::OtherLowers, None);
            }
            return;
        };
        if let Err(bad) = parse_redirect(value) {
            self.found(object, Trouble::MalformedMark(bad), None);
        } else if marks.is_opaque() {
            let fix = self.without("redirect");
            self.found(object, Trouble::UselessRedirect, fix);
        } else if self.knows_lowers() && object.below.is_empty() {
            let to = value.to_vec();
            self.found(object, Trouble::DanglingRedirect { to }, None);
        } else if self.lowers.xattrs() == XattrNamespace::User {
            self.found(object, Trouble::UnfollowedRedirect, None);
        }
    }

    fn metacopy(&mut self, object: &Object<'_>) -> Result<(), Errno> {
        let Some(value) = object.marks.get("metacopy") else {
            return Ok(());
        };
        if let Err(bad) = parse_metacopy(value) {
            self.found(object, Trouble::MalformedMark(bad), None);
            return Ok(());
        }
        let start = match object.marks.get("redirect").map(parse_redirect) {
            None => Start::Name(object.name),
            Some(Ok(redirect)) => Start::Redirect(redirect),
            Some(Err(bad)) => {
                self.found(object, Trouble::MalformedMark(bad), None);
                return Ok(());
            }
        };
        if self.lowers.xattrs() == XattrNamespace::User {
            self.found(object, Trouble::UnfollowedMetacopy, None);
        }
        let (Some(parent), true) = (object.parent, self.knows_lowers()) else {
            return Ok(());
        };
        match data_below(self.lowers, parent, start)? {
            None => self.found(object, Trouble::NoData, None),
            Some(data) if data.size != object.node.attr().size => {
                let (here, below) = (object.node.attr().size, data.size);
                self.found(object, Trouble::OtherSize { here, below }, None);
            }
            Some(_) => {}
        }
        Ok(())
    }
}

/// Returns the attributes of the file that has a metacopy's data.
fn data_below(lowers: &Lowers, parent: &Dir, start: Start<'_>) -> Result<Option<Attr>, Errno> {
    let found = lowers.find(&parent.below, start, Want::Data)?;
    let Some(last) = found.last() else {
        return Ok(None);
    };
    let metacopy = [lowers.xattrs().prefix(), b"metacopy"].concat();
    let has_data = last.node.kind() == FileType::Regular && last.node.xattr(&metacopy)?.is_none();
    Ok(has_data.then(|| *last.node.attr()))
}
