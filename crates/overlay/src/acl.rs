//! The ids in the values of ACL attributes, and ACLs switched off.
//!
//! `system.posix_acl_access` and `system.posix_acl_default` hold entries of named users and groups. Their ids are mapped as
//! owners are (OVL-74), but never squashed: what was read could not be written back.

use std::borrow::Cow;

use mica_vfs::Errno;

use crate::ids::IdMap;

/// `POSIX_ACL_XATTR_VERSION`, the first four bytes of a value.
const VERSION: [u8; 4] = 2u32.to_le_bytes();
/// Tag of an entry for a named user, `ACL_USER`.
const USER: [u8; 2] = 0x02u16.to_le_bytes();
/// Tag of an entry for a named group, `ACL_GROUP`.
const GROUP: [u8; 2] = 0x08u16.to_le_bytes();

/// Whether the overlay has ACLs, the mount option `noacl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acls {
    /// They are shown and can be set.
    #[default]
    On,
    /// There are none: reading and setting one is `EOPNOTSUPP`. Those that layers have stay where they are (OVL-75).
    Off,
}

/// Tells whether an attribute is an ACL.
pub(crate) fn is_acl(name: &[u8]) -> bool {
    matches!(
        name,
        b"system.posix_acl_access" | b"system.posix_acl_default"
    )
}

impl IdMap {
    /// Turns the ids of a stored ACL into those to show. What is no ACL stays as it is.
    pub(crate) fn show_acl(&self, value: &mut [u8]) {
        for_each_named(value, |named| {
            let (rules, id) = match named {
                Named::User(id) => (&self.users, id),
                Named::Group(id) => (&self.groups, id),
            };
            let shown = rules.mapped(u32::from_le_bytes(*id));
            *id = shown.unwrap_or(rules.overflow).to_le_bytes();
            Ok::<_, Errno>(())
        })
        .unwrap_or_default();
    }

    /// Turns the ids of an ACL that is to be set into those to store.
    ///
    /// # Errors
    ///
    /// `EINVAL`: an id has no mapping, as the kernel answers in a user namespace (posix_acl_from_xattr).
    pub(crate) fn stored_acl<'v>(&self, value: &'v [u8]) -> Result<Cow<'v, [u8]>, Errno> {
        if !self.has_ranges() {
            return Ok(Cow::Borrowed(value));
        }
        let mut stored = value.to_vec();
        for_each_named(&mut stored, |named| {
            let (rules, id) = match named {
                Named::User(id) => (&self.users, id),
                Named::Group(id) => (&self.groups, id),
            };
            let found = rules.unmapped(u32::from_le_bytes(*id));
            *id = found.ok_or(Errno::INVAL)?.to_le_bytes();
            Ok(())
        })?;
        Ok(Cow::Owned(stored))
    }
}

/// The id of an entry that has one.
enum Named<'a> {
    User(&'a mut [u8; 4]),
    Group(&'a mut [u8; 4]),
}

/// Calls `each` for every entry of a named user or group; for none if `value` is no ACL.
fn for_each_named<E>(
    value: &mut [u8],
    mut each: impl FnMut(Named<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let Some((version, entries)) = value.split_first_chunk_mut::<4>() else {
        return Ok(());
    };
    if *version != VERSION {
        return Ok(());
    }
    // Each entry: tag, permissions (2 bytes each), id.
    for entry in entries.chunks_exact_mut(8) {
        let Some((tag, rest)) = entry.split_first_chunk_mut::<2>() else {
            continue;
        };
        let Some(id) = rest.last_chunk_mut::<4>() else {
            continue;
        };
        match *tag {
            USER => each(Named::User(id))?,
            GROUP => each(Named::Group(id))?,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{IdRange, IdRanges, IdRules};

    /// Writes an ACL: tag and id of each entry, all with permission 7.
    fn acl(entries: &[(u16, u32)]) -> Vec<u8> {
        let mut value = VERSION.to_vec();
        for (tag, id) in entries {
            value.extend([tag.to_le_bytes(), 7u16.to_le_bytes()].concat());
            value.extend(id.to_le_bytes());
        }
        value
    }

    fn map() -> IdMap {
        let rules = |stored, shown| IdRules {
            ranges: Some(
                IdRanges::new(vec![IdRange {
                    stored,
                    shown,
                    len: 10,
                }])
                .unwrap(),
            ),
            squash: Some(3),
            ..IdRules::default()
        };
        IdMap {
            users: rules(100, 500),
            groups: rules(200, 600),
        }
    }

    #[test]
    fn ovl_74_named_entries_are_mapped_both_ways_and_others_stay() {
        let stored = acl(&[
            (1, u32::MAX),
            (2, 101),
            (4, u32::MAX),
            (8, 202),
            (16, u32::MAX),
            (32, 0),
        ]);
        let shown = acl(&[
            (1, u32::MAX),
            (2, 501),
            (4, u32::MAX),
            (8, 602),
            (16, u32::MAX),
            (32, 0),
        ]);
        let mut value = stored.clone();
        map().show_acl(&mut value);
        assert_eq!(value, shown);
        assert_eq!(map().stored_acl(&shown).unwrap(), stored);
    }

    #[test]
    fn ovl_74_an_acl_entry_without_a_mapping_is_shown_as_overflow_and_cannot_be_set() {
        let mut value = acl(&[(2, 7)]);
        map().show_acl(&mut value);
        assert_eq!(value, acl(&[(2, 65_534)]));
        assert_eq!(map().stored_acl(&value), Err(Errno::INVAL));
        assert_eq!(map().stored_acl(&acl(&[(8, 501)])), Err(Errno::INVAL));
    }

    #[test]
    fn what_is_no_acl_passes() {
        for value in [
            &b""[..],
            b"\x02",
            b"\x03\0\0\0\x02\0\x07\0\x65\0\0\0",
            b"\x02\0\0\0\x02\0",
        ] {
            let mut same = value.to_vec();
            map().show_acl(&mut same);
            assert_eq!(same, value);
            assert_eq!(map().stored_acl(value).unwrap(), value);
        }
        assert_eq!(
            IdMap::default().stored_acl(&acl(&[(2, 7)])).unwrap(),
            acl(&[(2, 7)])
        );
    }
}
