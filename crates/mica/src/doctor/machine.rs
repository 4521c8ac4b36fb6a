//! The machine and who asks, as far as mounting goes.

use std::fs;

use mica_vfs::Errno;
use rustix::mount::FsOpenFlags;
use rustix::thread::CapabilitySet;

use super::finding::Finding;
use super::rows;
use crate::stack::in_initial_user_namespace;

/// What this machine lets this process do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    /// As uname(2) has it.
    pub(super) release: String,
    /// `CAP_SYS_ADMIN` in the user namespace of this process.
    pub(super) admin: bool,
    /// That is the initial one.
    pub(super) initial: bool,
    /// Whether overlayfs can be mounted at all; `ENOSYS` before Linux 5.2, which does not tell.
    pub(super) overlayfs: Result<(), Errno>,
    /// Parameters of the kernel's module that are on.
    pub(super) parameters: Vec<String>,
}

const PARAMETERS: &str = "/sys/module/overlay/parameters";

impl Machine {
    pub(super) fn probe() -> Self {
        let uname = rustix::system::uname();
        let admin = rustix::thread::capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
        let opened = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC);
        let entries = fs::read_dir(PARAMETERS).into_iter().flatten().flatten();
        let on = entries.filter(|entry| {
            fs::read_to_string(entry.path()).is_ok_and(|value| value.trim() == "Y")
        });
        Self {
            release: uname.release().to_string_lossy().into_owned(),
            admin,
            initial: in_initial_user_namespace(),
            overlayfs: opened.map(drop),
            parameters: on
                .filter_map(|entry| entry.file_name().into_string().ok())
                .collect(),
        }
    }

    /// Says what was found, for people.
    pub(super) fn seen(&self) -> Vec<(&'static str, String)> {
        let who = match (self.admin, self.initial) {
            (true, true) => "CAP_SYS_ADMIN in the initial user namespace",
            (true, false) => "CAP_SYS_ADMIN in a user namespace",
            (false, true) => "no CAP_SYS_ADMIN",
            (false, false) => "no CAP_SYS_ADMIN, in a user namespace",
        };
        let mut seen = vec![
            ("kernel", format!("Linux {}", self.release)),
            ("privileges", who.to_owned()),
        ];
        if !self.parameters.is_empty() {
            seen.push((
                "overlayfs",
                format!("{} by default", self.parameters.join(", ")),
            ));
        }
        seen
    }

    /// Tells whether the kernel is older than a version.
    pub(super) fn older_than(&self, major: u32, minor: u32) -> bool {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit());
        let mut next = || numbers.next().and_then(|number| number.parse().ok());
        let version: (Option<u32>, Option<u32>) = (next(), next());
        match version {
            (Some(own), Some(own_minor)) => (own, own_minor) < (major, minor),
            _ => false,
        }
    }

    /// Tells whether `trusted.*` attributes can be read and written.
    pub(super) fn trusted(&self) -> bool {
        self.admin && self.initial
    }

    /// Tells whether a parameter of the module, which is the default of an option, is on.
    pub(super) fn parameter(&self, name: &str) -> bool {
        self.parameters.iter().any(|on| on == name)
    }

    /// Says why this process cannot mount overlayfs, whatever the layers are.
    pub(super) fn judge(&self) -> Option<Finding> {
        if !self.initial && self.older_than(5, 11) {
            return Some(Finding::kernel(
                &rows::OLD_USERNS,
                format!(
                    "Linux {} lets nobody mount overlayfs in a user namespace",
                    self.release
                ),
                "boot Linux 5.11 or newer, or mount as root outside of user namespaces",
            ));
        }
        match self.overlayfs {
            Err(Errno::NODEV) => Some(Finding::kernel(
                &rows::NO_OVERLAYFS,
                "this kernel has no overlayfs".into(),
                "load it with `modprobe overlay`",
            )),
            // Who may mount is asked in the user namespace that owns the mount namespace.
            Err(Errno::PERM) if self.admin && !self.initial => Some(Finding::kernel(
                &rows::OTHER_USERNS,
                "this mount namespace belongs to another user namespace than this process is in".into(),
                "make one that belongs to this one, as `unshare -rm` does, with `-o userxattr`",
            )),
            Err(Errno::PERM) => Some(Finding::kernel(
                &rows::NOT_PERMITTED,
                "mounting overlayfs needs CAP_SYS_ADMIN, and a mount namespace of one's own in a user namespace".into(),
                "run as root, or in a user namespace (`unshare -rm`) with `-o userxattr`",
            )),
            Ok(()) | Err(_) => None,
        }
    }
}
