//! Whiteouts, from one form to another.

use std::path::Path;

use mica_vfs::Errno;

use super::Survey;
use crate::convert::form::{self, AUFS, Form, NAMED, NAMED_OPAQUE, hidden_by};
use crate::convert::plan::{Mark, Step};
use crate::convert::unsayable::Unsayable;
use crate::offline::Object;

impl Survey<'_> {
    /// Plans a whiteout of `hidden`, which `object` is in the form `own`; of the old form `object` is the directory.
    pub(super) fn whiteout(&mut self, object: &Object<'_>, own: Form, hidden: &[u8]) {
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
    pub(super) fn named(
        &mut self,
        object: &Object<'_>,
        is_empty_file: bool,
    ) -> Result<bool, Errno> {
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

    pub(super) fn old_whiteouts(&mut self, object: &Object<'_>) -> Result<(), Errno> {
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
}
