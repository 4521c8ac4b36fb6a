//! Options of overlayfs and fuse-overlayfs whose effect this version does not have.

use super::{Effect, Entry};

pub(super) const OPTIONS: &[Entry] = &[
    Entry("fsync", Effect::Unsupported),
    Entry("gidmapping", Effect::Unsupported),
    Entry("noacl", Effect::Unsupported),
    Entry("squash_to_gid", Effect::Unsupported),
    Entry("squash_to_root", Effect::Unsupported),
    Entry("squash_to_uid", Effect::Unsupported),
    Entry("static_nlink", Effect::Unsupported),
    Entry("uidmapping", Effect::Unsupported),
    Entry("volatile", Effect::Unsupported),
    Entry("xattr_permissions", Effect::Unsupported),
];
