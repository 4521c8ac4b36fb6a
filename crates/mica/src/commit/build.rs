//! Copies of what a session shows: of what is new, and of directories that come to another filesystem.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use mica_vfs::{Errno, FileName, FileType, Mode, XattrName};
use rustix::process::{getegid, geteuid};

use super::prepare::Preparation;
use super::shown::{Shown, Side, key};
use crate::convert::{dress, make};
use crate::diff::{Entry, plain_name};
use crate::offline::{Marks, Node};
use crate::options::path as path_of;

/// What has the first name of a file with several, on one filesystem.
#[derive(Debug)]
pub(super) enum Linked {
    /// It was made.
    Made(Node),
    /// It is on the machine, and will be at this path of the view.
    There(PathBuf),
}

/// Whose what is made anew is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    ids: (u32, u32),
    /// Whether it was somebody else's, whose rights do not go with the copy.
    anothers: bool,
}

/// Setuid and setgid, which mv(1) leaves out of what changes its owner.
const PRIVILEGED: u32 = 0o6000;

/// Lost to a file that changes its owner.
const CAPABILITY: &[u8] = b"security.capability";

impl Preparation<'_, '_> {
    /// Says whose what is made anew is to be: that of `kept`, if that is known here.
    pub(super) fn owner(&self, new: &Shown, kept: Option<&Node>) -> Result<Owner, Errno> {
        if let Some(kept) = kept {
            let owner = (kept.attr().uid, kept.attr().gid);
            // Given the number that stands for others it would be that of whoever has the number.
            return if self.sides.whose.is_unknown(owner) {
                Err(Errno::PERM)
            } else {
                Ok(Owner {
                    ids: owner,
                    anothers: false,
                })
            };
        }
        let (node, whose) = (&new.node, &self.sides.whose);
        let owner = (node.attr().uid, node.attr().gid);
        // The copy of what was somebody else's, under another name: the mark is on files and directories alone.
        let anothers = match new.side {
            Side::Session => Marks::read(node, self.sides.xattrs)?.has("owner"),
            Side::Machine => whose.is_unknown(owner),
        };
        let ids = if anothers && whose.is_inside() {
            (geteuid().as_raw(), getegid().as_raw())
        } else {
            owner
        };
        Ok(Owner { ids, anothers })
    }

    /// Copies an object, of a directory all that shows in it.
    pub(super) fn build(
        &mut self,
        new: &Shown,
        (dir, name): (&Node, &[u8]),
        path: &Path,
        owner: Owner,
    ) -> Result<Node, Errno> {
        let on = dir.attr().dev.0;
        let mut known = new.keys.iter();
        let first = known.find_map(|&key| self.links.get(&(key, on)));
        if let Some(Linked::Made(first)) = first {
            match dir.fs().link(first.id(), dir.id(), FileName::new(name)?) {
                Ok(entry) => return Ok(dir.adopt(entry.node, entry.attr)),
                // On another filesystem it is a file of its own.
                Err(Errno::XDEV | Errno::MLINK | Errno::PERM) => {}
                Err(errno) => return Err(errno),
            }
        }
        let made = make(&new.node, dir, name)?;
        inherit_nothing(&made)?;
        for &key in &new.keys {
            self.links.insert((key, on), Linked::Made(made.clone()));
        }
        if new.node.kind() == FileType::Directory {
            self.build_in(new, &made, path)?;
        }
        let data = self.metacopies.get(&key(&new.node)).copied();
        self.dress(new, data.unwrap_or(&new.node), &made, owner)?;
        self.unsynced.add(&made)?;
        Ok(made)
    }

    fn build_in(&mut self, new: &Shown, made: &Node, path: &Path) -> Result<(), Errno> {
        for name in new.names()? {
            let path = path.join(path_of(name.to_vec()));
            let seen = new.child(&name, &path, self.sides, &self.moves, &self.crossing)?;
            let Some(child) = seen else {
                continue;
            };
            if self.is_link_to_there(&child, made, &path) {
                continue;
            }
            let owner = self.owner(&child, None)?;
            self.build(&child, (made, &name), &path, owner)?;
        }
        Ok(())
    }

    fn dress(&self, new: &Shown, data: &Node, made: &Node, owner: Owner) -> Result<(), Errno> {
        let lost = |name: &[u8]| name == CAPABILITY && owner.anothers;
        let named = |name: &[u8]| match new.side {
            Side::Session => plain_name(name, Some(self.sides.xattrs)),
            Side::Machine => Some(name.to_vec()),
        };
        let named = |name: &[u8]| named(name).filter(|name| !lost(name));
        let mode = new.node.attr().mode;
        let mode = if owner.anothers {
            Mode::new(mode.bits() & !PRIVILEGED)
        } else {
            mode
        };
        dress((&new.node, data), made, (owner.ids, mode), &named)
    }

    /// Notes what has the first name of a file with several.
    pub(super) fn remember(&mut self, entry: &Entry, new: &Node, there: &Node) {
        if new.attr().nlink > 1 {
            let on = there.attr().dev.0;
            let there = Linked::There(entry.path.clone());
            self.links.insert((key(new), on), there);
        }
    }

    /// Whether an object is another name of a file of the machine, which it then gets in the end.
    pub(super) fn is_link_to_there(&mut self, new: &Shown, dir: &Node, path: &Path) -> bool {
        match self.links.get(&(key(&new.node), dir.attr().dev.0)) {
            Some(Linked::There(from)) => {
                self.names.push((from.clone(), path.to_owned()));
                true
            }
            _ => false,
        }
    }
}

/// Takes away the ACLs that an object got from the directory that it was made in: it has those of what it is a copy of.
fn inherit_nothing(made: &Node) -> Result<(), Errno> {
    if made.kind() == FileType::Symlink {
        return Ok(());
    }
    for acl in made.xattr_names()? {
        if acl.starts_with(b"system.posix_acl_") {
            match made.fs().remove_xattr(made.id(), XattrName::new(&acl)?) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

/// Reads a name of a path.
pub(super) fn last(path: &Path) -> &[u8] {
    path.file_name().unwrap_or_default().as_bytes()
}
