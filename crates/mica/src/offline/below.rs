//! What lies below an object: the walk through the lowers, with redirects and opaque directories (ovl_lookup).

use mica_overlay::{Redirect, XattrNamespace, parse_redirect};
use mica_vfs::{Errno, FileType};

use super::marks::{Marks, is_whiteout};
use super::node::Node;

/// An object of a lower.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Which lower, counted from the top.
    pub(crate) layer: usize,
    pub(crate) node: Node,
    /// Where it is in its layer: the names from the root.
    pub(crate) path: Vec<Box<[u8]>>,
}

/// Where the walk begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start<'a> {
    /// A name in the directories that the parent merges.
    Name(&'a [u8]),
    /// The value of a redirect.
    Redirect(Redirect<'a>),
}

/// What the walk looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Whatever there is.
    Anything,
    /// Directories that merge with one above.
    Directories,
    /// The files that a metacopy above takes its data from: at last one that has it.
    Data,
}

/// The lowers of a stack.
#[derive(Debug)]
pub(crate) struct Lowers {
    roots: Vec<Place>,
    /// Data-only layers, asked in turn for the data that no other lower has.
    data: Vec<Place>,
    xattrs: XattrNamespace,
}

/// What the walk looks for in the next layer.
#[derive(Debug)]
struct Target {
    names: Vec<Box<[u8]>>,
    /// Whether they begin at the roots.
    absolute: bool,
    want: Want,
    stop: bool,
}

impl Lowers {
    /// Takes lowers, topmost first; the last `data` of them are data-only.
    pub(crate) fn new(layers: Vec<Node>, data: usize, xattrs: XattrNamespace) -> Self {
        let layers = layers.into_iter().enumerate();
        let mut roots: Vec<Place> = layers
            .map(|(layer, node)| Place {
                layer,
                node,
                path: Vec::new(),
            })
            .collect();
        let data = roots.split_off(roots.len().saturating_sub(data));
        Self {
            roots,
            data,
            xattrs,
        }
    }

    pub(crate) const fn xattrs(&self) -> XattrNamespace {
        self.xattrs
    }

    /// Returns the roots, topmost first.
    pub(crate) fn roots(&self) -> &[Place] {
        &self.roots
    }

    /// Finds what lies below, topmost first, given what the parent merges: directories, or files of which all but the
    /// last one are metacopies.
    ///
    /// # Errors
    ///
    /// What the layers answer. A redirect that means nothing ends the walk.
    pub(crate) fn find(
        &self,
        parents: &[Place],
        start: Start<'_>,
        want: Want,
    ) -> Result<Vec<Place>, Errno> {
        let (names, absolute) = match start {
            Start::Name(name) | Start::Redirect(Redirect::Name(name)) => (vec![name.into()], false),
            Start::Redirect(Redirect::Path(path)) => (names_of(path), true),
        };
        let mut target = Target {
            names,
            absolute,
            want,
            stop: false,
        };
        let mut found = Vec::new();
        let mut stack = if absolute { &self.roots } else { parents };
        let mut next = 0;
        while let Some(place) = stack.get(next) {
            next += 1;
            let was_absolute = target.absolute;
            if let Some(hit) = self.look_in(place, &mut target)? {
                found.push(hit);
            }
            if target.stop {
                break;
            }
            if target.absolute && !was_absolute {
                // From here on the path counts, in the layers below this one.
                stack = &self.roots;
                next = place.layer + 1;
            }
        }
        if target.want == Want::Data && target.absolute && !target.stop {
            found.extend(self.look_for_data(&target.names)?);
        }
        Ok(found)
    }

    /// Looks for a file in the data-only layers, in which there are no marks.
    fn look_for_data(&self, names: &[Box<[u8]>]) -> Result<Option<Place>, Errno> {
        for layer in &self.data {
            let mut node = Some(layer.node.clone());
            for name in names {
                node = match node {
                    Some(dir) if dir.kind() == FileType::Directory => dir.child(name)?,
                    _ => None,
                };
            }
            if let Some(node) = node.filter(|node| node.kind() == FileType::Regular) {
                let layer = layer.layer;
                let path = names.to_vec();
                return Ok(Some(Place { layer, node, path }));
            }
        }
        Ok(None)
    }

    /// Looks in one layer, and leaves in `target` what the next one is asked for (ovl_lookup_layer).
    fn look_in(&self, from: &Place, target: &mut Target) -> Result<Option<Place>, Errno> {
        let names = target.names.clone();
        let mut node = from.node.clone();
        let mut path = from.path.clone();
        for (nth, name) in names.iter().enumerate() {
            let is_last = nth + 1 == names.len();
            let Some(child) = node.child(name)? else {
                return Ok(None);
            };
            path.push(name.clone());
            if child.kind() == FileType::Directory {
                if is_last && target.want == Want::Data {
                    target.stop = true;
                    return Ok(None);
                }
                self.through_directory(&child, (&names, nth), target)?;
            } else {
                let dir_wanted = !is_last || target.want == Want::Directories;
                if dir_wanted || is_whiteout(&child, self.xattrs)? {
                    target.stop = true;
                    return Ok(None);
                }
                self.through_file(&child, target)?;
            }
            node = child;
        }
        if node.kind() == FileType::Directory {
            target.want = Want::Directories;
        }
        let layer = from.layer;
        Ok(Some(Place { layer, node, path }))
    }

    fn through_directory(
        &self,
        dir: &Node,
        (names, nth): (&[Box<[u8]>], usize),
        target: &mut Target,
    ) -> Result<(), Errno> {
        let marks = Marks::read(dir, self.xattrs)?;
        if marks.is_opaque() {
            target.stop = true;
            return Ok(());
        }
        let Some(value) = marks.get("redirect") else {
            return Ok(());
        };
        let rest = names.get(nth + 1..).unwrap_or_default();
        match parse_redirect(value) {
            Ok(Redirect::Name(name)) => {
                let mut renamed = names.get(..nth).unwrap_or_default().to_vec();
                renamed.push(name.into());
                renamed.extend_from_slice(rest);
                target.names = renamed;
            }
            Ok(Redirect::Path(path)) => {
                target.names = names_of(path);
                target.names.extend_from_slice(rest);
                target.absolute = true;
            }
            Err(_) => target.stop = true,
        }
        Ok(())
    }

    /// A file ends the walk, unless its data lies further down.
    fn through_file(&self, file: &Node, target: &mut Target) -> Result<(), Errno> {
        let marks = Marks::read(file, self.xattrs)?;
        if file.kind() != FileType::Regular || !marks.has("metacopy") {
            target.stop = true;
            return Ok(());
        }
        target.want = Want::Data;
        match marks.get("redirect").map(parse_redirect) {
            None => {}
            Some(Ok(Redirect::Name(name))) => {
                target.names.pop();
                target.names.push(name.into());
            }
            Some(Ok(Redirect::Path(path))) => {
                target.names = names_of(path);
                target.absolute = true;
            }
            Some(Err(_)) => target.stop = true,
        }
        Ok(())
    }
}

/// Splits an absolute path into its names.
fn names_of(path: &[u8]) -> Vec<Box<[u8]>> {
    let names = path.split(|&byte| byte == b'/');
    names
        .filter(|name| !name.is_empty())
        .map(Into::into)
        .collect()
}
