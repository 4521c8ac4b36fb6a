//! Why a layer is not exported, or not imported.

use std::fmt;
use std::io;
use std::path::PathBuf;

use mica_vfs::{Errno, FileType};
use thiserror::Error;

use crate::Escaped;
use crate::stack::StackError;

/// Why an upper is not exported. What was written is no whole archive then.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The directories cannot be opened, or a mount uses them.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// An object that no layer can hold, or that cannot be read.
    #[error("{} cannot be exported: {why}", Escaped::new(path))]
    Entry {
        /// The object, from the root of the upper.
        path: PathBuf,
        /// Why.
        why: Unexportable,
    },
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// The caller stopped it.
    #[error("stopped")]
    Stopped,
}

/// Why an object is not exported.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unexportable {
    /// A directory that was renamed, or a file without its data: the rest is in a lower.
    Redirect,
    /// The same, and the lowers that were named do not have it.
    NotBelow,
    /// A name that would be a whiteout.
    NameIsWhiteout,
    /// A whiteout of a name that is too long for `.wh.NAME`.
    NameTooLong,
    /// More attributes than readers of archives take.
    Attributes,
    /// An owner that has no id in the session.
    Owner(u32),
    /// Another filesystem is mounted there.
    Mountpoint,
    /// It was renamed in a session, and on the machine another filesystem is mounted there or in it.
    MountBelow,
    /// It cannot be read.
    Unreadable(Errno),
}

impl fmt::Display for Unexportable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redirect => {
                f.write_str("it is a redirect or a metacopy, whose other part is in a lower layer")
            }
            Self::NotBelow => f.write_str(
                "it is a redirect or a metacopy, and the lower layers have nothing where it leads",
            ),
            Self::NameIsWhiteout => f.write_str("its name would be that of a whiteout"),
            Self::NameTooLong => f.write_str("its name is too long for a whiteout"),
            Self::Attributes => f.write_str("its attributes take more than 1 MiB"),
            Self::Owner(id) => write!(f, "the session has no id for its owner {id}"),
            Self::Mountpoint => f.write_str("another filesystem is mounted there"),
            Self::MountBelow => f.write_str(
                "it was renamed, and where it was the machine has another filesystem mounted",
            ),
            Self::Unreadable(errno) => {
                let text = io::Error::from_raw_os_error(errno.raw_os_error());
                write!(f, "it cannot be read: {text}")
            }
        }
    }
}

impl ExportError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Stack(error) => return error.hint(),
            Self::Entry { why, .. } => match why {
                Unexportable::Redirect => {
                    "name the lower directories with `--lower DIR`, topmost first, or run `mica convert --no-redirects` before"
                }
                Unexportable::NotBelow => "name all lower directories with `--lower DIR`, topmost first",
                Unexportable::NameIsWhiteout => {
                    "rename it; if it is a whiteout, run `mica convert --to device` before"
                }
                Unexportable::NameTooLong => return None,
                Unexportable::Mountpoint => "unmount it first",
                Unexportable::Unreadable(Errno::ACCESS | Errno::PERM) => "run as root",
                Unexportable::Unreadable(_) => "`mica check` tells more",
                Unexportable::MountBelow => "copy it in the session, with `cp -a`, and remove it there",
                Unexportable::Attributes | Unexportable::Owner(_) => return None,
            }
            .into(),
            Self::Write(error) if error.raw_os_error() == Some(Errno::NOSPC.raw_os_error()) => {
                "make room, or name a file on another filesystem".into()
            }
            Self::Write(_) | Self::Stopped => return None,
        })
    }
}

/// Why an archive is not imported. The directory is empty again, unless something else is said.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The directory cannot be opened, or a mount uses it.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The directory cannot be made.
    #[error("cannot make {}", Escaped::new(dir))]
    Make {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: Errno,
    },
    /// The directory has something in it.
    #[error("{} is not empty", Escaped::new(dir))]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory cannot be prepared.
    #[error("cannot prepare {}", Escaped::new(dir))]
    Prepare {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: Errno,
    },
    /// The archive is damaged, or not trusted.
    #[error("the entry {} is refused: {why}", Escaped::new(path))]
    Entry {
        /// The path, as the archive has it.
        path: PathBuf,
        /// Why.
        why: Flaw,
    },
    /// The archive is damaged before its first entry, or after its last one.
    #[error("the archive is refused: {0}")]
    Archive(Flaw),
    /// The archive cannot be read.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// An object cannot be made.
    #[error("cannot make the entry {}", Escaped::new(path))]
    Write {
        /// The path, as the archive has it.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// What was made cannot be removed again.
    #[error(
        "{} has a part of the archive in it, which cannot be removed",
        Escaped::new(dir)
    )]
    Remains {
        /// The directory.
        dir: PathBuf,
        /// Why all this.
        source: Box<Self>,
    },
    /// The caller stopped it.
    #[error("stopped")]
    Stopped,
}

impl ImportError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Stack(error) => return error.hint(),
            Self::NotEmpty { .. } => "name a directory that does not exist, or an empty one".into(),
            Self::Entry { why, .. } | Self::Archive(why) => return why.hint().map(Into::into),
            Self::Write {
                source: Errno::PERM | Errno::ACCESS | Errno::INVAL,
                ..
            } => "run as root, or give all to yourself with `--owners mine`".into(),
            Self::Write {
                source: Errno::OPNOTSUPP,
                ..
            } => "name a directory on a filesystem with extended attributes".into(),
            Self::Write {
                source: Errno::NOSPC | Errno::DQUOT,
                ..
            } => "make room, and run the same command again".into(),
            Self::Remains { dir, .. } => format!("remove it with `rm -rf {:#}`", Escaped::new(dir)),
            Self::Make { .. }
            | Self::Prepare { .. }
            | Self::Read(_)
            | Self::Write { .. }
            | Self::Stopped => return None,
        })
    }
}

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flaw {
    /// It ends before its end.
    Truncated,
    /// There is something after its end.
    Trailing,
    /// A header has another checksum, or what should be a header is none.
    Checksum,
    /// A number of a header is none, or too large.
    Number,
    /// A record of a PAX header makes no sense.
    Record,
    /// A PAX header is longer than 1 MiB, or a long name than 64 KiB.
    HeaderTooLong,
    /// A header that belongs to the next entry comes twice, or before none.
    Stray,
    /// A header for all entries says more than a comment.
    Global,
    /// A map of holes makes no sense, or is longer than 1 MiB.
    Sparse,
    /// A type of entries that is not read.
    Type(u8),
    /// It has data, and is no file.
    Data,
    /// The name is none.
    Name,
    /// The name begins with `/`.
    Absolute,
    /// The name has `..` in it.
    Outside,
    /// The name is too long.
    TooLong,
    /// The way to it goes through something that is no directory.
    Through(FileType),
    /// The way to it goes through a whiteout.
    InWhiteout,
    /// aufs keeps the name for itself.
    Reserved,
    /// A whiteout that is no empty file.
    Whiteout,
    /// The root is opaque, which no overlay can say.
    OpaqueRoot,
    /// The root is no directory.
    Root,
    /// It is there twice.
    Duplicate,
    /// A device.
    Device,
    /// A device 0:0, which would be a whiteout.
    WhiteoutDevice,
    /// A link to something that is not in the archive before it.
    LinkTarget,
    /// An attribute that would be a mark of an overlay.
    Mark(Vec<u8>),
    /// The name or the value of an attribute is none.
    Attribute(Vec<u8>),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the archive ends in the middle",
            Self::Trailing => "there is something after the end of the archive",
            Self::Checksum => {
                "the checksum of a header is wrong: this is no tar archive, or it is damaged"
            }
            Self::Number => "a number in its header is none, or too large",
            Self::Record => "a record of its PAX header makes no sense",
            Self::HeaderTooLong => {
                "its PAX header takes more than 1 MiB, or its name more than 64 KiB"
            }
            Self::Stray => "a header for the next entry comes twice, or before no entry",
            Self::Global => "a PAX header for all entries says more than a comment",
            Self::Sparse => "its map of holes makes no sense, or takes more than 1 MiB",
            Self::Type(sort) => {
                return write!(
                    f,
                    "its type is `{}`, which is not read",
                    sort.escape_ascii()
                );
            }
            Self::Data => "it has data, and is no file",
            Self::Name => "its name is none",
            Self::Absolute => "its name begins with `/`",
            Self::Outside => "its name has `..` in it",
            Self::TooLong => "its name is too long",
            Self::Through(kind) => {
                let what = match kind {
                    FileType::Symlink => "a symbolic link",
                    FileType::Regular => "a file",
                    _ => "something that is no directory",
                };
                return write!(f, "the way to it goes through {what}");
            }
            Self::InWhiteout => "the way to it goes through a whiteout",
            Self::Reserved => "such names are kept for whiteouts, and this one hides nothing",
            Self::Whiteout => "it is named as a whiteout, and is no empty file",
            Self::OpaqueRoot => "it hides all layers below, which no overlay can say",
            Self::Root => "the root is no directory",
            Self::Duplicate => "it is there twice",
            Self::Device => "it is a device",
            Self::WhiteoutDevice => "it is the device 0:0, which would be a whiteout",
            Self::LinkTarget => {
                "it is a link to something that is no file of this archive before it"
            }
            Self::Mark(name) => {
                let name = name.escape_ascii();
                return write!(f, "its attribute `{name}` would be a mark of an overlay");
            }
            Self::Attribute(name) => {
                return write!(f, "its attribute `{}` is none", name.escape_ascii());
            }
        })
    }
}

impl Flaw {
    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Device => "`--devices` lets devices in, for an archive that you trust",
            Self::Type(b'S') => "make it with `tar --format=pax --sparse`",
            Self::OpaqueRoot => "leave out the layers below instead",
            _ => return None,
        })
    }
}
