//! `remount`: other flags for a mount that exists.

use super::{Effect, Entry, Manner, MountFlags, Note, OptionError, RawOption, entry, text};

/// Which flags of a mount change. What is in neither stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remount {
    /// Those to set.
    pub set: MountFlags,
    /// Those to clear.
    pub clear: MountFlags,
    /// Options that a remount does not change.
    pub notes: Vec<Note>,
}

impl Remount {
    /// Reads the options of a remount.
    ///
    /// The kernel's overlayfs ignores all but the flags when mount(2) remounts, and fails for any other option with
    /// its new interface. Here a person is told, and mount(8) is not: it hands over the whole line of /etc/fstab.
    ///
    /// # Errors
    ///
    /// An [`OptionError`]: an option that is unknown, or that no remount changes.
    pub(super) fn of(given: &[RawOption<'_>], manner: Manner) -> Result<Self, OptionError> {
        let mut remount = Self::default();
        for option in given {
            remount.apply(*option, manner)?;
        }
        Ok(remount)
    }

    fn apply(&mut self, option: RawOption<'_>, manner: Manner) -> Result<(), OptionError> {
        let Some(Entry(_, effect)) = entry(option.name) else {
            if !manner.ignores_unknown() {
                return Err(OptionError::unknown(option.name));
            }
            self.notes.push(Note::unknown(option.written()));
            return Ok(());
        };
        let flags = match effect {
            Effect::Silent => return Ok(()),
            Effect::Remount => return option.no_value(),
            Effect::Moot(reason) => {
                option.no_value()?;
                self.notes
                    .push(Note::moot(text(option.name.to_vec()), reason));
                return Ok(());
            }
            Effect::Restrict(_) if option.value.is_some() => return Ok(()),
            Effect::Restrict(flags) => (*flags, MountFlags::empty()),
            // What `dev` and `suid` ask for in so many words is only looked at when the mount is made.
            Effect::Flags(set, clear) => {
                let spoken = MountFlags::DEV.union(MountFlags::SUID);
                (set.difference(spoken), clear.difference(spoken))
            }
            _ => return self.fixed(option, manner),
        };
        if !MountFlags::PER_MOUNT.contains(flags.0.union(flags.1)) {
            return self.fixed(option, manner);
        }
        option.no_value()?;
        self.change(flags.0, flags.1);
        Ok(())
    }

    /// Adds a change; of two that contradict each other the last one counts.
    fn change(&mut self, set: MountFlags, clear: MountFlags) {
        self.set = self.set.difference(clear).union(set);
        self.clear = self.clear.difference(set).union(clear);
    }

    fn fixed(&mut self, option: RawOption<'_>, manner: Manner) -> Result<(), OptionError> {
        let option = text(option.name.to_vec());
        if !manner.remounts_with_all() {
            return Err(OptionError::FixedAtMount { option });
        }
        self.notes.push(Note::fixed(option));
        Ok(())
    }
}
