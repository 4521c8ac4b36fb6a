//! From an upper to a plan: everything is looked at, and what cannot be said is found, before anything is touched.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use mica_overlay::{XattrNamespace, parse_opaque, parse_redirect};
use mica_vfs::{Errno, FileType};

use super::form::{self, AUFS, Form, NAMED, NAMED_OPAQUE, hidden_by};
use super::plain;
use super::plan::{DirPlan, Mark, Names, Plan, Step};
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

    /// Plans a whiteout of `hidden`, which `object` is in the form `own`; of the old form `object` is the directory.
    fn whiteout(&mut self, object: &Object<'_>, own: Form, hidden: &[u8]) {
        if let Some(form) = self.forms.get_mut(own as usize) {
            *form = true;
        }
        let Some(open) = self.open.last_mut() else {
            return;
        };
        let to = self.purpose.to.unwrap_or(own);
        // Nothing is below an opaque directory, and its files of the form `xattr` would be listed.
        let needless = open.moved || (to == Form::Xattr && open.opaque && !open.is_root);
        open.xattr_whiteouts |= to == Form::Xattr && !needless;
        let stays =
            own == to && (matches!(own, Form::Device | Form::Named) || !self.prefix_changes());
        if stays && !needless {
            return;
        }
        if !needless {
            self.put(object.path, to, hidden);
        }
        let in_place = matches!(own, Form::Device | Form::Xattr)
            && matches!(to, Form::Device | Form::Xattr)
            && !needless;
        match own {
            Form::Old => {
                let attribute = self.from(&[b"whiteout.", hidden].concat());
                self.xattr(b"", attribute, None);
            }
            _ if in_place => {}
            _ => self.step(Step::Remove {
                name: object.name.into(),
            }),
        }
    }

    /// Plans that `hidden` is hidden in the form `to`.
    fn put(&mut self, path: &Path, to: Form, hidden: &[u8]) {
        let (name, mark) = match to {
            Form::Device => (hidden.to_vec(), Mark::Device),
            Form::Xattr => (hidden.to_vec(), Mark::File(Some(self.target(b"whiteout")))),
            Form::Named => match form::named(hidden) {
                Some(name) => (name, Mark::File(None)),
                None if hidden.starts_with(NAMED) => {
                    return self.refuse(path, Unsayable::NameIsMark(to));
                }
                None => return self.refuse(path, Unsayable::NameTooLong(to)),
            },
            Form::Old => match form::old(self.purpose.target, hidden) {
                Some(attribute) => return self.xattr(b"", attribute, Some(b"y".to_vec())),
                None => return self.refuse(path, Unsayable::NameTooLong(to)),
            },
        };
        self.step(Step::Put {
            name: name.into(),
            mark,
        });
    }

    /// Plans an object whose name begins with `.wh.`; returns whether it is a mark, and so no file.
    fn named(&mut self, object: &Object<'_>, is_empty_file: bool) -> Result<bool, Errno> {
        let attr = object.node.attr();
        if object.name == NAMED_OPAQUE && is_empty_file {
            if !matches!(self.purpose.to, None | Some(Form::Named)) {
                self.step(Step::Remove {
                    name: object.name.into(),
                });
            }
            return Ok(true);
        }
        let Some(hidden) = hidden_by(object.name, attr.kind, attr.size) else {
            if object.name.starts_with(AUFS) {
                self.refuse(object.path, Unsayable::Aufs);
            } else if self.purpose.to == Some(Form::Named) {
                self.refuse(object.path, Unsayable::NameIsMark(Form::Named));
            }
            return Ok(false);
        };
        self.named.get_or_insert_with(|| object.path.to_owned());
        let there = match object.parent {
            Some(parent) => parent.node.child(hidden)?.is_some(),
            None => false,
        };
        if there && !matches!(self.purpose.to, None | Some(Form::Named)) {
            // It hides what lower layers have, and not what is here; a directory is opaque (`is_named_opaque`).
            if let Some(form) = self.forms.get_mut(Form::Named as usize) {
                *form = true;
            }
            self.step(Step::Remove {
                name: object.name.into(),
            });
        } else {
            self.whiteout(object, Form::Named, hidden);
        }
        Ok(true)
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

    /// Plans a directory, and opens it for what is in it.
    fn enter(&mut self, object: &Object<'_>) -> Result<(), Errno> {
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

    fn old_whiteouts(&mut self, object: &Object<'_>) -> Result<(), Errno> {
        for (mark, _) in object.marks.iter() {
            let Some(hidden) = mark.strip_prefix(b"whiteout.") else {
                continue;
            };
            if object.node.child(hidden)?.is_none() {
                self.whiteout(object, Form::Old, hidden);
            } else if self.purpose.to.is_some_and(|to| to != Form::Old) || self.prefix_changes() {
                self.xattr(b"", self.from(mark), None);
            }
        }
        Ok(())
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
    fn opaque(&mut self, open: &Open) {
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

/// Whether an attribute of a lower is copied: all but the marks of its overlay.
pub(super) fn is_copied(name: &[u8], xattrs: XattrNamespace) -> bool {
    own_suffix(name, xattrs).is_none()
}
