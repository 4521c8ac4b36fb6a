//! Making new objects.
//!
//! Where nothing is in the way, an object is made in the upper directory by one call, with the caller's identity, so
//! umask, default ACL and setgid are the upper filesystem's work. Where a whiteout is in the way, the object is built in
//! the work directory and put in its place by one rename (OVL-24).

use std::sync::Arc;

use mica_vfs::{
    Attr, Caller, Entry, Errno, FileName, FileType, KillPriv, Mode, NodeId, Rdev, RenameFlags,
    SetAttr, XattrMode, XattrName, met,
};

use crate::node::{Known, NewNode, Node, Place};
use crate::overlay::Overlay;
use crate::stack::LayerNode;
use crate::table::{Inserted, Key};
use crate::work::Temp;

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Make<'a> {
    File(Mode),
    Directory(Mode),
    Symlink(&'a [u8]),
    Node(FileType, Mode, Rdev),
}

/// What stands in the upper directory at a name that is about to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spot {
    /// Nothing, and no lower shows anything.
    Free,
    /// A whiteout.
    Whiteout,
    /// Something that shows.
    Taken,
}

impl Make<'_> {
    fn kind(self) -> FileType {
        match self {
            Self::File(_) => FileType::Regular,
            Self::Directory(_) => FileType::Directory,
            Self::Symlink(_) => FileType::Symlink,
            Self::Node(kind, ..) => kind,
        }
    }

    /// Makes it as `name` of `dir`.
    fn run(self, dir: &LayerNode, name: FileName<'_>, caller: &Caller) -> Result<Entry, Errno> {
        let (fs, id) = (dir.fs(), dir.id);
        match self {
            Self::File(mode) => fs.create(caller, id, name, mode),
            Self::Directory(mode) => fs.mkdir(caller, id, name, mode),
            Self::Symlink(target) => fs.symlink(caller, id, name, target),
            Self::Node(kind, mode, rdev) => fs.mknod(caller, id, name, kind, mode, rdev),
        }
    }
}

impl Overlay {
    pub(crate) fn make(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        make: Make<'_>,
    ) -> Result<Entry, Errno> {
        let dir = self.dir(dir)?;
        if let Make::Node(FileType::CharDevice, mode, Rdev::WHITEOUT) = make {
            // As it is it would hide what is below (OVL-3).
            met!(3);
            return self.make_nested_whiteout(caller, &dir, name, mode);
        }
        if let Err(errno) = dir.expect_mutable() {
            self.expect_free(&dir, name)?;
            return Err(errno);
        }
        let upper_dir = self.copy_up(&dir)?;
        let _names = self.names.enter(dir.id);
        let (upper, attr) = match self.make_here(&dir, upper_dir, name, caller, make) {
            Err(Errno::EXIST) if self.spot(&dir, upper_dir, name)? == Spot::Whiteout => {
                self.make_over_whiteout(upper_dir, name, caller, make)?
            }
            made => made?,
        };
        let node = self.born(&dir, name, upper, &attr)?;
        Ok(Entry {
            node: node.id,
            attr: self.shown(&node, attr),
        })
    }

    /// Makes an object where nothing is in the way: `EEXIST` if something is, a whiteout included.
    fn make_here(
        &self,
        dir: &Node,
        upper_dir: &LayerNode,
        name: FileName<'_>,
        caller: &Caller,
        make: Make<'_>,
    ) -> Result<(LayerNode, Attr), Errno> {
        if self.lower_has(dir, name)? {
            return Err(Errno::EXIST);
        }
        let entry = make.run(upper_dir, name, caller)?;
        let upper = LayerNode::adopt(&upper_dir.layer, &entry);
        if make.kind() == FileType::Directory
            && dir.is_merged()
            && self.config.marks_new_directories()
            && let Err(errno) = self.mark_new(&upper)
        {
            // It spares a search below, no more: nothing is there to be hidden.
            tracing::debug!(%errno, name = %name, "a new directory is not marked opaque");
        }
        Ok((upper, entry.attr))
    }

    /// Marks a new directory in a merged one, so that nothing which a lower gets later shows in it (OVL-93).
    fn mark_new(&self, upper: &LayerNode) -> Result<(), Errno> {
        met!(93);
        self.set_mark(upper, "opaque", b"y")
    }

    /// Refuses a name that shows something.
    pub(crate) fn expect_free(&self, dir: &Arc<Node>, name: FileName<'_>) -> Result<(), Errno> {
        match self.hold(dir, name) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Says what stands at `name`. The caller is in the gate of `dir`.
    pub(crate) fn spot(
        &self,
        dir: &Node,
        upper_dir: &LayerNode,
        name: FileName<'_>,
    ) -> Result<Spot, Errno> {
        if let Some((node, attr)) = upper_dir.child(name)? {
            return Ok(if self.is_whiteout(&node, &attr)? {
                Spot::Whiteout
            } else {
                Spot::Taken
            });
        }
        Ok(if self.lower_has(dir, name)? {
            Spot::Taken
        } else {
            Spot::Free
        })
    }

    /// Makes the node of a new upper object, and lets directory and listing know of the name.
    pub(crate) fn born(
        &self,
        dir: &Arc<Node>,
        name: FileName<'_>,
        upper: LayerNode,
        attr: &Attr,
    ) -> Result<Arc<Node>, Errno> {
        let key = Key::inode(upper.layer.idx, attr);
        let ino = self.number(&upper.layer, attr.dev, attr.ino);
        let is_dir = attr.kind == FileType::Directory;
        let place = is_dir.then(|| Place::new(dir, name));
        let new = NewNode {
            kind: attr.kind,
            ino,
            upper: Some(upper),
            lowers: Vec::new(),
            data: None,
            place,
            protection: attr.protection,
            known: Known::LOOKED,
        };
        let Inserted::Node(node) = self.table.get_or_insert(key, None, new)? else {
            return Err(Errno::IO);
        };
        self.listing_add(dir, name, &node)?;
        self.table.bump(dir)?;
        Ok(node)
    }

    fn make_over_whiteout(
        &self,
        dir: &LayerNode,
        name: FileName<'_>,
        caller: &Caller,
        make: Make<'_>,
    ) -> Result<(LayerNode, Attr), Errno> {
        met!(24);
        let (temp, upper, attr) = self.make_in_work(dir, caller, make)?;
        if make.kind() == FileType::Directory {
            // What the whiteout hid must stay hidden below the directory.
            self.set_mark(&upper, "opaque", b"y")?;
            self.publish_over(temp, dir, name)?;
        } else {
            temp.publish(dir, name, RenameFlags::empty())?;
        }
        Ok((upper, attr))
    }

    /// Publishes a directory where something that is none stands; that goes away.
    ///
    /// A rename replaces a file by a directory only in exchange. A filesystem that cannot exchange takes two steps, and
    /// between them the lower name shows (OVL-24).
    pub(crate) fn publish_over(
        &self,
        temp: Temp<'_>,
        dir: &LayerNode,
        name: FileName<'_>,
    ) -> Result<(), Errno> {
        let other = temp.name()?.to_owned();
        let work = self.work()?;
        let (from, fs) = (work.dir.id, dir.fs());
        match fs.rename(from, other.as_name(), dir.id, name, RenameFlags::EXCHANGE) {
            Ok(()) => {
                // The temporary name is the old object's, which goes with it.
                drop(temp.exchanged_for(FileType::CharDevice));
                Ok(())
            }
            Err(Errno::INVAL) => {
                self.replace_whiteout(dir, name, || temp.publish(dir, name, RenameFlags::empty()))
            }
            Err(errno) => Err(errno),
        }
    }

    /// Takes the whiteout at `name` away and lets `put` put something there; if that fails, another whiteout.
    pub(crate) fn replace_whiteout(
        &self,
        dir: &LayerNode,
        name: FileName<'_>,
        put: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        dir.fs().unlink(dir.id, name)?;
        let done = put();
        if done.is_err() {
            self.undone(self.whiteout_at(dir, name));
        }
        done
    }

    /// Makes an object in the work directory that is as if it had been made in `dir`.
    ///
    /// What an object inherits from its directory (group, setgid, ACL) comes from the upper filesystem itself: where `dir`
    /// hands something down, the object is made in a directory of the work directory that hands down the same.
    pub(crate) fn make_in_work(
        &self,
        dir: &LayerNode,
        caller: &Caller,
        make: Make<'_>,
    ) -> Result<(Temp<'_>, LayerNode, Attr), Errno> {
        let work = self.work()?;
        let name = work.temp_name();
        let heir = self.heir_of(dir)?;
        let made_in = heir.as_ref().map_or(&work.dir, |(_, node)| node);
        let entry = make.run(made_in, name.as_name(), caller)?;
        let upper = LayerNode::adopt(&work.dir.layer, &entry);
        if let Some((_, node)) = &heir {
            let (fs, flags) = (node.fs(), RenameFlags::empty());
            fs.rename(node.id, name.as_name(), work.dir.id, name.as_name(), flags)?;
        }
        Ok((work.temp(name, make.kind()), upper, entry.attr))
    }

    /// Makes a directory in the work directory that hands down what `dir` does; `None` if that is nothing.
    fn heir_of(&self, dir: &LayerNode) -> Result<Option<(Temp<'_>, LayerNode)>, Errno> {
        let default_acl = XattrName::new(b"system.posix_acl_default")?;
        let acl = match dir.xattr(default_acl) {
            Ok(acl) => Some(acl),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => None,
            Err(errno) => return Err(errno),
        };
        let attr = dir.attr()?;
        if acl.is_none() && !attr.mode.contains(Mode::SETGID) {
            return Ok(None);
        }
        let work = self.work()?;
        let name = work.temp_name();
        let fs = work.dir.fs();
        let mode = Mode::new(0o700);
        let entry = fs.mkdir(&self.config.mounter, work.dir.id, name.as_name(), mode)?;
        let heir = LayerNode::adopt(&work.dir.layer, &entry);
        let temp = work.temp(name, FileType::Directory);
        let mode = Some(mode | (attr.mode & Mode::SETGID));
        fs.set_attr(
            heir.id,
            &SetAttr {
                gid: Some(attr.gid),
                mode,
                ..SetAttr::default()
            },
        )?;
        if let Some(acl) = acl {
            met!(128);
            fs.set_xattr(heir.id, default_acl, &acl, XattrMode::Set, KillPriv::Keep)?;
        }
        Ok(Some((temp, heir)))
    }

    /// Makes a file without a name. It belongs to the upper directory, so `dir` is copied up.
    pub(crate) fn make_tmpfile(
        &self,
        caller: &Caller,
        dir: NodeId,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        let dir = self.dir(dir)?;
        dir.expect_mutable()?;
        let upper_dir = self.copy_up(&dir)?;
        let entry = upper_dir.fs().tmpfile(caller, upper_dir.id, mode)?;
        let upper = LayerNode::adopt(&upper_dir.layer, &entry);
        let key = Key::inode(upper.layer.idx, &entry.attr);
        let ino = self.number(&upper.layer, entry.attr.dev, entry.attr.ino);
        let kind = FileType::Regular;
        let new = NewNode {
            kind,
            ino,
            upper: Some(upper),
            lowers: Vec::new(),
            data: None,
            place: None,
            protection: entry.attr.protection,
            known: Known::LOOKED,
        };
        let Inserted::Node(node) = self.table.get_or_insert(key, None, new)? else {
            return Err(Errno::IO);
        };
        met!(60);
        self.keep_nameless(&node)?;
        Ok(Entry {
            node: node.id,
            attr: self.shown(&node, entry.attr),
        })
    }
}
