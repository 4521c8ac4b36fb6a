//! Showing a copy that is built: its name appears, and it becomes the node's.

use std::sync::atomic::Ordering::Relaxed;

use mica_vfs::{Attr, Errno, FileName, FileType, RenameFlags, met};

use super::{Copying, Form, restore_times};
use crate::node::Node;
use crate::stack::LayerNode;
use crate::table::Key;
use crate::work::Temp;

impl Copying<'_> {
    /// Shows the copy, and makes it the node's. Returns what its attributes were.
    ///
    /// The key comes before the name: a lookup that finds the name finds the node.
    pub(super) fn publish(self, temp: Temp<'_>, upper: LayerNode) -> Result<Attr, Errno> {
        let (overlay, node) = (self.overlay, self.node);
        let attr = upper.attr()?;
        let key = Key::inode(upper.layer.idx, &attr);
        overlay.counters.copy_ups.fetch_add(1, Relaxed);
        node.set_metacopy(self.form == Form::Metacopy);
        if let Some(index) = overlay.index_for(node) {
            overlay.table.add_key(node, key)?;
            if let Err(errno) = overlay.to_entry(index, temp, self.lower) {
                overlay.table.drop_key(node, key)?;
                return Err(errno);
            }
            node.set_upper(upper);
            overlay.table.rekey(node, Some(key), None)?;
            overlay.place_to_note(node, self.attr.nlink)?;
            return Ok(attr);
        }
        loop {
            let Some(place) = node.place()? else {
                // The file lost its name while it was open: the copy lives on under the one that it was built under. To
                // remove that now would save nothing (OVL-64).
                met!(64);
                overlay.keep_temp(node, temp)?;
                node.set_upper(upper);
                if overlay.has_lower_names(node) {
                    overlay.table.rekey(node, Some(key), None)?;
                }
                return Ok(attr);
            };
            let parent = &place.parent;
            let _names = overlay.names.enter(parent.id);
            if !node.is_at(parent, place.name.as_name())? {
                continue;
            }
            overlay.table.add_key(node, key)?;
            if let Err(errno) = self.rename(temp, parent, place.name.as_name()) {
                overlay.table.drop_key(node, key)?;
                return Err(errno);
            }
            node.set_upper(upper);
            overlay.listing_add(parent, place.name.as_name(), node)?;
            overlay.table.rekey(node, Some(key), Some(parent))?;
            self.tell_observer();
            if node.kind != FileType::Directory && self.form == Form::Whole {
                // A file in the upper needs its place no more, nor its parent.
                overlay.table.move_to(node, None)?;
            }
            return Ok(attr);
        }
    }

    /// Tells of what the caller did not ask for: a directory that merges counts its links otherwise (OVL-33).
    fn tell_observer(&self) {
        if let Some(observer) = self.overlay.observer.get()
            && self.node.kind == FileType::Directory
        {
            observer.attributes_changed(self.node.id);
        }
    }

    /// Renames the copy into the upper parent, whose own times stay: nothing was changed in it.
    fn rename(&self, temp: Temp<'_>, parent: &Node, name: FileName<'_>) -> Result<(), Errno> {
        let dir = parent.upper().ok_or(Errno::STALE)?;
        let before = dir.attr()?;
        met!(22);
        temp.publish(dir, name, RenameFlags::empty())?;
        restore_times(dir, &before);
        Ok(())
    }
}
