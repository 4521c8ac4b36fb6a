//! One operation, from its line to what a program sees of it: an errno, or what was read.
//!
//! A line is words: the operation, then paths from the root of the tree, numbers, and values by their names. Nothing here
//! knows of overlays, but for what keeps clear of a numbered difference. It is so where the number stands; above all
//!
//! - who opens a file for writing writes at once (D-1, D-2);
//! - who uses fallocate(2) or copy_file_range(2) takes setuid and setgid from the file before (D-5).

mod attributes;
mod data;
mod flags;
mod held;
mod mapped;
mod names;
mod questions;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, IFlags, Mode, OFlags};
use rustix::io::Errno;

/// How many files one process holds open on each side, and how many mappings it has there.
pub(super) const SLOTS: usize = 4;

/// Which of them.
type Slot = usize;

/// What a process keeps of one side.
#[derive(Debug, Default)]
pub(super) struct Held {
    files: [Option<OwnedFd>; SLOTS],
    mappings: [Option<mapped::Mapping>; SLOTS],
}

impl Held {
    /// Has what was stored through mappings written.
    pub(super) fn settle(&self) {
        for mapping in self.mappings.iter().flatten() {
            // What could not be written shows when the files are compared.
            drop(mapping.sync());
        }
    }
}

/// What an operation shows, or its errno.
pub(super) type Said = Result<String, Errno>;

/// A line that is no operation. No call here answers this otherwise.
pub(super) const NONSENSE: Errno = Errno::BADMSG;

/// Does what `line` says on the tree at `root`.
pub(super) fn apply(line: &str, root: &Path, held: &mut Held) -> Said {
    let words: Vec<&str> = line.split(' ').collect();
    let at = |name: &str| root.join(if name == "." { "" } else { name });
    names::apply(&words, &at)
        .or_else(|| data::apply(&words, &at))
        .or_else(|| attributes::apply(&words, &at))
        .or_else(|| flags::apply(&words, &at))
        .or_else(|| questions::apply(&words, &at))
        .or_else(|| mapped::apply(&words, &at, held))
        .or_else(|| held::apply(&words, &at, &mut held.files))
        .unwrap_or(Err(NONSENSE))
}

/// Turns a path of a line into one of the tree.
type At<'a> = &'a dyn Fn(&str) -> PathBuf;

fn number<T: std::str::FromStr>(word: &str) -> Result<T, Errno> {
    word.parse().map_err(|_| NONSENSE)
}

/// Reads permission bits, octal.
fn mode(word: &str) -> Result<Mode, Errno> {
    let bits = u32::from_str_radix(word, 8).map_err(|_| NONSENSE)?;
    Ok(Mode::from_raw_mode(bits))
}

/// Reads an id, or `-` for none.
fn id(word: &str) -> Result<Option<u32>, Errno> {
    if word == "-" {
        return Ok(None);
    }
    number(word).map(Some)
}

fn done(result: Result<(), Errno>) -> Said {
    result.map(|()| "ok".to_owned())
}

/// Opens, and never waits for the other end of a FIFO. An append-only file is not opened to write elsewhere, which Mica
/// refuses at the change (D-19): one at the end it would take.
fn open(path: PathBuf, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let fd = rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NONBLOCK, mode)?;
    let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR) && !flags.contains(OFlags::APPEND);
    if writes && flags::protection(&fd).contains(IFlags::APPEND) {
        return Err(Errno::PERM);
    }
    Ok(fd)
}

/// Opens to change the data.
fn open_to_write(path: PathBuf) -> Result<OwnedFd, Errno> {
    let fd = open(path, OFlags::RDWR, Mode::empty())?;
    rustix::io::pwrite(&fd, b"w", 0)?;
    Ok(fd)
}

/// Takes setuid and setgid from a file that a FUSE server must take them from, whoever asks (D-5): the kernel leaves them
/// to root, and that would hide every other difference.
fn drop_privileges(fd: impl AsFd) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(&fd)?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if regular && stat.st_mode & 0o6000 != 0 {
        rustix::fs::fchmod(fd, Mode::from_raw_mode(stat.st_mode & 0o1777))?;
    }
    Ok(())
}

/// Writes data so that it fits a line.
fn show_data(data: &[u8]) -> String {
    data.escape_ascii().to_string()
}

/// Reads all of a small file; of a large one its length, its ends and the sum of its bytes.
fn show_file(fd: &OwnedFd) -> Said {
    let mut data = Vec::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        let offset = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let count = rustix::io::pread(fd, &mut buffer, offset)?;
        if count == 0 {
            break;
        }
        data.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    if data.len() <= 100 {
        return Ok(show_data(&data));
    }
    let sum: u64 = data.iter().map(|byte| u64::from(*byte)).sum();
    let (head, tail) = data.split_at(20);
    let tail = tail
        .get(tail.len().saturating_sub(20)..)
        .unwrap_or_default();
    Ok(format!(
        "{} bytes, {} ... {}, sum {sum}",
        data.len(),
        show_data(head),
        show_data(tail)
    ))
}
