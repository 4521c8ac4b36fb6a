//! The capabilities of a command.

use mica_vfs::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// What root of a session keeps: what package managers and service accounts take, and nothing that reaches beyond files.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::AUDIT_WRITE);

/// The highest number that a capability can have.
const LAST: u32 = 63;

/// Gives up all capabilities but those and `extra` in this process, and in those that it starts for good. In a user namespace setuid programs, which
/// would be those of another user there, give no rights either.
pub(super) fn keep(extra: u64, user_namespace: bool) -> Result<(), Errno> {
    let kept = KEPT.union(CapabilitySet::from_bits_retain(extra));
    for number in 0..=LAST {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(one) {
            Ok(true) if !kept.contains(one) => remove_capability_from_bounding_set(one)?,
            Ok(_) => {}
            // Beyond the last one that the kernel has.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    clear_ambient_capability_set()?;
    let held = rustix::thread::capabilities(None)?
        .permitted
        .intersection(kept);
    set_capabilities(
        None,
        CapabilitySets {
            effective: held,
            permitted: held,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    if user_namespace {
        set_no_new_privs(true)?;
    }
    Ok(())
}
