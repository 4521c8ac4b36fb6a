//! The line at the end of `mica do`: what was changed, and what can be done about it.

use std::ffi::OsStr;
use std::io::{self, Write as _};

use mica::Changes;

/// What became of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Kept,
    Removed,
    Committed,
    /// Something else was to become of it, but others use it.
    InUse,
}

/// Says what was changed, and what can be done about it.
pub(crate) fn close(changes: Changes, name: &OsStr, end: End) {
    let name = name.to_string_lossy();
    let rest = match end {
        End::Kept => {
            format!("mica diff {name} \u{b7} mica commit {name} \u{b7} mica discard {name}")
        }
        End::Removed => "removed".to_owned(),
        End::Committed => "committed".to_owned(),
        End::InUse => format!("in use, and kept \u{b7} mica discard {name}"),
    };
    let line = format!("{} - {rest}\n", counts(changes));
    // Without stderr there is nobody to tell.
    drop(io::stderr().lock().write_all(line.as_bytes()));
}

fn counts(changes: Changes) -> String {
    let Changes {
        added,
        modified,
        deleted,
        bytes,
        unreadable,
        unlisted,
    } = changes;
    let mut text = format!(
        "{added} added, {modified} modified, {deleted} deleted, {}",
        size(bytes)
    );
    if unreadable > 0 {
        text.push_str(&format!(", {unreadable} not readable"));
    }
    match unlisted {
        0 => {}
        1 => text.push_str(", 1 directory not listable"),
        more => text.push_str(&format!(", {more} directories not listable")),
    }
    text
}

/// Writes a size with one digit after the point.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = UNITS.iter();
    let mut shown = unit.next().unwrap_or(&"");
    // In tenths.
    let mut rest = u128::from(bytes) * 10 / 1024;
    for next in unit {
        if rest < 10240 {
            break;
        }
        (rest, shown) = (rest / 1024, next);
    }
    format!("{}.{} {shown}", rest / 10, rest % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (4_299_161, "4.0 MiB"),
            (4_300_000, "4.1 MiB"),
            (1 << 40, "1.0 TiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }
}
