//! The marks of other implementations, in words.

use std::fmt;
use std::path::{Path, PathBuf};

use mica_overlay::XattrNamespace;

use super::WHITEOUT;
use crate::Escaped;
use crate::options::path;

/// A mark that another implementation left, and that this mount would not heed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForeignMark {
    /// A file that hides a name.
    Whiteout {
        /// The file, from the root of the upper.
        file: PathBuf,
    },
    /// A file that hides what lower layers have in its directory.
    OpaqueFile {
        /// The directory, from the root of the upper.
        dir: PathBuf,
    },
    /// A name that aufs keeps in the root of a branch.
    Aufs {
        /// The name.
        name: PathBuf,
    },
    /// The directory in which unionfs-fuse keeps its marks.
    UnionfsFuse {
        /// The name.
        name: PathBuf,
    },
    /// An attribute of fuse-overlayfs that hides what lower layers have in a directory.
    OpaqueXattr {
        /// The directory, from the root of the upper.
        dir: PathBuf,
    },
    /// An attribute that holds owner and mode in the place of the inode.
    OverrideStat {
        /// The object, from the root of the upper.
        object: PathBuf,
        /// The attribute.
        attribute: &'static str,
    },
    /// A mark of an overlay that was mounted with the other attributes.
    OtherNamespace {
        /// The object, from the root of the upper.
        object: PathBuf,
        /// The attribute.
        attribute: String,
        /// What this mount reads.
        reads: XattrNamespace,
    },
}

impl fmt::Display for ForeignMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whiteout { file } => {
                let hidden = hidden_by(file);
                write!(
                    f,
                    "{} of fuse-overlayfs or aufs hides {}, which would be there again",
                    Escaped::new(file),
                    Escaped::new(&hidden)
                )
            }
            Self::OpaqueFile { dir } => write!(
                f,
                "{} of fuse-overlayfs or aufs hides what lower layers have there, which would be there again",
                Escaped::new(&dir.join(".wh..wh..opq"))
            ),
            Self::Aufs { name } => write!(
                f,
                "{} is of aufs, whose whiteouts (`.wh.NAME`) would be files",
                Escaped::new(name)
            ),
            Self::UnionfsFuse { name } => write!(
                f,
                "{} is of unionfs-fuse, whose whiteouts are in it; what they hide would be there again",
                Escaped::new(name)
            ),
            Self::OpaqueXattr { dir } => write!(
                f,
                "`user.fuseoverlayfs.opaque` on {} hides what lower layers have there, which would be there again",
                Escaped::new(dir)
            ),
            Self::OverrideStat { object, attribute } => write!(
                f,
                "owner and mode of {} are in `{attribute}`, and would be shown wrongly",
                Escaped::new(object)
            ),
            Self::OtherNamespace {
                object,
                attribute,
                reads,
            } => write!(
                f,
                "`{attribute}` on {} would mean nothing to this mount, which reads `{}*`",
                Escaped::new(object),
                reads.prefix().escape_ascii()
            ),
        }
    }
}

impl ForeignMark {
    /// Returns what to do about it, for a mount of `upper` with `xattrs`.
    pub(in crate::stack) fn hint(&self, upper: &Path, xattrs: XattrNamespace) -> String {
        let upper = Escaped::new(upper);
        let prefix = xattrs.prefix().escape_ascii();
        match self {
            Self::Whiteout { .. } | Self::Aufs { .. } => format!(
                "mount it with the program that wrote it, or give whiteouts the kernel's form: `find {upper:#} -name '.wh.*' ! -name '.wh..wh.*' -execdir sh -c 'mknod \"${{1#./.wh.}}\" c 0 0 && rm \"$1\"' sh {{}} \\;`, then `rm -r {upper:#}/.wh..wh.*`"
            ),
            Self::OpaqueFile { .. } | Self::OpaqueXattr { .. } => format!(
                "mount it with `fuse-overlayfs`, or give opaque directories the kernel's form: `find {upper:#} -name .wh..wh..opq -execdir setfattr -n {prefix}opaque -v y . \\; -delete`"
            ),
            Self::UnionfsFuse { name } => format!(
                "mount it with `unionfs`, or give the names up that it hides: `rm -r {upper:#}/{:#}`",
                Escaped::new(name)
            ),
            Self::OverrideStat { .. } => {
                "mount it with `-o xattr_permissions=2`, as it was mounted before".into()
            }
            Self::OtherNamespace { reads, .. } => match reads {
                XattrNamespace::Trusted => "add `-o userxattr`".into(),
                XattrNamespace::User => "leave `userxattr` out, as root".into(),
            },
        }
    }
}

/// Returns what a whiteout that is called `.wh.NAME` hides.
fn hidden_by(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().as_encoded_bytes();
    let hidden = name.strip_prefix(WHITEOUT).unwrap_or(name);
    file.with_file_name(path(hidden.to_vec()))
}
