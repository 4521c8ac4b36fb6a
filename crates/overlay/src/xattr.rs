//! Extended attributes: the overlay's own are hidden, and a user's of the same names are stored escaped.
//!
//! An overlay may lie on an overlay, and its attributes must then be kept by the one below like any other: `P.foo` of
//! a user, where `P` is the prefix in use, is stored as `P.overlay.foo` (OVL-40).

use mica_vfs::{Errno, FileType, KillPriv, NodeId, XATTR_NAME_MAX, XattrMode, XattrName, met};

use crate::acl::{Acls, is_acl};
use crate::config::XattrNamespace;
use crate::node::Node;
use crate::overlay::Overlay;
use crate::stack::LayerNode;

const ESCAPE: &[u8] = b"overlay.";

/// Returns the name under which a user's attribute is stored.
///
/// # Errors
///
/// `EOPNOTSUPP` if the stored name would be too long.
pub fn escape(prefix: &[u8], name: &[u8]) -> Result<Box<[u8]>, Errno> {
    let Some(rest) = name.strip_prefix(prefix) else {
        return Ok(name.into());
    };
    if name.len() + ESCAPE.len() > XATTR_NAME_MAX {
        return Err(Errno::OPNOTSUPP);
    }
    Ok([prefix, ESCAPE, rest].concat().into())
}

/// Returns the name by which a user sees a stored attribute; `None` for the overlay's own.
#[must_use]
pub fn unescape(prefix: &[u8], stored: &[u8]) -> Option<Box<[u8]>> {
    let Some(rest) = stored.strip_prefix(prefix) else {
        return Some(stored.into());
    };
    let rest = rest.strip_prefix(ESCAPE)?;
    Some([prefix, rest].concat().into())
}

/// Whether a stored attribute is the overlay's own: never shown, never copied up. But a copy of what belongs to another
/// overlay belongs to that, too (OVL-130).
pub(crate) fn is_private(prefix: &[u8], stored: &[u8]) -> bool {
    stored
        .strip_prefix(prefix)
        .is_some_and(|rest| !rest.starts_with(ESCAPE) && rest != b"nested")
}

impl Overlay {
    /// Fails with `EOPNOTSUPP` for an ACL where there are none.
    fn expect_supported(&self, name: XattrName<'_>) -> Result<(), Errno> {
        match self.config.acls {
            Acls::Off if is_acl(name.as_bytes()) => Err(Errno::OPNOTSUPP),
            Acls::On | Acls::Off => Ok(()),
        }
    }

    pub(crate) fn xattr_get(
        &self,
        node: &Node,
        name: XattrName<'_>,
        value: &mut [u8],
    ) -> Result<usize, Errno> {
        self.expect_supported(name)?;
        node.expect_user_attributes(name, Errno::NODATA)?;
        let real = node.real()?;
        let prefix = self.config.xattrs.prefix();
        // The common name needs no copy.
        if !name.as_bytes().starts_with(prefix) {
            let len = real.fs().get_xattr(real.id, name, value)?;
            if is_acl(name.as_bytes()) {
                let read = value.len().min(len);
                self.config
                    .ids
                    .show_acl(value.get_mut(..read).unwrap_or_default());
            }
            return Ok(len);
        }
        let stored = escape(prefix, name.as_bytes())?;
        if self.is_hidden_mark(node, real, &stored)? {
            return Err(Errno::NODATA);
        }
        real.fs()
            .get_xattr(real.id, XattrName::new(&stored)?, value)
    }

    pub(crate) fn xattr_list(&self, node: &Node, names: &mut [u8]) -> Result<usize, Errno> {
        let prefix = self.config.xattrs.prefix();
        let mut list = Vec::new();
        let has_acls = self.config.acls == Acls::On;
        let real = node.real()?;
        let mut failed = None;
        real.for_each_xattr(&mut |stored| {
            if !has_acls && is_acl(stored) {
                return;
            }
            if let Some(name) = unescape(prefix, stored) {
                match self.is_hidden_mark(node, real, stored) {
                    Ok(false) => {}
                    Ok(true) => return,
                    Err(errno) => failed = Some(errno),
                }
                list.extend_from_slice(&name);
                list.push(0);
            }
        })?;
        if let Some(errno) = failed {
            return Err(errno);
        }
        if !names.is_empty() {
            names
                .get_mut(..list.len())
                .ok_or(Errno::RANGE)?
                .copy_from_slice(&list);
        }
        Ok(list.len())
    }

    pub(crate) fn xattr_set(
        &self,
        id: NodeId,
        name: XattrName<'_>,
        value: &[u8],
        mode: XattrMode,
        kill: KillPriv,
    ) -> Result<(), Errno> {
        self.expect_supported(name)?;
        let node = self.table.get(id)?;
        node.expect_user_attributes(name, Errno::PERM)?;
        node.expect_unprotected()?;
        let (namespace, bytes) = (self.config.xattrs, name.as_bytes());
        let stored = escape(namespace.prefix(), bytes)?;
        let own = bytes.strip_prefix(namespace.prefix());
        met!(40, own.is_some());
        met!(132, own.is_some_and(|rest| rest.starts_with(ESCAPE)));
        let is_user = namespace == XattrNamespace::User;
        met!(133, is_user && bytes.starts_with(b"trusted."));
        let stored = XattrName::new(&stored)?;
        let value = if is_acl(name.as_bytes()) {
            self.config.ids.stored_acl(value)?
        } else {
            value.into()
        };
        let upper = self.upper_for_xattr(&node)?;
        let _settled = self.settle(&node);
        let mode = self.give_mark_away(&node, upper, stored.as_bytes(), mode)?;
        upper.fs().set_xattr(upper.id, stored, &value, mode, kill)
    }

    /// Copies `node` up for a change of its attributes. With an index a name that only a lower has stays there if the file is in the
    /// upper by another one (ovl_xattr_set, ovl_set_or_remove_acl).
    fn upper_for_xattr<'n>(&self, node: &'n Node) -> Result<&'n LayerNode, Errno> {
        match (self.index_for(node), node.upper()) {
            (Some(_), Some(upper)) => Ok(upper),
            _ => self.copy_up_metadata(node),
        }
    }

    pub(crate) fn xattr_remove(&self, id: NodeId, name: XattrName<'_>) -> Result<(), Errno> {
        self.expect_supported(name)?;
        let node = self.table.get(id)?;
        node.expect_user_attributes(name, Errno::PERM)?;
        node.expect_unprotected()?;
        let stored = escape(self.config.xattrs.prefix(), name.as_bytes())?;
        let stored = XattrName::new(&stored)?;
        if node.upper().is_none() {
            // What is not there needs no copy to be missed (ovl_xattr_set).
            let real = node.real()?;
            let user_elsewhere = name.as_bytes().starts_with(b"user.")
                && !matches!(node.kind, FileType::Regular | FileType::Directory);
            match real.fs().get_xattr(real.id, stored, &mut []) {
                // Where `user.*` cannot be it cannot be removed either, there or not (xattr_permission).
                Err(Errno::NODATA) if user_elsewhere => return Err(Errno::PERM),
                found => found.map(drop)?,
            }
        }
        let upper = self.upper_for_xattr(&node)?;
        let _settled = self.settle(&node);
        if self.is_hidden_mark(&node, upper, stored.as_bytes())? {
            return Err(Errno::NODATA);
        }
        upper.fs().remove_xattr(upper.id, stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: &[u8] = b"trusted.overlay.";

    #[test]
    fn ovl_40_a_users_overlay_attribute_is_escaped_one_level_for_each_nesting() {
        let once = escape(P, b"trusted.overlay.opaque").unwrap();
        assert_eq!(&*once, b"trusted.overlay.overlay.opaque");
        let twice = escape(P, &once).unwrap();
        assert_eq!(&*twice, b"trusted.overlay.overlay.overlay.opaque");
        assert_eq!(unescape(P, &twice), Some(once));
    }

    #[test]
    fn ovl_40_private_names_are_seen_by_nobody_and_others_pass() {
        assert_eq!(unescape(P, b"trusted.overlay.origin"), None);
        assert!(is_private(P, b"trusted.overlay.origin"));
        assert!(!is_private(P, b"trusted.overlay.overlay.origin"));
        for other in [&b"user.overlay.opaque"[..], b"user.a", b"trusted.overlayx"] {
            assert_eq!(escape(P, other).as_deref(), Ok(other));
            assert_eq!(unescape(P, other).as_deref(), Some(other));
        }
    }

    #[test]
    fn ovl_40_a_name_that_grows_too_long_is_not_supported() {
        let long = [P, &[b'a'; 240][..]].concat();
        assert_eq!(escape(P, &long[..248]), Err(Errno::OPNOTSUPP));
        assert_eq!(escape(P, &long[..247]).unwrap().len(), 255);
    }
}
