//! Options of overlayfs and fuse-overlayfs whose effect this version does not have.

use super::{Effect, Entry};

pub(super) const OPTIONS: &[Entry] = &[
    Entry("datadir+", Effect::Unsupported),
    Entry("index", Effect::Unsupported),
    Entry("metacopy", Effect::Unsupported),
    Entry("nfs_export", Effect::Unsupported),
    Entry("redirect_dir", Effect::Unsupported),
    Entry("uuid", Effect::Unsupported),
    Entry("verity", Effect::Unsupported),
    Entry("xino", Effect::Unsupported),
];
