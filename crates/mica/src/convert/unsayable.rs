//! What the form asked for has no way to say.

use std::fmt;

use mica_overlay::BadMark;
use mica_vfs::Errno;

use super::form::Form;

/// Why an object keeps an upper from being converted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsayable {
    /// The name is too long for a whiteout of this form.
    NameTooLong(Form),
    /// The name would be a whiteout in this form.
    NameIsMark(Form),
    /// A whiteout by name beside whiteouts of other forms: it may be a file that is called so.
    Mixed,
    /// aufs keeps the name for itself.
    Aufs,
    /// An attribute that is escaped under the prefix.
    Escaped {
        /// Its full name.
        name: Vec<u8>,
    },
    /// An attribute under the prefix asked for, which would become a mark.
    OtherPrefix {
        /// Its full name.
        name: Vec<u8>,
    },
    /// A `redirect` or a `metacopy`, which mean nothing there.
    Redirect,
    /// A `redirect` or a `metacopy` in an upper with whiteouts that mounts do not read.
    RedirectInForm,
    /// The root is opaque, which only whiteouts by name can say.
    OpaqueRoot,
    /// A mark that means nothing.
    Malformed(BadMark),
    /// A metacopy without data in the lowers.
    NoData,
    /// The inode has no room for so many attributes.
    NoRoom,
    /// Another filesystem is mounted there.
    Mountpoint,
    /// It cannot be read.
    Unreadable(Errno),
}

impl fmt::Display for Unsayable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameTooLong(form) => write!(f, "its name is too long for the form `{form}`"),
            Self::NameIsMark(form) => {
                write!(f, "its name would be that of a whiteout in the form `{form}`")
            }
            Self::Mixed => {
                f.write_str("is a whiteout by name, or a file that is called so: there are whiteouts of another form, too")
            }
            Self::Aufs => f.write_str("aufs keeps such names for itself"),
            Self::Escaped { name } => write!(
                f,
                "`{}` is escaped for an overlay on an overlay, which the other prefix cannot say",
                name.escape_ascii()
            ),
            Self::OtherPrefix { name } => {
                write!(f, "`{}` is a user's, and would become a mark", name.escape_ascii())
            }
            Self::Redirect => f.write_str("it is redirected, or a metacopy, which cannot be said there"),
            Self::RedirectInForm => {
                f.write_str("it is redirected, or a metacopy, beside whiteouts that no mount reads")
            }
            Self::OpaqueRoot => f.write_str("an opaque root can be said by `.wh..wh..opq` alone"),
            Self::Malformed(bad) => bad.fmt(f),
            Self::NoData => f.write_str("a metacopy whose data no lower has"),
            Self::NoRoom => f.write_str("it has no room for so many attributes"),
            Self::Mountpoint => f.write_str("another filesystem is mounted there"),
            Self::Unreadable(errno) => {
                let text = std::io::Error::from_raw_os_error(errno.raw_os_error());
                write!(f, "it cannot be read: {text}")
            }
        }
    }
}

impl Unsayable {
    /// Returns what to do about it.
    pub(super) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Redirect => "add `--no-redirects --lower DIR...`",
            Self::RedirectInForm => "convert it `--to device` first",
            Self::NameTooLong(_)
            | Self::NameIsMark(_)
            | Self::Mixed
            | Self::Aufs
            | Self::NoRoom => "choose another form, or remove what is called so",
            Self::Malformed(_) | Self::NoData => "`mica check` tells more",
            Self::Mountpoint => "unmount it first",
            _ => return None,
        })
    }
}
