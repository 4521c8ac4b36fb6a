//! The UUID of the overlay itself: an attribute of the upper root, by which the kernel tells its mounts apart (OVL-115).

use mica_vfs::{Errno, Uuid};

use crate::config::XattrNamespace;
use crate::stack::LayerNode;

/// Whether the overlay has a UUID, and file handles that of their filesystem; the mount option `uuid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OwnUuid {
    /// An overlay that nothing was copied up in yet gets this one.
    IfNew(Uuid),
    /// It gets this one unless it has one.
    Always(Uuid),
    /// It is left alone.
    #[default]
    Never,
    /// It is left alone, and handles carry none.
    Off,
}

/// Gives an upper its UUID (ovl_init_uuid_xattr). Where it cannot have one it goes without, as in the kernel.
pub(crate) fn mark(upper: &LayerNode, own: OwnUuid, xattrs: XattrNamespace) {
    if let Err(errno) = set(upper, own, xattrs) {
        tracing::warn!(%errno, layer = upper.layer.label, "the overlay gets no UUID of its own");
    }
}

fn set(upper: &LayerNode, own: OwnUuid, xattrs: XattrNamespace) -> Result<(), Errno> {
    let (fresh, if_new) = match own {
        OwnUuid::IfNew(fresh) => (fresh, true),
        OwnUuid::Always(fresh) => (fresh, false),
        OwnUuid::Never | OwnUuid::Off => return Ok(()),
    };
    if xattrs.is_on(upper, "uuid")? || (if_new && xattrs.is_on(upper, "impure")?) {
        return Ok(());
    }
    xattrs.set(upper, "uuid", &fresh.0)
}
