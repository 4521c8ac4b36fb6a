//! What others did to objects that a session changed, told by what is recorded of them.

use std::path::Path;

use mica_overlay::Fate;
use mica_vfs::{Attr, Errno, FileType, Time};

use super::error::{Conflict, ConflictKind};
use super::plan::device;
use crate::diff::{Entry, Sides, What};
use crate::offline::Node;
use crate::options::path as path_of;
use crate::session::{Base, Recorded};

/// Who judges.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    pub(super) sides: &'a Sides,
    pub(super) base: &'a Base,
    /// When the session was made.
    pub(super) created: Time,
}

impl Judge<'_> {
    /// Says what happened to what an entry is about; `None`: nothing.
    pub(super) fn judge(&self, entry: &Entry) -> Result<Option<Conflict>, Errno> {
        if let What::Moved { from } = &entry.what {
            let moved = entry.old.as_ref();
            if let Some(kind) = self.changed(from, moved, Fate::Moved)? {
                let path = from.clone();
                return Ok(Some(Conflict { path, kind }));
            }
        }
        if entry.vacated || entry.in_new {
            return Ok(None);
        }
        let there = match entry.what {
            What::Moved { .. } => entry.covered.as_ref(),
            _ => entry.old.as_ref(),
        };
        let unchanged = entry.what == What::Merged && entry.aspects.is_empty();
        let fate = match entry.what {
            What::Merged | What::Modified => Fate::Copied,
            _ => Fate::Hidden,
        };
        let kind = match self.changed(&entry.below, there, fate)? {
            // A directory that is only passed through need not be known.
            Some(ConflictKind::New | ConflictKind::Attributes) if unchanged => None,
            kind => kind,
        };
        let path = entry.below.clone();
        Ok(kind.map(|kind| Conflict { path, kind }))
    }

    /// Says what happened to what was at `path`. `fate` is what became of it in the session if that is not recorded.
    fn changed(
        &self,
        path: &Path,
        there: Option<&Node>,
        fate: Fate,
    ) -> Result<Option<ConflictKind>, Errno> {
        let recorded = match there {
            Some(there) => self.base.of(path, there.attr()),
            None => self.base.get(path),
        };
        let (recorded, there) = match (recorded, there) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Ok(Some(ConflictKind::Gone)),
            // Not there when the session took the name, or the record was lost: then the beginning counts.
            (None, Some(there)) => {
                let new = there.attr().ctime.secs >= self.created.secs && path != Path::new("/");
                if !new && there.kind() == FileType::Directory && fate != Fate::Copied {
                    return self.changed_below(path, there, self.created);
                }
                return Ok(new.then_some(ConflictKind::New));
            }
            (Some(recorded), Some(there)) => (recorded, there),
        };
        if let Some(kind) = self.differs(recorded, there.attr()) {
            return Ok(Some(kind));
        }
        if there.kind() == FileType::Directory && recorded.fate != Fate::Copied {
            return self.changed_below(path, there, recorded.moment);
        }
        Ok(None)
    }

    fn differs(&self, recorded: &Recorded, is: &Attr) -> Option<ConflictKind> {
        let kind = is.kind;
        if FileType::from_mode(recorded.mode) != Some(kind) {
            return Some(ConflictKind::Retyped);
        }
        if (recorded.dev.0 & u64::from(u32::MAX), recorded.ino) != (device(is), is.ino.0) {
            return Some(ConflictKind::Replaced);
        }
        let owned =
            !self.sides.whose.are_recorded() || (recorded.uid, recorded.gid) == (is.uid, is.gid);
        if recorded.mode & 0o7777 != is.mode.bits() || !owned {
            return Some(ConflictKind::Attributes);
        }
        // Others may make names in a directory that was copied. In one that was moved they are found by their own times: an
        // attempt to commit may have made and removed some.
        let whole = kind != FileType::Directory || recorded.fate == Fate::Hidden;
        let same = recorded.size == is.size && recorded.ctime == is.ctime;
        (whole && !same).then_some(ConflictKind::Changed)
    }

    /// Looks for what changed since `moment` in a directory that shows no more, or elsewhere.
    fn changed_below(
        &self,
        path: &Path,
        dir: &Node,
        moment: Time,
    ) -> Result<Option<ConflictKind>, Errno> {
        let mut left = vec![(path.to_owned(), dir.clone())];
        while let Some((path, dir)) = left.pop() {
            for name in dir.names()? {
                let Some(child) = dir.child(&name)? else {
                    continue;
                };
                let path = path.join(path_of(name.to_vec()));
                let is = child.attr();
                if is.dev != dir.attr().dev {
                    return Ok(Some(ConflictKind::Mounted(path)));
                }
                let same = match self.base.of(&path, is) {
                    Some(recorded) => self.differs(recorded, is).is_none(),
                    None => is.ctime < moment,
                };
                if !same {
                    return Ok(Some(ConflictKind::Below(path)));
                }
                if is.kind == FileType::Directory {
                    left.push((path, child));
                }
            }
        }
        Ok(None)
    }
}
