//! Names in an archive: paths that stay inside, and names that are whiteouts.

use super::error::Flaw;
use crate::convert::{AUFS, NAMED, NAMED_OPAQUE};

/// The longest path that is read.
const PATH_MAX: usize = 1 << 16;

/// What an entry's last name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// It is called so.
    Object(&'a [u8]),
    /// What has this name below is hidden.
    Whiteout(&'a [u8]),
    /// Whatever is below the directory is hidden.
    Opaque,
    /// It is the root.
    Root,
}

/// Splits the path of an entry into the names of its directory and what the last one means.
///
/// # Errors
///
/// The path leads out of the layer, or through what is no directory; the name is one that has no meaning.
pub(super) fn split(path: &[u8]) -> Result<(Vec<&[u8]>, Meaning<'_>), Flaw> {
    let mut names = inside(path)?;
    let Some(last) = names.pop() else {
        return Ok((names, Meaning::Root));
    };
    if names.iter().any(|name| name.starts_with(NAMED)) {
        return Err(Flaw::InWhiteout);
    }
    let meaning = match last.strip_prefix(NAMED) {
        _ if last == NAMED_OPAQUE => Meaning::Opaque,
        _ if last.starts_with(AUFS) => return Err(Flaw::Reserved),
        Some(b"" | b"." | b"..") => return Err(Flaw::Reserved),
        Some(hidden) => Meaning::Whiteout(hidden),
        None => Meaning::Object(last),
    };
    Ok((names, meaning))
}

/// Splits a path that may not leave the layer.
///
/// # Errors
///
/// It is absolute, has `..` in it, a NUL, or is too long.
pub(super) fn inside(path: &[u8]) -> Result<Vec<&[u8]>, Flaw> {
    if path.starts_with(b"/") {
        return Err(Flaw::Absolute);
    }
    if path.is_empty() || path.contains(&0) {
        return Err(Flaw::Name);
    }
    if path.len() > PATH_MAX {
        return Err(Flaw::TooLong);
    }
    let names: Vec<&[u8]> = path
        .split(|&byte| byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
        .collect();
    if names.iter().any(|name| *name == b"..") {
        return Err(Flaw::Outside);
    }
    if names.iter().any(|name| name.len() > mica_vfs::NAME_MAX) {
        return Err(Flaw::TooLong);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiteouts_are_told_from_objects() {
        for (path, expected) in [
            (&b"./"[..], Ok((vec![], Meaning::Root))),
            (b"a", Ok((vec![], Meaning::Object(b"a")))),
            (b"./a/b/", Ok((vec![&b"a"[..]], Meaning::Object(b"b")))),
            (b"a/.wh.b", Ok((vec![b"a"], Meaning::Whiteout(b"b")))),
            (b"a/.wh..wh..opq", Ok((vec![b"a"], Meaning::Opaque))),
            (b"a/.wh..b", Ok((vec![b"a"], Meaning::Whiteout(b".b")))),
            (b"a/.wh.", Err(Flaw::Reserved)),
            (b"a/.wh..", Err(Flaw::Reserved)),
            (b"a/.wh...", Err(Flaw::Reserved)),
            (b".wh..wh.plnk", Err(Flaw::Reserved)),
            (b".wh.a/b", Err(Flaw::InWhiteout)),
            (b"/a", Err(Flaw::Absolute)),
            (b"../a", Err(Flaw::Outside)),
            (b"a/../../b", Err(Flaw::Outside)),
            (b"a/..", Err(Flaw::Outside)),
            (b"", Err(Flaw::Name)),
            (b"a\0b", Err(Flaw::Name)),
            (&[b'a'; 256], Err(Flaw::TooLong)),
            (&b"a/".repeat(40_000), Err(Flaw::TooLong)),
        ] {
            assert_eq!(split(path), expected, "{}", path.escape_ascii());
        }
    }
}
