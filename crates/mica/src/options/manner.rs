//! The program that the options are for.

use super::{Effect, Entry, MountFlags, fuse_overlayfs};

/// The program whose options these are. All share one language; they differ in what they do with an option that they
/// do not have, and in what they take for granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// `mica mount`: an option that is unknown or cannot be had is refused.
    #[default]
    Mica,
    /// A helper of mount(8), which hands over all of a line of /etc/fstab, also for a remount.
    Mount,
    /// The same with `-s`: unknown options are noted.
    SloppyMount,
    /// `fuse-overlayfs`: what that program does not have is noted, also where Mica would refuse it.
    FuseOverlayfs,
}

/// Options of other families that fuse-overlayfs has, too, and of which some value is refused.
const OF_FUSE_OVERLAYFS: [&str; 3] = ["allow_root", "redirect_dir", "xino"];

impl Manner {
    /// Tells whether the program has an option of this name and effect.
    pub(super) fn knows(self, name: &str, effect: Effect) -> bool {
        let refuses = matches!(effect, Effect::Choose(_) | Effect::Refuse(_));
        let own = || fuse_overlayfs::OPTIONS.iter().map(|Entry(own, _)| *own);
        self != Self::FuseOverlayfs
            || !refuses
            || own().chain(OF_FUSE_OVERLAYFS).any(|own| own == name)
    }

    /// Tells whether an option that the program does not have is noted, not refused.
    pub(super) const fn ignores_unknown(self) -> bool {
        matches!(self, Self::SloppyMount | Self::FuseOverlayfs)
    }

    /// Tells whether a remount passes over what it cannot change: mount(8) adds the options of /etc/fstab.
    pub(super) const fn remounts_with_all(self) -> bool {
        matches!(self, Self::Mount | Self::SloppyMount)
    }

    /// Returns the name that `/proc/mounts` shows as source and as subtype, if the options give no other.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Mica | Self::Mount | Self::SloppyMount => "mica",
            Self::FuseOverlayfs => "fuse-overlayfs",
        }
    }

    /// Returns the flags that are set if no option clears them: fuse-overlayfs mounts with `noatime`.
    pub(super) const fn flags(self) -> MountFlags {
        match self {
            Self::Mica | Self::Mount | Self::SloppyMount => MountFlags::empty(),
            Self::FuseOverlayfs => MountFlags::NOATIME,
        }
    }

    /// Returns the flags that are not refused where they have no effect: who calls fuse-overlayfs in a user namespace gives
    /// `dev` and `suid` as a matter of course.
    pub(super) const fn unheard(self) -> MountFlags {
        match self {
            Self::Mica | Self::Mount | Self::SloppyMount => MountFlags::empty(),
            Self::FuseOverlayfs => MountFlags::DEV.union(MountFlags::SUID),
        }
    }
}
