//! Owners and modes that a filesystem cannot hold, kept in an extended attribute.
//!
//! An ordinary user, or NFS, cannot give a file away. Container engines then write owner and mode into an attribute of the
//! object and have the mount show that. Three programs, three names, one form (docs/format.md):
//!
//! ```text
//! UID:GID:MODE          fuse-overlayfs; MODE is octal, perhaps with the bits of the type, which say nothing
//! UID:GID:MODE:TYPE     containers/storage; TYPE is file, dir, symlink, pipe, socket, block-8-0 or char-1-3
//! ```
//!
//! The real object is this process's own then, mode 0600 or 0700: who may do what is decided by what is shown. Objects
//! that cannot carry the attribute (`user.*` is for files and directories only) keep the owner that they really have.

use std::ffi::CStr;

use mica_sys::xattr::{self, Object};
use mica_vfs::{Attr, Errno, FileType, Mode, Rdev, invent};
use rustix::fs::XattrFlags;

const SECURITY: &CStr = c"security.fuseoverlayfs.override_stat";
const USER: &CStr = c"user.fuseoverlayfs.override_stat";
const CONTAINERS: &CStr = c"user.containers.override_stat";

/// More than any value has that means something.
const VALUE_MAX: usize = 128;

/// Where a layer keeps the owners and modes of its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owners {
    /// Where every filesystem does.
    #[default]
    Real,
    /// In an attribute, of this name where one is written; all three names are read.
    Xattr(OwnerXattr),
}

/// The name of the attribute that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerXattr {
    /// `security.fuseoverlayfs.override_stat`, which needs `CAP_SYS_ADMIN`.
    Security,
    /// `user.fuseoverlayfs.override_stat`, which only files and directories can have.
    User,
}

impl OwnerXattr {
    /// Returns the name of the attribute.
    #[must_use]
    pub const fn name(self) -> &'static CStr {
        match self {
            Self::Security => SECURITY,
            Self::User => USER,
        }
    }

    /// Returns the names to look for on an object of type `kind`. The one that is written comes first: it is the newest.
    const fn names(self, kind: FileType) -> &'static [&'static CStr] {
        match (self, kind) {
            (Self::Security, FileType::Regular | FileType::Directory) => {
                &[SECURITY, CONTAINERS, USER]
            }
            (Self::User, FileType::Regular | FileType::Directory) => &[USER, SECURITY, CONTAINERS],
            _ => &[SECURITY],
        }
    }

    /// Tells whether an object of type `kind` can carry the attribute.
    pub(crate) const fn fits(self, kind: FileType) -> bool {
        match self {
            Self::Security => true,
            Self::User => matches!(kind, FileType::Regular | FileType::Directory),
        }
    }
}

/// Tells whether an attribute is one of those that hold owners: never shown, never copied up.
pub(crate) fn is_hidden(name: &[u8]) -> bool {
    [SECURITY, USER, CONTAINERS]
        .iter()
        .any(|hidden| hidden.to_bytes() == name)
}

/// What an attribute says of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permissions.
    pub mode: Mode,
    /// What the object is, where the attribute says so.
    pub(crate) kind: Option<(FileType, Rdev)>,
}

impl Recorded {
    /// Returns what would be recorded of an object with these attributes.
    pub(crate) fn of(shown: &Attr, real: FileType) -> Self {
        Self {
            uid: shown.uid,
            gid: shown.gid,
            mode: shown.mode,
            // Said only where it has to be: fuse-overlayfs knows no types.
            kind: (shown.kind != real).then_some((shown.kind, shown.rdev)),
        }
    }

    /// Reads a value; `None` if it makes no sense.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(value).ok()?.split(':');
        let (uid, gid) = (id(fields.next()?)?, id(fields.next()?)?);
        let mode = u32::from_str_radix(fields.next()?, 8).ok()?;
        let kind = match fields.next() {
            Some(text) => Some(kind(text)?),
            None => None,
        };
        fields.next().is_none().then_some(Self {
            uid,
            gid,
            mode: Mode::new(mode),
            kind,
        })
    }

    /// Writes the value.
    #[must_use]
    pub fn format(&self) -> String {
        let Self { uid, gid, mode, .. } = self;
        let base = format!("{uid}:{gid}:{:o}", mode.bits());
        let Some((kind, Rdev { major, minor })) = self.kind else {
            return base;
        };
        match kind {
            FileType::Regular => format!("{base}:file"),
            FileType::Directory => format!("{base}:dir"),
            FileType::Symlink => format!("{base}:symlink"),
            FileType::Fifo => format!("{base}:pipe"),
            FileType::Socket => format!("{base}:socket"),
            FileType::BlockDevice => format!("{base}:block-{major}-{minor}"),
            FileType::CharDevice => format!("{base}:char-{major}-{minor}"),
        }
    }

    /// Returns the attributes to show for an object that really has `real`; `None` if it cannot be what this says.
    fn over(self, real: Attr) -> Option<Attr> {
        let shown = Attr {
            uid: self.uid,
            gid: self.gid,
            mode: self.mode,
            ..real
        };
        match self.kind {
            None => Some(shown),
            Some((kind, _)) if kind == real.kind => Some(shown),
            // A device that nobody could make, kept as an empty file.
            Some((kind, rdev))
                if real.kind == FileType::Regular
                    && !matches!(kind, FileType::Directory | FileType::Symlink) =>
            {
                Some(Attr {
                    kind,
                    rdev,
                    ..shown
                })
            }
            Some(_) => None,
        }
    }
}

/// Reads an id. The C programs print ids from 2147483648 on as negative numbers.
fn id(text: &str) -> Option<u32> {
    let number = text.parse::<u32>();
    let id = number.or_else(|_| text.parse::<i32>().map(i32::cast_unsigned));
    id.ok().filter(|&id| id != u32::MAX)
}

fn kind(text: &str) -> Option<(FileType, Rdev)> {
    let device = |numbers: &str| {
        let (major, minor) = numbers.split_once('-')?;
        Some(Rdev {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    };
    let kind = match text {
        "file" => FileType::Regular,
        "dir" => FileType::Directory,
        "symlink" => FileType::Symlink,
        "pipe" => FileType::Fifo,
        "socket" => FileType::Socket,
        _ => {
            return match text.split_once('-')? {
                ("block", numbers) => Some((FileType::BlockDevice, device(numbers)?)),
                ("char", numbers) => Some((FileType::CharDevice, device(numbers)?)),
                _ => None,
            };
        }
    };
    Some((kind, Rdev::default()))
}

/// Reads what is recorded of an object, and under which name. `None`: nothing, or nothing that may be read.
///
/// # Errors
///
/// `EIO`: a value that makes no sense, which is logged. What getxattr(2) answers of the object itself.
pub(crate) fn read(
    form: OwnerXattr,
    object: Object<'_>,
    kind: FileType,
) -> Result<Option<(Recorded, &'static CStr)>, Errno> {
    let mut value = [0; VALUE_MAX];
    for &name in form.names(kind) {
        let len = match xattr::get(object, name, &mut value) {
            // `user.*` can be read by who may read the object. What this process may not read nobody will.
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::ACCESS) => continue,
            Err(Errno::RANGE) => VALUE_MAX,
            len => len?,
        };
        let text = value.get(..len).unwrap_or_default();
        let Some(recorded) = Recorded::parse(text) else {
            return Err(senseless(name, text));
        };
        return Ok(Some((recorded, name)));
    }
    Ok(None)
}

/// Reads the attributes to show of an object that really has `real`.
pub(crate) fn show(owners: Owners, object: Object<'_>, real: Attr) -> Result<Attr, Errno> {
    let Owners::Xattr(form) = owners else {
        return Ok(real);
    };
    let Some((recorded, name)) = read(form, object, real.kind)? else {
        return Ok(real);
    };
    recorded
        .over(real)
        .ok_or_else(|| senseless(name, recorded.format().as_bytes()))
}

/// Reads what a listed entry is; of a regular file it may be something else that is recorded. An entry that cannot be read
/// is listed as what it really is.
pub(crate) fn listed(
    owners: Owners,
    object: Object<'_>,
    real: Option<FileType>,
) -> Option<FileType> {
    let (Owners::Xattr(form), Some(FileType::Regular)) = (owners, real) else {
        return real;
    };
    match read(form, object, FileType::Regular) {
        Ok(Some((recorded, _))) => recorded.kind.map(|(kind, _)| kind).or(real),
        Ok(None) | Err(_) => real,
    }
}

/// Records what is to be shown of an object. What another program recorded is out of date then, and goes.
pub(crate) fn write(
    form: OwnerXattr,
    object: Object<'_>,
    kind: FileType,
    recorded: &Recorded,
) -> Result<(), Errno> {
    let before = read(form, object, kind).unwrap_or_default();
    let value = recorded.format();
    xattr::set(object, form.name(), value.as_bytes(), XattrFlags::empty())?;
    match before {
        Some((_, name)) if name != form.name() => xattr::remove(object, name),
        _ => Ok(()),
    }
}

fn senseless(name: &CStr, value: &[u8]) -> Errno {
    invent!(
        Errno::IO,
        "an attribute that should hold owner and mode does not",
        name = name.to_bytes().escape_ascii(),
        value = value.escape_ascii(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Rdev = Rdev { major: 0, minor: 0 };

    fn recorded(uid: u32, gid: u32, mode: u32, kind: Option<(FileType, Rdev)>) -> Recorded {
        let mode = Mode::new(mode);
        Recorded {
            uid,
            gid,
            mode,
            kind,
        }
    }

    #[test]
    fn ovl_77_values_of_all_three_programs_are_read() {
        let device = |major, minor| Rdev { major, minor };
        for (value, expected) in [
            ("0:0:555", recorded(0, 0, 0o555, None)),
            ("1000:100:100644", recorded(1000, 100, 0o644, None)),
            ("0:0:0100755", recorded(0, 0, 0o755, None)),
            ("1:2:44755", recorded(1, 2, 0o4755, None)),
            ("-2:-3:0", recorded(u32::MAX - 1, u32::MAX - 2, 0, None)),
            ("4294967294:0:7777", recorded(u32::MAX - 1, 0, 0o7777, None)),
            (
                "1:2:0644:file",
                recorded(1, 2, 0o644, Some((FileType::Regular, PLAIN))),
            ),
            (
                "1:2:0755:dir",
                recorded(1, 2, 0o755, Some((FileType::Directory, PLAIN))),
            ),
            (
                "1:2:0777:symlink",
                recorded(1, 2, 0o777, Some((FileType::Symlink, PLAIN))),
            ),
            (
                "1:2:0666:pipe",
                recorded(1, 2, 0o666, Some((FileType::Fifo, PLAIN))),
            ),
            (
                "1:2:0700:socket",
                recorded(1, 2, 0o700, Some((FileType::Socket, PLAIN))),
            ),
            (
                "1:2:0600:block-8-0",
                recorded(1, 2, 0o600, Some((FileType::BlockDevice, device(8, 0)))),
            ),
            (
                "1:2:0600:char-10-229",
                recorded(1, 2, 0o600, Some((FileType::CharDevice, device(10, 229)))),
            ),
        ] {
            assert_eq!(Recorded::parse(value.as_bytes()), Some(expected), "{value}");
            let again = Recorded::parse(expected.format().as_bytes());
            assert_eq!(again, Some(expected), "{value}");
        }
    }

    #[test]
    fn ovl_77_senseless_values_are_none() {
        for value in [
            "",
            "0",
            "0:0",
            "0:0:",
            ":0:644",
            "a:0:644",
            "0:0:648",
            "0:0:-1",
            "-1:0:644",
            "0:4294967295:644",
            "0:0:644:",
            "0:0:644:door",
            "0:0:644:char",
            "0:0:644:char-1",
            "0:0:644:char-a-b",
            "0:0:644:file:x",
            "0 :0:644",
            "0:0:644\n",
            "99999999999:0:644",
        ] {
            assert_eq!(Recorded::parse(value.as_bytes()), None, "{value}");
        }
        assert_eq!(Recorded::parse(b"\xff:0:644"), None);
    }

    #[test]
    fn the_form_is_that_of_fuse_overlayfs() {
        let value = recorded(1000, 4_000_000_000, 0o4711, None).format();
        assert_eq!(value, "1000:4000000000:4711");
    }
}
