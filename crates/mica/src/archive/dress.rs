//! Making one object, with all that it has.

use mica_vfs::{
    Errno, FileName, FileType, KillPriv, Mode, Rdev, SetAttr, SetTime, XATTR_SIZE_MAX, XattrMode,
    XattrName,
};

use super::entry::{Entry, Kind};
use super::error::Flaw;
use super::import::ImportOwners;
use super::leaving_out::{LeftOut, Note};
use super::output::{OF_MACHINE, would_be_mark};
use super::place::Stop;
use crate::convert::{MARKS, maker};
use crate::offline::Node;
use crate::options::path as path_of;
use crate::stack::is_record;

/// Makes an object that is nobody else's yet.
pub(super) fn born(dir: &Node, name: &[u8], kind: &Kind) -> Result<Node, Errno> {
    let (fs, id, name) = (dir.fs(), dir.id(), FileName::new(name)?);
    let private = Mode::new(0o600);
    let made = match kind {
        Kind::Plain(FileType::Directory) => fs.mkdir(&maker(), id, name, Mode::new(0o700))?,
        Kind::Plain(FileType::Regular) => fs.create(&maker(), id, name, private)?,
        Kind::Symlink(target) => fs.symlink(&maker(), id, name, target)?,
        Kind::Plain(kind) => fs.mknod(&maker(), id, name, *kind, private, Rdev::default())?,
        Kind::Device(kind, rdev) => fs.mknod(&maker(), id, name, *kind, private, *rdev)?,
        // It has its object already.
        Kind::Link(_) => return Err(Errno::INVAL),
    };
    Ok(dir.adopt(made.node, made.attr))
}

/// Removes the ACLs that an object got from its directory.
pub(super) fn forget_acls(node: &Node) -> Result<(), Errno> {
    for name in [&b"system.posix_acl_access"[..], b"system.posix_acl_default"] {
        match node.fs().remove_xattr(node.id(), XattrName::new(name)?) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

pub(super) fn write(node: &Node, mut offset: u64, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = node.fs().write(node.id(), offset, bytes, KillPriv::Keep)?;
        if written == 0 {
            return Err(Errno::IO);
        }
        bytes = bytes.get(written..).unwrap_or_default();
        offset += u64::try_from(written).unwrap_or_default();
    }
    Ok(())
}

/// Gives an object its owner, attributes, mode and time.
pub(super) struct Dress<'a> {
    pub(super) owners: ImportOwners,
    pub(super) note: &'a mut dyn FnMut(Note),
}

impl Dress<'_> {
    pub(super) fn put_on(&mut self, node: &Node, entry: &Entry) -> Result<(), Stop> {
        let (fs, id) = (node.fs(), node.id());
        if self.owners != ImportOwners::Mine {
            let owner = SetAttr {
                uid: Some(entry.uid),
                gid: Some(entry.gid),
                ..SetAttr::default()
            };
            fs.set_attr(id, &owner)?;
        }
        for (name, value) in &entry.xattrs {
            self.xattr(node, entry, (name, value))?;
        }
        let rest = SetAttr {
            mode: (node.kind() != FileType::Symlink).then_some(entry.mode),
            atime: Some(SetTime::At(entry.mtime)),
            mtime: Some(SetTime::At(entry.mtime)),
            ..SetAttr::default()
        };
        fs.set_attr(id, &rest)?;
        Ok(())
    }

    fn xattr(
        &mut self,
        node: &Node,
        entry: &Entry,
        (name, value): (&[u8], &[u8]),
    ) -> Result<(), Stop> {
        if would_be_mark(name) || is_record(name) || MARKS.contains(&name) {
            return Err(Flaw::Mark(name.to_vec()).into());
        }
        let Ok(checked) = XattrName::new(name) else {
            return Err(Flaw::Attribute(name.to_vec()).into());
        };
        if value.len() > XATTR_SIZE_MAX {
            return Err(Flaw::Attribute(name.to_vec()).into());
        }
        let is_acl = name.starts_with(b"system.posix_acl_");
        if OF_MACHINE.contains(&name) || (name.starts_with(b"system.") && !is_acl) {
            self.note(entry, LeftOut::Attribute(name.to_vec()));
            return Ok(());
        }
        let mode = XattrMode::Set;
        let set = node
            .fs()
            .set_xattr(node.id(), checked, value, mode, KillPriv::Keep);
        match set {
            Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP)
                if self.owners != ImportOwners::Real =>
            {
                self.note(entry, LeftOut::Forbidden(name.to_vec()));
                Ok(())
            }
            set => Ok(set?),
        }
    }

    fn note(&mut self, entry: &Entry, what: LeftOut) {
        let path = path_of(entry.path.clone());
        (self.note)(Note { path, what });
    }
}
