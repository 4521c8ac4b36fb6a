//! The overlay's own extended attributes on an object of a layer, read in one pass.

use bitflags::bitflags;
use mica_vfs::{Errno, KillPriv, XattrMode, XattrName, met};

use crate::bad_mark::{BadMark, MarkError};
use crate::config::XattrNamespace;
use crate::metacopy::{self, parse_metacopy};
use crate::node::Node;
use crate::overlay::Overlay;
use crate::stack::LayerNode;

bitflags! {
    /// Which of the overlay's attributes an object carries.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Marks: u16 {
        /// `opaque`: on a directory, stops merging (`y`) or tells of xattr whiteouts (`x`).
        const OPAQUE = 1;
        /// `redirect`: what lies below has another name.
        const REDIRECT = 2;
        /// `metacopy`: the data lies below.
        const METACOPY = 4;
        /// `origin`: what it was copied up from.
        const ORIGIN = 8;
        /// `impure`: entries of the directory carry `origin`.
        const IMPURE = 16;
        /// `whiteout`: an empty regular file that hides its name.
        const WHITEOUT = 32;
        /// `nested`: a whiteout of another overlay, or a directory that holds some (OVL-130).
        const NESTED = 64;
        /// `owner`: the copy of what is somebody else's (OVL-231).
        const OWNER = 1 << 11;
        /// `protattr`: the object is immutable or append-only.
        const PROTATTR = 1 << 12;
    }
}

/// What the value of `opaque` says of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opaque {
    /// `y`: nothing below shows through.
    Stop,
    /// `x`: it merges, and names in it may be whiteouts in the xattr form.
    XattrWhiteouts,
    /// There is none.
    No,
}

/// Reads the value of an `opaque` attribute (ovl_get_opaquedir_val).
///
/// # Errors
///
/// [`BadMark::Opaque`]: it says nothing.
pub fn parse_opaque(value: &[u8]) -> Result<Opaque, BadMark> {
    match value {
        b"y" => Ok(Opaque::Stop),
        b"x" => Ok(Opaque::XattrWhiteouts),
        _ => Err(BadMark::Opaque),
    }
}

impl XattrNamespace {
    /// Reads one of the overlay's attributes into `value`.
    pub(crate) fn read<'v>(
        self,
        node: &LayerNode,
        suffix: &str,
        value: &'v mut [u8],
    ) -> Result<&'v [u8], Errno> {
        let name = self.name(suffix);
        let len = node
            .fs()
            .get_xattr(node.id, XattrName::new(&name)?, value)?;
        value.get(..len).ok_or(Errno::IO)
    }

    /// Reads one of the overlay's attributes, however long; `None` if there is none.
    pub(crate) fn value(self, node: &LayerNode, suffix: &str) -> Result<Option<Vec<u8>>, Errno> {
        let name = self.name(suffix);
        match node.xattr(XattrName::new(&name)?) {
            Ok(value) => Ok(Some(value)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Whether there is such an attribute, whatever it says.
    pub(crate) fn is_on(self, node: &LayerNode, suffix: &str) -> Result<bool, Errno> {
        let name = self.name(suffix);
        let name = XattrName::new(&name)?;
        match node.fs().get_xattr(node.id, name, &mut []) {
            Ok(_) => Ok(true),
            Err(Errno::NODATA) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Sets one of the overlay's attributes on an upper object.
    pub(crate) fn set(self, node: &LayerNode, suffix: &str, value: &[u8]) -> Result<(), Errno> {
        let name = self.name(suffix);
        let (name, mode) = (XattrName::new(&name)?, XattrMode::Set);
        node.fs()
            .set_xattr(node.id, name, value, mode, KillPriv::Keep)
    }
}

impl Marks {
    /// Reads which of the overlay's attributes `node` carries.
    pub(crate) fn read(node: &LayerNode, namespace: XattrNamespace) -> Result<Self, Errno> {
        let mut marks = Self::empty();
        node.for_each_xattr(&mut |name| {
            if let Some(suffix) = name.strip_prefix(namespace.prefix()) {
                marks |= Self::of_name(suffix);
            }
        })?;
        Ok(marks)
    }

    /// Reads what the opaque mark of directory `node` says.
    pub(crate) fn opaque(
        self,
        node: &LayerNode,
        namespace: XattrNamespace,
    ) -> Result<Opaque, MarkError> {
        if !self.contains(Self::OPAQUE) {
            return Ok(Opaque::No);
        }
        match namespace.read(node, "opaque", &mut [0; 8]) {
            Ok(value) => Ok(parse_opaque(value)?),
            Err(Errno::NODATA) => Ok(Opaque::No),
            // A value that is longer than the buffer is as meaningless as any other.
            Err(Errno::RANGE) => Err(BadMark::Opaque.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn of_name(suffix: &[u8]) -> Self {
        match suffix {
            b"opaque" => Self::OPAQUE,
            b"redirect" => Self::REDIRECT,
            b"metacopy" => Self::METACOPY,
            b"origin" => Self::ORIGIN,
            b"impure" => Self::IMPURE,
            b"whiteout" => Self::WHITEOUT,
            b"nested" => Self::NESTED,
            b"protattr" => Self::PROTATTR,
            b"owner" => Self::OWNER,
            _ => Self::empty(),
        }
    }
}

impl Overlay {
    /// Returns which of the overlay's attributes `node` carries.
    pub(crate) fn marks(&self, node: &LayerNode) -> Result<Marks, Errno> {
        Marks::read(node, self.config.xattrs)
    }

    /// Reads one of the overlay's attributes into `value`.
    pub(crate) fn mark<'v>(
        &self,
        node: &LayerNode,
        suffix: &str,
        value: &'v mut [u8],
    ) -> Result<&'v [u8], Errno> {
        self.config.xattrs.read(node, suffix, value)
    }

    /// Sets one of the overlay's attributes on an upper object.
    pub(crate) fn set_mark(
        &self,
        node: &LayerNode,
        suffix: &str,
        value: &[u8],
    ) -> Result<(), Errno> {
        self.config.xattrs.set(node, suffix, value)
    }

    /// Removes one of the overlay's attributes from an upper object, which need not have it.
    pub(crate) fn remove_mark(&self, node: &LayerNode, suffix: &str) -> Result<(), Errno> {
        let name = self.config.xattrs.name(suffix);
        match node.fs().remove_xattr(node.id, XattrName::new(&name)?) {
            Err(Errno::NODATA) => Ok(()),
            removed => removed,
        }
    }

    /// Reads what a directory's opaque mark says, given its `marks` (OVL-5).
    pub(crate) fn opaque(
        &self,
        node: &LayerNode,
        marks: Marks,
        path: &dyn Fn() -> String,
    ) -> Result<Opaque, Errno> {
        let opaque = marks.opaque(node, self.config.xattrs);
        opaque.map_err(|error| error.errno(node, path))
    }

    /// Marks upper directory `dir` before an object with an origin appears in it: from then on its listing looks at
    /// entries for their numbers (OVL-34).
    pub(crate) fn mark_impure(&self, dir: &Node) -> Result<(), Errno> {
        if !dir.is_impure() {
            let upper = dir.upper().ok_or(Errno::STALE)?;
            met!(34);
            self.set_mark(upper, "impure", b"y")?;
            dir.set_impure();
        }
        Ok(())
    }

    /// Marks `dir` if upper object `node`, which is about to appear in it, shows the number of another object.
    pub(crate) fn mark_impure_for(&self, dir: &Node, node: &Node) -> Result<(), Errno> {
        let upper = node.upper().ok_or(Errno::STALE)?;
        let attr = upper.attr()?;
        self.mark_nested_for(dir, node, &attr)?;
        if self.number(&upper.layer, attr.dev, attr.ino) == node.ino() {
            return Ok(());
        }
        self.mark_impure(dir)
    }

    /// Refuses a malformed `metacopy`.
    pub(crate) fn check_metacopy(&self, node: &LayerNode) -> Result<(), MarkError> {
        let mut value = [0; metacopy::LEN_MAX];
        match self.mark(node, "metacopy", &mut value) {
            Ok(value) => Ok(parse_metacopy(value).map(drop)?),
            Err(Errno::RANGE) => Err(BadMark::MetacopyLength.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns the marks of a regular file of the lowest layer as far as they count there: whether it is a metacopy.
    ///
    /// One call instead of a list of names, as most files of most stacks are of the lowest layer and have neither.
    pub(crate) fn marks_of_bottom_file(&self, node: &LayerNode) -> Result<Marks, Errno> {
        match self.config.xattrs.is_on(node, "metacopy") {
            Ok(true) => self.marks(node),
            Ok(false) | Err(Errno::OPNOTSUPP) => Ok(Marks::empty()),
            // A user's attribute of a file that this process may not read.
            Err(Errno::ACCESS) if self.config.xattrs == XattrNamespace::User => Ok(Marks::empty()),
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ovl_5_only_a_single_y_or_x_means_something() {
        assert_eq!(parse_opaque(b"y"), Ok(Opaque::Stop));
        assert_eq!(parse_opaque(b"x"), Ok(Opaque::XattrWhiteouts));
        for other in [&b""[..], b"n", b"yy", b"Y", b"y\0"] {
            assert_eq!(parse_opaque(other), Err(BadMark::Opaque), "{other:?}");
        }
    }
}
