//! Names that a session's changes are told without.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Escaped;
use crate::session::Bytes;

/// A pattern of names. One without `/` is that of a name in any directory, one with `/` is that of a path from the root of the
/// view on. `*` stands for any characters of a name, `?` for one, `[a-z]` for one of these and `[!a-z]` for another one, `**` for any
/// names in a row; a backslash takes the meaning of what follows. A `/` at the end means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Bytes", into = "Bytes")]
pub struct Glob {
    text: Bytes,
    /// Whether it begins in any directory.
    anywhere: bool,
    parts: Vec<Part>,
}

/// A pattern that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GlobError {
    /// It is that of no name.
    #[error("{} is a pattern of no name", Escaped::new(.0))]
    Empty(std::ffi::OsString),
    /// A `[` has no end.
    #[error("a `[` of {} has no end", Escaped::new(.0))]
    Open(std::ffi::OsString),
}

/// What stands between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Any names in a row, also none.
    Deep,
    Name(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Many,
    Set { not: bool, ranges: Vec<(u8, u8)> },
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// A [`GlobError`]: it makes no sense.
    pub fn parse(text: &OsStr) -> Result<Self, GlobError> {
        let plain = text.as_bytes();
        let trimmed = plain.strip_suffix(b"/").unwrap_or(plain);
        let parts = trimmed.split(|&byte| byte == b'/');
        let parts = parts
            .filter(|part| !part.is_empty())
            .map(|part| match part {
                b"**" => Ok(Part::Deep),
                name => tokens(name)
                    .map(Part::Name)
                    .ok_or_else(|| GlobError::Open(text.to_owned())),
            });
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        if parts.iter().all(|part| *part == Part::Deep) {
            return Err(GlobError::Empty(text.to_owned()));
        }
        Ok(Self {
            text: Bytes::of(text),
            anywhere: !trimmed.contains(&b'/'),
            parts,
        })
    }

    /// Whether it is that of `path`, which begins at the root of the view.
    #[must_use]
    pub fn matches(&self, path: &Path) -> bool {
        let names = path.components().filter_map(|component| match component {
            Component::Normal(name) => Some(name.as_bytes()),
            _ => None,
        });
        let names: Vec<_> = names.collect();
        if self.anywhere {
            return names
                .last()
                .is_some_and(|name| fit(&self.parts, std::slice::from_ref(name)));
        }
        fit(&self.parts, &names)
    }
}

impl TryFrom<Bytes> for Glob {
    type Error = GlobError;

    fn try_from(text: Bytes) -> Result<Self, GlobError> {
        Self::parse(text.to_path().as_os_str())
    }
}

impl From<Glob> for Bytes {
    fn from(glob: Glob) -> Self {
        glob.text
    }
}

fn fit(parts: &[Part], names: &[&[u8]]) -> bool {
    match (parts.split_first(), names.split_first()) {
        (None, None) => true,
        // What is in a directory, and not that itself.
        (Some((Part::Deep, [])), names) => names.is_some(),
        (Some((Part::Deep, rest)), Some((_, below))) => fit(rest, names) || fit(parts, below),
        (Some((Part::Name(tokens), rest)), Some((name, below))) => {
            fits(tokens, name) && fit(rest, below)
        }
        _ => false,
    }
}

/// Whether a name is of a pattern. Of several `*` the last one that was met takes more when the rest does not fit.
fn fits(tokens: &[Token], name: &[u8]) -> bool {
    let (mut token, mut byte) = (0, 0);
    let mut last: Option<(usize, usize)> = None;
    loop {
        match (tokens.get(token), name.get(byte)) {
            (None, None) => return true,
            (Some(Token::Many), _) => {
                token += 1;
                last = Some((token, byte));
            }
            (Some(wanted), Some(&is)) if wanted.takes(is) => {
                token += 1;
                byte += 1;
            }
            _ => match last {
                Some((after, taken)) if taken < name.len() => {
                    last = Some((after, taken + 1));
                    (token, byte) = (after, taken + 1);
                }
                _ => return false,
            },
        }
    }
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(wanted) => *wanted == byte,
            Self::One => true,
            Self::Many => false,
            Self::Set { not, ranges } => {
                ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&byte))
                    != *not
            }
        }
    }
}

/// Reads the pattern of a name; `None` if a set has no end.
fn tokens(name: &[u8]) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = name.iter().copied();
    while let Some(byte) = rest.next() {
        tokens.push(match byte {
            b'*' => Token::Many,
            b'?' => Token::One,
            b'[' => set(&mut rest)?,
            b'\\' => Token::Byte(rest.next().unwrap_or(b'\\')),
            byte => Token::Byte(byte),
        });
    }
    Some(tokens)
}

/// Reads a set behind its `[`. A `]` that comes first is in it.
fn set(rest: &mut impl Iterator<Item = u8>) -> Option<Token> {
    let mut next = rest.next()?;
    let not = next == b'!' || next == b'^';
    if not {
        next = rest.next()?;
    }
    let mut ranges = Vec::new();
    loop {
        let low = if next == b'\\' { rest.next()? } else { next };
        next = rest.next()?;
        if next == b'-' {
            next = rest.next()?;
            if next == b']' {
                ranges.extend([(low, low), (b'-', b'-')]);
                break;
            }
            ranges.push((low, next));
            next = rest.next()?;
        } else {
            ranges.push((low, low));
        }
        if next == b']' {
            break;
        }
    }
    Some(Token::Set { not, ranges })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_gitignore() {
        for (pattern, path, is) in [
            ("*.o", "/a/b.o", true),
            ("*.o", "/b.o/c", false),
            ("b", "/a/b", true),
            ("b/", "/a/b", true),
            ("/b", "/a/b", false),
            ("/b", "/b", true),
            ("a/b", "/a/b", true),
            ("a/b", "/x/a/b", false),
            ("**/a/b", "/x/a/b", true),
            ("**/a/b", "/a/b", true),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/a", false),
            ("/a/**/z", "/a/z", true),
            ("/a/**/z", "/a/b/c/z", true),
            ("/a/*/z", "/a/b/c/z", false),
            ("a*b*c", "/aXbXbc", true),
            ("a*b*c", "/aXbXbd", false),
            ("?", "/a", true),
            ("?", "/ab", false),
            ("[a-c]x", "/bx", true),
            ("[!a-c]x", "/bx", false),
            ("[]a]", "/]", true),
            ("[a-]", "/-", true),
            (r"\*", "/*", true),
            (r"\*", "/a", false),
            ("*", "/.hidden", true),
            ("*", "/", false),
        ] {
            let glob = Glob::parse(OsStr::new(pattern)).unwrap();
            assert_eq!(glob.matches(Path::new(path)), is, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_and_the_others_come_back_from_json() {
        for pattern in ["", "/", "**", "[a", "a/[!", "[a-"] {
            assert!(Glob::parse(OsStr::new(pattern)).is_err(), "{pattern}");
        }
        let glob = Glob::parse(OsStr::from_bytes(b"/a/**/\xff*")).unwrap();
        let text = serde_json::to_string(&glob).unwrap();
        assert_eq!(serde_json::from_str::<Glob>(&text).unwrap(), glob);
        assert!(serde_json::from_str::<Glob>("\"[\"").is_err());
    }
}
