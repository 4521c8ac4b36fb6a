//! Mount options: from `-o` strings to a [`MountSpec`].
//!
//! The language is that of mount(8) and of the kernel's overlayfs: options separated by commas, layers by colons, and
//! a backslash before any character takes its special meaning away. `-o` may be repeated; of two options that
//! contradict each other the last one counts.
//!
//! A family of options is a module with a table of what each name does ([`Entry`]), and a line in [`FAMILIES`].
//! docs/options.md lists them all. No option is ignored: one that asks for what is so in any case leaves a [`Note`],
//! one that asks for what this version lacks is refused with the reason.
//!
//! This module is pure: it looks at no file, and a path stays as it was written, relative or not. Whether the
//! directories exist and fit together is the business of [`crate::stack`].

mod durability;
mod error;
mod fuse;
mod fuse_overlayfs;
mod generic;
mod ids;
mod index;
mod kernel;
mod layers;
mod libfuse;
mod manner;
mod note;
mod remount;
mod security;
mod split;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use bitflags::bitflags;
use mica_fuse::{CacheTimes, SecurityLabel, Threads};
use mica_overlay::{Durability, Index, LAYERS_MAX, Metacopies, XattrNamespace, Xino};
use mica_vfs::Coherence;

pub use error::OptionError;
pub(crate) use error::work_beside;
pub use ids::Identity;
pub use index::OverlayUuid;
use kernel::Chosen;
pub use kernel::RedirectDir;
use layers::Layers;
pub use manner::Manner;
pub use note::Note;
pub use remount::Remount;
use split::options;
pub(crate) use split::{cut, unescape, unescape_comma};

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
        /// `nodiratime`: access times of directories stay.
        const NODIRATIME = 1 << 6;
        /// `strictatime`: access times move with each read that is a message.
        const STRICTATIME = 1 << 7;
        /// `nosymfollow`: symbolic links are not followed.
        const NOSYMFOLLOW = 1 << 8;
        /// `sync`: each write is followed by an fsync.
        const SYNC = 1 << 9;
        /// `allow_root`: root sees the mount beside the mounter.
        const ALLOW_ROOT = 1 << 10;
        /// `auto_unmount`: the mount ends with its server, however that ends.
        const AUTO_UNMOUNT = 1 << 11;
        /// `debug`: the program that serves stays in the foreground and logs what it does.
        const DEBUG = 1 << 12;
        /// `no_sandbox`: the program that serves is not confined.
        const NO_SANDBOX = 1 << 15;
        /// `dev`, in so many words: refused where the kernel opens no device all the same.
        const DEV = 1 << 13;
        /// `suid`, in so many words: refused where it would have no effect.
        const SUID = 1 << 14;
    }
}

impl MountFlags {
    /// The flags of one mount, which a remount changes; the others belong to the filesystem or to its server.
    pub const PER_MOUNT: Self = Self::READ_ONLY
        .union(Self::NODEV)
        .union(Self::NOSUID)
        .union(Self::NOEXEC)
        .union(Self::NOATIME)
        .union(Self::NODIRATIME)
        .union(Self::STRICTATIME)
        .union(Self::NOSYMFOLLOW);
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
    /// The lower layers, topmost first; 1 to [`LAYERS_MAX`] with the data-only ones.
    pub lower: Vec<PathBuf>,
    /// `datadir+=`, `::`: the data-only layers, in the order in which they are asked for the data of metacopies.
    pub data: Vec<PathBuf>,
    /// The upper layer; without one the stack is read-only.
    pub upper: Option<UpperSpec>,
    /// Which extended attributes hold the marks of the overlay: `userxattr` chooses `user.overlay.*`.
    pub xattrs: XattrNamespace,
    /// `redirect_dir=`: whether directories have other names in the layers below.
    pub redirects: RedirectDir,
    /// `metacopy=`: whether a change of metadata alone copies no data.
    pub metacopies: Metacopies,
    /// `index=`: what ties the names of changed lower files together when the mount is over.
    pub index: Index,
    /// `xino=`: whether the kernel's marks of `xino=on` are written.
    pub xino: Xino,
    /// `uuid=`: whether the overlay has a UUID of its own, and file handles that of their filesystem.
    pub uuid: OverlayUuid,
    /// `shared`: whether others change the lowers while they are mounted.
    pub coherence: Coherence,
    /// `volatile`, `fsync=`: when changes are put on disk.
    pub durability: Durability,
    /// Whose the objects are.
    pub identity: Identity,
}

/// How the mount is served over FUSE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FuseSpec {
    /// `subtype=`: the type that `/proc/mounts` shows is `fuse.` and this.
    pub subtype: String,
    /// `timeout=`, `entry_timeout=`, `negative_timeout=`, `attr_timeout=`: how long the kernel may cache.
    pub cache: CacheTimes,
    /// `max_threads=`, `max_idle_threads=`, `threaded=`
    pub threads: Threads,
    /// `max_read=`: most bytes in one request to read.
    pub max_read: Option<u32>,
    /// `context=`, `fscontext=`, `defcontext=`, `rootcontext=`
    pub labels: Vec<SecurityLabel>,
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
    /// How it is served.
    pub fuse: FuseSpec,
    /// Options that change nothing, and why not.
    pub notes: Vec<Note>,
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
        match Request::parse(strings, Manner::Mica)? {
            Request::Mount(spec) => Ok(*spec),
            Request::Remount(_) => Err(OptionError::RemountIsNoMount),
        }
    }
}

/// What mount options ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A new mount.
    Mount(Box<MountSpec>),
    /// `remount`: other flags for a mount that exists.
    Remount(Remount),
}

impl Request {
    /// Parses the arguments of all `-o` of a command line, in order, in the manner of a program.
    ///
    /// # Errors
    ///
    /// An [`OptionError`] that names the first option that is wrong, or the one that is missing.
    pub fn parse<S: AsRef<OsStr>>(
        strings: impl IntoIterator<Item = S>,
        manner: Manner,
    ) -> Result<Self, OptionError> {
        let strings: Vec<S> = strings.into_iter().collect();
        let strings = strings.iter().map(|string| string.as_ref().as_bytes());
        let given = strings.flat_map(options).collect::<Result<Vec<_>, _>>()?;
        if given.iter().any(|option| option.name == b"remount") {
            return Remount::of(&given, manner).map(Self::Remount);
        }
        let mut all = Given::new(manner);
        for option in given {
            all.apply(option)?;
        }
        all.finish().map(|spec| Self::Mount(Box::new(spec)))
    }
}

/// The tables of all options.
const FAMILIES: [&[Entry]; 9] = [
    layers::OPTIONS,
    durability::OPTIONS,
    ids::OPTIONS,
    generic::OPTIONS,
    fuse::OPTIONS,
    libfuse::OPTIONS,
    fuse_overlayfs::OPTIONS,
    kernel::OPTIONS,
    security::OPTIONS,
];

/// A row of the table of a family: the name of an option and what it does.
#[derive(Debug, Clone, Copy)]
struct Entry(&'static str, Effect);

/// What an option does.
#[derive(Debug, Clone, Copy)]
enum Effect {
    /// Sets the first flags and clears the second. The option takes no value.
    Flags(MountFlags, MountFlags),
    /// Sets these flags, as mount(8) does for who may mount; with a value, nothing: it names a user.
    Restrict(MountFlags),
    /// Makes the whole a remount.
    Remount,
    /// Reads its value, or does what the other effects cannot.
    Call(fn(&mut Given, RawOption<'_>) -> Result<(), OptionError>),
    /// Has one of these values, and each its answer; the last one given counts.
    Choose(&'static [(&'static str, Answer)]),
    /// Takes no value, and is so in any case; noted with this reason.
    Moot(&'static str),
    /// Has this answer to any value or none.
    Refuse(Answer),
    /// Nothing, with a value or without: it is for mount(8) and for those who read /etc/fstab.
    Silent,
}

impl Effect {
    const fn set(flags: MountFlags) -> Self {
        Self::Flags(flags, MountFlags::empty())
    }

    const fn clear(flags: MountFlags) -> Self {
        Self::Flags(MountFlags::empty(), flags)
    }

    const fn refused(reason: &'static str, instead: &'static str) -> Self {
        Self::Refuse(Answer::Refused(reason, instead))
    }
}

/// What is said to an option that changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It is so in any case, for this reason; noted.
    Moot(&'static str),
    /// It is what the mount does.
    Taken,
    /// It cannot be had, for this reason; and what to do instead.
    Refused(&'static str, &'static str),
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
    manner: Manner,
    layers: Layers,
    flags: MountFlags,
    source: Option<String>,
    durability: Durability,
    ids: ids::Given,
    fuse: fuse::Fuse,
    labels: Vec<SecurityLabel>,
    chosen: Chosen,
    notes: Vec<Note>,
}

impl Given {
    /// Begins with what the program of this manner takes for granted.
    fn new(manner: Manner) -> Self {
        Self {
            manner,
            flags: manner.flags(),
            ..Self::default()
        }
    }

    /// Adds one option to what was given before it.
    fn apply(&mut self, option: RawOption<'_>) -> Result<(), OptionError> {
        let Some(Entry(name, effect)) = entry(option.name) else {
            return self.unknown(option);
        };
        if !self.manner.knows(name, *effect) {
            return self.unknown(option);
        }
        match effect {
            Effect::Flags(set, clear) => {
                option.no_value()?;
                self.flags = self.flags.difference(*clear).union(*set);
            }
            Effect::Restrict(flags) if option.value.is_none() => {
                self.flags.remove(MountFlags::DEV | MountFlags::SUID);
                self.flags.insert(*flags);
            }
            Effect::Restrict(_) => {}
            Effect::Remount => return Err(OptionError::RemountIsNoMount),
            Effect::Call(call) => call(self, option)?,
            Effect::Choose(values) => self.chosen.choose(name, values, option)?,
            Effect::Moot(reason) => {
                option.no_value()?;
                self.answer(text(option.name.to_vec()), Answer::Moot(reason))?;
            }
            Effect::Refuse(answer) => self.answer(text(option.name.to_vec()), *answer)?,
            Effect::Silent => {}
        }
        Ok(())
    }

    /// Refuses a name that no table has, or notes it where the program does so.
    fn unknown(&mut self, option: RawOption<'_>) -> Result<(), OptionError> {
        if !self.manner.ignores_unknown() {
            return Err(OptionError::unknown(option.name));
        }
        self.notes.push(Note::unknown(option.written()));
        Ok(())
    }

    /// Notes an option that changes nothing, or refuses it.
    fn answer(&mut self, option: OsString, answer: Answer) -> Result<(), OptionError> {
        match answer {
            Answer::Moot(reason) => {
                let note = Note::moot(option, reason);
                if !self.notes.contains(&note) {
                    self.notes.push(note);
                }
                Ok(())
            }
            Answer::Taken => Ok(()),
            Answer::Refused(reason, instead) => Err(OptionError::Refused {
                option,
                reason,
                instead,
            }),
        }
    }

    /// Checks that the options make a mount together.
    fn finish(mut self) -> Result<MountSpec, OptionError> {
        let chosen = std::mem::take(&mut self.chosen);
        chosen.check(&self.layers)?;
        let redirects = kernel::redirects(&chosen, self.manner, &self.layers);
        let metacopies = match chosen.value("metacopy") {
            Some("on") => Metacopies::On,
            _ => Metacopies::Off,
        };
        let (index, xino, uuid) = index::of(&chosen);
        for (option, answer) in chosen.answers() {
            self.answer(option, answer)?;
        }
        for (option, pages) in std::mem::take(&mut self.fuse.pages) {
            self.answer(option, pages.answer(self.layers.coherence))?;
        }
        let name = self.manner.name();
        let coherence = self.layers.coherence;
        Ok(MountSpec {
            stack: StackSpec {
                redirects,
                metacopies,
                index,
                xino,
                uuid,
                durability: self.durability,
                identity: self.ids.finish(),
                ..self.layers.finish()?
            },
            flags: self.flags.difference(self.manner.unheard()),
            source: self.source.unwrap_or_else(|| name.into()),
            fuse: self.fuse.finish(name, coherence, self.labels),
            notes: self.notes,
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

    /// Returns the value of an option that is a whole number within bounds.
    fn number(self, least: u32, most: u32) -> Result<u32, OptionError> {
        let number = std::str::from_utf8(self.required_value()?);
        let number = number.ok().and_then(|text| text.parse().ok());
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| self.bad_value(format!("a number from {least} to {most}"), least))
    }

    /// Says that the value is not what is `expected`, and what would be.
    fn bad_value(self, expected: impl Into<String>, example: impl ToString) -> OptionError {
        OptionError::BadValue {
            option: text(self.name.to_vec()),
            value: text(self.value.unwrap_or_default().to_vec()),
            expected: expected.into(),
            example: example.to_string(),
        }
    }

    /// Returns the option as it was written.
    fn written(self) -> OsString {
        let mut all = self.name.to_vec();
        if let Some(value) = self.value {
            all.push(b'=');
            all.extend_from_slice(value);
        }
        text(all)
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

/// An option as it was written, its name and its value.
pub(crate) type Written = (Vec<u8>, Option<Vec<u8>>);

/// Returns the options of all `-o` strings as they were written, but for those that mount(8) keeps from a filesystem.
///
/// # Errors
///
/// What makes a string none of options.
pub(crate) fn for_filesystem<S: AsRef<OsStr>>(strings: &[S]) -> Result<Vec<Written>, OptionError> {
    let strings = strings.iter().map(|string| string.as_ref().as_bytes());
    let given = strings.flat_map(options).collect::<Result<Vec<_>, _>>()?;
    let of_mount = |name: &[u8]| {
        let mut own = generic::OPTIONS.iter();
        own.any(|Entry(own, _)| own.as_bytes() == name)
            || generic::by_prefix(name).is_some()
            || security::NAMES.iter().any(|own| own.as_bytes() == name)
    };
    let kept = given.into_iter().filter(|option| !of_mount(option.name));
    Ok(kept
        .map(|option| (option.name.to_vec(), option.value.map(<[u8]>::to_vec)))
        .collect())
}

/// Finds the row of an option; `None` if no table has it.
fn entry(name: &[u8]) -> Option<&'static Entry> {
    let known = entries().find(|Entry(known, _)| known.as_bytes() == name);
    known.or_else(|| generic::by_prefix(name))
}

/// Returns the rows of all tables.
fn entries() -> impl Iterator<Item = &'static Entry> {
    FAMILIES.iter().copied().flatten()
}

/// Returns the names of all options that work, for the nearest to a mistyped one.
fn names() -> impl Iterator<Item = &'static str> {
    entries()
        .filter(|Entry(_, effect)| {
            matches!(
                effect,
                Effect::Flags(..) | Effect::Call(_) | Effect::Choose(_) | Effect::Remount
            )
        })
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
