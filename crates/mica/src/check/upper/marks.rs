//! Marks that mean nothing where they are, and origins.

use mica_overlay::{BadMark, Origin, OriginError};
use mica_vfs::{Errno, FileType};

use super::Look;
use crate::check::links::Links;
use crate::check::trouble::Trouble;
use crate::offline::{Lowers, Object};

impl Look<'_> {
    pub(super) fn origin(&mut self, object: &Object<'_>) {
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
    pub(super) fn marks_in_place(&mut self, object: &Object<'_>) {
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
                b"owner" => matches!(kind, FileType::Directory | FileType::Regular),
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
pub(in crate::check) fn is_gone(origin: &Origin, lowers: &Lowers) -> bool {
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
