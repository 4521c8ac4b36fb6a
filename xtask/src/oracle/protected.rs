//! What the kernel refuses because a flag protects it, and the FUSE client for another reason, or not yet (D-19).

use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};

/// As a worker shows it.
const EPERM: &str = "errno 1 ";

/// Says whether two results of `call` are one refusal by two who look at different things first.
///
/// The kernel's VFS looks at the flags of an inode before it asks who may do what (inode_permission) and what kind of
/// object it is (may_delete). The FUSE client has no flags, and refuses for the other reason without asking the server.
/// access(2) is answered without it, and so is the removal of what only directories have (set_posix_acl). Whether there is a flag
/// is to be asked yet.
pub(super) fn is_one_refusal(call: &str, on_kernel: &str, on_subject: &str) -> bool {
    const OTHERS: [&str; 3] = ["errno 13 ", "errno 20 ", "errno 21 "];
    let other = OTHERS.iter().any(|errno| on_subject.starts_with(errno));
    let granted = on_subject == "ok" && (call.starts_with("access ") || removes_nothing(call));
    on_kernel.starts_with(EPERM) && (other || granted)
}

/// Returns which of the descriptors that a worker holds is changed by `call`.
pub(super) fn slot(call: &str) -> Option<&str> {
    call.strip_prefix("held")?.split(' ').nth(1)
}

/// Says whether flags, as a worker shows them, protect what has them.
pub(super) fn are_protecting(flags: &str) -> bool {
    let letters = flags.strip_prefix("flags ");
    letters.is_some_and(|letters| letters.contains(['i', 'a']))
}

/// Says whether `call` removes a default ACL, which the client grants for what is no directory.
fn removes_nothing(call: &str) -> bool {
    call.starts_with("delx ") && call.ends_with(" system.posix_acl_default")
}

/// Says whether a path of `call`, what it leads to, or the directory of either is immutable or append-only. `kernel` is the root of
/// the kernel's tree.
pub(super) fn names_protected(kernel: &Path, call: &str) -> bool {
    call.split(' ').skip(1).any(|word| {
        let path = kernel.join(word);
        let target = std::fs::canonicalize(&path).ok();
        let mut both = [Some(path), target].into_iter().flatten();
        both.any(|path| is_protected(&path) || path.parent().is_some_and(is_protected))
    })
}

fn is_protected(path: &Path) -> bool {
    let protecting = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
    rustix::fs::statx(
        CWD,
        path,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::BASIC_STATS,
    )
    .is_ok_and(|stat| stat.stx_attributes.intersects(protecting))
}

#[cfg(test)]
mod tests {
    use super::{are_protecting, is_one_refusal, slot};

    #[test]
    fn two_refusals_are_one_and_two_answers_are_not() {
        let (perm, access) = ("errno 1 (…)", "errno 13 (…)");
        assert!(is_one_refusal("chmod a 600", perm, access));
        assert!(!is_one_refusal("chmod a 600", access, perm));
        assert!(is_one_refusal("access a w", perm, "ok"));
        assert!(!is_one_refusal("chmod a 600", perm, "ok"));
    }

    #[test]
    fn a_descriptor_is_asked_for_its_flags() {
        assert_eq!(slot("heldsetx 1 bad value"), Some("1"));
        assert_eq!(slot("hold 1 a"), None);
        assert!(are_protecting("flags di") && !are_protecting("flags dA"));
        assert!(!are_protecting("errno 9 (a bad descriptor)"));
    }
}
