//! Telling whether a mount could be made, without making one.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::thread::CapabilitySet;

use super::{Audience, MountOptions, fsmount, fusermount, open_device};
use crate::error::MountError;

/// The set-user-ID bit of a program.
const SETUID: u32 = 0o4000;
/// Where the administrator allows `allow_other`.
const CONFIGURATION: &str = "/etc/fuse.conf";
/// What fusermount3(1) says where it has no rights either.
const NO_RIGHTS: &str = "mount failed: Operation not permitted";
/// And where its configuration does not let others in.
const NOT_FOR_OTHERS: &str =
    "option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf";

/// Who would mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// This process itself.
    Direct,
    /// The helper of this name.
    Helper(&'static str),
}

/// Looks whether [`Attached::mount`](crate::Attached::mount) could mount with `options`: by a filesystem that is made and never
/// mounted, and where that takes a helper by a look at it. `path` is where programs are looked for.
///
/// # Errors
///
/// What the mount would fail with, in the same words.
pub fn examine_mount(options: &MountOptions, path: &OsStr) -> Result<Way, MountError> {
    let direct = open_device().and_then(|device| fsmount::examine(device.as_fd(), options));
    match direct {
        Ok(()) => Ok(Way::Direct),
        Err(error) if error.is_lack_of_permission() => by_helper(error, options, path),
        Err(error) => Err(error),
    }
}

fn by_helper(direct: MountError, options: &MountOptions, path: &OsStr) -> Result<Way, MountError> {
    let found = fusermount::PROGRAMS.iter().find_map(|program| {
        let mut places = std::env::split_paths(path).map(|dir| dir.join(program));
        Some((*program, places.find(|place| is_program(place))?))
    });
    let Some((program, place)) = found else {
        return Err(MountError::HelperMissing {
            source: Box::new(direct),
        });
    };
    // It opens the device with the rights of who called it.
    let message = match &direct {
        MountError::Device { .. } => Some("failed to open /dev/fuse: Permission denied"),
        _ if options.audience == Audience::Everyone && !lets_others_in() => Some(NOT_FOR_OTHERS),
        _ if !has_rights(&place) => Some(NO_RIGHTS),
        _ => None,
    };
    match message {
        None => Ok(Way::Helper(program)),
        Some(message) => Err(MountError::Helper {
            program,
            message: message.to_owned(),
            source: Box::new(direct),
        }),
    }
}

fn is_program(place: &Path) -> bool {
    fs::metadata(place).is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0)
}

/// Tells whether a program runs as root whoever starts it: not if its set-user-ID bit is missing, its mount is `nosuid`, this
/// process may gain no privileges, or its root is that of another user namespace. And root that may mount where it is, which
/// is not here, gains nothing by it.
fn has_rights(place: &Path) -> bool {
    let setuid = fs::metadata(place)
        .is_ok_and(|found| found.permissions().mode() & SETUID != 0 && found.uid() == 0);
    let nosuid = rustix::fs::statvfs(place)
        .is_ok_and(|mount| mount.f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let gains_nothing = status
        .lines()
        .filter_map(|line| line.strip_prefix("NoNewPrivs:"))
        .any(|value| value.trim() == "1");
    let is_root = rustix::process::geteuid().is_root()
        && rustix::thread::capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    setuid && !nosuid && !gains_nothing && !is_root
}

fn lets_others_in() -> bool {
    let root = rustix::process::getuid().is_root();
    let text = fs::read_to_string(CONFIGURATION).unwrap_or_default();
    root || text.lines().any(|line| line.trim() == "user_allow_other")
}
