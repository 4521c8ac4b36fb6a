//! The `nlink` mark: how many names an indexed file has in the union.

/// What the number is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// The names of the upper file.
    Upper(i64),
    /// The names of the lower file.
    Lower(i64),
}

impl Links {
    /// Reads the value of an `nlink` (ovl_get_nlink).
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let (base, number) = value.split_first()?;
        if !matches!(number.first()?, b'+' | b'-') {
            return None;
        }
        let number = std::str::from_utf8(number).ok()?.parse().ok()?;
        match base {
            b'U' => Some(Self::Upper(number)),
            b'L' => Some(Self::Lower(number)),
            _ => None,
        }
    }

    /// Returns the number of names, given those of both files.
    pub(super) const fn names(self, upper: u32, lower: u32) -> i64 {
        match self {
            Self::Upper(more) => more.saturating_add(upper as i64),
            Self::Lower(more) => more.saturating_add(lower as i64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_names_is_counted_from_one_of_the_two_files() {
        assert_eq!(Links::parse(b"U+1"), Some(Links::Upper(1)));
        assert_eq!(Links::parse(b"L-12"), Some(Links::Lower(-12)));
        for bad in [&b""[..], b"U", b"U1", b"X+1", b"U+", b"U+x", b"+1"] {
            assert_eq!(Links::parse(bad), None, "{}", bad.escape_ascii());
        }
        assert_eq!(Links::Upper(-1).names(3, 9), 2);
        assert_eq!(Links::Lower(1).names(3, 9), 10);
    }
}
