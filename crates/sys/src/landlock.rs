//! Landlock, as far as it scopes what a process can reach (landlock(7), Linux 6.12).

#![allow(unsafe_code, reason = "rustix has no Landlock")]

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use rustix::io::Errno;

use crate::call::ret;

/// `struct landlock_ruleset_attr` of ABI 6.
#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL`.
const SCOPED: u64 = 1 | 2;

/// Lets this process, and what it starts from now on, connect to no abstract socket and signal no process that is not among
/// them. No files are restricted. The calling thread alone is meant, so it has to be the only one.
///
/// # Errors
///
/// `ENOSYS`, `EOPNOTSUPP`, `EINVAL`, `E2BIG`: this kernel cannot. `EPERM` without `CAP_SYS_ADMIN` and `no_new_privs`.
pub fn scope() -> Result<(), Errno> {
    let attr = RulesetAttr {
        handled_access_fs: 0,
        handled_access_net: 0,
        scoped: SCOPED,
    };
    let flags: libc::c_long = 0;
    // SAFETY: `attr` lives across the call and has the size that is given; the kernel only reads it.
    let made = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::from_ref(&attr),
            size_of::<RulesetAttr>(),
            flags,
        )
    };
    let number = libc::c_int::try_from(ret(made)?).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor, which nobody else knows.
    let ruleset = unsafe { OwnedFd::from_raw_fd(number) };
    // SAFETY: no pointers; the descriptor is open.
    let restricted =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), flags) };
    ret(restricted).map(drop)
}
