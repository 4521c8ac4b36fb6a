//! Hard links.

use mica_vfs::{Attr, Entry, Errno, FileName, FileType, NodeId, RenameFlags, met};

use crate::create::Spot;
use crate::gate::Inside;
use crate::node::Node;
use crate::overlay::Overlay;
use crate::redirect::Way;
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
        // vfs_link: what is at the new name comes first.
        if let Err(errno) = dir
            .expect_mutable()
            .and_then(|()| node.expect_unprotected())
        {
            self.expect_free(&dir, name)?;
            return Err(errno);
        }
        self.copy_up_to_move(&node, Way::Elsewhere)?;
        let upper = node.upper().ok_or(Errno::STALE)?;
        let upper_dir = self.copy_up(&dir)?;
        let _names = self.enter_both(&node, &dir)?;
        let spot = self.spot(&dir, upper_dir, name)?;
        if spot == Spot::Taken {
            return Err(Errno::EXIST);
        }
        if node.is_metacopy() {
            // Names in several directories find the data by one path (ovl_set_link_redirect).
            self.set_redirect(&node, name, Way::Elsewhere)?;
        }
        self.mark_impure_for(&dir, &node)?;
        let _links = self.follow_upper(&node)?;
        // Now: a link that is made and cannot be looked at is made all the same.
        let attr = upper.attr()?;
        if attr.nlink == 0 {
            met!(63);
        }
        // What has no name but in the work directory gets its own by moving there (OVL-63).
        let nameless = node.is_orphan() && !self.has_lower_names(&node);
        let attr = if nameless && self.name_orphan(&node, upper_dir, name)? {
            attr
        } else {
            met!(29);
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

    /// Goes through the gate of `dir` and, with a metacopy, through that of the directory where it is: a rename of it writes its
    /// redirect in there.
    fn enter_both(&self, node: &Node, dir: &Node) -> Result<Inside<'_>, Errno> {
        loop {
            let parent = match node.place()? {
                Some(place) if node.is_metacopy() => Some(place.parent.id),
                _ => None,
            };
            let names = self.names.enter_all([Some(dir.id), parent, None, None]);
            let now = node.place()?.map(|place| place.parent.id);
            if parent.is_none() || parent == now {
                return Ok(names);
            }
        }
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
