//! Lower data: the bytes of a metacopy, which lie in a layer below it.
//!
//! The topmost metacopy supplies the metadata. The search for the data goes down the layers as a lookup does, under the name
//! that a `redirect` gives, to the first regular file that is no metacopy (OVL-100). Data-only layers show no names: a file
//! there is found by an absolute `redirect` alone, when its data is first wanted (OVL-102).

use std::sync::{Arc, OnceLock};

use mica_vfs::{Attr, Errno, FileName, FileNameBuf, FileType, invent};

use crate::bad_mark::MarkError;
use crate::config::Metacopies;
use crate::gate::Inside;
use crate::marks::Marks;
use crate::node::{Data, Node};
use crate::overlay::Overlay;
use crate::redirect::{Redirect, parse_redirect};
use crate::stack::{LayerIdx, LayerInfo, LayerNode, Position};
use crate::whiteout::is_device_whiteout;

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

/// What a name of a layer means to the search for data.
enum Found {
    Nothing,
    /// What hides all below it: a whiteout, or another type of object.
    Other,
    Data(LayerNode),
    Metacopy(LayerNode),
}

/// A metacopy that was found under a name.
pub(crate) struct MetacopyAt<'a> {
    pub(crate) dir: &'a Node,
    pub(crate) name: FileName<'a>,
    pub(crate) node: &'a LayerNode,
    pub(crate) marks: Marks,
    /// Which of the directory's lowers come after it.
    pub(crate) below: usize,
    pub(crate) size: u64,
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
                Ok(file) => return Ok(file),
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

    /// Finds the data of a metacopy (ovl_lookup).
    ///
    /// # Errors
    ///
    /// - `EPERM`: metacopies are not followed here (OVL-8).
    /// - `EIO`: there is no data, or a mark on the way is malformed (OVL-68).
    pub(crate) fn lower_data(
        &self,
        metacopy: &MetacopyAt<'_>,
        path: &dyn Fn() -> String,
    ) -> Result<LowerData, Errno> {
        let MetacopyAt { node, size, .. } = *metacopy;
        self.expect_metacopy(node, path)?;
        let redirect = self.redirect_of(node, metacopy.marks, path)?;
        self.expect_followed(node, redirect.as_deref(), path)?;
        let at = match self.search(metacopy, redirect, path)? {
            Some(at) => at,
            None => {
                return Err(invent!(
                    Errno::IO,
                    "metacopy without data",
                    layer = node.layer.label,
                    path = path()
                ));
            }
        };
        Ok(LowerData { size, at })
    }

    /// Goes down the layers below a metacopy.
    fn search(
        &self,
        metacopy: &MetacopyAt<'_>,
        mut redirect: Option<Box<[u8]>>,
        path: &dyn Fn() -> String,
    ) -> Result<Option<At>, Errno> {
        let mut name = metacopy.name.to_owned();
        let rest = metacopy.dir.lowers().get(metacopy.below..);
        for lower in rest.unwrap_or_default() {
            name = renamed(name, redirect.as_deref())?;
            match self.data_at(&lower.node, name.as_name())? {
                Found::Nothing => {}
                Found::Other => return Ok(None),
                Found::Data(file) => return Ok(Some(At::File(file))),
                Found::Metacopy(node) => {
                    self.expect_metacopy(&node, path)?;
                    let marks = self.marks(&node)?;
                    redirect = self.redirect_of(&node, marks, path)?;
                }
            }
        }
        let lazy = redirect.filter(|path| path.starts_with(b"/") && !self.data_layers.is_empty());
        Ok(lazy.map(|path| At::Path(path, OnceLock::new())))
    }

    /// Says what `name` of a lower directory is to the search for data (ovl_lookup_single).
    fn data_at(&self, dir: &LayerNode, name: FileName<'_>) -> Result<Found, Errno> {
        let Some((node, attr)) = dir.child(name)? else {
            return Ok(Found::Nothing);
        };
        if is_device_whiteout(&attr) || attr.kind != FileType::Regular {
            return Ok(Found::Other);
        }
        let marks = match node.layer.position {
            Position::Above => self.marks(&node)?,
            Position::Bottom if attr.size == 0 => self.marks(&node)?,
            Position::Bottom => self.marks_of_bottom_file(&node)?,
        };
        Ok(if attr.size == 0 && marks.contains(Marks::WHITEOUT) {
            Found::Other
        } else if marks.contains(Marks::METACOPY) {
            Found::Metacopy(node)
        } else {
            Found::Data(node)
        })
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
        redirect: Option<&[u8]>,
        path: &dyn Fn() -> String,
    ) -> Result<(), Errno> {
        let absolute = redirect.is_some_and(|path| path.starts_with(b"/"));
        let to_data = absolute
            && node.layer.idx != LayerIdx::UPPER
            && node.layer.position == Position::Bottom
            && !self.data_layers.is_empty();
        if to_data || self.config.metacopies == Metacopies::On {
            return Ok(());
        }
        Err(invent!(
            Errno::PERM,
            "refusing to follow metacopy",
            layer = node.layer.label,
            path = path()
        ))
    }

    /// Reads the `redirect` of a metacopy, if it has one.
    fn redirect_of(
        &self,
        node: &LayerNode,
        marks: Marks,
        path: &dyn Fn() -> String,
    ) -> Result<Option<Box<[u8]>>, Errno> {
        if !marks.contains(Marks::REDIRECT) {
            return Ok(None);
        }
        let value = self.redirect_value(node)?;
        match parse_redirect(&value) {
            Ok(_) => Ok(Some(value.into())),
            Err(bad) => Err(MarkError::Bad(bad).errno(node, path)),
        }
    }
}

/// Returns the name that a relative redirect gives, else `name`.
fn renamed(name: FileNameBuf, redirect: Option<&[u8]>) -> Result<FileNameBuf, Errno> {
    match redirect.map(parse_redirect) {
        Some(Ok(Redirect::Name(other))) => FileNameBuf::new(other),
        _ => Ok(name),
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
