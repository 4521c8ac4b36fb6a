//! Hard links.

use mica_vfs::{Entry, Errno, FileName, FileType, NodeId, RenameFlags};

use crate::create::Spot;
use crate::overlay::Overlay;

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
        if spot != Spot::Taken {
            self.mark_impure_for(&dir, &node)?;
        }
        let entry = match spot {
            Spot::Taken => return Err(Errno::EXIST),
            Spot::Free => upper.fs().link(upper.id, upper_dir.id, name)?,
            Spot::Whiteout => {
                let work = self.work()?;
                let temp = work.temp_name();
                let entry = upper.fs().link(upper.id, work.dir.id, temp.as_name())?;
                let temp = work.temp(temp, node.kind);
                let published = temp.publish(upper_dir, name, RenameFlags::empty());
                if let Err(errno) = published {
                    upper.fs().forget(entry.node, 1);
                    return Err(errno);
                }
                entry
            }
        };
        upper.fs().forget(entry.node, 1);
        self.listing_add(&dir, name, &node)?;
        self.table.bump(&dir)?;
        self.table.add_reference(&node);
        Ok(Entry {
            node: node.id,
            attr: self.attr_of(&node)?,
        })
    }
}
