//! Looking a name up: the walk through the layers, and the node that comes of it.
//!
//! The walk goes from the top and stops at the first object that is not a directory, at a whiteout, or below an
//! opaque directory (OVL-1, OVL-2, OVL-3, OVL-5). Directories of the same name merge; a file below a directory is hidden.
//! How the walk goes on below the topmost object is the business of [`crate::search`].

use std::sync::Arc;

use mica_vfs::{Attr, DevId, Errno, FileName, FileType, Ino, NodeId, invent, met};

use crate::hard_link::Noted;
use crate::marks::Marks;
use crate::nested::kind_shown;
use crate::node::{Known, Lower, NewNode, Node, Place, XattrWhiteouts};
use crate::overlay::Overlay;
use crate::revalidate::Validity;
use crate::search::{Found, Search};
use crate::stack::{LayerInfo, LayerNode, Position};
use crate::table::{Held, Inserted, Key};
use crate::whiteout::{is_device_whiteout, may_be_xattr_whiteout};

/// How often a lookup starts again because the directory changed meanwhile, before it gives up.
const RETRIES: usize = 1000;

/// The topmost object of a name.
#[derive(Debug)]
pub(crate) struct Top {
    pub(crate) node: LayerNode,
    pub(crate) attr: Attr,
    /// Read on the way if the object could have been a whiteout, or the copy of one that the index ties to others.
    pub(crate) marks: Option<Marks>,
    /// Which of the directory's lowers come after it.
    pub(crate) below: usize,
}

/// What a listing knows of a name: the first `first` lower directories and, if there are any, the upper do not have it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hint {
    pub(crate) first: usize,
    /// The version of the directory when the listing was read: later it means nothing.
    pub(crate) version: u32,
}

impl Overlay {
    /// Finds `name` in `dir` and takes a reference on its node.
    ///
    /// `hint` tells which layers need not be asked, if a listing knows.
    pub(crate) fn lookup_at(
        &self,
        dir: &Arc<Node>,
        name: FileName<'_>,
        hint: Option<Hint>,
    ) -> Result<(Arc<Node>, Attr), Errno> {
        dir.expect_dir()?;
        for _ in 0..RETRIES {
            let version = dir.version();
            let first = hint
                .filter(|hint| hint.version == version && !self.is_shared())
                .map_or(0, |hint| hint.first);
            let top = self.topmost(dir, name, first)?.ok_or(Errno::NOENT)?;
            let key = Key::of(top.node.layer.idx, &top.attr);
            let attr = top.attr;
            let node = match self.table.reference(key)? {
                Some(node) => {
                    let node = Held::adopt(&self.table, node);
                    if self.is_shared()
                        && self.revalidate(&node, key, (dir, version), name, top)?
                            == Validity::LookAgain
                    {
                        continue;
                    }
                    node
                }
                None => match self.insert_found((dir, version), name, key, top)? {
                    Inserted::Node(node) => Held::adopt(&self.table, node),
                    Inserted::Raced => continue,
                },
            };
            let attr = match key {
                Key::Inode { .. } => {
                    if self.note_upper_name(&node, (dir, version), name)? == Noted::Raced {
                        continue;
                    }
                    attr
                }
                Key::Shared { .. } => {
                    if self.note_name(&node, (dir, version), name, &attr)? == Noted::Raced {
                        continue;
                    }
                    // The name may be a lower's, and the file copied up by another.
                    node.upper().map_or(Ok(attr), LayerNode::attr)?
                }
            };
            let attr = self.shown(&node, attr);
            return Ok((node.keep(), attr));
        }
        Err(invent!(
            Errno::AGAIN,
            "directory changes faster than it is read",
            path = dir.path()
        ))
    }

    /// Finds `name` for the time of an operation.
    pub(crate) fn hold(&self, dir: &Arc<Node>, name: FileName<'_>) -> Result<Held<'_>, Errno> {
        let (node, _) = self.lookup_at(dir, name, None)?;
        Ok(Held::adopt(&self.table, node))
    }

    /// Finds the topmost object that is called `name`; `None` if there is none or a whiteout hides it.
    pub(crate) fn topmost(
        &self,
        dir: &Node,
        name: FileName<'_>,
        first: usize,
    ) -> Result<Option<Top>, Errno> {
        let upper = dir.upper().filter(|_| first == 0);
        let lowers = dir.lowers().iter().map(|lower| &lower.node);
        for (at, layer_dir) in upper.into_iter().chain(lowers.skip(first)).enumerate() {
            let Some((node, attr)) = layer_dir.child(name)? else {
                continue;
            };
            if is_device_whiteout(&attr) {
                met!(3);
                return Ok(None);
            }
            let mut marks = None;
            if may_be_xattr_whiteout(&attr) {
                let found = self.marks(&node)?;
                if found.contains(Marks::WHITEOUT) {
                    met!(4);
                    return Ok(None);
                }
                marks = Some(found);
            }
            let below = first + at + 1 - usize::from(upper.is_some());
            met!(1);
            return Ok(Some(Top {
                node,
                attr,
                marks,
                below,
            }));
        }
        Ok(None)
    }

    /// Collects what a new node is made of.
    pub(crate) fn assemble(
        &self,
        dir: &Arc<Node>,
        name: FileName<'_>,
        top: Top,
    ) -> Result<NewNode, Errno> {
        let place = Place::new(dir, name);
        if top.attr.kind == FileType::Directory {
            return self.assemble_dir(dir, name, top, place);
        }
        let Top {
            node,
            attr,
            marks,
            below,
        } = top;
        let kind = attr.kind;
        let path = || dir.path_of(name);
        let own = self.number(&node.layer, attr.dev, attr.ino);
        let marks = match (marks, node.layer.position, kind) {
            (Some(marks), ..) => marks,
            (None, Position::Above, _) => self.marks(&node)?,
            (None, Position::Bottom, FileType::Regular) => self.marks_of_bottom_file(&node)?,
            (None, Position::Bottom, _) => Marks::empty(),
        };
        let protection = self.protection_of(&node, &attr, Some(marks), &path)?;
        let data = if kind == FileType::Regular && marks.contains(Marks::METACOPY) {
            Some(self.lower_data((dir, name), (&node, &attr, marks), below)?)
        } else {
            None
        };
        let shown = kind_shown(&attr, marks);
        if !node.is_upper() {
            if let (Some(witness), FileType::Socket | FileType::Fifo) = (&self.config.witness, kind)
            {
                witness.meet(node.id, kind);
            }
            let lowers = vec![Lower {
                node,
                xattr_whiteouts: XattrWhiteouts::None,
            }];
            return Ok(NewNode {
                kind: shown,
                ino: own,
                upper: None,
                lowers,
                data,
                place: Some(place),
                protection,
                known: Known::empty(),
            });
        }
        let candidate = || {
            let mut lowers = dir.lowers().iter().skip(below);
            let found = lowers.find_map(|lower| lower.node.child(name).transpose());
            found.transpose()
        };
        let origin = self.origin_ino(&node, kind, marks, &candidate, &path)?;
        let ino = origin.unwrap_or(own);
        let known = self.owner_kept(&node, Some(marks), &path)?;
        Ok(NewNode {
            kind: shown,
            ino,
            upper: Some(node),
            lowers: Vec::new(),
            place: data.is_some().then_some(place),
            data,
            protection,
            known,
        })
    }

    /// Collects the directories that merge under `name`.
    fn assemble_dir(
        &self,
        dir: &Arc<Node>,
        name: FileName<'_>,
        top: Top,
        place: Place,
    ) -> Result<NewNode, Errno> {
        let Top {
            node, attr, below, ..
        } = top;
        let own = self.number(&node.layer, attr.dev, attr.ino);
        let (mut search, seen) = Search::below(self, (dir, name), (&node, &attr, None), below)?;
        let path = || dir.path_of(name);
        let protection = self.protection_of(&node, &attr, seen.marks, &path)?;
        let known = self.owner_kept(&node, seen.marks, &path)?;
        let (mut lowers, mut lower_ino) = (Vec::new(), None);
        let upper = if node.is_upper() {
            Some(node)
        } else {
            let xattr_whiteouts = seen.whiteouts;
            lowers.push(Lower {
                node,
                xattr_whiteouts,
            });
            lower_ino = Some(own);
            None
        };
        while let Some(Found { node, attr, seen }) = search.next()? {
            met!(2);
            lower_ino = lower_ino.or_else(|| Some(self.number(&node.layer, attr.dev, attr.ino)));
            let xattr_whiteouts = seen.whiteouts;
            lowers.push(Lower {
                node,
                xattr_whiteouts,
            });
        }
        // A merged directory is known by its topmost lower one, before and after copy-up (OVL-30).
        let ino = lower_ino.unwrap_or(own);
        Ok(NewNode {
            kind: FileType::Directory,
            ino,
            upper,
            lowers,
            data: None,
            place: Some(place),
            protection,
            known,
        })
    }

    /// Whether a lower of `dir` has something called `name`, so that taking it away from the upper would show it.
    pub(crate) fn lower_has(&self, dir: &Node, name: FileName<'_>) -> Result<bool, Errno> {
        for lower in dir.lowers() {
            if let Some((node, attr)) = lower.node.child(name)? {
                let is_whiteout = self.is_whiteout(&node, &attr)?;
                if is_whiteout && !is_device_whiteout(&attr) {
                    // Where the directory has no mark its layers list this name (OVL-6), whatever becomes of the upper's.
                    self.listings.drop_dir(dir.id)?;
                }
                return Ok(!is_whiteout);
            }
        }
        Ok(false)
    }

    /// Returns the overlay's number for inode `ino` of device `dev` in `layer`.
    pub(crate) fn number(&self, layer: &LayerInfo, dev: DevId, ino: Ino) -> Ino {
        let own = (dev == layer.dev)
            .then(|| self.numbering.number(layer.fs_idx, ino))
            .flatten();
        own.unwrap_or_else(|| self.numbering.foreign(dev, ino))
    }

    /// Returns the node of `id`, which must be a directory.
    pub(crate) fn dir(&self, id: NodeId) -> Result<Arc<Node>, Errno> {
        let node = self.table.get(id)?;
        node.expect_dir()?;
        Ok(node)
    }
}
