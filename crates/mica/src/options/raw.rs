//! An option as it was written, and its value read as what it has to be.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use super::table::Entry;
use super::{OptionError, generic, options, security, text, unescape};

/// One option as it was written: `name` or `name=value`, escapes still in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawOption<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
}

impl<'a> RawOption<'a> {
    /// Returns the value of an option that has to have one.
    pub(super) fn required_value(self) -> Result<&'a [u8], OptionError> {
        match self.value {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(OptionError::MissingValue {
                option: text(self.name.to_vec()),
            }),
        }
    }

    /// Returns the value of an option that must be text.
    pub(super) fn utf8_value(self) -> Result<String, OptionError> {
        let value = unescape(self.required_value()?);
        String::from_utf8(value).map_err(|bytes| OptionError::NotUtf8 {
            option: text(self.name.to_vec()),
            value: text(bytes.into_bytes()),
        })
    }

    /// Returns the value of an option that is a whole number within bounds.
    pub(super) fn number(self, least: u32, most: u32) -> Result<u32, OptionError> {
        let number = std::str::from_utf8(self.required_value()?);
        let number = number.ok().and_then(|text| text.parse().ok());
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| self.bad_value(format!("a number from {least} to {most}"), least))
    }

    /// Says that the value is not what is `expected`, and what would be.
    pub(super) fn bad_value(
        self,
        expected: impl Into<String>,
        example: impl ToString,
    ) -> OptionError {
        OptionError::BadValue {
            option: text(self.name.to_vec()),
            value: text(self.value.unwrap_or_default().to_vec()),
            expected: expected.into(),
            example: example.to_string(),
        }
    }

    /// Returns the option as it was written.
    pub(super) fn written(self) -> OsString {
        let mut all = self.name.to_vec();
        if let Some(value) = self.value {
            all.push(b'=');
            all.extend_from_slice(value);
        }
        text(all)
    }

    /// Refuses a value where none can be.
    pub(super) fn no_value(self) -> Result<(), OptionError> {
        match self.value {
            None => Ok(()),
            Some(value) => Err(OptionError::UnexpectedValue {
                option: text(self.name.to_vec()),
                value: text(value.to_vec()),
            }),
        }
    }
}

/// An option as it was written, its name and its value.
pub(crate) type Written = (Vec<u8>, Option<Vec<u8>>);

/// Returns the options of all `-o` strings as they were written, but for those that mount(8) keeps from a filesystem.
///
/// # Errors
///
/// What makes a string none of options.
pub(crate) fn for_filesystem<S: AsRef<OsStr>>(strings: &[S]) -> Result<Vec<Written>, OptionError> {
    let strings = strings.iter().map(|string| string.as_ref().as_bytes());
    let given = strings.flat_map(options).collect::<Result<Vec<_>, _>>()?;
    let of_mount = |name: &[u8]| {
        let mut own = generic::OPTIONS.iter();
        own.any(|Entry(own, _)| own.as_bytes() == name)
            || generic::by_prefix(name).is_some()
            || security::NAMES.iter().any(|own| own.as_bytes() == name)
    };
    let kept = given.into_iter().filter(|option| !of_mount(option.name));
    Ok(kept
        .map(|option| (option.name.to_vec(), option.value.map(<[u8]>::to_vec)))
        .collect())
}
