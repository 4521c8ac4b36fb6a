//! Mount options: from `-o` strings to a [`MountSpec`].
//!
//! The language is that of mount(8) and of the kernel's overlayfs: options separated by commas, layers by colons, and
//! a backslash before any character takes its special meaning away. `-o` may be repeated; of two options that
//! contradict each other the last one counts.
//!
//! A family of options is a module with a table of what each name does ([`Entry`]), and a line in [`FAMILIES`].
//!
//! This module is pure: it looks at no file, and a path stays as it was written, relative or not. Whether the
//! directories exist and fit together is the business of [`crate::stack`].

mod durability;
mod error;
mod fuse;
mod generic;
mod ids;
mod layers;
mod split;
mod unsupported;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use bitflags::bitflags;
use mica_overlay::{Durability, LAYERS_MAX, XattrNamespace};

pub use error::OptionError;
pub(crate) use error::work_beside;
pub use ids::Identity;
use layers::Layers;
use split::{options, unescape};

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
    /// `volatile`, `fsync=`: when changes are put on disk.
    pub durability: Durability,
    /// Whose the objects are.
    pub identity: Identity,
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

/// The tables of all options.
const FAMILIES: [&[Entry]; 6] = [
    layers::OPTIONS,
    durability::OPTIONS,
    ids::OPTIONS,
    generic::OPTIONS,
    fuse::OPTIONS,
    unsupported::OPTIONS,
];

/// A row of the table of a family: the name of an option and what it does.
#[derive(Debug, Clone, Copy)]
struct Entry(&'static str, Effect);

/// What an option does.
#[derive(Debug, Clone, Copy)]
enum Effect {
    /// Sets these flags. The option takes no value.
    Set(MountFlags),
    /// Clears these flags. The option takes no value.
    Clear(MountFlags),
    /// Reads its value, or does what the other effects cannot.
    Call(fn(&mut Given, RawOption<'_>) -> Result<(), OptionError>),
    /// Is known, and does not work in this version. Ignoring it would give somebody another mount than the one they
    /// asked for.
    Unsupported,
}

/// One option as it was written: `name` or `name=value`, escapes still in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RawOption<'a> {
    name: &'a [u8],
    value: Option<&'a [u8]>,
}

/// The options so far: one field for each family that keeps something.
#[derive(Debug, Default)]
struct Given {
    layers: Layers,
    flags: MountFlags,
    source: Option<String>,
    durability: Durability,
    ids: ids::Given,
}

impl Given {
    /// Adds one option to what was given before it.
    fn apply(&mut self, option: RawOption<'_>) -> Result<(), OptionError> {
        let entry = entries().find(|Entry(name, _)| name.as_bytes() == option.name);
        let Entry(name, effect) = entry.ok_or_else(|| OptionError::unknown(option.name))?;
        match effect {
            Effect::Set(flags) => {
                option.no_value()?;
                self.flags.insert(*flags);
            }
            Effect::Clear(flags) => {
                option.no_value()?;
                self.flags.remove(*flags);
            }
            Effect::Call(call) => call(self, option)?,
            Effect::Unsupported => return Err(OptionError::Unsupported { option: name }),
        }
        Ok(())
    }

    /// Checks that the options make a mount together.
    fn finish(self) -> Result<MountSpec, OptionError> {
        Ok(MountSpec {
            stack: StackSpec {
                durability: self.durability,
                identity: self.ids.finish(),
                ..self.layers.finish()?
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

/// Returns the rows of all tables.
fn entries() -> impl Iterator<Item = &'static Entry> {
    FAMILIES.iter().copied().flatten()
}

/// Returns the names of all options that work, for the nearest to a mistyped one.
fn names() -> impl Iterator<Item = &'static str> {
    entries()
        .filter(|Entry(_, effect)| !matches!(effect, Effect::Unsupported))
        .map(|Entry(name, _)| *name)
}

pub(crate) fn path(bytes: Vec<u8>) -> PathBuf {
    text(bytes).into()
}

fn text(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests;
