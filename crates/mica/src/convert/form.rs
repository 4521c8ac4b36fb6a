//! The forms that whiteouts and opaque directories have.

use std::fmt;

use mica_overlay::XattrNamespace;
use mica_vfs::{FileType, XATTR_NAME_MAX};

/// A form of whiteouts and opaque directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// Character devices 0:0, and `opaque` = `y`: what mounts write.
    Device,
    /// Empty files with the attribute `whiteout`, and `opaque` = `x` on their directories: for lowers.
    Xattr,
    /// Files called `.wh.NAME` and `.wh..wh..opq`: OCI, aufs.
    Named,
    /// Attributes `whiteout.NAME` of the directory.
    Old,
}

impl Form {
    /// Returns the word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Xattr => "xattr",
            Self::Named => "wh",
            Self::Old => "old",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What begins the name of a whiteout.
pub(crate) const NAMED: &[u8] = b".wh.";
/// What begins the names that aufs keeps for itself.
pub(crate) const AUFS: &[u8] = b".wh..wh.";
/// The file that makes its directory opaque.
pub(crate) const NAMED_OPAQUE: &[u8] = b".wh..wh..opq";

/// Returns the name that a whiteout by name hides; `None` if the object is none.
pub(super) fn hidden_by(name: &[u8], kind: FileType, size: u64) -> Option<&[u8]> {
    let hidden = name.strip_prefix(NAMED)?;
    let is_mark = kind == FileType::Regular && size == 0 && !name.starts_with(AUFS);
    (is_mark && !matches!(hidden, b"" | b"." | b"..")).then_some(hidden)
}

/// Returns the file that hides `name` by its name, if there can be one.
pub(crate) fn named(name: &[u8]) -> Option<Vec<u8>> {
    let file = [NAMED, name].concat();
    (file.len() <= 255 && !name.starts_with(NAMED)).then_some(file)
}

/// Returns the attribute that hides `name` in the old form, if there can be one.
pub(super) fn old(xattrs: XattrNamespace, name: &[u8]) -> Option<Vec<u8>> {
    let attribute = [xattrs.prefix(), b"whiteout.", name].concat();
    (attribute.len() <= XATTR_NAME_MAX).then_some(attribute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_form_cannot_hold_has_none() {
        assert_eq!(named(b"a"), Some(b".wh.a".to_vec()));
        assert_eq!(named(b".wh.a"), None);
        assert_eq!(named(&[b'a'; 252]), None);
        assert!(old(XattrNamespace::Trusted, &[b'a'; 230]).is_some());
        assert_eq!(old(XattrNamespace::Trusted, &[b'a'; 231]), None);
    }

    #[test]
    fn what_aufs_keeps_for_itself_hides_nothing() {
        let hidden = |name, size| hidden_by(name, FileType::Regular, size);
        assert_eq!(hidden(b".wh.a", 0), Some(&b"a"[..]));
        for (name, size) in [
            (&b".wh.a"[..], 1),
            (b".wh..wh..opq", 0),
            (b".wh...", 0),
            (b"a", 0),
        ] {
            assert_eq!(hidden(name, size), None, "{}", name.escape_ascii());
        }
        assert_eq!(hidden_by(b".wh.a", FileType::Directory, 0), None);
    }
}
