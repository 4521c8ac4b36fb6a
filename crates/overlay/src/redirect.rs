//! The `redirect` attribute: the name under which an object is found in the layers below.

use std::sync::Arc;

use mica_vfs::{Errno, FileName, FileType, met};

use crate::bad_mark::{BadMark, MarkError};
use crate::marks::{Marks, Opaque};
use crate::node::Node;
use crate::overlay::Overlay;
use crate::stack::LayerNode;

/// The longest path that a redirect may be, `redirect_max` of the kernel's module. A longer one is not written.
const PATH_MAX: usize = 256;

/// The value of a `redirect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirect<'a> {
    /// Another name in the same directory.
    Name(&'a [u8]),
    /// A path from the root of the overlay, with its slash before each name.
    Path(&'a [u8]),
}

/// Reads the value of a `redirect` attribute (ovl_check_redirect).
///
/// # Errors
///
/// [`BadMark`]: it leads nowhere.
pub fn parse_redirect(value: &[u8]) -> Result<Redirect<'_>, BadMark> {
    if value.contains(&0) {
        return Err(BadMark::RedirectNul);
    }
    let is_dots = |name: &[u8]| matches!(name, b"." | b"..");
    match value {
        [] => Err(BadMark::RedirectEmpty),
        [b'/', names @ ..] => {
            let names = || names.split(|&byte| byte == b'/');
            if names().any(<[u8]>::is_empty) {
                return Err(BadMark::RedirectComponent);
            }
            if names().any(is_dots) {
                return Err(BadMark::RedirectDots);
            }
            Ok(Redirect::Path(value))
        }
        name if name.contains(&b'/') => Err(BadMark::RedirectRelative),
        name if is_dots(name) => Err(BadMark::RedirectDots),
        name => Ok(Redirect::Name(name)),
    }
}

impl Overlay {
    /// Reads the redirect of `node`; `None` if it has none.
    pub(crate) fn redirect_of(
        &self,
        node: &LayerNode,
        path: &dyn Fn() -> String,
    ) -> Result<Option<Vec<u8>>, Errno> {
        let value = self.config.xattrs.value(node, "redirect")?;
        if let Some(Err(bad)) = value.as_deref().map(parse_redirect) {
            return Err(MarkError::Bad(bad).errno(node, path));
        }
        Ok(value)
    }

    /// Lets merged directory or metacopy `node` of the upper find its lowers from another name of the same directory, or from another one
    /// (ovl_set_redirect). Where it is, it finds them as before.
    ///
    /// A redirect that still leads there is kept. The caller is in the names gate of the directory that has it.
    ///
    /// # Errors
    ///
    /// `EXDEV`: the redirect is too long, or the upper cannot hold that of a directory. Programs copy then.
    pub(crate) fn set_redirect(
        &self,
        node: &Arc<Node>,
        name: FileName<'_>,
        way: Way,
    ) -> Result<(), Errno> {
        let upper = node.upper().ok_or(Errno::STALE)?;
        let old = self.redirect_in_force(node)?;
        if old.is_some_and(|old| way == Way::SameDirectory || old.starts_with(b"/")) {
            return Ok(());
        }
        let redirect = match way {
            Way::SameDirectory => name.as_bytes().to_vec(),
            Way::Elsewhere => self.path_below(node)?,
        };
        met!(90, node.kind == FileType::Directory);
        met!(105, node.kind != FileType::Directory);
        self.set_mark(upper, "redirect", &redirect)
            .map_err(|errno| {
                tracing::warn!(%errno, path = node.path(), "failed to set redirect");
                match node.kind {
                    FileType::Directory => Errno::XDEV,
                    // No program copies a file because its own filesystem says so.
                    _ => errno,
                }
            })
    }

    /// Whether [`set_redirect`](Self::set_redirect) can do that for the file `node`.
    pub(crate) fn can_redirect(&self, node: &Arc<Node>, way: Way) -> Result<bool, Errno> {
        if way == Way::SameDirectory {
            return Ok(true);
        }
        let old = self.redirect_in_force(node)?;
        if old.is_some_and(|old| old.starts_with(b"/")) {
            return Ok(true);
        }
        match self.path_below(node) {
            // A file whose place is not known.
            Ok(path) => Ok(!path.is_empty()),
            Err(Errno::XDEV) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Returns the redirect that the upper object of `node` carries, if it counts.
    fn redirect_in_force(&self, node: &Arc<Node>) -> Result<Option<Vec<u8>>, Errno> {
        let Some(upper) = node.upper() else {
            return Ok(None);
        };
        let path = || node.path();
        let marks = self.marks(upper)?;
        if !marks.contains(Marks::REDIRECT) || self.opaque(upper, marks, &path)? == Opaque::Stop {
            return Ok(None);
        }
        self.redirect_of(upper, &path)
    }

    /// Returns the path under which the layers below have `node` (ovl_get_redirect).
    ///
    /// The place of each directory is read before its redirect. A rename writes the redirect before it changes the place, so
    /// whatever is renamed meanwhile, the two together lead to the same lowers.
    ///
    /// # Errors
    ///
    /// `EXDEV`: it is longer than [`PATH_MAX`].
    fn path_below(&self, node: &Arc<Node>) -> Result<Vec<u8>, Errno> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut len = 0;
        let mut at = Arc::clone(node);
        while let Some(place) = at.place()? {
            let name = match self.redirect_in_force(&at)? {
                Some(redirect) => redirect,
                None => place.name.as_name().as_bytes().to_vec(),
            };
            let is_path = name.starts_with(b"/");
            len += name.len() + usize::from(!is_path);
            if len > PATH_MAX {
                return Err(Errno::XDEV);
            }
            names.push(name);
            if is_path {
                break;
            }
            names.push(b"/".to_vec());
            at = place.parent;
        }
        names.reverse();
        Ok(names.concat())
    }
}

/// Where a renamed directory goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To another name.
    SameDirectory,
    /// Into another directory.
    Elsewhere,
}
