//! The search through the layers: where an object goes on below another one.
//!
//! Directories merge, and the data of a metacopy file lies below it. Both are found by the same walk, which is the kernel's
//! (ovl_lookup, ovl_lookup_layer): the layers below are asked for the name in the directories that merge in the parent. A
//! relative redirect is another name. An absolute one is a path, for which the layers below are asked from their roots; each
//! directory on it may be a whiteout, opaque or redirected itself, and so change the path for the layers below (OVL-91).

use std::borrow::Cow;
use std::sync::Arc;

use mica_vfs::{Attr, Errno, FileName, FileNameBuf, FileType, NodeId, invent, met};

use crate::config::Redirects;
use crate::marks::{Marks, Opaque};
use crate::node::{Node, XattrWhiteouts};
use crate::overlay::Overlay;
use crate::stack::{LayerInfo, LayerNode, Position};

/// A search for what lies below an object (`struct ovl_lookup_data`).
pub(crate) struct Search<'a> {
    overlay: &'a Overlay,
    /// Where the overlay shows the object.
    dir: &'a Node,
    name: FileName<'a>,
    /// What is searched for: directories, or regular files.
    kind: FileType,
    /// What the next layer is asked for: a name, or a path with a slash before each name.
    target: Cow<'a, [u8]>,
    /// The directory whose lowers are asked: the parent, or the root from an absolute redirect on.
    asked: Arc<Node>,
    /// Which of its lowers is asked next.
    next: usize,
    /// Nothing below what was asked last shows through.
    stopped: bool,
    /// Whether the object that was looked at last has an absolute redirect itself.
    last_was_path: bool,
    /// The layer that led elsewhere, last of all.
    redirected_by: Option<Arc<LayerInfo>>,
}

/// What a search found in a layer.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) node: LayerNode,
    pub(crate) attr: Attr,
    pub(crate) seen: Seen,
}

/// What the marks of an object say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// All of them; `None` where nothing depends on them.
    pub(crate) marks: Option<Marks>,
    /// Of a directory of a lower: how its files may be whiteouts.
    pub(crate) whiteouts: XattrWhiteouts,
    /// Of a regular file: its data lies below.
    pub(crate) is_metacopy: bool,
}

impl Seen {
    const NOTHING: Self = Self {
        marks: None,
        whiteouts: XattrWhiteouts::None,
        is_metacopy: false,
    };
}

/// One name of a search's target.
#[derive(Debug, Clone, Copy)]
struct Part {
    start: usize,
    end: usize,
    /// Nothing comes after it.
    is_last: bool,
}

impl<'a> Search<'a> {
    /// Starts below `top`, which `dir` shows as `name`; the lowers of `dir` from number `below` on come after it.
    ///
    /// `marks` are those of `top`, if they have been read. Returns what they say of it, too.
    pub(crate) fn below(
        overlay: &'a Overlay,
        (dir, name): (&'a Arc<Node>, FileName<'a>),
        (top, attr, marks): (&LayerNode, &Attr, Option<Marks>),
        below: usize,
    ) -> Result<(Self, Seen), Errno> {
        let mut search = Self {
            overlay,
            dir,
            name,
            kind: attr.kind,
            target: Cow::Borrowed(name.as_bytes()),
            asked: Arc::clone(dir),
            next: below,
            stopped: false,
            last_was_path: false,
            redirected_by: None,
        };
        let whole = Part {
            start: 0,
            end: name.as_bytes().len(),
            is_last: true,
        };
        let is_bottom = search.is_bottom(&top.layer);
        let seen = search.see(top, attr, marks, whole, is_bottom)?;
        search.start_over(&top.layer)?;
        Ok((search, seen))
    }

    /// Finds what comes next below, if anything does.
    ///
    /// # Errors
    ///
    /// - `EPERM`: a directory is redirected, and the mount follows no redirects (OVL-8).
    /// - `EIO`: a mark on the way means nothing (OVL-68).
    /// - `ELOOP`: the way leads into the root of another layer (OVL-92).
    pub(crate) fn next(&mut self) -> Result<Option<Found>, Errno> {
        while !self.stopped {
            let asked = Arc::clone(&self.asked);
            let Some(base) = asked.lowers().get(self.next) else {
                return Ok(None);
            };
            self.next += 1;
            if let Some(found) = self.ask(&base.node)? {
                self.start_over(&base.node.layer)?;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Whether nothing can come below what `layer` has: its marks need not be read then.
    fn is_bottom(&self, layer: &LayerInfo) -> bool {
        match self.overlay.config.redirects {
            // An absolute redirect leads to lowers that the parent does not merge with.
            Redirects::On | Redirects::Follow => layer.position == Position::Bottom,
            Redirects::NoFollow => self.next >= self.asked.lowers().len(),
        }
    }

    /// The path that the object seen last is redirected to, if it is to one: that alone leads to a data-only layer. A directory
    /// on the way to a file that is not there counts, too (`ovl_lookup_data.absolute_redirect`).
    pub(crate) fn absolute(&self) -> Option<&[u8]> {
        self.last_was_path.then_some(&*self.target)
    }

    /// Whether the layers are asked for a path from their roots.
    fn is_path(&self) -> bool {
        self.target.starts_with(b"/")
    }

    /// Goes on at the roots after an absolute redirect, with the layers below `layer`.
    fn start_over(&mut self, layer: &LayerInfo) -> Result<(), Errno> {
        if self.is_path() && self.asked.id != NodeId::ROOT {
            self.asked = self.overlay.table.get(NodeId::ROOT)?;
            // The upper has number 0, and the topmost lower 1.
            self.next = usize::from(layer.idx.0);
        }
        Ok(())
    }

    /// Refuses an object that is redirected if redirects are not followed (OVL-8, ovl_check_follow_redirect). A directory is
    /// refused by itself; of a file only the end of the search tells whether its redirect counts.
    pub(crate) fn refuse_unfollowed(&self) -> Result<(), Errno> {
        let Some(layer) = &self.redirected_by else {
            return Ok(());
        };
        if self.overlay.config.redirects.follow() {
            return Ok(());
        }
        met!(8);
        Err(invent!(
            Errno::PERM,
            "refusing to follow redirect",
            layer = layer.label,
            path = self.path()
        ))
    }

    /// The path of the object, for messages.
    fn path(&self) -> String {
        self.dir.path_of(self.name)
    }

    /// Asks the directory `base` of a layer for the target (ovl_lookup_layer).
    fn ask(&mut self, base: &LayerNode) -> Result<Option<Found>, Errno> {
        let is_bottom = self.is_bottom(&base.layer);
        if !self.is_path() {
            let end = self.target.len();
            return self.ask_for(
                base,
                Part {
                    start: 0,
                    end,
                    is_last: true,
                },
                is_bottom,
            );
        }
        // Counted from the end: a redirect on the way changes what stands before.
        let mut rest = self.target.len() - 1;
        let mut on_the_way: Option<Found> = None;
        loop {
            let start = self.target.len() - rest;
            let names = self.target.get(start..).unwrap_or_default();
            let len = names.iter().position(|&byte| byte == b'/');
            let end = len.map_or(self.target.len(), |len| start + len);
            let part = Part {
                start,
                end,
                is_last: len.is_none(),
            };
            let after = self.target.len() - end;
            let dir = on_the_way.as_ref().map_or(base, |found| &found.node);
            let found = self.ask_for(dir, part, is_bottom)?;
            if found.is_none() || part.is_last {
                return Ok(found);
            }
            (on_the_way, rest) = (found, after - 1);
        }
    }

    /// Asks a directory of a layer for one name (ovl_lookup_single).
    fn ask_for(
        &mut self,
        dir: &LayerNode,
        part: Part,
        is_bottom: bool,
    ) -> Result<Option<Found>, Errno> {
        let name = self.target.get(part.start..part.end).unwrap_or_default();
        let name = match FileNameBuf::new(name) {
            Ok(name) => name,
            Err(Errno::NAMETOOLONG) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let Some((node, attr)) = dir.child(name.as_name())? else {
            return Ok(None);
        };
        let wanted = if part.is_last {
            self.kind
        } else {
            FileType::Directory
        };
        if attr.kind != wanted || self.overlay.is_whiteout(&node, &attr)? {
            self.stopped = true;
            return Ok(None);
        }
        let seen = self.see(&node, &attr, None, part, is_bottom)?;
        Ok(Some(Found { node, attr, seen }))
    }

    /// Looks at the marks of an object that has the name of `part`: whether it ends the search, and where it leads.
    fn see(
        &mut self,
        node: &LayerNode,
        attr: &Attr,
        marks: Option<Marks>,
        part: Part,
        is_bottom: bool,
    ) -> Result<Seen, Errno> {
        let overlay = self.overlay;
        let is_dir = attr.kind == FileType::Directory;
        self.last_was_path = false;
        if is_dir {
            overlay.refuse_trap(node, attr, &|| self.path())?;
        }
        if is_dir && is_bottom {
            return Ok(Seen::NOTHING);
        }
        let marks = marks.map_or_else(|| overlay.marks(node), Ok)?;
        let mut seen = Seen {
            marks: Some(marks),
            ..Seen::NOTHING
        };
        if is_dir {
            match overlay.opaque(node, marks, &|| self.path())? {
                Opaque::Stop => {
                    met!(5);
                    self.stopped = true;
                    return Ok(seen);
                }
                Opaque::XattrWhiteouts if part.is_last && !node.is_upper() => {
                    met!(6);
                    seen.whiteouts = XattrWhiteouts::Possible;
                }
                Opaque::XattrWhiteouts | Opaque::No => {}
            }
        } else {
            seen.is_metacopy = marks.contains(Marks::METACOPY);
            self.stopped = !seen.is_metacopy;
            // From the lowest layer on it leads to the data-only ones.
            if self.stopped || (is_bottom && overlay.data_layers.is_empty()) {
                return Ok(seen);
            }
        }
        if marks.contains(Marks::REDIRECT) {
            self.redirect(node, part)?;
        }
        Ok(seen)
    }

    /// Lets the layers below be asked for what the redirect of `node` says (ovl_check_redirect).
    fn redirect(&mut self, node: &LayerNode, part: Part) -> Result<(), Errno> {
        let Some(value) = self.overlay.redirect_of(node, &|| self.path())? else {
            return Ok(());
        };
        let before = self.target.get(..part.start).unwrap_or_default();
        let after = self.target.get(part.end..).unwrap_or_default();
        let target = if value.starts_with(b"/") {
            // An opaque directory on the way here hides what lies below it, but not what lies elsewhere.
            self.stopped = false;
            [&value, after].concat()
        } else {
            [before, &value, after].concat()
        };
        self.target = Cow::Owned(target);
        self.last_was_path = value.starts_with(b"/");
        self.redirected_by = Some(Arc::clone(&node.layer));
        met!(91);
        if self.kind == FileType::Directory {
            self.refuse_unfollowed()?;
        }
        Ok(())
    }
}
