//! Mount options: from `-o` strings to a [`MountSpec`].
//!
//! The language is that of mount(8) and of the kernel's overlayfs: options separated by commas, layers by colons, and
//! a backslash before any character takes its special meaning away. `-o` may be repeated; of two options that
//! contradict each other the last one counts.
//!
//! A family of options is a module with a table of what each name does ([`Entry`]), and a line in `table::FAMILIES`.
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
mod raw;
mod remount;
mod security;
mod spec;
mod split;
mod table;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use mica_fuse::SecurityLabel;
use mica_overlay::{Durability, Metacopies};

pub use error::OptionError;
pub(crate) use error::work_beside;
pub use ids::Identity;
pub use index::OverlayUuid;
use kernel::Chosen;
pub use kernel::RedirectDir;
use layers::Layers;
pub use manner::Manner;
pub use note::Note;
use raw::RawOption;
pub(crate) use raw::{Written, for_filesystem};
pub use remount::Remount;
pub use spec::{FuseSpec, MountFlags, MountSpec, StackSpec, UpperSpec};
use split::options;
pub(crate) use split::{cut, unescape, unescape_comma};
use table::{Answer, Effect, Entry, entry, names};

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

pub(crate) fn path(bytes: Vec<u8>) -> PathBuf {
    text(bytes).into()
}

fn text(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests;
