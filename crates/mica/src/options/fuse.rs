//! The options of FUSE and of libfuse.

use super::{Effect, Entry, Given, MountFlags, OptionError, RawOption};

pub(super) const OPTIONS: &[Entry] = &[
    Entry("allow_other", Effect::Set(MountFlags::ALLOW_OTHER)),
    Entry("fsname", Effect::Call(fsname)),
];

fn fsname(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    given.source = Some(option.utf8_value()?);
    Ok(())
}
