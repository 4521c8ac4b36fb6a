//! The index: what ties the names of changed lower files together from mount to mount (`index=on`).
//!
//! A lower file with several names is copied up to an entry of `work/index`, which is called by the hexadecimal digits of the
//! file's handle, and its names in the upper are hard links to that (OVL-111). A name that only the lower has finds the copy
//! by its own handle. How many names show the file stands in the attribute `nlink` of the copy, relative to the links that
//! the upper or the lower counts, so that the change of a link needs no second step (OVL-112).

mod nlink;
mod setup;

use std::sync::Arc;

use mica_vfs::{Attr, Errno, FileName, FileNameBuf, FileType, RenameFlags, invent, met};

use crate::gate::Inside;
use crate::lookup::Top;
use crate::marks::Marks;
use crate::node::{Known, Lower, NewNode, Node, XattrWhiteouts};
use crate::origin;
use crate::overlay::Overlay;
use crate::stack::{LayerIdx, LayerNode};
use crate::table::{Alias, Inserted, Key};
use crate::whiteout::is_device_whiteout;
use crate::work::Temp;

pub use nlink::Nlink;

/// The index of a mount.
#[derive(Debug)]
pub(crate) struct IndexDir {
    /// `work/index`.
    pub(crate) dir: LayerNode,
}

/// Returns what the entry of the file with this `origin` is called (ovl_get_index_name_fh).
fn entry_name(origin: &[u8]) -> Result<FileNameBuf, Errno> {
    let mut name = Vec::with_capacity(2 * origin.len());
    for byte in origin {
        name.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
    FileNameBuf::new(&name)
}

impl Overlay {
    /// Makes the node of what was found as `name` of `dir` when that had `version`, or takes the one of another name.
    pub(crate) fn insert_found(
        &self,
        (dir, version): (&Arc<Node>, u32),
        name: FileName<'_>,
        key: Key,
        mut top: Top,
    ) -> Result<Inserted, Errno> {
        let parent = Some((&**dir, version));
        let path = || dir.path_of(name);
        if self.index.is_none() || top.attr.kind == FileType::Directory {
            let new = self.assemble(dir, name, top)?;
            return self.table.get_or_insert(key, parent, new);
        }
        let changes = self.table.links.changes();
        if top.node.is_upper() {
            let alias = self.alias_of_upper(&mut top, changes, &path)?;
            let new = self.assemble(dir, name, top)?;
            return self.table.get_or_insert_as(key, parent, new, alias);
        }
        match self.copy_in_index(&top, &path)? {
            None => {
                let new = self.assemble(dir, name, top)?;
                self.table.get_or_insert(key, parent, new)
            }
            Some((copy, attr)) => {
                let links = self.links_in_index(&copy, &attr, &top.attr)?;
                let new = self.of_copy((dir, name), (copy, &attr), top)?;
                let own = Key::inode(LayerIdx::UPPER, &attr);
                let alias = Some(Alias {
                    key,
                    links,
                    changes,
                });
                self.table.get_or_insert_as(own, parent, new, alias)
            }
        }
    }

    /// Returns what a node is made of that a lower name leads to, and whose copy is in the index. That may be a metacopy of the
    /// kernel's: the data is searched for from the lower name on.
    fn of_copy(
        &self,
        (dir, name): (&Arc<Node>, FileName<'_>),
        (copy, attr): (LayerNode, &Attr),
        top: Top,
    ) -> Result<NewNode, Errno> {
        let marks = self.marks(&copy)?;
        let data = if attr.kind == FileType::Regular && marks.contains(Marks::METACOPY) {
            let below = top.below.saturating_sub(1);
            Some(self.lower_data((dir, name), (&copy, attr, marks), below)?)
        } else {
            None
        };
        let path = || dir.path_of(name);
        let protection = self.protection_of(&copy, attr, Some(marks), &path)?;
        let Top { node, attr, .. } = top;
        let ino = self.number(&node.layer, attr.dev, attr.ino);
        let lower = data.is_none().then_some(Lower {
            node,
            xattr_whiteouts: XattrWhiteouts::None,
        });
        let lowers = lower.into_iter().collect();
        Ok(NewNode {
            kind: attr.kind,
            ino,
            upper: Some(copy),
            lowers,
            data,
            place: None,
            protection,
            known: Known::empty(),
        })
    }

    /// Finds the copy of a lower file with several names.
    fn copy_in_index(
        &self,
        top: &Top,
        path: &dyn Fn() -> String,
    ) -> Result<Option<(LayerNode, Attr)>, Errno> {
        if top.attr.nlink <= 1 {
            return Ok(None);
        }
        let origin = Self::origin_of(&top.node)?;
        self.entry_of(&origin, top.attr.kind, path)
    }

    /// Says which lower file an upper one is the copy of, if that is in the index (ovl_lookup_index).
    ///
    /// # Errors
    ///
    /// `EIO` if the index has another file in its place.
    fn alias_of_upper(
        &self,
        top: &mut Top,
        changes: u32,
        path: &dyn Fn() -> String,
    ) -> Result<Option<Alias>, Errno> {
        let marks = top.marks.map_or_else(|| self.marks(&top.node), Ok)?;
        top.marks = Some(marks);
        if !marks.contains(Marks::ORIGIN) {
            return Ok(None);
        }
        let mut value = [0; origin::LEN_MAX];
        let origin = self.value_of_origin(&top.node, &mut value, path)?;
        let (kind, nothing) = (top.attr.kind, || Ok(None));
        let found = self.origin_attr((&top.node, origin), kind, &nothing, path)?;
        let Some((layer, lower)) = found else {
            return Ok(None);
        };
        let Some((copy, attr)) = self.entry_of(origin, kind, path)? else {
            return Ok(None);
        };
        if (attr.dev, attr.ino) != (top.attr.dev, top.attr.ino) {
            return Err(invent!(
                Errno::IO,
                "the index has another file in the place of this one",
                layer = top.node.layer.label,
                path = path()
            ));
        }
        let links = self.links_in_index(&copy, &attr, &lower)?;
        let key = Key::shared(&lower);
        tracing::trace!(lower = layer.label, links, "found in the index");
        Ok(Some(Alias {
            key,
            links,
            changes,
        }))
    }

    /// Finds the entry of the lower file with this `origin`. `EIO` if it is not of its type.
    fn entry_of(
        &self,
        origin: &[u8],
        kind: FileType,
        path: &dyn Fn() -> String,
    ) -> Result<Option<(LayerNode, Attr)>, Errno> {
        let (Some(index), false) = (&self.index, origin.is_empty()) else {
            return Ok(None);
        };
        let Some((copy, attr)) = index.dir.child(entry_name(origin)?.as_name())? else {
            return Ok(None);
        };
        if is_device_whiteout(&attr) || attr.kind != kind {
            return Err(invent!(
                Errno::IO,
                "bad entry of the index: not of the type of the lower file",
                layer = index.dir.layer.label,
                path = path()
            ));
        }
        Ok(Some((copy, attr)))
    }

    /// Returns how many names show an indexed file (ovl_get_nlink).
    fn links_in_index(&self, copy: &LayerNode, attr: &Attr, lower: &Attr) -> Result<u32, Errno> {
        if lower.nlink <= 1 {
            return Ok(attr.nlink);
        }
        let links = self.nlink_mark(copy)?;
        let links = links.and_then(|nlink| nlink.links(attr.nlink, lower.nlink));
        Ok(links.unwrap_or_else(|| {
            let layer = &copy.layer.label;
            tracing::warn!(%layer, "no usable `nlink` on a file of the index");
            attr.nlink
        }))
    }

    fn nlink_mark(&self, copy: &LayerNode) -> Result<Option<Nlink>, Errno> {
        let mut value = [0; Nlink::LEN_MAX];
        match self.mark(copy, "nlink", &mut value) {
            Ok(value) => Ok(Nlink::parse(value)),
            Err(Errno::NODATA | Errno::RANGE | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Whether the copy of `node` goes to the index.
    pub(crate) fn index_for(&self, node: &Node) -> Option<&IndexDir> {
        self.index.as_ref().filter(|_| node.is_shared())
    }

    /// Notes on the copy of an indexed file how many names show it, relative to `base`.
    pub(crate) fn set_nlink(
        &self,
        node: &Node,
        copy: &LayerNode,
        base: impl FnOnce(i64) -> Nlink,
    ) -> Result<(), Errno> {
        match (self.index_for(node), self.counted_links(node)) {
            (Some(_), Some(links)) => {
                let value = base(i64::from(links)).to_string();
                met!(112);
                self.set_mark(copy, "nlink", value.as_bytes())
            }
            _ => Ok(()),
        }
    }

    /// Lets the link count of an indexed file follow that of its copy, before that changes (ovl_nlink_start).
    ///
    /// # Locks
    ///
    /// Goes through the links gate of `node`, which the caller leaves when the change is counted. It may be in names gates.
    pub(crate) fn follow_upper(&self, node: &Node) -> Result<Option<Inside<'_>>, Errno> {
        let (Some(_), Some(copy)) = (self.index_for(node), node.upper()) else {
            return Ok(None);
        };
        let inside = self.linking.enter(node.id);
        let links = i64::from(Self::lasting_links(node, &copy.attr()?));
        self.set_nlink(node, copy, |all| Nlink::Upper(all - links))?;
        Ok(Some(inside))
    }

    /// Returns how many links the copy of an indexed file has, without the one in the work directory of an orphan: that is gone
    /// when the next mount counts.
    pub(crate) fn lasting_links(node: &Node, attr: &Attr) -> u32 {
        attr.nlink.saturating_sub(u32::from(node.is_orphan()))
    }

    /// Renames a finished copy to its entry. Nothing may be there: two copies of one file would be two files.
    pub(crate) fn to_entry(
        &self,
        index: &IndexDir,
        temp: Temp<'_>,
        lower: &LayerNode,
    ) -> Result<(), Errno> {
        let name = entry_name(&Self::origin_of(lower)?)?;
        let name = name.as_name();
        if index.dir.child(name)?.is_some() {
            return Err(invent!(
                Errno::IO,
                "the index has an entry for a file that was not copied up",
                layer = lower.layer.label,
                entry = name
            ));
        }
        met!(111);
        temp.publish(&index.dir, name, RenameFlags::empty())
    }

    /// Removes the entry of `victim`, which has lost its last name (ovl_cleanup_index). What stays the next mount removes.
    pub(crate) fn drop_entry(&self, victim: &Node) {
        let (Some(index), Some(copy)) = (self.index_for(victim), victim.upper()) else {
            return;
        };
        let dropped = || {
            let links = Self::lasting_links(victim, &copy.attr()?);
            if links > 1 {
                // The lower got a name meanwhile: those of the upper count.
                tracing::warn!(links, "a file of the index has names that were not counted");
                return self.table.links.set(victim, links - 1).and_then(|()| {
                    self.set_nlink(victim, copy, |all| Nlink::Upper(all - i64::from(links)))
                });
            }
            let mut value = [0; origin::LEN_MAX];
            let origin = self.value_of_origin(copy, &mut value, &|| victim.path())?;
            let name = entry_name(origin)?;
            self.remove_upper(&index.dir, name.as_name(), victim)
        };
        if let Err(errno) = dropped() {
            tracing::debug!(%errno, "an entry of the index stays");
        }
    }
}
