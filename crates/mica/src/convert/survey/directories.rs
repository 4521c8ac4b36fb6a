//! Directories: opened, their marks planned, and closed when it is known what is in them.

use std::os::unix::ffi::OsStrExt as _;

use mica_overlay::{parse_opaque, parse_redirect};
use mica_vfs::{Errno, FileType};

use super::{Open, Survey};
use crate::convert::form::{self, Form, NAMED_OPAQUE};
use crate::convert::plain;
use crate::convert::plan::{DirPlan, Mark, Step};
use crate::convert::unsayable::Unsayable;
use crate::offline::{Node, Object};

impl Survey<'_> {
    /// Plans a directory, and opens it for what is in it.
    pub(super) fn enter(&mut self, object: &Object<'_>) -> Result<(), Errno> {
        let attr = object.node.attr();
        let path = object.path.iter().skip(1);
        let path = path.map(|name| name.as_bytes().into()).collect();
        let nth = self.plan.dirs.len();
        self.plan.dirs.push(DirPlan {
            path,
            times: (attr.atime, attr.mtime),
            steps: Vec::new(),
        });
        let mark = object.marks.get("opaque");
        if let Some(Err(bad)) = mark.map(parse_opaque) {
            self.refuse(object.path, Unsayable::Malformed(bad));
        }
        let is_root = object.parent.is_none();
        let by_name = is_named_opaque(object)?;
        if by_name && is_root && !matches!(self.purpose.to, None | Some(Form::Named)) {
            self.refuse(object.path, Unsayable::OpaqueRoot);
        }
        if by_name && let Some(form) = self.forms.get_mut(Form::Named as usize) {
            *form = true;
        }
        let parent_moved = self.open.last().is_some_and(|open| open.moved);
        let opaque = object.marks.is_opaque() || by_name;
        self.open.push(Open {
            nth,
            moved: parent_moved && !opaque,
            opaque,
            by_name,
            is_root,
            xattr_whiteouts: false,
            mark: mark.map(<[u8]>::to_vec),
        });
        self.marks_of_directory(object);
        self.old_whiteouts(object)?;
        self.redirect(object, parent_moved)
    }

    fn marks_of_directory(&mut self, object: &Object<'_>) {
        if !self.prefix_changes() {
            return;
        }
        for (mark, value) in object.marks.iter() {
            let is_planned_elsewhere = mark == b"opaque"
                || mark.starts_with(b"whiteout.")
                || (self.purpose.no_redirects && mark == b"redirect");
            if !is_planned_elsewhere {
                self.xattr(b"", self.target(mark), Some(value.to_vec()));
                self.xattr(b"", self.from(mark), None);
            }
        }
    }

    fn redirect(&mut self, object: &Object<'_>, parent_moved: bool) -> Result<(), Errno> {
        let redirect = object.marks.get("redirect");
        if let Some(value) = redirect {
            if let Err(bad) = parse_redirect(value) {
                self.refuse(object.path, Unsayable::Malformed(bad));
                return Ok(());
            }
            if !self.redirected(object.path) {
                return Ok(());
            }
            self.xattr(b"", self.from(b"redirect"), None);
        }
        let Some(open) = self.open.last_mut() else {
            return Ok(());
        };
        if open.opaque || (redirect.is_none() && !parent_moved) {
            return Ok(());
        }
        open.moved = true;
        // What is in a directory that is opaque needs not be.
        open.opaque = redirect.is_some() && !parent_moved;
        plain::directory(self, object)
    }

    /// Plans the mark of an opaque directory, when it is known what is in it.
    pub(super) fn opaque(&mut self, open: &Open) {
        let to = self.purpose.to;
        let named_stays = open.opaque && open.mark.is_none() && to.is_none() && !open.moved;
        let wanted: Option<&[u8]> = if open.is_root && !open.xattr_whiteouts {
            // No mount heeds what a root carries but `x`, which tells of files that are gone.
            let stays = to.is_none() || open.mark.as_deref() == Some(b"y");
            open.mark.as_deref().filter(|_| stays)
        } else if open.opaque && !open.is_root {
            (to != Some(Form::Named) && !named_stays).then_some(b"y")
        } else if open.xattr_whiteouts || (to.is_none() && open.mark.as_deref() == Some(b"x")) {
            Some(b"x")
        } else {
            None
        };
        let at = open.nth;
        let mut steps = Vec::new();
        let attribute = |mark: Vec<u8>, value: Option<&[u8]>| Step::Xattr {
            name: [].into(),
            attribute: mark,
            value: value.map(<[u8]>::to_vec),
        };
        let (from, target) = (self.from(b"opaque"), self.target(b"opaque"));
        if wanted != open.mark.as_deref() || (wanted.is_some() && self.prefix_changes()) {
            steps.push(attribute(target, wanted));
        }
        if open.mark.is_some() && self.prefix_changes() {
            steps.push(attribute(from, None));
        }
        if open.opaque && !open.by_name && !open.is_root && to == Some(Form::Named) {
            steps.push(Step::Put {
                name: NAMED_OPAQUE.into(),
                mark: Mark::File(None),
            });
        }
        if let Some(dir) = self.plan.dirs.get_mut(at) {
            dir.steps.append(&mut steps);
        }
    }
}

/// Whether a directory is opaque by a file in it, or by a whiteout of its own name beside it.
fn is_named_opaque(object: &Object<'_>) -> Result<bool, Errno> {
    let is_mark = |node: Option<Node>| {
        node.is_some_and(|node| node.kind() == FileType::Regular && node.attr().size == 0)
    };
    if is_mark(object.node.child(NAMED_OPAQUE)?) {
        return Ok(true);
    }
    match (object.parent, form::named(object.name)) {
        (Some(parent), Some(beside)) => Ok(is_mark(parent.node.child(&beside)?)),
        _ => Ok(false),
    }
}
