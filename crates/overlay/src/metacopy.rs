//! The `metacopy` attribute: the file's data lies in a layer below.

use crate::bad_mark::BadMark;

/// Version, length, flags, digest algorithm: one byte each.
const HEADER_LEN: usize = 4;
const VERSION: u8 = 0;
/// Header and the longest digest of fs-verity, SHA-512.
pub(crate) const LEN_MAX: usize = HEADER_LEN + 64;

/// The value of a `metacopy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metacopy<'a> {
    /// The algorithm of the digest, as fs-verity numbers them.
    pub algorithm: u8,
    /// The digest of the data; empty if it is not known.
    pub digest: &'a [u8],
}

/// Reads the value of a `metacopy` attribute (ovl_check_metacopy_xattr). An empty one is a header without a digest.
///
/// # Errors
///
/// [`BadMark`]: it is of another form.
pub fn parse_metacopy(value: &[u8]) -> Result<Metacopy<'_>, BadMark> {
    match value {
        [] => Ok(Metacopy {
            algorithm: 0,
            digest: &[],
        }),
        [version, len, _flags, algorithm, digest @ ..] => {
            if *version != VERSION {
                return Err(BadMark::MetacopyVersion);
            }
            if usize::from(*len) != value.len() || value.len() > LEN_MAX {
                return Err(BadMark::MetacopyLength);
            }
            Ok(Metacopy {
                algorithm: *algorithm,
                digest,
            })
        }
        _ => Err(BadMark::MetacopyShort),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ovl_68_a_metacopy_is_empty_or_a_header_that_fits() {
        let no_digest = Metacopy {
            algorithm: 0,
            digest: &[],
        };
        assert_eq!(parse_metacopy(b""), Ok(no_digest));
        assert_eq!(parse_metacopy(&[0, 4, 0, 0]), Ok(no_digest));
        let digest = Metacopy {
            algorithm: 1,
            digest: &[7; 32],
        };
        let value = [&[0, 36, 0, 1][..], &[7; 32]].concat();
        assert_eq!(parse_metacopy(&value), Ok(digest));
        let long = [&[0, 69, 0, 1][..], &[7; 65]].concat();
        for (value, bad) in [
            (&[0][..], BadMark::MetacopyShort),
            (&[0, 3, 0], BadMark::MetacopyShort),
            (&[1, 4, 0, 0], BadMark::MetacopyVersion),
            (&[0, 5, 0, 0], BadMark::MetacopyLength),
            (&[0, 4, 0, 0, 0], BadMark::MetacopyLength),
            (&long, BadMark::MetacopyLength),
        ] {
            assert_eq!(parse_metacopy(value), Err(bad), "{value:?}");
        }
    }
}
