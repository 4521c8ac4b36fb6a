//! All that can be wrong, in words.

use std::fmt;
use std::path::PathBuf;

use mica_overlay::BadMark;
use mica_vfs::Errno;

use super::finding::Severity;
use crate::Escaped;

/// What is wrong with an object of an upper or a work directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// A mark that decides what is shown has a value that means nothing (OVL-68).
    MalformedMark(BadMark),
    /// Another mark has a value that means nothing.
    Meaningless {
        /// Its name after the prefix.
        mark: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A mark on an object of a kind on which it means nothing.
    Misplaced {
        /// Its name after the prefix.
        mark: String,
    },
    /// The root of the upper is opaque, which no mount heeds.
    OpaqueRoot,
    /// A redirect on a directory that is opaque, too.
    UselessRedirect,
    /// A redirect that leads to no directory of the lowers.
    DanglingRedirect {
        /// Its value.
        to: Vec<u8>,
    },
    /// A redirect that the kernel does not follow, as it is kept under `user.overlay.`.
    UnfollowedRedirect,
    /// A metacopy that the kernel does not follow, as it is kept under `user.overlay.`.
    UnfollowedMetacopy,
    /// A metacopy that no lower has the data of.
    NoData,
    /// A metacopy of another size than the data below it.
    OtherSize {
        /// The size of the metacopy.
        here: u64,
        /// The size of the data.
        below: u64,
    },
    /// A whiteout in a directory that merges with none: the kernel lists it.
    ListedWhiteout,
    /// A whiteout of a name that no lower has.
    NothingHidden,
    /// A whiteout in the form that is meant for lowers: the kernel lists it.
    XattrWhiteout,
    /// A directory with copied-up entries and without `impure`.
    NotImpure,
    /// An object that was copied up from something that is not there any more.
    OriginGone,
    /// A directory that was copied up from one that the lowers given do not have there.
    OtherLowers,
    /// A mark under the other prefix.
    OtherNamespace {
        /// Its full name.
        name: Vec<u8>,
    },
    /// A whiteout by name, of aufs, OCI or fuse-overlayfs.
    NamedWhiteout {
        /// Whether a lower has the name, if that is known.
        hides: Option<bool>,
    },
    /// A file that makes its directory opaque for aufs, OCI and fuse-overlayfs.
    NamedOpaque,
    /// A name that aufs or unionfs-fuse keep for themselves.
    ForeignName,
    /// An attribute of fuse-overlayfs or of containers/storage.
    ForeignXattr {
        /// Its name.
        name: Vec<u8>,
    },
    /// A whiteout in the old form, as an attribute of the directory.
    OldWhiteout {
        /// The name that it hides.
        name: Vec<u8>,
    },
    /// A mark that no overlay is known to write.
    UnknownMark {
        /// Its full name.
        name: Vec<u8>,
    },
    /// A conversion of the upper was interrupted.
    HalfConverted,
    /// An import into the upper was interrupted.
    HalfImported,
    /// Another filesystem is mounted here.
    Mountpoint,
    /// The object cannot be read.
    Unreadable(Errno),
    /// The work directory is marked with a feature that keeps mounts away (OVL-51).
    Incompatible {
        /// The feature.
        feature: String,
    },
    /// What a mount was working on when it was killed.
    StaleTemporary,
    /// Something that no overlay makes in a work directory.
    Strange,
    /// An index entry whose name is no file handle.
    IndexName,
    /// An index entry that says it was copied up from another object than its name does.
    IndexStale,
    /// An index entry of a directory that is gone from the upper.
    IndexOrphan,
    /// An index entry of an object that the lowers do not have any more.
    IndexNoTarget,
    /// The index belongs to another upper.
    IndexOtherUpper,
    /// The index belongs to another lower.
    IndexOtherLower,
    /// The number of names of an indexed file is not what it can be.
    WrongLinks {
        /// What is recorded.
        recorded: i64,
        /// The fewest names it can have.
        least: i64,
        /// The most.
        most: i64,
    },
}

impl Trouble {
    /// Returns how bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::MalformedMark(_)
            | Self::HalfConverted
            | Self::HalfImported
            | Self::DanglingRedirect { .. }
            | Self::NoData
            | Self::Unreadable(_)
            | Self::Incompatible { .. }
            | Self::IndexName
            | Self::IndexStale
            | Self::IndexOtherUpper
            | Self::IndexOtherLower => Severity::Error,
            Self::Meaningless { .. }
            | Self::OpaqueRoot
            | Self::OtherSize { .. }
            | Self::ListedWhiteout
            | Self::XattrWhiteout
            | Self::NotImpure
            | Self::OtherLowers
            | Self::OtherNamespace { .. }
            | Self::NamedWhiteout {
                hides: None | Some(true),
            }
            | Self::NamedOpaque
            | Self::ForeignName
            | Self::ForeignXattr { .. }
            | Self::OldWhiteout { .. }
            | Self::StaleTemporary
            | Self::IndexOrphan
            | Self::IndexNoTarget
            | Self::WrongLinks { .. } => Severity::Warning,
            Self::Misplaced { .. }
            | Self::UselessRedirect
            | Self::UnfollowedRedirect
            | Self::UnfollowedMetacopy
            | Self::NothingHidden
            | Self::OriginGone
            | Self::NamedWhiteout { hides: Some(false) }
            | Self::UnknownMark { .. }
            | Self::Mountpoint
            | Self::Strange => Severity::Note,
        }
    }

    /// Returns a word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MalformedMark(_) => "malformed-mark",
            Self::Meaningless { .. } => "meaningless-mark",
            Self::Misplaced { .. } => "misplaced-mark",
            Self::OpaqueRoot => "opaque-root",
            Self::UselessRedirect => "useless-redirect",
            Self::DanglingRedirect { .. } => "dangling-redirect",
            Self::UnfollowedRedirect => "unfollowed-redirect",
            Self::UnfollowedMetacopy => "unfollowed-metacopy",
            Self::NoData => "metacopy-without-data",
            Self::OtherSize { .. } => "metacopy-size",
            Self::ListedWhiteout => "listed-whiteout",
            Self::NothingHidden => "whiteout-over-nothing",
            Self::XattrWhiteout => "xattr-whiteout",
            Self::NotImpure => "impure-missing",
            Self::OriginGone => "origin-gone",
            Self::OtherLowers => "other-lowers",
            Self::OtherNamespace { .. } => "other-prefix",
            Self::NamedWhiteout { .. } => "named-whiteout",
            Self::NamedOpaque => "named-opaque",
            Self::ForeignName => "foreign-name",
            Self::ForeignXattr { .. } => "foreign-xattr",
            Self::OldWhiteout { .. } => "old-whiteout",
            Self::UnknownMark { .. } => "unknown-mark",
            Self::HalfConverted => "half-converted",
            Self::HalfImported => "half-imported",
            Self::Mountpoint => "mountpoint",
            Self::Unreadable(_) => "unreadable",
            Self::Incompatible { .. } => "incompatible",
            Self::StaleTemporary => "stale-temporary",
            Self::Strange => "strange-entry",
            Self::IndexName => "index-name",
            Self::IndexStale => "index-stale",
            Self::IndexOrphan => "index-orphan",
            Self::IndexNoTarget => "index-no-target",
            Self::IndexOtherUpper => "index-other-upper",
            Self::IndexOtherLower => "index-other-lower",
            Self::WrongLinks { .. } => "wrong-nlink",
        }
    }

    /// Returns what to do about it where no fix does it, as a piece of a sentence.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::NamedWhiteout { .. } | Self::NamedOpaque | Self::OldWhiteout { .. } => {
                "`mica convert UPPER --to device` gives it the kernel's form"
            }
            Self::OtherNamespace { .. } => {
                "`mica convert UPPER --prefix trusted|user` gives all marks one prefix"
            }
            Self::UnfollowedRedirect | Self::UnfollowedMetacopy | Self::DanglingRedirect { .. } => {
                "`mica convert UPPER --no-redirects --lower DIR` makes the upper plain"
            }
            Self::Incompatible { feature } if feature == "volatile" => {
                "if the machine did not crash since, remove `work/incompat/volatile`; if it did, start with a new upper"
            }
            Self::HalfConverted => "run the same `mica convert` again: it goes on where it was",
            Self::HalfImported => "run the same `mica import` again: it begins anew",
            Self::Incompatible { feature } if feature == crate::convert::FEATURE => {
                "run the same `mica convert` again, with this `--work`"
            }
            Self::IndexOtherUpper | Self::IndexOtherLower => {
                "use the index with its own directories, or remove `index` from the work directory"
            }
            Self::OtherLowers | Self::NoData => "see whether these are the lowers of this upper",
            _ => return None,
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::MalformedMark(bad) => return write!(f, "{bad}; a mount answers EIO"),
            Self::Meaningless { mark, wanted } => {
                return write!(f, "`{mark}` is not {wanted}, and is passed over");
            }
            Self::Misplaced { mark } => {
                let mark = PathBuf::from(mark);
                return write!(
                    f,
                    "{} means nothing on an object of this kind",
                    Escaped::new(&mark)
                );
            }
            Self::DanglingRedirect { to } => {
                return write!(
                    f,
                    "`redirect` leads to `{}`, where no lower has a directory: what it showed is gone",
                    to.escape_ascii()
                );
            }
            Self::OtherSize { here, below } => {
                return write!(f, "a metacopy of {here} bytes over data of {below} bytes");
            }
            Self::OtherNamespace { name } => {
                return write!(
                    f,
                    "`{}` is under the other prefix and means nothing",
                    name.escape_ascii()
                );
            }
            Self::ForeignXattr { name } => {
                return write!(
                    f,
                    "`{}` is read by fuse-overlayfs alone",
                    name.escape_ascii()
                );
            }
            Self::OldWhiteout { name } => {
                return write!(
                    f,
                    "hides `{}` in the old form, which no mount reads",
                    name.escape_ascii()
                );
            }
            Self::UnknownMark { name } => {
                return write!(
                    f,
                    "`{}` is a mark that no overlay is known to write",
                    name.escape_ascii()
                );
            }
            Self::Unreadable(errno) => {
                let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
                return write!(f, "cannot be read: {text}");
            }
            Self::Incompatible { feature } if feature == "volatile" => {
                "a volatile mount used these directories: every later mount refuses them"
            }
            Self::Incompatible { feature } => {
                return write!(
                    f,
                    "marked with the feature {}, for which every mount refuses it",
                    Escaped::new(feature)
                );
            }
            Self::WrongLinks {
                recorded,
                least,
                most,
            } => {
                return write!(
                    f,
                    "`nlink` records {recorded} names, and the file can have {least} to {most}"
                );
            }
            Self::OpaqueRoot => "the root is marked opaque, which no mount heeds",
            Self::UselessRedirect => "a redirect on an opaque directory, which is not followed",
            Self::UnfollowedRedirect => {
                "a redirect under `user.overlay.`: Mica follows it with `redirect_dir=on`, the kernel never does (EPERM)"
            }
            Self::UnfollowedMetacopy => {
                "a metacopy under `user.overlay.`, which the kernel does not follow (EPERM)"
            }
            Self::NoData => "a metacopy, and no lower has its data: a mount answers EIO",
            Self::ListedWhiteout => {
                "a whiteout in a directory that merges with none: the kernel lists the name and finds nothing there"
            }
            Self::NothingHidden => "a whiteout of a name that no lower has",
            Self::XattrWhiteout => {
                "a whiteout in the form of an attribute, which is for lowers: in an upper its name is listed"
            }
            Self::NotImpure => {
                "has copied-up entries and no `impure`: listings show other inode numbers than stat"
            }
            Self::OriginGone => {
                "was copied up from an object that is gone: its inode number will be another"
            }
            Self::OtherLowers => {
                "was copied up from a directory that the given lowers do not have there"
            }
            Self::NamedWhiteout { hides: Some(true) } => {
                "hides a name for aufs, OCI and fuse-overlayfs; a mount shows the name, and this file"
            }
            Self::NamedWhiteout { .. } => {
                "is a whiteout for aufs, OCI and fuse-overlayfs, and a file for a mount"
            }
            Self::NamedOpaque => {
                "makes its directory opaque for aufs, OCI and fuse-overlayfs; a mount shows what lies below, and this file"
            }
            Self::ForeignName => "is kept by aufs or unionfs-fuse for itself, and shown by a mount",
            Self::HalfConverted => "a conversion was interrupted: mounts of Mica refuse it",
            Self::HalfImported => "an import was interrupted: mounts of Mica refuse it",
            Self::Mountpoint => "another filesystem is mounted here, which was not looked at",
            Self::StaleTemporary => "left by a mount that was killed; the next mount removes it",
            Self::Strange => "is nothing that an overlay makes here",
            Self::IndexName => {
                "an index entry whose name is no file handle: the kernel mounts read-only with `index=on`"
            }
            Self::IndexStale => {
                "an index entry that was copied up from another object than its name says"
            }
            Self::IndexOrphan => "an index entry of something that is gone from the upper",
            Self::IndexNoTarget => "an index entry of an object that is gone from the lowers",
            Self::IndexOtherUpper => {
                "the index was made for another upper: the kernel refuses it with `index=on` (ESTALE)"
            }
            Self::IndexOtherLower => {
                "the upper was used with another lower: the kernel refuses it with `index=on` (ESTALE)"
            }
        };
        f.write_str(words)
    }
}
