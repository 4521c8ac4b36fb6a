//! The capabilities that serving needs.

use mica_host::{OwnerXattr, Owners};
use mica_overlay::XattrNamespace;
use mica_vfs::Errno;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities,
    capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
};

use super::error::{CageError, CageStep};
use crate::options::StackSpec;

/// What each is needed for. The list of docs/security.md.
const NEEDED: [(CapabilitySet, &str); 9] = [
    // The kernel has checked the caller against the mount; the layers must not refuse what it allowed.
    (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
    // Opening the origin of a file by its handle.
    (CapabilitySet::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
    // Modes, times, attributes, sticky directories.
    (CapabilitySet::FOWNER, "CAP_FOWNER"),
    (CapabilitySet::CHOWN, "CAP_CHOWN"),
    // A setgid bit that a copy-up carries along.
    (CapabilitySet::FSETID, "CAP_FSETID"),
    // Files are born as their callers'.
    (CapabilitySet::SETUID, "CAP_SETUID"),
    (CapabilitySet::SETGID, "CAP_SETGID"),
    // Whiteouts, and devices in the upper.
    (CapabilitySet::MKNOD, "CAP_MKNOD"),
    // `security.capability` of programs.
    (CapabilitySet::SETFCAP, "CAP_SETFCAP"),
];

/// The highest number that a capability can have.
const LAST: u32 = 63;

fn failed(source: Errno) -> CageError {
    CageError::Step {
        step: CageStep::Capabilities,
        source,
    }
}

/// Returns the capabilities that serving needs. The root of the caller is still there.
pub(super) fn needed(stack: &StackSpec) -> CapabilitySet {
    let all = NEEDED.iter();
    let needed = all.fold(CapabilitySet::empty(), |all, (one, _)| all | *one);
    match (stack.xattrs, stack.identity.owners) {
        // Others do not see `trusted.*`: every mark would be gone. And they cannot set `security.*`.
        (XattrNamespace::Trusted, _) | (_, Owners::Xattr(OwnerXattr::Security)) => {
            needed | CapabilitySet::SYS_ADMIN
        }
        // With `userxattr` they are attributes like any other, which a copy-up must not lose (OVL-133).
        (XattrNamespace::User, _) if trusted_is_for_us() => needed | CapabilitySet::SYS_ADMIN,
        (XattrNamespace::User, _) => needed,
    }
}

/// Whether `CAP_SYS_ADMIN` lets this process see `trusted.*`: in the initial user namespace alone, whose map is all ids.
fn trusted_is_for_us() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// Returns the capabilities in effect.
pub(super) fn held() -> Result<CapabilitySet, CageError> {
    Ok(capabilities(None).map_err(failed)?.effective)
}

/// Takes all others out of the bounding set, and sees to it that being root brings none. Needs `CAP_SETPCAP`.
pub(super) fn cut_bounds(needed: CapabilitySet) -> Result<(), CageError> {
    for number in 0..=LAST {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(one) {
            Ok(true) if !needed.contains(one) => {
                remove_capability_from_bounding_set(one).map_err(failed)?;
            }
            Ok(_) => {}
            // The kernel has no more of them.
            Err(Errno::INVAL) => break,
            Err(source) => return Err(failed(source)),
        }
    }
    // NO_SETUID_FIXUP, so that a thread keeps its capabilities when it makes a file as somebody else.
    set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )
    .map_err(failed)
}

/// Gives up all capabilities that are not needed, and returns those that are left.
pub(super) fn keep(needed: CapabilitySet) -> Result<CapabilitySet, CageError> {
    clear_ambient_capability_set().map_err(failed)?;
    let kept = held()? & needed;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(failed)?;
    Ok(kept)
}

/// Names the capabilities of `set`.
pub(super) fn names(set: CapabilitySet) -> impl Iterator<Item = &'static str> {
    let admin = [(CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN")];
    let all = NEEDED.into_iter().chain(admin);
    all.filter(move |(one, _)| set.contains(*one))
        .map(|(_, name)| name)
}
