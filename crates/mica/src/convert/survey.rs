//! From an upper to a plan: everything is looked at, and what cannot be said is found, before anything is touched.

mod directories;
mod whiteouts;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use mica_overlay::XattrNamespace;
use mica_vfs::{Errno, FileType};

use super::form::{Form, NAMED};
use super::plain;
use super::plan::{Names, Plan, Step};
use super::unsayable::Unsayable;
use crate::offline::{Dir, Lowers, Node, Object, Visit, is_device_whiteout, own_suffix, walk};

/// What a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Purpose {
    /// The form of whiteouts; `None`: as they are.
    pub(super) to: Option<Form>,
    /// The prefix of the upper, and the one that it gets.
    pub(super) from: XattrNamespace,
    pub(super) target: XattrNamespace,
    pub(super) no_redirects: bool,
}

/// Makes the plan.
///
/// # Errors
///
/// The first object that cannot be said, with its path.
pub(super) fn survey(
    upper: &Node,
    lowers: &Lowers,
    purpose: Purpose,
) -> Result<Surveyed, (PathBuf, Unsayable)> {
    let mut survey = Survey {
        lowers,
        purpose,
        plan: Plan::default(),
        open: Vec::new(),
        refused: None,
        forms: [false; 4],
        named: None,
        redirected: None,
        links: HashMap::new(),
        objects: 0,
    };
    if let Err(errno) = walk(upper, lowers, &mut survey)
        && survey.refused.is_none()
    {
        survey.refuse(Path::new("/"), Unsayable::Unreadable(errno));
    }
    survey.refuse_mixed();
    match survey.refused {
        Some(refused) => Err(refused),
        None => {
            survey.plan.dirs.retain(|dir| !dir.steps.is_empty());
            Ok(Surveyed {
                plan: survey.plan,
                forms: survey.forms,
                objects: survey.objects,
            })
        }
    }
}

/// A plan, and what was met on the way.
#[derive(Debug)]
pub(super) struct Surveyed {
    pub(super) plan: Plan,
    /// Which forms of whiteouts there are, by [`Form`].
    pub(super) forms: [bool; 4],
    pub(super) objects: u64,
}

pub(super) struct Survey<'a> {
    pub(super) lowers: &'a Lowers,
    pub(super) purpose: Purpose,
    pub(super) plan: Plan,
    open: Vec<Open>,
    refused: Option<(PathBuf, Unsayable)>,
    forms: [bool; 4],
    /// The first whiteout by name.
    named: Option<PathBuf>,
    /// The first object that is redirected or a metacopy.
    redirected: Option<PathBuf>,
    /// Where the first name of a copied file of several names will be, by layer, device and number.
    pub(super) links: HashMap<(usize, u64, u64), Names>,
    objects: u64,
}

/// A directory that is being looked at.
struct Open {
    /// Its plan.
    nth: usize,
    /// Whether what it merges with lies elsewhere in the lowers, and is copied.
    moved: bool,
    opaque: bool,
    /// Whether that is said by a file.
    by_name: bool,
    is_root: bool,
    /// Whether it has whiteouts as files with an attribute, when all is done.
    xattr_whiteouts: bool,
    /// The value that its mark has.
    mark: Option<Vec<u8>>,
}

impl Visit for Survey<'_> {
    fn object(&mut self, object: &Object<'_>) -> Result<(), Errno> {
        if self.refused.is_some() {
            return Err(Errno::CANCELED);
        }
        self.objects += 1;
        let attr = object.node.attr();
        let is_empty_file = attr.kind == FileType::Regular && attr.size == 0;
        if is_device_whiteout(attr) && object.parent.is_some() {
            self.whiteout(object, Form::Device, object.name);
            return Ok(());
        }
        if is_empty_file && object.marks.has("whiteout") {
            self.whiteout(object, Form::Xattr, object.name);
            return Ok(());
        }
        if object.name.starts_with(NAMED) && self.named(object, is_empty_file)? {
            return Ok(());
        }
        self.other_marks(object);
        match attr.kind {
            FileType::Directory => self.enter(object),
            FileType::Regular => plain::file(self, object),
            _ => Ok(()),
        }
    }

    fn leave(&mut self, _: &Dir) -> Result<(), Errno> {
        if let Some(open) = self.open.pop() {
            self.opaque(&open);
        }
        Ok(())
    }

    fn elsewhere(&mut self, path: &Path) {
        self.refuse(path, Unsayable::Mountpoint);
    }

    fn unreadable(&mut self, path: &Path, errno: Errno) {
        self.refuse(path, Unsayable::Unreadable(errno));
    }
}

impl Survey<'_> {
    pub(super) fn refuse(&mut self, path: &Path, why: Unsayable) {
        self.refused.get_or_insert_with(|| (path.to_owned(), why));
    }

    /// Adds a step to the directory that is being looked at.
    pub(super) fn step(&mut self, step: Step) {
        let Some(nth) = self.open.last().map(|open| open.nth) else {
            return;
        };
        if let Some(dir) = self.plan.dirs.get_mut(nth) {
            dir.steps.push(step);
        }
    }

    /// Sets or removes an attribute of an entry; an empty name is the directory itself.
    pub(super) fn xattr(&mut self, name: &[u8], attribute: Vec<u8>, value: Option<Vec<u8>>) {
        self.step(Step::Xattr {
            name: name.into(),
            attribute,
            value,
        });
    }

    pub(super) fn from(&self, mark: &[u8]) -> Vec<u8> {
        [self.purpose.from.prefix(), mark].concat()
    }

    fn target(&self, mark: &[u8]) -> Vec<u8> {
        [self.purpose.target.prefix(), mark].concat()
    }

    const fn prefix_changes(&self) -> bool {
        !matches!(
            (self.purpose.from, self.purpose.target),
            (XattrNamespace::Trusted, XattrNamespace::Trusted)
                | (XattrNamespace::User, XattrNamespace::User)
        )
    }

    /// Notes an object that is redirected or a metacopy; returns whether it is to be made plain.
    pub(super) fn redirected(&mut self, path: &Path) -> bool {
        self.redirected.get_or_insert_with(|| path.to_owned());
        let unread = self.purpose.to == Some(Form::Named)
            || (self.prefix_changes() && self.purpose.target == XattrNamespace::User);
        if !self.purpose.no_redirects && unread {
            self.refuse(path, Unsayable::Redirect);
        }
        self.purpose.no_redirects
    }

    /// Plans the marks that are neither whiteouts nor of opaque directories.
    fn other_marks(&mut self, object: &Object<'_>) {
        if !self.prefix_changes() {
            return;
        }
        for name in &object.marks.others {
            let name = name.clone();
            if name.starts_with(self.purpose.from.prefix()) {
                self.refuse(object.path, Unsayable::Escaped { name });
            } else if name.starts_with(self.purpose.target.prefix()) {
                self.refuse(object.path, Unsayable::OtherPrefix { name });
            }
        }
        let kind = object.node.kind();
        let can_hold = self.purpose.target == XattrNamespace::Trusted
            || matches!(kind, FileType::Directory | FileType::Regular);
        // Those of the root are planned when it has a plan.
        for (mark, value) in object.marks.iter() {
            let is_planned_elsewhere = matches!(mark, b"opaque" | b"whiteout")
                || mark.starts_with(b"whiteout.")
                || (self.purpose.no_redirects && matches!(mark, b"redirect" | b"metacopy"));
            if is_planned_elsewhere || kind == FileType::Directory {
                continue;
            }
            if can_hold {
                self.xattr(object.name, self.target(mark), Some(value.to_vec()));
            }
            self.xattr(object.name, self.from(mark), None);
        }
    }

    /// Refuses what could be read in two ways.
    fn refuse_mixed(&mut self) {
        let has = |form: Form| self.forms.get(form as usize) == Some(&true);
        let others = has(Form::Device) || has(Form::Xattr) || has(Form::Old);
        let unread = has(Form::Named) || has(Form::Old);
        if let (Some(path), true) = (self.named.clone(), others && self.purpose.to.is_some()) {
            self.refuse(&path, Unsayable::Mixed);
        }
        if let (Some(path), true) = (self.redirected.clone(), unread && self.purpose.no_redirects) {
            self.refuse(&path, Unsayable::RedirectInForm);
        }
    }
}

/// Whether an attribute of a lower is copied: all but the marks of its overlay.
pub(super) fn is_copied(name: &[u8], xattrs: XattrNamespace) -> bool {
    own_suffix(name, xattrs).is_none()
}
