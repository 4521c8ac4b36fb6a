//! POSIX ACLs: the kernel's xattr form, and how an ACL and a mode follow each other.
//!
//! The rules are those of fs/posix_acl.c. Ids are as they come: there is no id mapping here.

use mica_vfs::{Errno, Mode};

/// The ACL of an object.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// The ACL that new objects in a directory get.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

/// `POSIX_ACL_XATTR_VERSION`
const VERSION: u32 = 2;
/// `ACL_UNDEFINED_ID`
const NO_ID: u32 = u32::MAX;

/// Whom an entry is about. The order is the one that a valid ACL has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tag {
    UserObj,
    User,
    GroupObj,
    Group,
    Mask,
    Other,
}

impl Tag {
    const fn from_bits(bits: u16) -> Option<Self> {
        Some(match bits {
            0x01 => Self::UserObj,
            0x02 => Self::User,
            0x04 => Self::GroupObj,
            0x08 => Self::Group,
            0x10 => Self::Mask,
            0x20 => Self::Other,
            _ => return None,
        })
    }

    const fn bits(self) -> u16 {
        match self {
            Self::UserObj => 0x01,
            Self::User => 0x02,
            Self::GroupObj => 0x04,
            Self::Group => 0x08,
            Self::Mask => 0x10,
            Self::Other => 0x20,
        }
    }

    const fn is_named(self) -> bool {
        matches!(self, Self::User | Self::Group)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    tag: Tag,
    perm: u16,
    id: u32,
}

/// A valid ACL: its entries in order, the three of the mode always among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acl(Vec<Entry>);

impl Acl {
    /// Reads the xattr form; `None` for a value without entries, which stands for no ACL.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for another version, `EINVAL` for all else that is no valid ACL.
    pub(crate) fn parse(value: &[u8]) -> Result<Option<Self>, Errno> {
        if value.is_empty() {
            return Ok(None);
        }
        let (version, rest) = value.split_first_chunk::<4>().ok_or(Errno::INVAL)?;
        if u32::from_le_bytes(*version) != VERSION {
            return Err(Errno::OPNOTSUPP);
        }
        let (entries, odd) = rest.as_chunks::<8>();
        if !odd.is_empty() {
            return Err(Errno::INVAL);
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let entries = entries
            .iter()
            .map(Self::parse_entry)
            .collect::<Result<_, _>>()?;
        let acl = Self(entries);
        acl.check()?;
        Ok(Some(acl))
    }

    fn parse_entry(bytes: &[u8; 8]) -> Result<Entry, Errno> {
        let [t0, t1, p0, p1, id @ ..] = *bytes;
        let tag = Tag::from_bits(u16::from_le_bytes([t0, t1])).ok_or(Errno::INVAL)?;
        let perm = u16::from_le_bytes([p0, p1]);
        if perm > 7 {
            return Err(Errno::INVAL);
        }
        let id = match u32::from_le_bytes(id) {
            NO_ID if tag.is_named() => return Err(Errno::INVAL),
            id if tag.is_named() => id,
            _ => NO_ID,
        };
        Ok(Entry { tag, perm, id })
    }

    /// Checks the order of the entries and that none lacks (`posix_acl_valid`).
    fn check(&self) -> Result<(), Errno> {
        let ordered = self
            .0
            .array_windows()
            .all(|[a, b]| a.tag < b.tag || (a.tag == b.tag && a.tag.is_named()));
        let has = |tag| self.0.iter().any(|entry| entry.tag == tag);
        let complete = has(Tag::UserObj) && has(Tag::GroupObj) && has(Tag::Other);
        let masked = has(Tag::Mask) || !self.is_named();
        if ordered && complete && masked {
            Ok(())
        } else {
            Err(Errno::INVAL)
        }
    }

    /// Writes the xattr form.
    pub(crate) fn to_bytes(&self) -> Box<[u8]> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            bytes.extend(entry.tag.bits().to_le_bytes());
            bytes.extend(entry.perm.to_le_bytes());
            bytes.extend(entry.id.to_le_bytes());
        }
        bytes.into()
    }

    /// Tells whether it says more than a mode can.
    pub(crate) fn is_extended(&self) -> bool {
        self.is_named() || self.0.iter().any(|entry| entry.tag == Tag::Mask)
    }

    /// Returns `mode` with the permissions that this access ACL stands for (`posix_acl_equiv_mode`).
    pub(crate) fn apply_to_mode(&self, mode: Mode) -> Mode {
        let masked = self.0.iter().any(|entry| entry.tag == Tag::Mask);
        let bits = self.0.iter().fold(0, |bits, entry| {
            bits | match entry.tag {
                Tag::UserObj => u32::from(entry.perm) << 6,
                Tag::GroupObj if !masked => u32::from(entry.perm) << 3,
                Tag::Mask => u32::from(entry.perm) << 3,
                Tag::Other => u32::from(entry.perm),
                Tag::GroupObj | Tag::User | Tag::Group => 0,
            }
        });
        Mode::new((mode.bits() & !0o777) | bits)
    }

    /// Lets a chmod reach the ACL (`__posix_acl_chmod_masq`).
    pub(crate) fn chmod(&mut self, mode: Mode) {
        self.each_class(|class, perm| {
            *perm = class.of(mode);
        });
    }

    /// Turns a directory's default ACL into the access ACL of an object that is made with `mode`, and returns the
    /// mode it gets (`posix_acl_create_masq`).
    pub(crate) fn inherit(&mut self, mode: Mode) -> Mode {
        self.each_class(|class, perm| *perm &= class.of(mode));
        self.apply_to_mode(mode)
    }

    fn is_named(&self) -> bool {
        self.0.iter().any(|entry| entry.tag.is_named())
    }

    /// Visits the entry behind each of the three classes of a mode: the group's is the mask, where there is one.
    fn each_class(&mut self, mut visit: impl FnMut(Class, &mut u16)) {
        let masked = self.0.iter().any(|entry| entry.tag == Tag::Mask);
        for entry in &mut self.0 {
            let class = match entry.tag {
                Tag::UserObj => Class::User,
                Tag::GroupObj if !masked => Class::Group,
                Tag::Mask => Class::Group,
                Tag::Other => Class::Other,
                Tag::GroupObj | Tag::User | Tag::Group => continue,
            };
            visit(class, &mut entry.perm);
        }
    }
}

/// The three classes of a mode.
#[derive(Debug, Clone, Copy)]
enum Class {
    User,
    Group,
    Other,
}

impl Class {
    /// Returns the three bits that `mode` has for this class.
    fn of(self, mode: Mode) -> u16 {
        let shift = match self {
            Self::User => 6,
            Self::Group => 3,
            Self::Other => 0,
        };
        u16::try_from((mode.bits() >> shift) & 7).unwrap_or(0)
    }
}
