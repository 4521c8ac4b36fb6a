//! What can be wrong with mount options.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use mica_overlay::{IdRangeError, LAYERS_MAX};
use thiserror::Error;

use super::{names, text};
use crate::Escaped;

/// Why `-o` strings are no mount.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OptionError {
    /// No option has this name.
    #[error("unknown mount option {}", Escaped::new(option))]
    Unknown {
        /// What was written.
        option: OsString,
        /// The option whose name is close to it.
        nearest: Option<&'static str>,
    },
    /// An option, or this value of it, asks for what this version does not do.
    #[error("mount option {} cannot be had: {reason}", Escaped::new(option))]
    Refused {
        /// The option, with its value if that is why.
        option: OsString,
        /// Why.
        reason: &'static str,
        /// What to do.
        instead: &'static str,
    },
    /// A value is none of those that an option has.
    #[error(
        "bad value {} of mount option {}: {expected}",
        Escaped::new(value),
        Escaped::new(option)
    )]
    BadValue {
        /// The option.
        option: OsString,
        /// The value.
        value: OsString,
        /// What it can be.
        expected: String,
        /// One that is right.
        example: String,
    },
    /// Two options ask for what cannot be together.
    #[error("mount options `{one}` and `{other}` contradict each other")]
    Conflict {
        /// The first.
        one: &'static str,
        /// The second.
        other: &'static str,
    },
    /// A remount cannot change this.
    #[error("mount option {} cannot be changed by a remount", Escaped::new(option))]
    FixedAtMount {
        /// The option.
        option: OsString,
    },
    /// `remount` where a new mount is asked for.
    #[error("mount option `remount` changes a mount, and makes none")]
    RemountIsNoMount,
    /// An option that needs a value has none.
    #[error("mount option {} needs a value", Escaped::new(option))]
    MissingValue {
        /// The option.
        option: OsString,
    },
    /// An option that takes no value has one.
    #[error(
        "mount option {} takes no value, but {} was given",
        Escaped::new(option),
        Escaped::new(value)
    )]
    UnexpectedValue {
        /// The option.
        option: OsString,
        /// The value.
        value: OsString,
    },
    /// A value of `fsync` that there is not.
    #[error("mount option `fsync` has no value {}", Escaped::new(value))]
    Fsync {
        /// What was written.
        value: OsString,
    },
    /// There is no lower layer.
    #[error("mount option `lowerdir` is missing")]
    NoLower,
    /// `lowerdir=` begins with a colon.
    #[error("the value of `lowerdir` begins with a colon")]
    LeadingColon,
    /// `lowerdir=` ends with a colon.
    #[error("the value of `lowerdir` ends with a colon")]
    TrailingColon,
    /// Three colons or more in a row.
    #[error("an element of `lowerdir` is empty")]
    EmptyLower,
    /// A layer that shows names after a data-only one.
    #[error("a lower layer follows a data-only one, which shows no names")]
    LowerAfterData,
    /// Both `lowerdir=` and `lowerdir+=` or `datadir+=`.
    #[error("`lowerdir=` cannot be mixed with `lowerdir+=` and `datadir+=`")]
    MixedLower,
    /// More than [`LAYERS_MAX`] layers.
    #[error("{count} lower layers are too many: the limit is {LAYERS_MAX}")]
    TooManyLowers {
        /// How many there are.
        count: usize,
    },
    /// `upperdir=` without `workdir=`.
    #[error("`upperdir` is given, but `workdir` is missing")]
    UpperWithoutWork {
        /// The value of `upperdir`.
        upper: PathBuf,
    },
    /// `workdir=` without `upperdir=`.
    #[error("`workdir` is given, but `upperdir` is missing")]
    WorkWithoutUpper {
        /// The value of `workdir`.
        work: PathBuf,
    },
    /// A backslash with nothing after it.
    #[error("mount option {} ends in a lone backslash", Escaped::new(option))]
    LoneBackslash {
        /// The option.
        option: OsString,
    },
    /// A value that must be text is not UTF-8.
    #[error(
        "the value {} of mount option {} is not UTF-8",
        Escaped::new(value),
        Escaped::new(option)
    )]
    NotUtf8 {
        /// The option.
        option: OsString,
        /// The value.
        value: OsString,
    },
    /// A user or group that is no number, or not one of an id.
    #[error(
        "the value {} of mount option {} is no id",
        Escaped::new(value),
        Escaped::new(option)
    )]
    NotAnId {
        /// The option.
        option: OsString,
        /// The value.
        value: OsString,
    },
    /// A mapping that is not made of three numbers each.
    #[error(
        "the value {} of mount option {} is not made of ranges",
        Escaped::new(value),
        Escaped::new(option)
    )]
    NotIdRanges {
        /// The option.
        option: OsString,
        /// The value.
        value: OsString,
    },
    /// A mapping whose ranges do not fit.
    #[error("mount option {} is no mapping: {reason}", Escaped::new(option))]
    BadIdRanges {
        /// The option.
        option: OsString,
        /// What does not fit.
        reason: IdRangeError,
    },
    /// A value of `xattr_permissions` that means nothing.
    #[error(
        "mount option `xattr_permissions` is 0, 1 or 2, not {}",
        Escaped::new(value)
    )]
    NotXattrPermissions {
        /// The value.
        value: OsString,
    },
    /// A NUL byte, which no path can hold.
    #[error("mount option {} contains a NUL byte", Escaped::new(option))]
    Nul {
        /// The option.
        option: OsString,
    },
}

impl OptionError {
    /// Says of a name that no table has which of them is close.
    pub(crate) fn unknown(name: &[u8]) -> Self {
        let nearest = names()
            .map(|known| (distance(name, known.as_bytes()), known))
            .min()
            .filter(|&(distance, known)| distance <= 2 && distance < known.len().min(name.len()))
            .map(|(_, known)| known);
        Self::Unknown {
            option: text(name.to_vec()),
            nearest,
        }
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown { nearest, .. } => match nearest {
                Some(known) => {
                    format!("did you mean `{known}`? `mica mount --help` lists all options")
                }
                None => "`mica mount --help` lists all options".into(),
            },
            Self::Refused { instead, .. } => (*instead).into(),
            Self::BadValue {
                option, example, ..
            } => format!("write it as in `-o {}={example}`", option.display()),
            Self::Conflict { one, other } => format!("leave out `{one}` or `{other}`"),
            Self::FixedAtMount { .. } => {
                "a remount sets or clears ro, nodev, nosuid, noexec, nosymfollow and those of access times; for the rest, unmount and mount anew".into()
            }
            Self::RemountIsNoMount => {
                "run `mica mount -o remount,ro MOUNTPOINT`".into()
            }
            Self::MissingValue { option } => {
                let option = option.display();
                format!("write `-o {option}=VALUE`; `mica mount --help` lists all options")
            }
            Self::UnexpectedValue { option, .. } => {
                format!("write `-o {}`", option.display())
            }
            Self::Fsync { .. } => "write `fsync=auto`, `fsync=strict` or `fsync=volatile`".into(),
            Self::NoLower => {
                "give at least one directory: `mica mount -o lowerdir=DIR MOUNTPOINT`".into()
            }
            Self::LeadingColon | Self::TrailingColon | Self::EmptyLower => {
                r"write one colon between two layers, as in `-o lowerdir=TOP:BOTTOM`; a colon that belongs to a path is written `\:`".into()
            }
            Self::LowerAfterData => {
                "name the data-only layers last, as in `-o lowerdir=TOP:BOTTOM::DATA1::DATA2` or `-o lowerdir+=TOP -o datadir+=DATA`".into()
            }
            Self::MixedLower => {
                "use one form for all layers, as in `-o lowerdir+=TOP -o lowerdir+=BOTTOM -o datadir+=DATA`".into()
            }
            Self::TooManyLowers { .. } => {
                "merge some of the layers into one directory, as with `cp -a LOWER/. UPPER/`".into()
            }
            Self::UpperWithoutWork { upper } => {
                let work = work_beside(upper);
                let work = Escaped::new(&work);
                format!("add an empty directory next to the upper one: `mkdir {work:#}`, then `-o workdir={work:#}`")
            }
            Self::WorkWithoutUpper { .. } => {
                "add `-o upperdir=DIR`, or leave `workdir` out for a read-only mount".into()
            }
            Self::LoneBackslash { .. } => r"a backslash in a path is written `\\`".into(),
            Self::NotUtf8 { .. } => "use a name of ASCII letters and digits".into(),
            Self::NotAnId { option, .. } => format!(
                "write a number up to 4294967294, as in `-o {}=1000`; `id` prints yours",
                option.display()
            ),
            Self::NotIdRanges { option, .. } | Self::BadIdRanges { option, .. } => format!(
                "write STORED:SHOWN:COUNT for each range, as in `-o {}=0:1000:1:1:100000:65536`",
                option.display()
            ),
            Self::NotXattrPermissions { .. } => {
                "write `-o xattr_permissions=2`, or 1 for the attribute that only root can set".into()
            }
            Self::Nul { .. } => return None,
        })
    }
}

/// Returns the name of a work directory that fits `upper`: next to it, so on the same mount and not inside.
pub(crate) fn work_beside(upper: &Path) -> OsString {
    // Components: a slash at the end would put it inside.
    let mut work = OsString::from(upper.components().as_path());
    work.push(".work");
    work
}

/// Returns how many insertions, deletions and replacements make `b` of `a` (Levenshtein).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b) {
            let above = *cell;
            left = (left.min(above) + 1).min(diagonal + usize::from(x != y));
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_single_letters() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("upperdir", "upperdir", 0),
            ("uperdir", "upperdir", 1),
            ("lowerdri", "lowerdir", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
    }
}
