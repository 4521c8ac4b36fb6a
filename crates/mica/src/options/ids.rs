//! The options of fuse-overlayfs that say whose objects are shown to be whose, and where that is kept.
//!
//! `uidmapping=` and `gidmapping=` are triples of numbers, `STORED:SHOWN:COUNT`, all separated by colons. Of one option
//! given twice the last counts.

use mica_host::{OwnerXattr, Owners};
use mica_overlay::{Acls, DirLinks, IdMap, IdRange, IdRanges, Permissions, Unlisted};

use super::{Effect, Entry, OptionError, RawOption, text};

pub(super) const OPTIONS: &[Entry] = &[
    Entry("gidmapping", Effect::Call(apply)),
    Entry("noacl", Effect::Call(apply)),
    Entry("squash_to_gid", Effect::Call(apply)),
    Entry("squash_to_root", Effect::Call(apply)),
    Entry("squash_to_uid", Effect::Call(apply)),
    Entry("static_nlink", Effect::Call(apply)),
    Entry("uidmapping", Effect::Call(apply)),
    Entry("xattr_permissions", Effect::Call(apply)),
];

fn apply(given: &mut super::Given, option: RawOption<'_>) -> Result<(), OptionError> {
    given.ids.apply(option)
}

/// Whose the objects of a stack are, and what else of them is not as the layers have it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// `uidmapping=`, `gidmapping=`, `squash_to_root`, `squash_to_uid=`, `squash_to_gid=`
    pub ids: IdMap,
    /// `xattr_permissions=`
    pub owners: Owners,
    /// `noacl`, which `xattr_permissions=` implies.
    pub acls: Acls,
    /// `static_nlink`
    pub dir_links: DirLinks,
    /// Who decides what a caller may do. No option: sessions choose it.
    pub permissions: Permissions,
    /// What becomes of directories that the mounter may not list. No option, as before.
    pub unlisted: Unlisted,
}

/// What was given so far.
#[derive(Debug, Default)]
pub(super) struct Given {
    to_root: bool,
    to_uid: Option<u32>,
    to_gid: Option<u32>,
    uids: Option<IdRanges>,
    gids: Option<IdRanges>,
    owners: Owners,
    acls: Acls,
    dir_links: DirLinks,
}

impl Given {
    fn apply(&mut self, option: RawOption<'_>) -> Result<(), OptionError> {
        match option.name {
            b"squash_to_root" => {
                option.no_value()?;
                self.to_root = true;
            }
            b"squash_to_uid" => self.to_uid = Some(squashed(option)?),
            b"squash_to_gid" => self.to_gid = Some(squashed(option)?),
            b"uidmapping" => self.uids = Some(ranges(option)?),
            b"gidmapping" => self.gids = Some(ranges(option)?),
            b"xattr_permissions" => self.owners = owners(option)?,
            b"noacl" => {
                option.no_value()?;
                self.acls = Acls::Off;
            }
            b"static_nlink" => {
                option.no_value()?;
                self.dir_links = DirLinks::One;
            }
            other => return Err(OptionError::unknown(other)),
        }
        Ok(())
    }

    /// Puts together what was given: `squash_to_uid=` and `squash_to_gid=` come before `squash_to_root`.
    pub(super) fn finish(self) -> Identity {
        let root = self.to_root.then_some(0);
        let mut ids = IdMap::default();
        ids.users.squash = self.to_uid.or(root);
        ids.users.ranges = self.uids;
        ids.groups.squash = self.to_gid.or(root);
        ids.groups.ranges = self.gids;
        Identity {
            ids,
            owners: self.owners,
            acls: match self.owners {
                Owners::Real => self.acls,
                Owners::Xattr(_) => Acls::Off,
            },
            dir_links: self.dir_links,
            ..Identity::default()
        }
    }
}

/// Reads a decimal number of digits alone.
fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn squashed(option: RawOption<'_>) -> Result<u32, OptionError> {
    let value = option.required_value()?;
    let id = number(value).filter(|&id| id != u32::MAX);
    id.ok_or_else(|| OptionError::NotAnId {
        option: text(option.name.to_vec()),
        value: text(value.to_vec()),
    })
}

fn ranges(option: RawOption<'_>) -> Result<IdRanges, OptionError> {
    let value = option.required_value()?;
    let name = || text(option.name.to_vec());
    let unlike = || OptionError::NotIdRanges {
        option: name(),
        value: text(value.to_vec()),
    };
    let numbers = value.split(|&b| b == b':').map(number);
    let numbers = numbers.collect::<Option<Vec<_>>>().ok_or_else(unlike)?;
    let (triples, rest) = numbers.as_chunks::<3>();
    if !rest.is_empty() {
        return Err(unlike());
    }
    let triples = triples
        .iter()
        .map(|&[stored, shown, len]| IdRange { stored, shown, len });
    IdRanges::new(triples.collect()).map_err(|reason| OptionError::BadIdRanges {
        option: name(),
        reason,
    })
}

fn owners(option: RawOption<'_>) -> Result<Owners, OptionError> {
    match option.required_value()? {
        b"0" => Ok(Owners::Real),
        b"1" => Ok(Owners::Xattr(OwnerXattr::Security)),
        b"2" => Ok(Owners::Xattr(OwnerXattr::User)),
        value => Err(OptionError::NotXattrPermissions {
            value: text(value.to_vec()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use crate::options::MountSpec;

    use super::*;

    fn identity(options: &str) -> Identity {
        let spec = MountSpec::parse(["lowerdir=l", options]).unwrap();
        spec.stack.identity
    }

    #[track_caller]
    fn refused(option: &str, message: &str, hint: &str) {
        let error = MountSpec::parse(["lowerdir=l", option]).unwrap_err();
        assert_eq!(error.to_string(), message, "{option}");
        assert_eq!(error.hint().as_deref(), Some(hint), "{option}");
    }

    #[test]
    fn ovl_73_a_squash_to_an_id_comes_before_one_to_root() {
        for (options, squashed) in [
            ("ro", (None, None)),
            ("squash_to_root", (Some(0), Some(0))),
            ("squash_to_uid=5", (Some(5), None)),
            ("squash_to_gid=6", (None, Some(6))),
            ("squash_to_uid=5,squash_to_root", (Some(5), Some(0))),
            ("squash_to_root,squash_to_gid=6", (Some(0), Some(6))),
            ("squash_to_uid=5,squash_to_uid=7", (Some(7), None)),
            ("squash_to_uid=4294967294", (Some(u32::MAX - 1), None)),
        ] {
            let ids = identity(options).ids;
            let found = (ids.users.squash, ids.groups.squash);
            assert_eq!(found, squashed, "{options}");
        }
    }

    #[test]
    fn ovl_74_a_mapping_is_stored_shown_and_count() {
        let ids = identity("uidmapping=0:1000:1:1:110000:65536,gidmapping=7:8:9").ids;
        let range = |stored, shown, len| IdRange { stored, shown, len };
        assert_eq!(
            ids.users.ranges.unwrap().as_slice(),
            [range(0, 1000, 1), range(1, 110_000, 65_536)]
        );
        assert_eq!(ids.groups.ranges.unwrap().as_slice(), [range(7, 8, 9)]);
        let later = identity("uidmapping=0:1:1,uidmapping=0:2:1").ids;
        let later = later.users.ranges.unwrap();
        assert_eq!(later.as_slice(), [range(0, 2, 1)]);
    }

    #[test]
    fn other_options_of_identity_are_what_they_say() {
        assert_eq!(identity("rw"), Identity::default());
        assert_eq!(identity("noacl").acls, Acls::Off);
        assert_eq!(identity("static_nlink").dir_links, DirLinks::One);
        for (value, expected) in [
            ("0", Owners::Real),
            ("1", Owners::Xattr(OwnerXattr::Security)),
            ("2", Owners::Xattr(OwnerXattr::User)),
        ] {
            let found = identity(&format!("xattr_permissions={value}"));
            assert_eq!(found.owners, expected);
            assert_eq!(found.acls == Acls::Off, value != "0", "{value}");
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for value in [
            "root",
            "-1",
            "4294967295",
            "99999999999",
            "1:2",
            "+1",
            "0x1",
        ] {
            refused(
                &format!("squash_to_uid={value}"),
                &format!("the value `{value}` of mount option `squash_to_uid` is no id"),
                "write a number up to 4294967294, as in `-o squash_to_uid=1000`; `id` prints yours",
            );
        }
        refused(
            "squash_to_root=1",
            "mount option `squash_to_root` takes no value, but `1` was given",
            "write `-o squash_to_root`",
        );
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        let hint = "write STORED:SHOWN:COUNT for each range, as in `-o uidmapping=0:1000:1:1:100000:65536`";
        for value in [
            "0", "0:1", "0:1:2:3", "0:1:2:", ":0:1:2", "a:1:2", "0:-1:2", "0::2",
        ] {
            refused(
                &format!("uidmapping={value}"),
                &format!("the value `{value}` of mount option `uidmapping` is not made of ranges"),
                hint,
            );
        }
        let hint = "write STORED:SHOWN:COUNT for each range, as in `-o gidmapping=0:1000:1:1:100000:65536`";
        for (value, reason) in [
            ("0:1:0", "the range 0:1:0 is empty"),
            (
                "0:1:4294967295",
                "the range 0:1:4294967295 goes beyond the last id, 4294967294",
            ),
            ("0:1:5:9:3:1", "the ranges 0:1:5 and 9:3:1 overlap"),
        ] {
            refused(
                &format!("gidmapping={value}"),
                &format!("mount option `gidmapping` is no mapping: {reason}"),
                hint,
            );
        }
    }

    #[test]
    fn xattr_permissions_is_a_choice_of_three() {
        for value in ["3", "on", "01"] {
            refused(
                &format!("xattr_permissions={value}"),
                &format!("mount option `xattr_permissions` is 0, 1 or 2, not `{value}`"),
                "write `-o xattr_permissions=2`, or 1 for the attribute that only root can set",
            );
        }
    }
}
