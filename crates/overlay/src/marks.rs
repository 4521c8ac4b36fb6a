//! The overlay's own extended attributes on an object of a layer, read in one pass.

use std::sync::atomic::Ordering::Relaxed;

use bitflags::bitflags;
use mica_vfs::{Errno, XattrMode, XattrName, invent};

use crate::config::XattrNamespace;
use crate::node::Node;
use crate::overlay::Overlay;
use crate::stack::LayerNode;

bitflags! {
    /// Which of the overlay's attributes an object carries.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Marks: u8 {
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
    }
}

/// What the value of `opaque` says of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opaque {
    /// `y`: nothing below shows through.
    Stop,
    /// `x`: it merges, and names in it may be whiteouts in the xattr form.
    XattrWhiteouts,
    /// Any other value: it means nothing.
    No,
}

/// Reads the value of an `opaque` attribute: one byte counts (ovl_get_opaquedir_val).
#[must_use]
pub fn parse_opaque(value: &[u8]) -> Opaque {
    match value {
        b"y" => Opaque::Stop,
        b"x" => Opaque::XattrWhiteouts,
        _ => Opaque::No,
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
    ) -> Result<Opaque, Errno> {
        if !self.contains(Self::OPAQUE) {
            return Ok(Opaque::No);
        }
        let name = namespace.name("opaque");
        let mut value = [0; 8];
        match node
            .fs()
            .get_xattr(node.id, XattrName::new(&name)?, &mut value)
        {
            Ok(len) => Ok(parse_opaque(value.get(..len).unwrap_or_default())),
            // A value that is longer than the buffer is as meaningless as any other.
            Err(Errno::NODATA | Errno::RANGE) => Ok(Opaque::No),
            Err(errno) => Err(errno),
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
        let name = self.config.xattrs.name(suffix);
        let len = node
            .fs()
            .get_xattr(node.id, XattrName::new(&name)?, value)?;
        value.get(..len).ok_or(Errno::IO)
    }

    /// Sets one of the overlay's attributes on an upper object.
    pub(crate) fn set_mark(
        &self,
        node: &LayerNode,
        suffix: &str,
        value: &[u8],
    ) -> Result<(), Errno> {
        let name = self.config.xattrs.name(suffix);
        let (name, mode) = (XattrName::new(&name)?, XattrMode::Set);
        node.fs()
            .set_xattr(node.id, name, value, mode, mica_vfs::KillPriv::Keep)
    }

    /// Reads what a directory's opaque mark says, given its `marks`.
    pub(crate) fn opaque(&self, node: &LayerNode, marks: Marks) -> Result<Opaque, Errno> {
        marks.opaque(node, self.config.xattrs)
    }

    /// Marks upper directory `dir` before an object with an origin appears in it: from then on its listing looks at
    /// entries for their numbers (OVL-34).
    pub(crate) fn mark_impure(&self, dir: &Node) -> Result<(), Errno> {
        if !dir.impure.load(Relaxed) {
            let upper = dir.upper().ok_or(Errno::STALE)?;
            self.set_mark(upper, "impure", b"y")?;
            dir.impure.store(true, Relaxed);
        }
        Ok(())
    }

    /// Marks `dir` if upper object `node`, which is about to appear in it, shows the number of another object.
    pub(crate) fn mark_impure_for(&self, dir: &Node, node: &Node) -> Result<(), Errno> {
        let upper = node.upper().ok_or(Errno::STALE)?;
        let attr = upper.attr()?;
        if self.number(&upper.layer, attr.dev, attr.ino) == node.ino() {
            return Ok(());
        }
        self.mark_impure(dir)
    }

    /// Refuses an object that this version cannot show rightly (OVL-8): `EPERM`, as the kernel answers with
    /// `redirect_dir=nofollow` and `metacopy=off`.
    pub(crate) fn refuse_unfollowed(
        &self,
        node: &LayerNode,
        marks: Marks,
        path: &dyn Fn() -> String,
    ) -> Result<(), Errno> {
        let layer = &node.layer.label;
        if marks.contains(Marks::METACOPY) {
            return Err(invent!(
                Errno::PERM,
                "refusing to follow metacopy",
                layer = layer,
                path = path()
            ));
        }
        if marks.contains(Marks::REDIRECT) {
            return Err(invent!(
                Errno::PERM,
                "refusing to follow redirect",
                layer = layer,
                path = path()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ovl_5_only_a_single_y_or_x_means_something() {
        assert_eq!(parse_opaque(b"y"), Opaque::Stop);
        assert_eq!(parse_opaque(b"x"), Opaque::XattrWhiteouts);
        for other in [&b""[..], b"n", b"yy", b"Y", b"y\0"] {
            assert_eq!(parse_opaque(other), Opaque::No, "{other:?}");
        }
    }
}
