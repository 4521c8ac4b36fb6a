//! Mount options: from `-o` strings to a [`MountSpec`].
//!
//! The language is that of mount(8) and of the kernel's overlayfs: options separated by commas, layers by colons, and
//! a backslash before any character takes its special meaning away. `-o` may be repeated; of two options that
//! contradict each other the last one counts.
//!
//! This module is pure: it looks at no file, and a path stays as it was written, relative or not. Whether the
//! directories exist and fit together is the business of [`crate::stack`].

mod error;
mod split;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use bitflags::bitflags;
use mica_overlay::{LAYERS_MAX, XattrNamespace};

pub use error::OptionError;
pub(crate) use error::work_beside;
use split::{options, split_lower, unescape, unescape_comma};

/// The source of a mount that says none by `fsname=`, the first field of `/proc/mounts`.
const DEFAULT_SOURCE: &str = "mica";

bitflags! {
    /// What a mount allows, in the words of mount(8).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct MountFlags: u32 {
        /// `ro`: nothing can be changed through the mount.
        const READ_ONLY = 1;
        /// `nodev`: device nodes cannot be opened.
        const NODEV = 1 << 1;
        /// `nosuid`: setuid, setgid and file capabilities have no effect.
        const NOSUID = 1 << 2;
        /// `noexec`: nothing can be executed.
        const NOEXEC = 1 << 3;
        /// `noatime`: access times stay.
        const NOATIME = 1 << 4;
        /// `allow_other`: other users see the mount, too.
        const ALLOW_OTHER = 1 << 5;
        /// `dev`, in so many words: refused where the kernel opens no device all the same.
        const DEV = 1 << 13;
        /// `suid`, in so many words: refused where it would have no effect.
        const SUID = 1 << 14;
    }
}

/// The writable part of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpperSpec {
    /// `upperdir=`: where changes are kept.
    pub dir: PathBuf,
    /// `workdir=`: where changes are prepared. On the same mount as `dir`, and beside it.
    pub work: PathBuf,
}

/// Directories to lay over each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackSpec {
    /// The lower layers, topmost first; 1 to [`LAYERS_MAX`].
    pub lower: Vec<PathBuf>,
    /// The upper layer; without one the stack is read-only.
    pub upper: Option<UpperSpec>,
    /// Which extended attributes hold the marks of the overlay: `userxattr` chooses `user.overlay.*`.
    pub xattrs: XattrNamespace,
}

/// What to mount, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountSpec {
    /// The layers.
    pub stack: StackSpec,
    /// What the mount allows.
    pub flags: MountFlags,
    /// The source that `/proc/mounts` shows.
    pub source: String,
}

impl MountSpec {
    /// Parses the arguments of all `-o` of a command line, in order.
    ///
    /// ```
    /// let spec = mica::MountSpec::parse(["lowerdir=a:b,upperdir=u", "workdir=w,noatime"])?;
    /// assert_eq!(spec.stack.lower.len(), 2);
    /// # Ok::<(), mica::OptionError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// An [`OptionError`] that names the first option that is wrong, or the one that is missing.
    pub fn parse<S: AsRef<OsStr>>(
        strings: impl IntoIterator<Item = S>,
    ) -> Result<Self, OptionError> {
        let mut given = Given::default();
        for string in strings {
            for option in options(string.as_ref().as_bytes()) {
                given.apply(option?)?;
            }
        }
        given.finish()
    }
}

/// One option as it was written: `name` or `name=value`, escapes still in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RawOption<'a> {
    name: &'a [u8],
    value: Option<&'a [u8]>,
}

/// What a flag does to a [`MountFlags`] bit.
#[derive(Debug, Clone, Copy)]
enum Change {
    Set,
    Clear,
    /// Set it, and clear the one that says the contrary.
    InPlaceOf(MountFlags),
}

/// The options without a value, and `userxattr` aside each one's effect.
const FLAGS: [(&str, MountFlags, Change); 11] = [
    ("ro", MountFlags::READ_ONLY, Change::Set),
    ("rw", MountFlags::READ_ONLY, Change::Clear),
    (
        "nodev",
        MountFlags::NODEV,
        Change::InPlaceOf(MountFlags::DEV),
    ),
    ("dev", MountFlags::DEV, Change::InPlaceOf(MountFlags::NODEV)),
    (
        "nosuid",
        MountFlags::NOSUID,
        Change::InPlaceOf(MountFlags::SUID),
    ),
    (
        "suid",
        MountFlags::SUID,
        Change::InPlaceOf(MountFlags::NOSUID),
    ),
    ("noexec", MountFlags::NOEXEC, Change::Set),
    ("exec", MountFlags::NOEXEC, Change::Clear),
    ("noatime", MountFlags::NOATIME, Change::Set),
    ("atime", MountFlags::NOATIME, Change::Clear),
    ("allow_other", MountFlags::ALLOW_OTHER, Change::Set),
];

/// The options besides [`FLAGS`].
const OTHERS: [&str; 6] = [
    "lowerdir",
    "lowerdir+",
    "upperdir",
    "workdir",
    "fsname",
    "userxattr",
];

/// Options of overlayfs and fuse-overlayfs whose effect this version does not have. Ignoring one would give
/// somebody another mount than the one they asked for.
const UNSUPPORTED: [&str; 17] = [
    "datadir+",
    "fsync",
    "gidmapping",
    "index",
    "metacopy",
    "nfs_export",
    "noacl",
    "redirect_dir",
    "squash_to_gid",
    "squash_to_root",
    "squash_to_uid",
    "static_nlink",
    "uidmapping",
    "uuid",
    "verity",
    "volatile",
    "xino",
];

/// The lower layers so far, and which of the two spellings they came in.
#[derive(Debug, Default)]
enum Lower {
    #[default]
    None,
    /// `lowerdir=a:b`
    Joined(Vec<PathBuf>),
    /// `lowerdir+=a`, one layer each
    Appended(Vec<PathBuf>),
}

/// The options so far.
#[derive(Debug, Default)]
struct Given {
    lower: Lower,
    upper: Option<PathBuf>,
    work: Option<PathBuf>,
    flags: MountFlags,
    source: Option<String>,
    userxattr: bool,
}

impl Given {
    /// Adds one option to what was given before it.
    fn apply(&mut self, option: RawOption<'_>) -> Result<(), OptionError> {
        match option.name {
            b"lowerdir" => self.lower_joined(option.required_value()?)?,
            b"lowerdir+" => self.lower_appended(option.required_value()?)?,
            b"upperdir" => self.upper = Some(path(unescape(option.required_value()?))),
            b"workdir" => self.work = Some(path(unescape(option.required_value()?))),
            b"fsname" => self.source = Some(option.utf8_value()?),
            b"userxattr" => {
                option.no_value()?;
                self.userxattr = true;
            }
            name => {
                let flag = FLAGS.iter().find(|(flag, ..)| flag.as_bytes() == name);
                let (_, bit, change) = flag.ok_or_else(|| OptionError::not_ours(name))?;
                option.no_value()?;
                self.flags.set(*bit, !matches!(change, Change::Clear));
                if let Change::InPlaceOf(contrary) = change {
                    self.flags.remove(*contrary);
                }
            }
        }
        Ok(())
    }

    /// `lowerdir=`: all layers at once; a later one replaces an earlier one.
    fn lower_joined(&mut self, value: &[u8]) -> Result<(), OptionError> {
        if matches!(self.lower, Lower::Appended(_)) {
            return Err(OptionError::MixedLower);
        }
        let paths = split_lower(value)?;
        self.lower = Lower::Joined(paths.into_iter().map(path).collect());
        Ok(())
    }

    /// `lowerdir+=`: one layer below those before it. A colon in it is part of the path.
    fn lower_appended(&mut self, value: &[u8]) -> Result<(), OptionError> {
        let layer = path(unescape_comma(value));
        match &mut self.lower {
            Lower::Joined(_) => return Err(OptionError::MixedLower),
            Lower::Appended(paths) => paths.push(layer),
            Lower::None => self.lower = Lower::Appended(vec![layer]),
        }
        Ok(())
    }

    /// Checks that the options make a mount together.
    fn finish(self) -> Result<MountSpec, OptionError> {
        let lower = match self.lower {
            Lower::None => return Err(OptionError::NoLower),
            Lower::Joined(paths) | Lower::Appended(paths) => paths,
        };
        if lower.len() > LAYERS_MAX {
            return Err(OptionError::TooManyLowers { count: lower.len() });
        }
        let upper = match (self.upper, self.work) {
            (Some(dir), Some(work)) => Some(UpperSpec { dir, work }),
            (Some(upper), None) => return Err(OptionError::UpperWithoutWork { upper }),
            (None, Some(work)) => return Err(OptionError::WorkWithoutUpper { work }),
            (None, None) => None,
        };
        let xattrs = if self.userxattr {
            XattrNamespace::User
        } else {
            XattrNamespace::Trusted
        };
        Ok(MountSpec {
            stack: StackSpec {
                lower,
                upper,
                xattrs,
            },
            flags: self.flags,
            source: self.source.unwrap_or_else(|| DEFAULT_SOURCE.into()),
        })
    }
}

impl<'a> RawOption<'a> {
    /// Returns the value of an option that has to have one.
    fn required_value(self) -> Result<&'a [u8], OptionError> {
        match self.value {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(OptionError::MissingValue {
                option: text(self.name.to_vec()),
            }),
        }
    }

    /// Returns the value of an option that must be text.
    fn utf8_value(self) -> Result<String, OptionError> {
        let value = unescape(self.required_value()?);
        String::from_utf8(value).map_err(|bytes| OptionError::NotUtf8 {
            option: text(self.name.to_vec()),
            value: text(bytes.into_bytes()),
        })
    }

    /// Refuses a value where none can be.
    fn no_value(self) -> Result<(), OptionError> {
        match self.value {
            None => Ok(()),
            Some(value) => Err(OptionError::UnexpectedValue {
                option: text(self.name.to_vec()),
                value: text(value.to_vec()),
            }),
        }
    }
}

/// Returns the names of all options, for the nearest to a mistyped one.
fn names() -> impl Iterator<Item = &'static str> {
    FLAGS.iter().map(|(name, ..)| *name).chain(OTHERS)
}

pub(crate) fn path(bytes: Vec<u8>) -> PathBuf {
    text(bytes).into()
}

fn text(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests;
