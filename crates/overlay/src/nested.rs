//! Whiteouts of an overlay whose upper lies on this one.
//!
//! Device 0:0 is what this overlay hides names with, so it cannot keep one that it is asked to make. What is made by
//! mknod(2) or left by `RENAME_WHITEOUT` is stored as an empty regular file with the escaped attribute `whiteout`, which
//! shows as the device again; the private mark `nested` tells it from a file that was given that attribute (OVL-130).
//!
//! Who mounts the layers by the kernel's overlayfs sees a whiteout in the xattr form there, in a directory that says so by
//! an escaped `opaque` = `x`: a lower of a nested overlay as the kernel's documentation asks for it.

use std::sync::Arc;

use mica_vfs::{
    Attr, Caller, Entry, Errno, FileName, FileType, Mode, NodeId, Rdev, RenameFlags, XattrMode,
    XattrName,
};

use crate::create::{Make, Spot};
use crate::marks::Marks;
use crate::node::Node;
use crate::overlay::Overlay;
use crate::stack::LayerNode;
use crate::table::Held;
use crate::work::Temp;

/// The private mark, on a whiteout of another overlay and on a directory that holds some.
const NESTED: &str = "nested";
/// The escaped mark of a whiteout in the xattr form.
const WHITEOUT: &str = "overlay.whiteout";
/// The escaped mark of a directory.
const OPAQUE: &str = "overlay.opaque";

/// Returns the type that an object of a layer has in the overlay.
pub(crate) fn kind_shown(stored: &Attr, marks: Marks) -> FileType {
    if stored.kind == FileType::Regular && stored.size == 0 && marks.contains(Marks::NESTED) {
        FileType::CharDevice
    } else {
        stored.kind
    }
}

impl Node {
    /// Whether it is a whiteout of another overlay, by the attributes that are stored.
    pub(crate) fn is_nested_whiteout(&self, stored: &Attr) -> bool {
        self.kind == FileType::CharDevice && stored.kind == FileType::Regular
    }

    /// Fails with `absent` for an attribute of `user.*` of a device, which a device has not: it may be stored as a file
    /// (xattr_permission).
    pub(crate) fn expect_user_attributes(
        &self,
        name: XattrName<'_>,
        absent: Errno,
    ) -> Result<(), Errno> {
        if self.kind == FileType::CharDevice && name.as_bytes().starts_with(b"user.") {
            return Err(absent);
        }
        Ok(())
    }

    /// Returns what of the `stored` attributes is another in the overlay.
    pub(crate) fn shown_device(&self, stored: Attr) -> Attr {
        if self.is_nested_whiteout(&stored) {
            return as_device(stored);
        }
        stored
    }
}

/// Returns the attributes that a whiteout of another overlay shows, which is stored as a file.
fn as_device(stored: Attr) -> Attr {
    Attr {
        kind: FileType::CharDevice,
        rdev: Rdev::WHITEOUT,
        ..stored
    }
}

/// Whose the escaped mark of an object is: `x` in the value of [`NESTED`] says that this overlay wrote it, and hides it.
const OURS: &[u8] = b"x";
/// The escaped mark is that of the overlay that lies here, which sees it.
const THEIRS: &[u8] = b"y";

impl Overlay {
    /// Makes a device 0:0 for an overlay whose upper lies here (mknod(2), OVL-130).
    pub(crate) fn make_nested_whiteout(
        &self,
        caller: &Caller,
        dir: &Arc<Node>,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno> {
        self.expect_free(dir, name)?;
        let upper_dir = self.copy_up(dir)?;
        let _names = self.names.enter(dir.id);
        if self.spot(dir, upper_dir, name)? == Spot::Taken {
            return Err(Errno::EXIST);
        }
        let (temp, upper, attr) = self.make_in_work(upper_dir, caller, Make::File(mode))?;
        self.mark_nested_whiteout(&upper)?;
        self.mark_nested(dir)?;
        temp.publish(upper_dir, name, RenameFlags::empty())?;
        let attr = as_device(attr);
        let node = self.born(dir, name, upper, &attr)?;
        Ok(Entry {
            node: node.id,
            attr: self.shown(&node, attr),
        })
    }

    /// Renames and leaves a device 0:0 at the old name (`RENAME_WHITEOUT`, OVL-131).
    ///
    /// In two steps. Who is stopped between them has moved the object and left nothing behind; a second step that fails
    /// undoes the first, unless that replaced something.
    pub(crate) fn rename_for_nested(
        &self,
        from: (NodeId, FileName<'_>),
        to: (NodeId, FileName<'_>),
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let flags = flags.difference(RenameFlags::WHITEOUT);
        if flags.contains(RenameFlags::EXCHANGE) {
            return Err(Errno::INVAL);
        }
        let dir = self.dir(from.0)?;
        drop(self.hold(&dir, from.1)?);
        let replaces = self.dir(to.0).and_then(|to_dir| self.hold(&to_dir, to.1));
        let replaces = replaces.map(drop).is_ok();
        // What can fail is done before anything moves.
        self.copy_up(&dir)?;
        let (temp, upper, attr) = self.nested_whiteout_in_work()?;
        self.mark_nested(&dir)?;
        self.rename_at(from, to, flags)?;
        let left = self.leave_nested_whiteout(&dir, from.1, temp, upper, attr);
        if left.is_err() && !replaces {
            self.undone(self.rename_at(to, from, RenameFlags::NOREPLACE));
        }
        left
    }

    /// Puts a whiteout of another overlay at a name that was renamed away.
    fn leave_nested_whiteout(
        &self,
        dir: &Arc<Node>,
        name: FileName<'_>,
        temp: Temp<'_>,
        upper: LayerNode,
        attr: Attr,
    ) -> Result<(), Errno> {
        let upper_dir = dir.upper().ok_or(Errno::STALE)?;
        let _names = self.names.enter(dir.id);
        if self.spot(dir, upper_dir, name)? == Spot::Taken {
            // Both names were one file, which stays; or somebody was faster.
            return Ok(());
        }
        temp.publish(upper_dir, name, RenameFlags::empty())?;
        let node = self.born(dir, name, upper, &as_device(attr))?;
        drop(Held::adopt(&self.table, node));
        Ok(())
    }

    /// Makes a whiteout of another overlay, the mounter's, in the work directory.
    fn nested_whiteout_in_work(&self) -> Result<(Temp<'_>, LayerNode, Attr), Errno> {
        let work = self.work()?;
        let (mounter, name) = (&self.config.mounter, work.temp_name());
        let mode = Mode::empty();
        let entry = work
            .dir
            .fs()
            .create(mounter, work.dir.id, name.as_name(), mode)?;
        let upper = LayerNode::adopt(&work.dir.layer, &entry);
        let temp = work.temp(name, FileType::Regular);
        self.mark_nested_whiteout(&upper)?;
        Ok((temp, upper, entry.attr))
    }

    /// Makes empty file `upper` a whiteout of another overlay.
    ///
    /// # Errors
    ///
    /// `EPERM`: the upper keeps no attributes, and so no such device.
    pub(crate) fn mark_nested_whiteout(&self, upper: &LayerNode) -> Result<(), Errno> {
        for (mark, value) in [(NESTED, OURS), (WHITEOUT, &b"y"[..])] {
            self.set_mark(upper, mark, value)
                .map_err(|errno| match errno {
                    Errno::OPNOTSUPP => Errno::PERM,
                    other => other,
                })?;
        }
        Ok(())
    }

    /// Marks upper directory `dir` before a whiteout of another overlay appears in it: for our listings, and for a nested
    /// overlay that finds the files themselves, by the kernel. A mark of that overlay's own stays.
    pub(crate) fn mark_nested(&self, dir: &Node) -> Result<(), Errno> {
        if dir.holds_nested() {
            return Ok(());
        }
        let upper = dir.upper().ok_or(Errno::STALE)?;
        if self.is_marked_nested(upper)? {
            dir.set_holds_nested();
            return Ok(());
        }
        let theirs = self.config.xattrs.is_on(upper, OPAQUE)?;
        // First what hides the other: who is stopped in between has shown nothing.
        self.set_mark(upper, NESTED, if theirs { THEIRS } else { OURS })?;
        if !theirs {
            self.set_mark(upper, OPAQUE, b"x")?;
        }
        dir.set_holds_nested();
        Ok(())
    }

    /// Marks `dir` if `node`, whose upper object has the `stored` attributes, is about to appear in it and is a whiteout of
    /// another overlay.
    pub(crate) fn mark_nested_for(
        &self,
        dir: &Node,
        node: &Node,
        stored: &Attr,
    ) -> Result<(), Errno> {
        if node.is_nested_whiteout(stored) {
            self.mark_nested(dir)?;
        }
        Ok(())
    }

    /// Whether files of directory `dir` of a layer may be whiteouts of another overlay: a listing has to look.
    pub(crate) fn is_marked_nested(&self, dir: &LayerNode) -> Result<bool, Errno> {
        match self.config.xattrs.is_on(dir, NESTED) {
            // The last two: a user's attribute of a directory that this process may list, but not read.
            Err(Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM) => Ok(false),
            marked => marked,
        }
    }

    /// Whether the escaped attribute `stored` of the real object of `node` is there for others alone: the overlay wrote it, and
    /// does not show it (OVL-130).
    pub(crate) fn is_hidden_mark(
        &self,
        node: &Node,
        real: &LayerNode,
        stored: &[u8],
    ) -> Result<bool, Errno> {
        let mark = match node.kind {
            FileType::Directory => OPAQUE,
            FileType::CharDevice => WHITEOUT,
            _ => return Ok(false),
        };
        if stored.strip_prefix(self.config.xattrs.prefix()) != Some(mark.as_bytes()) {
            return Ok(false);
        }
        match self.mark(real, NESTED, &mut [0; 8]) {
            Ok(whose) => Ok(whose == OURS),
            Err(Errno::NODATA | Errno::RANGE | Errno::OPNOTSUPP) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Leaves an escaped mark of the overlay's to who is about to set it. Returns how to set it: there is one already, though
    /// none is seen.
    pub(crate) fn give_mark_away(
        &self,
        node: &Node,
        upper: &LayerNode,
        stored: &[u8],
        mode: XattrMode,
    ) -> Result<XattrMode, Errno> {
        if !self.is_hidden_mark(node, upper, stored)? {
            return Ok(mode);
        }
        if mode == XattrMode::Replace {
            return Err(Errno::NODATA);
        }
        self.set_mark(upper, NESTED, THEIRS)?;
        Ok(XattrMode::Set)
    }
}
