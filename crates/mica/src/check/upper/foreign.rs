//! What other programs, or overlays of the other prefix, left.

use std::path::Path;

use mica_overlay::XattrNamespace;
use mica_vfs::{Errno, FileType};

use super::Look;
use crate::check::trouble::Trouble;
use crate::convert::{IMPORT, purpose_on};
use crate::offline::{Object, Start, Want};

impl Look<'_> {
    pub(super) fn foreign_xattrs(&mut self, object: &Object<'_>) -> Result<(), Errno> {
        let other = match self.lowers.xattrs() {
            XattrNamespace::Trusted => XattrNamespace::User,
            XattrNamespace::User => XattrNamespace::Trusted,
        };
        for name in &object.marks.others {
            if object.parent.is_none() && crate::convert::MARKS.contains(&name.as_slice()) {
                let trouble = match purpose_on(object.node)? {
                    Some(purpose) if purpose == IMPORT => Trouble::HalfImported,
                    _ => Trouble::HalfConverted,
                };
                self.found(object, trouble, None);
                continue;
            }
            let name = name.clone();
            let trouble = match name.strip_prefix(other.prefix()) {
                Some(b"opaque" | b"redirect" | b"metacopy" | b"whiteout") => {
                    Trouble::OtherNamespace { name }
                }
                Some(_) => continue,
                None if is_of_fuse_overlayfs(&name) => Trouble::ForeignXattr { name },
                None => continue,
            };
            self.found(object, trouble, None);
        }
        Ok(())
    }

    pub(super) fn foreign_name(&mut self, object: &Object<'_>) -> Result<(), Errno> {
        let Some(parent) = object.parent else {
            return Ok(());
        };
        let attr = object.node.attr();
        let is_mark = attr.kind == FileType::Regular && attr.size == 0;
        let in_root = parent.path == Path::new("/");
        let trouble = match object.name {
            b".wh..wh..opq" if is_mark => Trouble::NamedOpaque,
            b".wh..wh.aufs" | b".wh..wh.plnk" | b".wh..wh.orph" if in_root => Trouble::ForeignName,
            b".unionfs" | b".unionfs-fuse" if in_root && attr.kind == FileType::Directory => {
                Trouble::ForeignName
            }
            name if is_mark && name.len() > 4 && name.starts_with(b".wh.") => {
                let hidden = name.get(4..).unwrap_or_default();
                let hides = if self.knows_lowers() {
                    let below =
                        self.lowers
                            .find(&parent.below, Start::Name(hidden), Want::Anything)?;
                    Some(!below.is_empty() && parent.node.child(hidden)?.is_none())
                } else {
                    None
                };
                Trouble::NamedWhiteout { hides }
            }
            _ => return Ok(()),
        };
        self.found(object, trouble, None);
        Ok(())
    }
}

fn is_of_fuse_overlayfs(name: &[u8]) -> bool {
    matches!(
        name,
        b"user.fuseoverlayfs.opaque"
            | b"user.fuseoverlayfs.override_stat"
            | b"security.fuseoverlayfs.override_stat"
            | b"user.containers.override_stat"
    )
}
