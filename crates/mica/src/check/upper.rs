//! The upper: each object's marks, and what lies below it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use mica_overlay::{
    BadMark, Origin, OriginError, XattrNamespace, parse_metacopy, parse_opaque, parse_redirect,
};
use mica_vfs::{Attr, Errno, FileType};

use super::finding::{Area, Finding, Fix};
use super::links::Links;
use super::trouble::Trouble;
use crate::offline::{Dir, Lowers, Node, Object, Start, Visit, Want, is_device_whiteout, walk};

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
        self.foreign_xattrs(object);
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

    fn origin(&mut self, object: &Object<'_>) {
        let Some(value) = object.marks.get("origin") else {
            return;
        };
        let origin = match Origin::parse(value) {
            Ok(origin) => origin,
            Err(OriginError::Malformed) => {
                let fix = self.without("origin");
                self.found(object, Trouble::MalformedMark(BadMark::Origin), fix);
                return;
            }
            Err(_) => return,
        };
        if let Some(parent) = object.parent
            && !parent.marks.has("impure")
            && shows_origin(&origin, object, self.lowers)
        {
            self.impure_wanted.insert(parent.path.clone());
        }
        if is_gone(&origin, self.lowers) {
            self.found(object, Trouble::OriginGone, None);
        }
    }

    /// Looks for marks on objects on which they mean nothing, and for values that are passed over.
    fn marks_in_place(&mut self, object: &Object<'_>) {
        let kind = object.node.kind();
        let is_root = object.parent.is_none();
        let is_whiteout = kind == FileType::Regular && object.node.attr().size == 0;
        for (mark, value) in object.marks.iter() {
            let in_place = match mark {
                b"opaque" | b"impure" => kind == FileType::Directory,
                // What is copied up in full leaves its redirect behind (OVL-8).
                b"redirect" => matches!(kind, FileType::Directory | FileType::Regular),
                b"metacopy" => kind == FileType::Regular,
                b"whiteout" => is_whiteout,
                b"nlink" => kind != FileType::Directory,
                b"uuid" => is_root,
                b"origin" | b"protattr" => true,
                _ => {
                    self.strange_mark(object, mark);
                    continue;
                }
            };
            let mark = String::from_utf8_lossy(mark).into_owned();
            let fix = self.without(&mark);
            if !in_place {
                self.found(object, Trouble::Misplaced { mark }, fix);
                continue;
            }
            if let Some((mark, wanted)) = meaningless(&mark, value) {
                let fix = if mark == "uuid" { None } else { fix };
                self.found(object, Trouble::Meaningless { mark, wanted }, fix);
            }
        }
    }

    fn strange_mark(&mut self, object: &Object<'_>, mark: &[u8]) {
        let trouble = match mark.strip_prefix(b"whiteout.") {
            Some(name) => Trouble::OldWhiteout {
                name: name.to_vec(),
            },
            None => Trouble::UnknownMark {
                name: [self.lowers.xattrs().prefix(), mark].concat(),
            },
        };
        self.found(object, trouble, None);
    }

    fn foreign_xattrs(&mut self, object: &Object<'_>) {
        let other = match self.lowers.xattrs() {
            XattrNamespace::Trusted => XattrNamespace::User,
            XattrNamespace::User => XattrNamespace::Trusted,
        };
        for name in &object.marks.others {
            if object.parent.is_none() && crate::convert::MARKS.contains(&name.as_slice()) {
                self.found(object, Trouble::HalfConverted, None);
                continue;
            }
            let name = name.clone();
            let trouble = match name.strip_prefix(other.prefix()) {
                Some(b"opaque" | b"redirect" | b"metacopy" | b"whiteout") => {
                    Trouble::OtherNamespace { name }
                }
                Some(_) => continue,
                None if is_of_fuse_overlayfs(&name) => Trouble::ForeignXattr { name },
                None => continue,
            };
            self.found(object, trouble, None);
        }
    }

    fn foreign_name(&mut self, object: &Object<'_>) -> Result<(), Errno> {
        let Some(parent) = object.parent else {
            return Ok(());
        };
        let attr = object.node.attr();
        let is_mark = attr.kind == FileType::Regular && attr.size == 0;
        let in_root = parent.path == Path::new("/");
        let trouble = match object.name {
            b".wh..wh..opq" if is_mark => Trouble::NamedOpaque,
            b".wh..wh.aufs" | b".wh..wh.plnk" | b".wh..wh.orph" if in_root => Trouble::ForeignName,
            b".unionfs" | b".unionfs-fuse" if in_root && attr.kind == FileType::Directory => {
                Trouble::ForeignName
            }
            name if is_mark && name.len() > 4 && name.starts_with(b".wh.") => {
                let hidden = name.get(4..).unwrap_or_default();
                let hides = if self.knows_lowers() {
                    let below =
                        self.lowers
                            .find(&parent.below, Start::Name(hidden), Want::Anything)?;
                    Some(!below.is_empty() && parent.node.child(hidden)?.is_none())
                } else {
                    None
                };
                Trouble::NamedWhiteout { hides }
            }
            _ => return Ok(()),
        };
        self.found(object, trouble, None);
        Ok(())
    }
}

/// Returns the mark and what it should be, if it is not.
fn meaningless(mark: &str, value: &[u8]) -> Option<(&'static str, &'static str)> {
    match mark {
        "nlink" if Links::parse(value).is_none() => {
            Some(("nlink", "`U` or `L`, a sign and a number"))
        }
        "uuid" if value.len() != 16 => Some(("uuid", "16 bytes")),
        "protattr" if value.iter().any(|flag| !b"ai".contains(flag)) => {
            Some(("protattr", "made of `a` and `i`"))
        }
        _ => None,
    }
}

fn is_of_fuse_overlayfs(name: &[u8]) -> bool {
    matches!(
        name,
        b"user.fuseoverlayfs.opaque"
            | b"user.fuseoverlayfs.override_stat"
            | b"security.fuseoverlayfs.override_stat"
            | b"user.containers.override_stat"
    )
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

/// Whether an object shows the number of its origin: the kernel takes `impure` off a directory in which none does. A directory
/// shows it if it merges; the names of a file that has several in a lower have numbers of their own (OVL-32).
fn shows_origin(origin: &Origin, object: &Object<'_>, lowers: &Lowers) -> bool {
    if object.node.kind() == FileType::Directory {
        return !object.below.is_empty();
    }
    let layers = lowers.roots().iter().map(|lower| lower.node.fs());
    let own = lowers.roots().is_empty().then(|| object.node.fs());
    let mut found = layers
        .chain(own)
        .filter(|fs| fs.uuid() == origin.uuid)
        .filter_map(|fs| fs.attr_by_handle(&origin.handle).ok());
    found.next().is_some_and(|attr| attr.nlink == 1)
}

/// Whether none of the lowers of the origin's filesystem has the object any more. Where that cannot be asked it is not.
pub(super) fn is_gone(origin: &Origin, lowers: &Lowers) -> bool {
    let mut gone = false;
    for lower in lowers.roots() {
        let fs = lower.node.fs();
        if fs.uuid() != origin.uuid {
            continue;
        }
        match fs.attr_by_handle(&origin.handle) {
            Err(Errno::STALE) => gone = true,
            _ => return false,
        }
    }
    gone
}
