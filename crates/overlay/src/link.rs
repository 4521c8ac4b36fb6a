//! Hard links.

use mica_vfs::{Attr, Entry, Errno, FileName, FileType, NodeId, RenameFlags};

use crate::create::Spot;
use crate::overlay::Overlay;
use crate::stack::LayerNode;

impl Overlay {
    /// Gives `node` one more name. It is copied up first, so both names are one file of the upper.
    pub(crate) fn link_at(
        &self,
        node: NodeId,
        dir: NodeId,
        name: FileName<'_>,
    ) -> Result<Entry, Errno> {
        let (node, dir) = (self.table.get(node)?, self.dir(dir)?);
        if node.kind == FileType::Directory {
            // linkat(2) looks at the new name first.
            self.expect_free(&dir, name)?;
            return Err(Errno::PERM);
        }
        let upper = self.copy_up(&node)?;
        let upper_dir = self.copy_up(&dir)?;
        let _names = self.names.enter(dir.id);
        let spot = self.spot(&dir, upper_dir, name)?;
        if spot == Spot::Taken {
            return Err(Errno::EXIST);
        }
        self.mark_impure_for(&dir, &node)?;
        self.follow_upper(&node, upper)?;
        // Now: a link that is made and cannot be looked at is made all the same.
        let attr = upper.attr()?;
        // What has no name but in the work directory gets its own by moving there (OVL-63).
        let nameless = node.is_orphan() && !self.has_lower_names(&node);
        let attr = if nameless && self.name_orphan(&node, upper_dir, name)? {
            attr
        } else {
            self.link_upper(upper, upper_dir, name, spot)?
        };
        self.name_added(&node)?;
        self.listing_add(&dir, name, &node)?;
        self.table.bump(&dir)?;
        self.table.add_reference(&node);
        Ok(Entry {
            node: node.id,
            attr: self.shown(&node, attr),
        })
    }

    /// Links an upper file to a name that shows nothing. Returns its attributes.
    fn link_upper(
        &self,
        upper: &LayerNode,
        dir: &LayerNode,
        name: FileName<'_>,
        spot: Spot,
    ) -> Result<Attr, Errno> {
        let link = |dir: &LayerNode, name: FileName<'_>| {
            let entry = upper.fs().link(upper.id, dir.id, name)?;
            upper.fs().forget(entry.node, 1);
            Ok(entry.attr)
        };
        if spot != Spot::Whiteout {
            return link(dir, name);
        }
        let work = self.work()?;
        let temp = work.temp_name();
        let attr = link(&work.dir, temp.as_name())?;
        work.temp(temp, attr.kind)
            .publish(dir, name, RenameFlags::empty())?;
        Ok(attr)
    }
}
