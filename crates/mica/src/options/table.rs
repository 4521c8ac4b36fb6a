//! What options there are, and what each does.

use super::{
    Given, MountFlags, OptionError, RawOption, durability, fuse, fuse_overlayfs, generic, ids,
    kernel, layers, libfuse, security,
};

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
pub(super) struct Entry(pub(super) &'static str, pub(super) Effect);

/// What an option does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Effect {
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
    pub(super) const fn set(flags: MountFlags) -> Self {
        Self::Flags(flags, MountFlags::empty())
    }

    pub(super) const fn clear(flags: MountFlags) -> Self {
        Self::Flags(MountFlags::empty(), flags)
    }

    pub(super) const fn refused(reason: &'static str, instead: &'static str) -> Self {
        Self::Refuse(Answer::Refused(reason, instead))
    }
}

/// What is said to an option that changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is so in any case, for this reason; noted.
    Moot(&'static str),
    /// It is what the mount does.
    Taken,
    /// It cannot be had, for this reason; and what to do instead.
    Refused(&'static str, &'static str),
}

/// Finds the row of an option; `None` if no table has it.
pub(super) fn entry(name: &[u8]) -> Option<&'static Entry> {
    let known = entries().find(|Entry(known, _)| known.as_bytes() == name);
    known.or_else(|| generic::by_prefix(name))
}

/// Returns the rows of all tables.
pub(super) fn entries() -> impl Iterator<Item = &'static Entry> {
    FAMILIES.iter().copied().flatten()
}

/// Returns the names of all options that work, for the nearest to a mistyped one.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    entries()
        .filter(|Entry(_, effect)| {
            matches!(
                effect,
                Effect::Flags(..) | Effect::Call(_) | Effect::Choose(_) | Effect::Remount
            )
        })
        .map(|Entry(name, _)| *name)
}
