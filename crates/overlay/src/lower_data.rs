//! Lower data: the bytes of a metacopy, which lie in a layer below it.
//!
//! The topmost metacopy supplies the metadata. The search for the data goes down the layers as a lookup does, under the name
//! that a `redirect` gives, to the first regular file that is no metacopy (OVL-100). Data-only layers show no names: a file
//! there is found by an absolute `redirect` alone, when its data is first wanted (OVL-102).

use std::sync::{Arc, OnceLock};

use mica_vfs::{Attr, Errno, FileName, FileType, invent, met};

use crate::config::Metacopies;
use crate::gate::Inside;
use crate::marks::Marks;
use crate::node::{Data, Node};
use crate::overlay::Overlay;
use crate::redirect::Way;
use crate::search::{Found, Search};
use crate::stack::{LayerInfo, LayerNode, Position};

/// The data of a metacopy.
#[derive(Debug)]
pub(crate) struct LowerData {
    /// How much of it there is, as the metadata says. Readers see no more (OVL-101).
    size: u64,
    at: At,
}

#[derive(Debug)]
enum At {
    /// In this file.
    File(LayerNode),
    /// At this path of some data-only layer: looked for when it is first wanted, and found once.
    Path(Box<[u8]>, OnceLock<LayerNode>),
}

impl LowerData {
    /// The file, if it was looked for.
    fn known(&self) -> Option<&LayerNode> {
        match &self.at {
            At::File(file) => Some(file),
            At::Path(_, found) => found.get(),
        }
    }
}

/// The object that the data of a node is read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DataObject<'n> {
    pub(crate) node: &'n LayerNode,
    /// Where its data ends for a reader, if that may be before its end.
    pub(crate) end: Option<u64>,
}

impl Overlay {
    /// Finds the object that the data of `node` is read from.
    ///
    /// # Errors
    ///
    /// What the last data-only layer answers that was asked for the data; `ENOENT` if none has it.
    pub(crate) fn data_of<'n>(&self, node: &'n Node) -> Result<DataObject<'n>, Errno> {
        let data = match node.data()? {
            Data::In(node) => return Ok(DataObject { node, end: None }),
            Data::Below(data) => data,
        };
        let file = match &data.at {
            At::File(file) => file,
            At::Path(path, found) => match found.get() {
                Some(file) => file,
                None => {
                    let file = self.find_in_data_layers(path, node)?;
                    found.get_or_init(|| file)
                }
            },
        };
        Ok(DataObject {
            node: file,
            end: Some(data.size),
        })
    }

    /// Keeps a late copy of data away from `node` while its metadata change: the copy would make them again what they were.
    /// Nobody pays for it but a metacopy of the upper.
    pub(crate) fn settle(&self, node: &Node) -> Option<Inside<'_>> {
        node.is_metacopy().then(|| self.copying.enter(node.id))
    }

    /// Copies `node` up before it gets another name. A metacopy whose redirect the new name would need and that cannot have it gets
    /// its data: too long a path is no reason to refuse the rename of a file (OVL-105).
    pub(crate) fn copy_up_to_move(&self, node: &Arc<Node>, way: Way) -> Result<(), Errno> {
        self.copy_up_metadata(node)?;
        if node.is_metacopy() && !self.can_redirect(node, way)? {
            self.copy_up(node)?;
        }
        Ok(())
    }

    /// Whether a file has several names, as far as its layers tell: one of them in the same directory says nothing of the others
    /// (ovl_need_absolute_redirect).
    pub(crate) fn has_several_names(&self, node: &Node) -> Result<bool, Errno> {
        if node.kind != FileType::Regular || self.config.metacopies == Metacopies::Off {
            return Ok(false);
        }
        let lower = match node.lowers().first() {
            Some(lower) => Some(&lower.node),
            None => match node.data()? {
                Data::Below(data) => data.known(),
                Data::In(_) => None,
            },
        };
        for object in [node.upper(), lower].into_iter().flatten() {
            if object.attr()?.nlink > 1 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the `st_blocks` of `node`, whose metadata are `real`: those of its data. Of data that was not looked for yet they
    /// are taken from the size (ovl_getattr).
    pub(crate) fn data_blocks(&self, node: &Node, real: &Attr) -> u64 {
        let file = match node.data() {
            Ok(Data::In(file)) => Some(file),
            Ok(Data::Below(data)) => data.known(),
            Err(_) => None,
        };
        match file.map(LayerNode::attr) {
            Some(Ok(attr)) => attr.blocks,
            _ => real.size.next_multiple_of(real.blksize.max(512).into()) / 512,
        }
    }

    /// Looks for `path` in the data-only layers (ovl_lookup_data_layers).
    fn find_in_data_layers(&self, path: &[u8], node: &Node) -> Result<LayerNode, Errno> {
        let mut failed = Errno::NOENT;
        for layer in &self.data_layers {
            match data_beneath(layer, path) {
                Ok(file) => {
                    met!(102);
                    return Ok(file);
                }
                Err(errno) => failed = errno,
            }
        }
        Err(invent!(
            failed,
            "no data in the data-only layers",
            path = node.path(),
            redirect = path.escape_ascii()
        ))
    }

    /// Finds the data of a metacopy, which `dir` shows as `name`; its lowers from number `below` on come after it (ovl_lookup).
    ///
    /// # Errors
    ///
    /// - `EPERM`: metacopies are not followed here (OVL-8).
    /// - `EIO`: there is no data, or a mark on the way is malformed (OVL-68).
    pub(crate) fn lower_data(
        &self,
        (dir, name): (&Arc<Node>, FileName<'_>),
        (metacopy, attr, marks): (&LayerNode, &Attr, Marks),
        below: usize,
    ) -> Result<LowerData, Errno> {
        let path = || dir.path_of(name);
        self.expect_metacopy(metacopy, &path)?;
        let top = (metacopy, attr, Some(marks));
        let (mut search, _) = Search::below(self, (dir, name), top, below)?;
        self.expect_followed(metacopy, &search, &path)?;
        let size = attr.size;
        // An upper one leads to a data-only layer by way of a lower one alone.
        let mut of_lower = !metacopy.is_upper();
        while let Some(Found { node, seen, .. }) = search.next()? {
            if !seen.is_metacopy {
                met!(100);
                let at = At::File(node);
                return Ok(LowerData { size, at });
            }
            self.expect_metacopy(&node, &path)?;
            of_lower = true;
        }
        match search.absolute() {
            Some(redirect) if of_lower && !self.data_layers.is_empty() => {
                let at = At::Path(redirect.into(), OnceLock::new());
                Ok(LowerData { size, at })
            }
            _ => Err(invent!(
                Errno::IO,
                "metacopy without data",
                layer = metacopy.layer.label,
                path = path()
            )),
        }
    }

    /// Refuses a malformed `metacopy` (OVL-68).
    fn expect_metacopy(&self, node: &LayerNode, path: &dyn Fn() -> String) -> Result<(), Errno> {
        self.check_metacopy(node)
            .map_err(|error| error.errno(node, path))
    }

    /// Refuses to follow a metacopy where that was not asked for (OVL-8).
    ///
    /// Of the lowest layer that shows names it is followed all the same into the data-only layers: to read them is what they were
    /// given for (OVL-103, ovl_check_nextredirect).
    fn expect_followed(
        &self,
        node: &LayerNode,
        search: &Search<'_>,
        path: &dyn Fn() -> String,
    ) -> Result<(), Errno> {
        let to_data = search.absolute().is_some()
            && !node.is_upper()
            && node.layer.position == Position::Bottom
            && !self.data_layers.is_empty();
        if to_data && self.config.metacopies == Metacopies::Off {
            met!(103);
        }
        if to_data || self.config.metacopies == Metacopies::On {
            return Ok(());
        }
        met!(8);
        Err(invent!(
            Errno::PERM,
            "refusing to follow metacopy",
            layer = node.layer.label,
            path = path()
        ))
    }
}

/// Finds a regular file of a data-only layer by its path, over no symbolic link and no mount (ovl_lookup_data_layer).
fn data_beneath(layer: &Arc<LayerInfo>, path: &[u8]) -> Result<LayerNode, Errno> {
    let names = path.strip_prefix(b"/").ok_or(Errno::NOENT)?;
    let mut at = LayerNode::root(layer);
    let mut kind = FileType::Directory;
    for name in names.split(|&byte| byte == b'/') {
        match kind {
            FileType::Directory => {}
            FileType::Symlink => return Err(Errno::LOOP),
            _ => return Err(Errno::NOTDIR),
        }
        let found = at.child(FileName::new(name)?)?;
        let (node, attr) = found.ok_or(Errno::NOENT)?;
        if attr.dev != layer.dev {
            return Err(Errno::XDEV);
        }
        (at, kind) = (node, attr.kind);
    }
    match kind {
        FileType::Regular => Ok(at),
        _ => Err(Errno::NOENT),
    }
}
