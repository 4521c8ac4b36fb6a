//! Mounting by this process itself: fsopen(2), fsconfig(2), fsmount(2), move_mount(2); mount(2) before Linux 5.2.
//!
//! In two steps. [`Direct::create`] makes the filesystem, on which the kernel sends INIT; the mount becomes visible by
//! [`Created::show`], when INIT was answered. mount(2) cannot tell the two apart and does all of it in the first.

use std::ffi::CString;
use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use mica_vfs::{Errno, FileType};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags as KernelFlags, MoveMountFlags,
    UnmountFlags,
};

use super::{Audience, MountAccess, MountFlags, MountOptions, Mountpoint, SecurityLabel};
use crate::error::{MountError, MountStep};
use crate::session::Decider;

/// A mount that this process is about to make.
#[derive(Debug)]
pub(crate) struct Direct<'a> {
    mountpoint: &'a Mountpoint,
    options: &'a MountOptions,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// A configured filesystem context.
    Context(OwnedFd),
    /// mount(2), with these options.
    Classic(CString),
}

/// A filesystem that exists.
#[derive(Debug)]
pub(crate) enum Created<'a> {
    /// Not mounted yet.
    Context(Direct<'a>, OwnedFd),
    /// Mounted.
    Mounted(&'a Mountpoint),
}

impl<'a> Direct<'a> {
    /// Prepares a mount of `device`.
    pub(crate) fn prepare(
        device: BorrowedFd<'_>,
        mountpoint: &'a Mountpoint,
        options: &'a MountOptions,
    ) -> Result<Self, MountError> {
        match rustix::mount::fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC) {
            Ok(context) => {
                configure(context.as_fd(), device, options)?;
                Ok(Self {
                    mountpoint,
                    options,
                    way: Way::Context(context),
                })
            }
            Err(Errno::NOSYS) => Ok(Self::classic(device, mountpoint, options)),
            Err(errno) => Err(refused(MountStep::Open, None, errno)),
        }
    }

    /// Prepares a mount of `device` by mount(2).
    pub(crate) fn classic(
        device: BorrowedFd<'_>,
        mountpoint: &'a Mountpoint,
        options: &'a MountOptions,
    ) -> Self {
        Self {
            mountpoint,
            options,
            way: Way::Classic(classic_data(device, options)),
        }
    }

    /// Makes the filesystem. The kernel sends INIT, and under SYNC_INIT waits for the answer.
    pub(crate) fn create(self) -> Result<Created<'a>, MountError> {
        let context = match &self.way {
            Way::Context(context) => context.try_clone(),
            Way::Classic(data) => {
                let kind = format!("fuse.{}", self.options.subtype);
                let (path, flags) = (&self.mountpoint.path, classic_flags(self.options));
                let source = self.options.source.as_str();
                rustix::mount::mount(source, path, kind, flags, data.as_c_str())
                    .map_err(|errno| refused(MountStep::Mount, None, errno))?;
                return Ok(Created::Mounted(self.mountpoint));
            }
        };
        let context = context.map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            refused(MountStep::Create, None, errno)
        })?;
        rustix::mount::fsconfig_create(context.as_fd())
            .map_err(|errno| refused(MountStep::Create, Some(context.as_fd()), errno))?;
        Ok(Created::Context(self, context))
    }
}

impl Created<'_> {
    /// Shows the mount at its mountpoint.
    pub(crate) fn show(self) -> Result<(), MountError> {
        let Self::Context(direct, context) = self else {
            return Ok(());
        };
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let mount = rustix::mount::fsmount(&context, flags, attributes(direct.options))
            .map_err(|errno| refused(MountStep::Attach, Some(context.as_fd()), errno))?;
        let empty =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(&mount, "", &direct.mountpoint.dir, "", empty)
            .map_err(|errno| refused(MountStep::Move, None, errno))
    }

    /// Ends a filesystem that did not get to work. One that is not mounted ends by itself.
    pub(crate) fn discard(self) {
        if let Self::Mounted(mountpoint) = self
            && let Err(errno) = rustix::mount::unmount(&mountpoint.path, UnmountFlags::DETACH)
        {
            tracing::warn!(%errno, path = %mountpoint.path.display(), "cannot unmount what failed");
        }
    }
}

/// Makes the filesystem that a mount of `device` would show, and ends it.
pub(super) fn examine(device: BorrowedFd<'_>, options: &MountOptions) -> Result<(), MountError> {
    let context = match rustix::mount::fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(context) => context,
        // Only a mount can tell.
        Err(Errno::NOSYS) => return Ok(()),
        Err(errno) => return Err(refused(MountStep::Open, None, errno)),
    };
    configure(context.as_fd(), device, options)?;
    rustix::mount::fsconfig_create(context.as_fd())
        .map_err(|errno| refused(MountStep::Create, Some(context.as_fd()), errno))
}

fn configure(
    context: BorrowedFd<'_>,
    device: BorrowedFd<'_>,
    options: &MountOptions,
) -> Result<(), MountError> {
    let (uid, gid) = ids();
    let strings = [
        ("source", options.source.clone()),
        ("subtype", options.subtype.clone()),
        ("fd", device.as_raw_fd().to_string()),
        ("rootmode", root_mode()),
        ("user_id", uid),
        ("group_id", gid),
    ];
    let max_read = options
        .max_read
        .map(|bytes| ("max_read", bytes.to_string()));
    let labels = options.labels.iter().cloned();
    let labels = labels.map(|label| (label.option, label.value));
    for (key, value) in strings.into_iter().chain(max_read).chain(labels) {
        rustix::mount::fsconfig_set_string(context, key, value)
            .map_err(|errno| refused(MountStep::Configure(key), Some(context), errno))?;
    }
    let mut flags = Vec::new();
    if options.decider == Decider::Kernel {
        flags.push("default_permissions");
    }
    if options.audience == Audience::Everyone {
        flags.push("allow_other");
    }
    if options.access == MountAccess::ReadOnly {
        flags.push("ro");
    }
    if options.flags.contains(MountFlags::SYNC) {
        flags.push("sync");
    }
    for key in flags {
        rustix::mount::fsconfig_set_flag(context, key)
            .map_err(|errno| refused(MountStep::Configure(key), Some(context), errno))?;
    }
    Ok(())
}

/// The type of the root, as `rootmode` wants it.
fn root_mode() -> String {
    format!("{:o}", FileType::Directory.bits())
}

/// The mounter, as this user namespace numbers them.
fn ids() -> (String, String) {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    (uid.to_string(), gid.to_string())
}

fn attributes(options: &MountOptions) -> MountAttrFlags {
    let pairs = [
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (MountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
        (
            MountFlags::NODIRATIME,
            MountAttrFlags::MOUNT_ATTR_NODIRATIME,
        ),
        (
            MountFlags::STRICTATIME,
            MountAttrFlags::MOUNT_ATTR_STRICTATIME,
        ),
        (
            MountFlags::NOSYMFOLLOW,
            MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW,
        ),
    ];
    let mut attributes = MountAttrFlags::empty();
    if options.access != MountAccess::ReadWrite {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    let set = pairs
        .iter()
        .filter(|(flag, _)| options.flags.contains(*flag));
    set.fold(attributes, |all, &(_, attribute)| all | attribute)
}

fn classic_flags(options: &MountOptions) -> KernelFlags {
    let pairs = [
        (MountFlags::NODEV, KernelFlags::NODEV),
        (MountFlags::NOSUID, KernelFlags::NOSUID),
        (MountFlags::NOEXEC, KernelFlags::NOEXEC),
        (MountFlags::NOATIME, KernelFlags::NOATIME),
        (MountFlags::NODIRATIME, KernelFlags::NODIRATIME),
        (MountFlags::STRICTATIME, KernelFlags::STRICTATIME),
        (MountFlags::NOSYMFOLLOW, KernelFlags::NOSYMFOLLOW),
        (MountFlags::SYNC, KernelFlags::SYNCHRONOUS),
    ];
    let mut flags = KernelFlags::empty();
    if options.access != MountAccess::ReadWrite {
        flags |= KernelFlags::RDONLY;
    }
    let set = pairs
        .iter()
        .filter(|(flag, _)| options.flags.contains(*flag));
    set.fold(flags, |all, &(_, flag)| all | flag)
}

fn classic_data(device: BorrowedFd<'_>, options: &MountOptions) -> CString {
    let ((uid, gid), device) = (ids(), device.as_raw_fd());
    let mode = root_mode();
    let mut data = format!("fd={device},rootmode={mode},user_id={uid},group_id={gid}");
    if options.decider == Decider::Kernel {
        data.push_str(",default_permissions");
    }
    if options.audience == Audience::Everyone {
        data.push_str(",allow_other");
    }
    if let Some(bytes) = options.max_read {
        data.push_str(&format!(",max_read={bytes}"));
    }
    for SecurityLabel { option, value } in &options.labels {
        data.push_str(&format!(",{option}=\"{value}\""));
    }
    // Digits, commas, words of ours and options of a command line: no NUL is among them.
    CString::new(data).unwrap_or_default()
}

/// Names a refused step, with what the kernel wrote about it.
fn refused(step: MountStep, context: Option<BorrowedFd<'_>>, source: Errno) -> MountError {
    MountError::Refused {
        step,
        message: context.map(kernel_log).unwrap_or_default(),
        source,
    }
}

/// Reads the messages of a filesystem context: one to a read, `e ` or `w ` before the text.
fn kernel_log(context: BorrowedFd<'_>) -> String {
    let mut log = String::new();
    let mut line = [0; 256];
    while let Ok(len) = rustix::io::read(context, &mut line) {
        let Some(text) = line.get(..len).filter(|text| !text.is_empty()) else {
            break;
        };
        let text = String::from_utf8_lossy(text);
        let text = text.trim().trim_start_matches(['e', 'w', 'i']).trim_start();
        let gap = if log.is_empty() { "" } else { "; " };
        if write!(log, "{gap}{}", text.escape_debug()).is_err() {
            break;
        }
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> MountOptions {
        let label = |option, value: &str| SecurityLabel {
            option,
            value: value.to_owned(),
        };
        MountOptions {
            access: MountAccess::ReadOnlyHere,
            flags: MountFlags::all(),
            max_read: Some(8192),
            labels: vec![label("context", "a:b,c"), label("rootcontext", "d")],
            ..MountOptions::default()
        }
    }

    #[test]
    fn the_classic_call_is_told_all_that_fsconfig_is() {
        let device = std::fs::File::open("/dev/null").unwrap();
        let data = classic_data(device.as_fd(), &all());
        let data = data.to_str().unwrap();
        let end = ",default_permissions,max_read=8192,context=\"a:b,c\",rootcontext=\"d\"";
        assert!(data.ends_with(end), "{data}");
        let flags = classic_flags(&all());
        for flag in [
            KernelFlags::RDONLY,
            KernelFlags::NOSYMFOLLOW,
            KernelFlags::STRICTATIME,
            KernelFlags::SYNCHRONOUS,
        ] {
            assert!(flags.contains(flag), "{flag:?}");
        }
    }

    #[test]
    fn what_belongs_to_the_mount_is_set_when_it_is_made() {
        let attributes = attributes(&all());
        assert!(attributes.contains(MountAttrFlags::MOUNT_ATTR_RDONLY));
        assert!(attributes.contains(MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW));
        assert!(attributes.contains(MountAttrFlags::MOUNT_ATTR_STRICTATIME));
    }
}
