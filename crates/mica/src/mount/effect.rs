//! Options that the kernel would take and not heed.

use rustix::thread::CapabilitySet;

use super::error::MountError;
use crate::options::MountFlags;
use crate::stack::in_initial_user_namespace;

/// Who mounts, as far as the kernel's treatment of devices and setuid goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mounter {
    /// `CAP_SYS_ADMIN` in the initial user namespace.
    Root,
    /// `CAP_SYS_ADMIN` in another one.
    UserNamespace,
    /// Nobody special: `fusermount3` mounts.
    Helper,
}

impl Mounter {
    fn of_this_process() -> Self {
        let admin = rustix::thread::capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
        match (admin, in_initial_user_namespace()) {
            (true, true) => Self::Root,
            (true, false) => Self::UserNamespace,
            (false, _) => Self::Helper,
        }
    }
}

/// Refuses `dev` and `suid` where they were asked for and would have no effect.
///
/// # Errors
///
/// [`MountError::NoEffect`]
pub(super) fn refuse_no_effect(flags: MountFlags) -> Result<(), MountError> {
    judge(flags, Mounter::of_this_process())
}

fn judge(flags: MountFlags, mounter: Mounter) -> Result<(), MountError> {
    let (asked_dev, asked_suid) = (
        flags.contains(MountFlags::DEV),
        flags.contains(MountFlags::SUID),
    );
    let (option, reason) = match mounter {
        // SB_I_NODEV. Setuid works for the processes of the namespace, and for nobody else (mnt_may_suid).
        Mounter::UserNamespace if asked_dev => (
            "dev",
            "the kernel opens no devices on what a user namespace has mounted",
        ),
        Mounter::Helper if asked_dev => ("dev", "`fusermount3` mounts with `nodev`"),
        Mounter::Helper if asked_suid => ("suid", "`fusermount3` mounts with `nosuid`"),
        Mounter::Root | Mounter::UserNamespace | Mounter::Helper => return Ok(()),
    };
    Err(MountError::NoEffect { option, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dev_and_suid_are_refused_where_they_have_no_effect() {
        let refused = |flags, mounter| match judge(flags, mounter) {
            Ok(()) => None,
            Err(MountError::NoEffect { option, .. }) => Some(option),
            Err(other) => panic!("{other}"),
        };
        let (dev, suid) = (MountFlags::DEV, MountFlags::SUID);
        for (flags, mounter, expected) in [
            (dev | suid, Mounter::Root, None),
            (dev, Mounter::UserNamespace, Some("dev")),
            (suid, Mounter::UserNamespace, None),
            (dev, Mounter::Helper, Some("dev")),
            (suid, Mounter::Helper, Some("suid")),
            (MountFlags::empty(), Mounter::UserNamespace, None),
            (
                MountFlags::NODEV | MountFlags::NOSUID,
                Mounter::Helper,
                None,
            ),
        ] {
            assert_eq!(refused(flags, mounter), expected, "{flags:?} {mounter:?}");
        }
    }
}
