//! Owners that the user namespace of this process has no name for.
//!
//! stat(2) shows them as the overflow ids, usually 65534. Whether a 65534 is such an owner, or a user who has that number,
//! cannot be seen where the namespace maps the number; there it is taken for the user.

use std::fs::read_to_string;

use mica_overlay::Unmapped;

/// Finds the ids that stand for "no mapping" in this user namespace, as long as it lives: its maps are written once.
pub(crate) fn unmapped() -> Unmapped {
    Unmapped {
        uid: id("/proc/self/uid_map", "/proc/sys/kernel/overflowuid"),
        gid: id("/proc/self/gid_map", "/proc/sys/kernel/overflowgid"),
    }
}

/// Returns the overflow id unless `map` has it. Where /proc is not mounted there is nothing to tell by.
fn id(map: &str, overflow: &str) -> Option<u32> {
    let map = read_to_string(map).ok()?;
    let overflow = read_to_string(overflow).ok()?.trim().parse().ok()?;
    (!maps(&map, overflow)).then_some(overflow)
}

/// Whether a map of user_namespaces(7), lines of first id inside, first id outside and length, has `id` inside.
fn maps(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(length))) =
            (fields.next(), fields.next(), fields.next())
        else {
            return false;
        };
        id.checked_sub(first).is_some_and(|offset| offset < length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_mapped_if_a_range_has_it() {
        let initial = "         0          0 4294967295\n";
        assert!(maps(initial, 0) && maps(initial, 65534));
        let one = "         0       1000          1\n";
        assert!(maps(one, 0) && !maps(one, 1) && !maps(one, 65534));
        let two = "0 1000 1\n1 100000 65536\n";
        assert!(maps(two, 65534) && maps(two, 65536) && !maps(two, 65537));
        assert!(!maps("", 0));
    }
}
