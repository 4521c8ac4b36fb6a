//! The mount table of a process, as mountinfo(5) shows it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// One mount. Fields are as the table writes them, with its escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MountLine<'a> {
    /// `major:minor`, which for a FUSE mount ends in the number of its connection.
    pub(crate) dev: &'a [u8],
    root: &'a [u8],
    point: &'a [u8],
    /// The type: `overlay`, `fuse.mica`.
    pub(crate) kind: &'a [u8],
    /// Those of the filesystem, which are the same for all its mounts.
    pub(crate) options: &'a [u8],
}

impl MountLine<'_> {
    /// Returns where it is mounted, as the process that the table is of sees it.
    pub(crate) fn point(&self) -> PathBuf {
        OsString::from_vec(unescape_octal(self.point)).into()
    }

    /// Returns what is mounted, from the root of its filesystem on.
    pub(crate) fn root(&self) -> PathBuf {
        OsString::from_vec(unescape_octal(self.root)).into()
    }

    /// Returns the value of an option of the filesystem, with the escapes that the filesystem itself uses.
    pub(crate) fn option(&self, name: &str) -> Option<Vec<u8>> {
        let options = self.options.split(|&b| b == b',');
        let mut values = options.filter_map(|option| {
            option
                .strip_prefix(name.as_bytes())?
                .strip_prefix(b"=")
                .map(unescape_octal)
        });
        values.next()
    }
}

/// Reads the lines of a mount table; a later mount on the same directory lies over an earlier one.
pub(crate) fn mounts(table: &[u8]) -> impl Iterator<Item = MountLine<'_>> {
    table.split(|&b| b == b'\n').filter_map(|line| {
        let mut fields = line.split(|&b| b == b' ');
        let dev = fields.nth(2)?;
        let root = fields.next()?;
        let point = fields.next()?;
        let mut rest = fields.skip_while(|field| *field != b"-");
        let kind = rest.nth(1)?;
        Some(MountLine {
            dev,
            root,
            point,
            kind,
            options: rest.nth(1).unwrap_or_default(),
        })
    })
}

/// Undoes the escapes of mountinfo(5): `\040` is a space.
fn unescape_octal(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.first_chunk::<3>().filter(|_| byte == b'\\');
        let code = digits.and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        match code {
            Some(code) => {
                plain.push(code);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TABLE: &[u8] = b"21 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n\
        41 40 0:31 / /m\\040x rw,nosuid shared:5 master:1 - fuse.mica a\\040b rw,user_id=0\n\
        90 67 0:40 / /m rw - overlay o rw,lowerdir=l,upperdir=u\\134\\054x:y\\040z\\134\\134b,workdir=w\n";

    #[test]
    fn a_line_is_taken_apart_whatever_its_optional_fields() {
        let table: Vec<_> = mounts(TABLE).collect();
        let kinds: Vec<_> = table.iter().map(|mount| mount.kind).collect();
        assert_eq!(kinds, [&b"ext4"[..], b"fuse.mica", b"overlay"]);
        let mica = table[1];
        assert_eq!(mica.point(), Path::new("/m x"));
        assert_eq!(mica.root(), Path::new("/"));
        assert_eq!(mica.dev, b"0:31");
        assert_eq!(mica.option("user_id").as_deref(), Some(&b"0"[..]));
        assert_eq!(mica.option("user"), None);
    }

    #[test]
    fn an_option_keeps_the_escapes_of_its_filesystem() {
        let overlay = mounts(TABLE).nth(2).unwrap();
        let upper = overlay.option("upperdir").unwrap();
        assert_eq!(upper, br"u\,x:y z\\b");
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(unescape_octal(b"a\\0b\\"), b"a\\0b\\");
        assert_eq!(unescape_octal(b"\\011\\134040"), b"\t\\040");
        assert_eq!(unescape_octal(b"\\777"), b"\\777");
    }

    #[test]
    fn lines_that_are_none_are_left_out() {
        assert_eq!(mounts(b"\n21 1\n21 1 254:0 / / rw\n").count(), 0);
    }
}
