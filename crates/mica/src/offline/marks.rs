//! All of the overlay's attributes of one object.

use std::collections::BTreeMap;

use mica_overlay::{Opaque, XattrNamespace, parse_opaque};
use mica_vfs::{Attr, Errno, FileType, Rdev};

use super::node::Node;

/// The overlay's own attributes of an object, by their names after the prefix.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    own: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The full names of all other attributes.
    pub(crate) others: Vec<Vec<u8>>,
}

impl Marks {
    /// Reads the marks under one prefix. Escaped names are a user's, and so others.
    pub(crate) fn read(node: &Node, xattrs: XattrNamespace) -> Result<Self, Errno> {
        let mut marks = Self::default();
        for name in node.xattr_names()? {
            match own_suffix(&name, xattrs) {
                Some(suffix) => {
                    let value = node.xattr(&name)?.unwrap_or_default();
                    marks.own.insert(suffix.to_vec(), value);
                }
                None => marks.others.push(name),
            }
        }
        Ok(marks)
    }

    /// Returns the value of a mark.
    pub(crate) fn get(&self, suffix: &str) -> Option<&[u8]> {
        self.own.get(suffix.as_bytes()).map(Vec::as_slice)
    }

    pub(crate) fn has(&self, suffix: &str) -> bool {
        self.get(suffix).is_some()
    }

    /// Whether the directory hides what lies below it (OVL-5).
    pub(crate) fn is_opaque(&self) -> bool {
        self.get("opaque").map(parse_opaque) == Some(Ok(Opaque::Stop))
    }

    /// Returns all marks: names after the prefix, and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.own
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
    }
}

/// Returns what follows the prefix in the name of a mark; `None` for other attributes and escaped ones.
pub(crate) fn own_suffix(name: &[u8], xattrs: XattrNamespace) -> Option<&[u8]> {
    let suffix = name.strip_prefix(xattrs.prefix())?;
    (!suffix.starts_with(b"overlay.")).then_some(suffix)
}

/// Whether `attr` is that of a whiteout in the device form (OVL-3).
pub(crate) fn is_device_whiteout(attr: &Attr) -> bool {
    attr.kind == FileType::CharDevice && attr.rdev == Rdev::WHITEOUT
}

/// Whether an object is a whiteout in one of the two forms that a mount reads (OVL-3, OVL-4).
pub(super) fn is_whiteout(node: &Node, xattrs: XattrNamespace) -> Result<bool, Errno> {
    let attr = node.attr();
    if is_device_whiteout(attr) {
        return Ok(true);
    }
    if attr.kind != FileType::Regular || attr.size != 0 {
        return Ok(false);
    }
    let name = [xattrs.prefix(), b"whiteout"].concat();
    Ok(node.xattr(&name)?.is_some())
}
