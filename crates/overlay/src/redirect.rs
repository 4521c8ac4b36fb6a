//! The `redirect` attribute: the name under which an object is found in the layers below.

use crate::bad_mark::BadMark;

/// The value of a `redirect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirect<'a> {
    /// Another name in the same directory.
    Name(&'a [u8]),
    /// A path from the root of the overlay, with its slash before each name.
    Path(&'a [u8]),
}

/// Reads the value of a `redirect` attribute (ovl_check_redirect).
///
/// # Errors
///
/// [`BadMark`]: it leads nowhere.
pub fn parse_redirect(value: &[u8]) -> Result<Redirect<'_>, BadMark> {
    if value.contains(&0) {
        return Err(BadMark::RedirectNul);
    }
    match value {
        [] => Err(BadMark::RedirectEmpty),
        [b'/', names @ ..] => {
            if names.split(|&byte| byte == b'/').any(<[u8]>::is_empty) {
                return Err(BadMark::RedirectComponent);
            }
            Ok(Redirect::Path(value))
        }
        name if name.contains(&b'/') => Err(BadMark::RedirectRelative),
        name => Ok(Redirect::Name(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ovl_68_a_redirect_is_one_name_or_a_path_without_empty_names() {
        assert_eq!(parse_redirect(b"a b"), Ok(Redirect::Name(b"a b")));
        assert_eq!(parse_redirect(b"/a/b"), Ok(Redirect::Path(b"/a/b")));
        for (value, bad) in [
            (&b""[..], BadMark::RedirectEmpty),
            (b"a/b", BadMark::RedirectRelative),
            (b"a/", BadMark::RedirectRelative),
            (b"/", BadMark::RedirectComponent),
            (b"//a", BadMark::RedirectComponent),
            (b"/a//b", BadMark::RedirectComponent),
            (b"/a/", BadMark::RedirectComponent),
            (b"a\0b", BadMark::RedirectNul),
        ] {
            assert_eq!(parse_redirect(value), Err(bad), "{}", value.escape_ascii());
        }
    }
}
