//! Records of a PAX header: `LENGTH KEY=VALUE\n`, where the length counts its own digits.

use mica_vfs::Time;

use super::error::Flaw;

/// More than any header has, and what Go's reader takes: a header is read into memory.
pub(super) const PAX_MAX: u64 = 1 << 20;

/// What begins the key of an extended attribute.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// Writes a record.
pub(super) fn put(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // A space, `=`, a newline.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// Writes the record of an extended attribute. `=`, which ends a key, is `%3D` in it, as GNU tar has it; what would be read as
/// that, or as `%25`, has its `%` written so. All other names are as they are: Go's readers know of no such thing.
pub(super) fn put_xattr(records: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let mut key = XATTR.to_vec();
    let mut rest = name;
    while let [first, after @ ..] = rest {
        match (first, after) {
            (b'=', _) => key.extend_from_slice(b"%3D"),
            (b'%', [b'2', b'5', ..] | [b'3', b'D', ..]) => key.extend_from_slice(b"%25"),
            _ => key.push(*first),
        }
        rest = after;
    }
    put(records, &key, value);
}

/// Returns the name of the attribute that a key is of.
pub(super) fn xattr_name(key: &[u8]) -> Option<Vec<u8>> {
    let mut rest = key.strip_prefix(XATTR)?;
    let mut name = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        rest = after;
        name.push(match (first, after) {
            (b'%', [b'3', b'D', after @ ..]) => {
                rest = after;
                b'='
            }
            (b'%', [b'2', b'5', after @ ..]) => {
                rest = after;
                b'%'
            }
            _ => *first,
        });
    }
    Some(name)
}

/// A key and its value.
pub(super) type Record<'a> = (&'a [u8], &'a [u8]);

/// Splits a header into keys and values.
///
/// # Errors
///
/// A record that is none.
pub(super) fn records(mut rest: &[u8]) -> Result<Vec<Record<'_>>, Flaw> {
    let mut records = Vec::new();
    while !rest.is_empty() {
        let space = rest.iter().take(8).position(|&byte| byte == b' ');
        let digits = rest.get(..space.ok_or(Flaw::Record)?).unwrap_or_default();
        let length = decimal(digits).ok_or(Flaw::Record)?;
        let length = usize::try_from(length).map_err(|_| Flaw::Record)?;
        let (record, after) = rest.split_at_checked(length).ok_or(Flaw::Record)?;
        let body = record.get(digits.len() + 1..).ok_or(Flaw::Record)?;
        let body = body.strip_suffix(b"\n").ok_or(Flaw::Record)?;
        let equals = body.iter().position(|&byte| byte == b'=');
        let (key, value) = body.split_at(equals.ok_or(Flaw::Record)?);
        if key.is_empty() {
            return Err(Flaw::Record);
        }
        records.push((key, value.get(1..).unwrap_or_default()));
        rest = after;
    }
    Ok(records)
}

/// Reads a decimal number without a sign.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let is_digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = is_digits.then(|| std::str::from_utf8(text).ok())??;
    text.parse().ok()
}

/// Writes a time: seconds, and nanoseconds if there are any.
pub(super) fn time(time: Time) -> String {
    let Time { secs, nanos } = time;
    if nanos == 0 {
        return secs.to_string();
    }
    if secs >= 0 {
        return format!("{secs}.{nanos:09}");
    }
    // Nanoseconds count forwards, and digits behind a point away from zero.
    let (secs, nanos) = (secs + 1, 1_000_000_000 - nanos);
    let sign = if secs == 0 { "-" } else { "" };
    format!("{sign}{secs}.{nanos:09}")
}

/// Reads a time; digits beyond nanoseconds are cut.
pub(super) fn parse_time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let point = text.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = text.split_at(point.unwrap_or(text.len()));
    let fraction = fraction.get(1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let secs = i64::try_from(decimal(whole)?).ok()?;
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0'));
    let nanos = digits
        .take(9)
        .fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanos) {
        (false, nanos) => Time { secs, nanos },
        (true, 0) => Time { secs: -secs, nanos },
        (true, nanos) => Time {
            secs: -secs - 1,
            nanos: 1_000_000_000 - nanos,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_digits() {
        let mut written = Vec::new();
        put(&mut written, b"k", &[b'v'; 5]);
        put(&mut written, b"k", &[b'v'; 94]);
        put_xattr(&mut written, b"user.a=b%", b"\0\n=");
        assert!(written.starts_with(b"11 k=vvvvv\n101 k=vvv"));
        let read = records(&written).unwrap();
        assert_eq!(read[1].1.len(), 94);
        assert_eq!(xattr_name(read[2].0).unwrap(), b"user.a=b%");
        assert_eq!(read[2].1, b"\0\n=");
    }

    #[test]
    fn names_of_attributes_are_read_as_they_were_written() {
        for (name, key) in [
            (&b"user.a"[..], &b"user.a"[..]),
            (b"user.a%b%", b"user.a%b%"),
            (b"user.a=b", b"user.a%3Db"),
            (b"user.%3D", b"user.%253D"),
            (b"user.%25=", b"user.%2525%3D"),
            (b"user.%%25", b"user.%%2525"),
        ] {
            let mut written = Vec::new();
            put_xattr(&mut written, name, b"");
            let (read, _) = records(&written).unwrap()[0];
            assert_eq!(read, [XATTR, key].concat());
            assert_eq!(xattr_name(read).unwrap(), name);
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bad in [
            &b"a"[..],
            b"5 a=b",
            b"6 a=b\n",
            b"4 a=b\n",
            b"6 abc\n",
            b"4 =\n",
            b"+6 a=b\n",
            b"99999999999999999999 a=b\n",
            b"0 a=b\n",
            b"2 \n",
        ] {
            let is_first_good = bad == b"6 a=b\n";
            assert_eq!(
                records(bad).is_ok(),
                is_first_good,
                "{}",
                bad.escape_ascii()
            );
        }
    }

    #[test]
    fn times_before_1970_are_read_as_they_were_written() {
        for (secs, nanos, text) in [
            (0, 0, "0"),
            (1, 5, "1.000000005"),
            (-1, 500_000_000, "-0.500000000"),
            (-2, 750_000_000, "-1.250000000"),
            (-3, 0, "-3"),
        ] {
            let at = Time { secs, nanos };
            assert_eq!(time(at), text);
            assert_eq!(parse_time(text.as_bytes()), Some(at));
        }
        for bad in ["", "-", ".5", "1.x", "1e3", "--1", "99999999999999999999"] {
            assert_eq!(parse_time(bad.as_bytes()), None, "{bad}");
        }
    }
}
