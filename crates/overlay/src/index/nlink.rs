//! The attribute `nlink`: how many names show an indexed file.

use std::fmt;

/// A link count, relative to one that a filesystem keeps. That changes with each link and unlink, so the sum stays right in
/// whatever moment a machine stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nlink {
    /// `U+n`: so many more than the copy has links, its entry of the index included.
    Upper(i64),
    /// `L+n`: so many more than the lower file has.
    Lower(i64),
}

impl Nlink {
    /// Longest value that is looked at, as in the kernel.
    pub(crate) const LEN_MAX: usize = 12;

    /// Reads the value of an `nlink` attribute (ovl_get_nlink). `None`: it means nothing.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let signed = text.get(1..)?;
        if !signed.starts_with(['+', '-']) {
            return None;
        }
        let more = i64::from(signed.parse::<i32>().ok()?);
        match text.as_bytes().first()? {
            b'U' => Some(Self::Upper(more)),
            b'L' => Some(Self::Lower(more)),
            _ => None,
        }
    }

    /// Returns the count, given those of the copy and of the lower file. `None` if there would be no name.
    #[must_use]
    pub fn links(self, upper: u32, lower: u32) -> Option<u32> {
        let links = match self {
            Self::Upper(more) => i64::from(upper) + more,
            Self::Lower(more) => i64::from(lower) + more,
        };
        u32::try_from(links).ok().filter(|&links| links > 0)
    }
}

impl fmt::Display for Nlink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upper(more) => write!(f, "U{more:+}"),
            Self::Lower(more) => write!(f, "L{more:+}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ovl_112_a_count_is_what_the_kernel_writes() {
        for (value, nlink) in [
            ("U+0", Nlink::Upper(0)),
            ("U-1", Nlink::Upper(-1)),
            ("L+12", Nlink::Lower(12)),
            ("L-3", Nlink::Lower(-3)),
        ] {
            assert_eq!(Nlink::parse(value.as_bytes()), Some(nlink));
            assert_eq!(nlink.to_string(), value);
        }
        for bad in ["", "U", "U1", "X+1", "L+", "L+1x", "U+99999999999", "+1"] {
            assert_eq!(Nlink::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn ovl_112_a_count_is_relative_to_one_of_two() {
        assert_eq!(Nlink::Upper(2).links(2, 9), Some(4));
        assert_eq!(Nlink::Lower(-1).links(9, 3), Some(2));
        assert_eq!(Nlink::Upper(-2).links(2, 9), None);
    }
}
