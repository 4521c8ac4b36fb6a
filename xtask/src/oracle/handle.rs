//! File handles in the marks of an upper, read back to the names of what they point at.
//!
//! `origin` and `upper` hold inode numbers of the filesystem, and so do the names in the index: two copies of the same layers
//! have different ones. What the handle points at must be the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::dump::Dump;

/// What has which inode number, in the layers of one side.
pub(super) type Names = BTreeMap<u64, String>;

/// Adds the objects of a layer. Of several names of one object the first counts.
pub(super) fn add(names: &mut Names, layer: &str, dump: &Dump) {
    for (path, node) in dump {
        names
            .entry(node.ino)
            .or_insert_with(|| format!("<{layer}:{}>", path.display()));
    }
}

/// Replaces the inode number in an escaped handle by the name of what it points at. What is no handle stays.
pub(super) fn name(escaped: &str, names: &Names) -> String {
    match unescape(escaped) {
        Some(bytes) => show(&bytes, names).unwrap_or_else(|| escaped.to_owned()),
        None => escaped.to_owned(),
    }
}

/// Renames the entries of an index, whose names are handles in hexadecimal.
pub(super) fn name_entry(path: PathBuf, names: &Names) -> PathBuf {
    let Some(file) = path.file_name().and_then(|file| file.to_str()) else {
        return path;
    };
    let digits: Option<Vec<u8>> = (0..file.len() / 2)
        .map(|at| u8::from_str_radix(file.get(2 * at..2 * at + 2)?, 16).ok())
        .collect();
    match digits.and_then(|bytes| show(&bytes, names)) {
        Some(shown) => path.with_file_name(shown.replace('/', "|")),
        None => path,
    }
}

/// Writes a handle: its header as it is, its number as a name. The uuid is the filesystem's, the generation nobody's.
fn show(bytes: &[u8], names: &Names) -> Option<String> {
    let [0, 0xfb, len, flags, kind, rest @ ..] = bytes else {
        return None;
    };
    let (uuid, fid) = rest.split_at_checked(16)?;
    let number = match (fid.len(), kind) {
        // 32 bits of number, 32 of generation.
        (8, _) => u64::from(u32::from_le_bytes(fid.first_chunk().copied()?)),
        // tmpfs: generation, then the halves of the number.
        (12, 1) => u64::from_le_bytes(fid.get(4..)?.first_chunk().copied()?),
        // xfs with 64 bits, btrfs.
        _ => u64::from_le_bytes(fid.first_chunk().copied()?),
    };
    let target = names
        .get(&number)
        .map_or_else(|| "<nothing>".to_owned(), Clone::clone);
    let uuid: u32 = uuid.iter().map(|byte| u32::from(*byte)).sum();
    Some(format!(
        "handle {len} flags {flags} type {kind} uuid {uuid} of {target}"
    ))
}

/// Reverses [`[u8]::escape_ascii`](slice::escape_ascii).
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        (rest, _) = match (first, tail) {
            (b'\\', [b'x', high, low, tail @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).ok()?;
                (tail, bytes.push(u8::from_str_radix(digits, 16).ok()?))
            }
            (b'\\', [letter, tail @ ..]) => {
                let byte = match letter {
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'n' => b'\n',
                    other => *other,
                };
                (tail, bytes.push(byte))
            }
            (byte, tail) => (tail, bytes.push(*byte)),
        };
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Names, name, unescape};

    #[test]
    fn escaped_bytes_are_read_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = bytes.escape_ascii().to_string();
        assert_eq!(unescape(&text).unwrap(), bytes);
    }

    #[test]
    fn a_handle_of_ext4_shows_what_it_points_at() {
        let names = Names::from([(258, "<lower0:d/a>".to_owned())]);
        let mut bytes = vec![0, 0xfb, 29, 0, 1];
        bytes.extend([0; 16]);
        bytes.extend([2, 1, 0, 0, 7, 7, 7, 7]);
        let shown = name(&bytes.escape_ascii().to_string(), &names);
        assert!(shown.ends_with("of <lower0:d/a>"), "{shown}");
        assert_eq!(name("y", &names), "y");
    }
}
