//! Commas, colons and backslashes.
//!
//! Both separators are cut at before any backslash is removed, so `\,` survives the comma level and `\:` the colon level;
//! the kernel cuts in the same order (`ovl_next_opt`, then `ovl_parse_param_split_lowerdirs`).

use super::{OptionError, RawOption};

/// Yields the options of one `-o` string. Empty ones, as in `ro,,nodev`, are skipped as mount(8) skips them.
pub(super) fn options(string: &[u8]) -> impl Iterator<Item = Result<RawOption<'_>, OptionError>> {
    cut_options(string)
        .filter(|text| !text.is_empty())
        .map(option)
}

/// Cuts at each comma that neither a backslash nor the quotes of a label protect.
///
/// mount(8) lets quotes protect commas in any value, the kernel's overlayfs in none. Labels are the values that need
/// it; in paths a quote is a character like any other.
fn cut_options(string: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(string);
    std::iter::from_fn(move || {
        let text = rest?;
        let quoted = quoted_label(text).unwrap_or(0);
        let (_, after) = text.split_at_checked(quoted)?;
        let end = quoted + cut(after, b',').next().map_or(0, <[u8]>::len);
        let (first, after) = text.split_at_checked(end)?;
        rest = after.get(1..);
        Some(first)
    })
}

/// Returns the length of a label in quotes with its option's name, if the text begins with one.
fn quoted_label(text: &[u8]) -> Option<usize> {
    let begins = |name: &str| {
        let after = text.strip_prefix(name.as_bytes())?.strip_prefix(b"=\"")?;
        let quote = after.iter().position(|&b| b == b'"')?;
        Some(name.len() + 2 + quote + 1)
    };
    super::security::NAMES.iter().find_map(|name| begins(name))
}

/// Splits `name=value` and checks that both can be used.
fn option(text: &[u8]) -> Result<RawOption<'_>, OptionError> {
    let (name, value) = match text.iter().position(|&b| b == b'=') {
        Some(at) => {
            let (name, rest) = text.split_at(at);
            (name, rest.get(1..))
        }
        None => (text, None),
    };
    if text.contains(&0) {
        return Err(OptionError::Nul {
            option: super::text(name.to_vec()),
        });
    }
    if ends_in_lone_backslash(text) {
        return Err(OptionError::LoneBackslash {
            option: super::text(name.to_vec()),
        });
    }
    Ok(RawOption { name, value })
}

/// The paths of `lowerdir=`, unescaped; none of them is empty.
#[derive(Debug, Default)]
pub(super) struct LowerPaths {
    /// The layers that show names.
    pub(super) shown: Vec<Vec<u8>>,
    /// The data-only layers, each after `::`.
    pub(super) data: Vec<Vec<u8>>,
}

/// Splits the value of `lowerdir=` (ovl_parse_param_lowerdir).
pub(super) fn split_lower(value: &[u8]) -> Result<LowerPaths, OptionError> {
    let paths: Vec<&[u8]> = cut(value, b':').collect();
    if let [first, .., last] = paths.as_slice() {
        // `::` at an end separates nothing.
        if first.is_empty() {
            return Err(OptionError::LeadingColon);
        }
        if last.is_empty() {
            return Err(OptionError::TrailingColon);
        }
        if paths.windows(3).any(|w| matches!(w, [_, [], []])) {
            return Err(OptionError::EmptyLower);
        }
    }
    let mut split = LowerPaths::default();
    let mut after_two = false;
    for path in paths {
        match (path.is_empty(), after_two, split.data.is_empty()) {
            (true, ..) => {}
            (_, true, _) => split.data.push(unescape(path)),
            (_, _, true) => split.shown.push(unescape(path)),
            (_, _, false) => return Err(OptionError::LowerAfterData),
        }
        after_two = path.is_empty();
    }
    Ok(split)
}

/// Cuts at each `separator` that no backslash protects.
pub(crate) fn cut(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut protected = false;
    text.split(move |&byte| {
        let cuts = byte == separator && !protected;
        protected = byte == b'\\' && !protected;
        cuts
    })
}

/// Tells whether the text ends in a backslash that protects nothing.
fn ends_in_lone_backslash(text: &[u8]) -> bool {
    let run = text.iter().rev().take_while(|&&b| b == b'\\').count();
    run % 2 == 1
}

/// Removes the backslash before any character.
pub(crate) fn unescape(text: &[u8]) -> Vec<u8> {
    unescape_if(text, |_| true)
}

/// Removes the backslashes of the comma level alone: before a comma and before another backslash.
pub(crate) fn unescape_comma(text: &[u8]) -> Vec<u8> {
    unescape_if(text, |next| matches!(next, b',' | b'\\'))
}

fn unescape_if(text: &[u8], protects: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match bytes.peek() {
            Some(&next) if byte == b'\\' && protects(next) => {
                plain.push(next);
                bytes.next();
            }
            _ => plain.push(byte),
        }
    }
    plain
}
