//! Why the kernel gives no user namespace.

use std::fmt;
use std::fs;

use mica_vfs::Errno;

use super::chroot::is_chrooted;

const LIMIT: &str = "/proc/sys/user/max_user_namespaces";
const SWITCH: &str = "/proc/sys/kernel/unprivileged_userns_clone";
const APPARMOR: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";

/// What keeps a user from a user namespace, or from all rights in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Barred {
    /// `user.max_user_namespaces`, here or in a user namespace around this one.
    Limit,
    /// `kernel.unprivileged_userns_clone`, which Debian's kernels had.
    Switch,
    /// `kernel.apparmor_restrict_unprivileged_userns`, which Ubuntu's kernels have.
    AppArmor,
    /// user_namespaces(7): who is in a chroot gets none.
    Chroot,
    /// Root of a container has no `CAP_SETFCAP`, and so may not be root in one (user_namespaces(7)).
    Setfcap,
    /// A filter of system calls, as containers have it.
    Filter,
    /// The kernel was built without them.
    Lacking,
    /// A security module, or something that is not known here.
    Unknown,
}

impl Barred {
    /// Finds why there is no namespace.
    pub(super) fn of(errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::USERS => Self::Limit,
            Errno::INVAL | Errno::NOSYS => Self::Lacking,
            _ if is(SWITCH, "0") => Self::Switch,
            _ if is_chrooted() => Self::Chroot,
            _ if is_filtered() => Self::Filter,
            _ if is(APPARMOR, "1") => Self::AppArmor,
            _ => Self::Unknown,
        }
    }

    /// Finds why there are no rights in the one that there is; `None`: it is not for being one of an ordinary user.
    pub(super) fn of_rights(errno: Errno) -> Option<Self> {
        (errno == Errno::PERM && is(APPARMOR, "1")).then_some(Self::AppArmor)
    }

    /// Returns what an administrator does about it.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Limit => {
                "an administrator permits them by `sysctl -w user.max_user_namespaces=10000`"
            }
            Self::Switch => {
                "an administrator permits them by `sysctl -w kernel.unprivileged_userns_clone=1`"
            }
            Self::AppArmor => {
                "an administrator permits them by `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
            }
            Self::Chroot => {
                "run it as root, or outside: `mica do --lower DIR` has another tree as its root"
            }
            Self::Setfcap => "whoever runs this container permits it: `--cap-add setfcap`",
            Self::Filter => {
                "whoever runs this container permits them: `--security-opt seccomp=unconfined`"
            }
            Self::Lacking => "run it as root: the kernel was built without CONFIG_USER_NS",
            Self::Unknown => "run it as root, or look into the kernel's log for what forbids it",
        }
    }
}

impl fmt::Display for Barred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Limit if is(LIMIT, "0") => "`user.max_user_namespaces` is 0",
            Self::Limit => "there are as many as `user.max_user_namespaces` permits",
            Self::Switch => "`kernel.unprivileged_userns_clone` is 0",
            Self::AppArmor => "`kernel.apparmor_restrict_unprivileged_userns` is 1",
            Self::Chroot => "this is a chroot",
            Self::Setfcap => "root here has no `CAP_SETFCAP`",
            Self::Filter => "a filter of system calls forbids it",
            Self::Lacking => "it has none",
            Self::Unknown => "something forbids it",
        })
    }
}

/// Whether a setting of the kernel is there and has that value.
fn is(path: &str, value: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim() == value)
}

/// Whether this process has a filter of system calls (proc_pid_status(5)).
fn is_filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut modes = status
        .lines()
        .filter_map(|line| line.strip_prefix("Seccomp:"));
    modes.next().is_some_and(|mode| mode.trim() == "2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_and_a_kernel_without_them_are_told_by_the_errno() {
        assert_eq!(Barred::of(Errno::NOSPC), Barred::Limit);
        assert_eq!(Barred::of(Errno::USERS), Barred::Limit);
        assert_eq!(Barred::of(Errno::INVAL), Barred::Lacking);
        assert_eq!(Barred::of_rights(Errno::NOENT), None);
    }
}
