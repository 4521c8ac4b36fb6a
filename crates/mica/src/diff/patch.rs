//! A change as a patch that git takes.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use mica_vfs::{Errno, FileType};
use similar::{ChangeTag, TextDiff};

use super::{Aspects, Change, ChangeKind};
use crate::offline::Node;

/// Files that are larger are not compared line by line.
const LONGEST: u64 = 8 << 20;
/// After so much time the lines that differ need not be the fewest.
const PATIENCE: Duration = Duration::from_secs(2);
/// So far a NUL byte is looked for, which no text has.
const SAMPLE: usize = 8000;

/// How many lines a change adds and takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lines {
    /// Lines that are new.
    pub added: usize,
    /// Lines that are gone.
    pub removed: usize,
}

/// A change in text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The lines before the first hunk.
    pub head: String,
    /// Lines with what begins each: ` `, `-`, `+`, `@` or `\`. The last one ends with a newline, too.
    pub hunks: Vec<Vec<u8>>,
    /// How many lines there are of both kinds; `None` where the data is no text, or too long.
    pub lines: Option<Lines>,
}

impl Change {
    /// Reads the data of both sides, and compares it line by line. Of directories and what is no file there is no data; the
    /// target of a symbolic link is its data.
    ///
    /// # Errors
    ///
    /// The data cannot be read.
    pub fn patch(&self) -> Result<Patch, Errno> {
        let mut head = String::new();
        self.begin(&mut head);
        if self.kind == ChangeKind::Retyped {
            let lines = None;
            let hunks = Vec::new();
            return Ok(Patch { head, hunks, lines });
        }
        let changed = self.aspects.contains(Aspects::CONTENT)
            || matches!(self.kind, ChangeKind::Added | ChangeKind::Deleted);
        if !changed || self.is_directory() {
            let lines = Some(Lines::default());
            let hunks = Vec::new();
            return Ok(Patch { head, hunks, lines });
        }
        let new = self.data.as_ref().or(self.new.as_ref());
        let (old, new) = (data(self.old.as_ref())?, data(new)?);
        let (here, there) = self.names();
        let (Some(old), Some(new)) = (old, new) else {
            let _ = writeln!(head, "Binary files {here} and {there} differ");
            let (hunks, lines) = (Vec::new(), None);
            return Ok(Patch { head, hunks, lines });
        };
        let (hunks, lines) = hunks(&old, &new);
        if !hunks.is_empty() {
            let _ = write!(head, "--- {here}\n+++ {there}\n");
        }
        let lines = Some(lines);
        Ok(Patch { head, hunks, lines })
    }

    /// Returns what stands for the two sides.
    fn names(&self) -> (String, String) {
        let from = self.from.as_deref().unwrap_or(&self.path);
        let side = |prefix: &str, path: &Path, there: bool| match there {
            true => quoted(prefix, path),
            false => "/dev/null".into(),
        };
        (
            side("a/", from, self.old.is_some()),
            side("b/", &self.path, self.new.is_some()),
        )
    }

    fn begin(&self, head: &mut String) {
        let from = self.from.as_deref().unwrap_or(&self.path);
        let (here, there) = (quoted("a/", from), quoted("b/", &self.path));
        let _ = writeln!(head, "diff --git {here} {there}");
        let mode = |node: &Option<Node>| {
            let attr = node.as_ref().map(Node::attr);
            attr.map_or(0, |attr| attr.kind.bits() | attr.mode.bits())
        };
        let (was, is) = (mode(&self.old), mode(&self.new));
        let _ = match self.kind {
            ChangeKind::Added => writeln!(head, "new file mode {is:06o}"),
            ChangeKind::Deleted => writeln!(head, "deleted file mode {was:06o}"),
            _ if was != is => writeln!(head, "old mode {was:06o}\nnew mode {is:06o}"),
            _ => Ok(()),
        };
        if self.from.is_some() {
            let (from, to) = (quoted("", from), quoted("", &self.path));
            let _ = writeln!(head, "rename from {from}\nrename to {to}");
        }
    }
}

/// Reads what is to be compared; `None` if it is no text, or too long.
fn data(node: Option<&Node>) -> Result<Option<Vec<u8>>, Errno> {
    let Some(node) = node else {
        return Ok(Some(Vec::new()));
    };
    match node.kind() {
        FileType::Symlink => return node.fs().read_link(node.id()).map(Some),
        FileType::Regular if node.attr().size <= LONGEST => {}
        _ => return Ok(None),
    }
    let mut bytes = vec![0; usize::try_from(node.attr().size).unwrap_or(0)];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match node.fs().read(node.id(), done as u64, rest)? {
            0 => break,
            read => done += read,
        }
    }
    bytes.truncate(done);
    let sample = bytes.get(..SAMPLE).unwrap_or(&bytes);
    Ok((!sample.contains(&0)).then_some(bytes))
}

fn hunks(old: &[u8], new: &[u8]) -> (Vec<Vec<u8>>, Lines) {
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(old, new);
    let (mut hunks, mut lines) = (Vec::new(), Lines::default());
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        hunks.push(format!("{}\n", hunk.header()).into_bytes());
        for change in hunk.iter_changes() {
            let sign = match change.tag() {
                ChangeTag::Equal => b' ',
                ChangeTag::Delete => {
                    lines.removed += 1;
                    b'-'
                }
                ChangeTag::Insert => {
                    lines.added += 1;
                    b'+'
                }
            };
            let mut line = vec![sign];
            line.extend_from_slice(change.value());
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
                hunks.push(line);
                hunks.push(b"\\ No newline at end of file\n".to_vec());
            } else {
                hunks.push(line);
            }
        }
    }
    (hunks, lines)
}

/// Writes a path as git does: without the first slash, and between quotes if it has what could be taken for something else.
fn quoted(prefix: &str, path: &Path) -> String {
    let path = path.strip_prefix("/").unwrap_or(path);
    let bytes = [prefix.as_bytes(), path.as_os_str().as_bytes()].concat();
    let plain = |byte: &u8| !byte.is_ascii_control() && !b"\"\\".contains(byte) && byte.is_ascii();
    if bytes.iter().all(plain) {
        return String::from_utf8_lossy(&bytes).into_owned();
    }
    let mut text = String::from("\"");
    for &byte in &bytes {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            _ if plain(&byte) => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:03o}");
            }
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_and_a_missing_newline_is_told() {
        let (hunks, lines) = hunks(b"a\nb\nc\n", b"a\nx\nc");
        let text = String::from_utf8(hunks.concat()).unwrap();
        let expected = "@@ -1,3 +1,3 @@\n a\n-b\n-c\n+x\n+c\n\\ No newline at end of file\n";
        assert_eq!(text, expected);
        assert_eq!((lines.added, lines.removed), (2, 2));
    }

    #[test]
    fn paths_are_quoted_as_git_does() {
        for (path, shown) in [
            ("/etc/motd", "a/etc/motd"),
            ("/a b", "a/a b"),
            ("/t\tq\"", "\"a/t\\tq\\\"\""),
            ("/\u{e9}", "\"a/\\303\\251\""),
        ] {
            assert_eq!(quoted("a/", Path::new(path)), shown);
        }
    }
}
