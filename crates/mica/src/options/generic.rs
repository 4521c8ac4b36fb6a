//! The options of mount(8) that every filesystem has.

use super::{Effect, Entry, MountFlags};

pub(super) const OPTIONS: &[Entry] = &[
    Entry("ro", Effect::Set(MountFlags::READ_ONLY)),
    Entry("rw", Effect::Clear(MountFlags::READ_ONLY)),
    Entry("nodev", Effect::Set(MountFlags::NODEV)),
    Entry("dev", Effect::Clear(MountFlags::NODEV)),
    Entry("nosuid", Effect::Set(MountFlags::NOSUID)),
    Entry("suid", Effect::Clear(MountFlags::NOSUID)),
    Entry("noexec", Effect::Set(MountFlags::NOEXEC)),
    Entry("exec", Effect::Clear(MountFlags::NOEXEC)),
    Entry("noatime", Effect::Set(MountFlags::NOATIME)),
    Entry("atime", Effect::Clear(MountFlags::NOATIME)),
];
