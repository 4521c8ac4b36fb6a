//! Changes as people read them.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use mica::vfs::{Attr, FileType};
use mica::{Aspects, Change, ChangeKind, Diff, Escaped, Patch};
use rustix::termios::isatty;

use crate::args::{DiffArgs, When};
use crate::closing::size;

/// So wide is a bar of `--stat` at most.
const BAR: usize = 40;

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(bool);

impl Paint {
    pub(super) fn choose(when: When) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(match when {
            When::Always => true,
            When::Never => false,
            When::Auto => isatty(io::stdout()) && !unwanted,
        })
    }

    fn of(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[m")
        } else {
            text.to_owned()
        }
    }
}

const GREEN: &str = "32";
const RED: &str = "31";
const CYAN: &str = "36";
const BOLD: &str = "1";

fn letter(kind: ChangeKind) -> (&'static str, &'static str) {
    match kind {
        ChangeKind::Added => ("A", GREEN),
        ChangeKind::Deleted => ("D", RED),
        ChangeKind::Modified => ("M", CYAN),
        ChangeKind::Renamed => ("R", CYAN),
        ChangeKind::Retyped => ("T", CYAN),
    }
}

/// Shows a change in one line.
pub(super) fn line(change: &Change, args: &DiffArgs, paint: Paint) -> Vec<u8> {
    let (letter, colour) = letter(change.kind);
    if args.null {
        let mut line = Vec::new();
        if !args.name_only {
            line.extend_from_slice(letter.as_bytes());
            line.push(0);
            if let Some(from) = &change.from {
                line.extend_from_slice(from.as_os_str().as_bytes());
                line.push(0);
            }
        }
        line.extend_from_slice(change.path.as_os_str().as_bytes());
        line.push(0);
        return line;
    }
    if args.name_only {
        return format!("{}\n", shown(&change.path)).into_bytes();
    }
    let mut text = format!("{}  {}", paint.of(colour, letter), names(change));
    let differs = differs(change);
    if !differs.is_empty() {
        text.push_str(&format!("  ({})", differs.join(", ")));
    }
    text.push('\n');
    text.into_bytes()
}

fn shown(path: &Path) -> String {
    format!("{:#}", Escaped::new(path))
}

fn names(change: &Change) -> String {
    let slash = if change.is_directory() { "/" } else { "" };
    match &change.from {
        Some(from) => format!("{}{slash} -> {}{slash}", shown(from), shown(&change.path)),
        None => format!("{}{slash}", shown(&change.path)),
    }
}

/// Says in what a change differs from a plain one of its kind.
fn differs(change: &Change) -> Vec<String> {
    let mut differs = Vec::new();
    let (Some(old), Some(new)) = (change.before(), change.after()) else {
        return differs;
    };
    if change.kind == ChangeKind::Retyped {
        differs.push(format!(
            "{} -> {}",
            type_name(old.kind),
            type_name(new.kind)
        ));
        return differs;
    }
    let has = |aspect| change.aspects.contains(aspect);
    if has(Aspects::MODE) {
        differs.push(format!(
            "mode {:04o} -> {:04o}",
            old.mode.bits(),
            new.mode.bits()
        ));
    }
    if has(Aspects::OWNER) {
        let owner = |attr: &Attr| format!("{}:{}", attr.uid, attr.gid);
        differs.push(format!("owner {} -> {}", owner(old), owner(new)));
    }
    if has(Aspects::XATTR) {
        differs.push("attributes".into());
    }
    if has(Aspects::CONTENT) {
        let plain = differs.is_empty() && change.kind == ChangeKind::Modified;
        if !plain {
            differs.insert(0, "content".into());
        }
    } else if has(Aspects::TIME) && differs.is_empty() && change.kind == ChangeKind::Modified {
        differs.push("time".into());
    }
    differs
}

pub(super) const fn type_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Regular => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::CharDevice => "char device",
        FileType::BlockDevice => "block device",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    }
}

/// Shows how much each change is, and the sum.
pub(super) fn stat(to: &mut impl Write, diff: &Diff, paint: Paint) -> io::Result<()> {
    let names: Vec<String> = diff.changes.iter().map(names).collect();
    let width = names
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0);
    let (mut added, mut removed) = (0, 0);
    for (change, name) in diff.changes.iter().zip(&names) {
        let patch = change.patch();
        let lines = patch.as_ref().ok().and_then(|patch| patch.lines);
        let text = match lines {
            Some(lines) if lines.added + lines.removed > 0 => {
                added += lines.added;
                removed += lines.removed;
                let sum = lines.added + lines.removed;
                let (plus, minus) = bar(lines.added, lines.removed);
                format!(
                    "{sum:>5} {}{}",
                    paint.of(GREEN, &plus),
                    paint.of(RED, &minus)
                )
            }
            _ => amount(change),
        };
        writeln!(to, " {name:<width$} | {text}")?;
    }
    let counted = diff.count();
    writeln!(
        to,
        " {} added, {} modified, {} deleted, {} lines added, {} lines removed",
        counted.added, counted.modified, counted.deleted, added, removed
    )
}

/// Scales a bar.
fn bar(added: usize, removed: usize) -> (String, String) {
    let sum = added + removed;
    let scaled = |count: usize| match sum > BAR {
        true => (count * BAR).div_ceil(sum),
        false => count,
    };
    ("+".repeat(scaled(added)), "-".repeat(scaled(removed)))
}

fn amount(change: &Change) -> String {
    let bytes = |attr: Option<&Attr>| {
        let file = attr.filter(|attr| attr.kind == FileType::Regular);
        file.map(|attr| attr.size)
    };
    match (bytes(change.before()), bytes(change.after())) {
        _ if change.is_directory() => "directory".into(),
        (Some(old), Some(new)) if change.aspects.contains(Aspects::CONTENT) => {
            format!("bytes {} -> {}", size(old), size(new))
        }
        (None, Some(new)) => format!("bytes {}", size(new)),
        (Some(old), None) => format!("bytes {} -> none", size(old)),
        _ if differs(change).is_empty() => "same content".into(),
        _ => differs(change).join(", "),
    }
}

/// Shows all changes as a patch. What a patch cannot say stands in lines before it, which git leaves out.
pub(super) fn patch(to: &mut impl Write, diff: &Diff, paint: Paint) -> io::Result<()> {
    for change in &diff.changes {
        let mut said = differs(change);
        if change.is_directory() {
            let (letter, _) = letter(change.kind);
            writeln!(
                to,
                "{}",
                paint.of(BOLD, &format!("# {letter} {}", names(change)))
            )?;
        }
        said.retain(|what| what != "content" && !what.starts_with("mode"));
        if !said.is_empty() {
            writeln!(to, "# {}: {}", names(change), said.join(", "))?;
        }
        if change.is_directory() || !patched(change) {
            continue;
        }
        match change.patch() {
            Ok(patch) => one_patch(to, &patch, paint)?,
            Err(errno) => writeln!(to, "# {}: {errno}", names(change))?,
        }
    }
    Ok(())
}

fn patched(change: &Change) -> bool {
    match change.kind {
        ChangeKind::Modified => change.aspects.intersects(Aspects::CONTENT | Aspects::MODE),
        // git knows no such thing.
        ChangeKind::Retyped => false,
        _ => true,
    }
}

fn one_patch(to: &mut impl Write, patch: &Patch, paint: Paint) -> io::Result<()> {
    for line in patch.head.lines() {
        writeln!(to, "{}", paint.of(BOLD, line))?;
    }
    for line in &patch.hunks {
        let colour = match line.first() {
            Some(b'+') => GREEN,
            Some(b'-') => RED,
            Some(b'@') => CYAN,
            _ => "",
        };
        if !paint.0 || colour.is_empty() {
            to.write_all(line)?;
            continue;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        write!(to, "\x1b[{colour}m")?;
        to.write_all(text)?;
        to.write_all(b"\x1b[m\n")?;
    }
    Ok(())
}
