//! The files of the run: what each is in its n-th version, and which versions a cut may show.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::fs::XattrFlags;

/// How many files there are.
pub(crate) const FILES: usize = 800;
/// Bytes of a block; each says which file, version and block it is.
const BLOCK: usize = 4096;
/// Bytes of a record of a log.
pub(crate) const RECORD: usize = 100;
/// Rights of what the run makes.
pub(crate) const NEW_MODE: u32 = 0o640;

/// What is done to a file. All but [`Kind::New`] begin as files of the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// chmod(2): the copy-up has nothing to follow but itself.
    Mode,
    /// setxattr(2).
    Attribute,
    /// Written over in place.
    Overwrite,
    /// A new file is written, synced and renamed over it.
    Replace,
    /// Records are appended.
    Log,
    /// Cut to half its length, once.
    Halve,
    /// Removed, once.
    Remove,
    /// Made, once.
    New,
}

/// The versions that a file may be in: 0 is the lower's.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Span {
    /// This one is on disk.
    pub(crate) durable: u32,
    /// This one was begun.
    pub(crate) started: u32,
}

/// Returns what is done to file `number`.
pub(crate) fn kind(number: usize) -> Kind {
    match number % 8 {
        0 => Kind::Mode,
        1 => Kind::Attribute,
        2 => Kind::Overwrite,
        3 => Kind::Replace,
        4 => Kind::Log,
        5 => Kind::Halve,
        6 => Kind::Remove,
        _ => Kind::New,
    }
}

fn dir_of(number: usize) -> String {
    format!("d{}/e{}", number % 40, number % 7)
}

/// Returns the path of a file from the root.
pub(crate) fn path(number: usize) -> PathBuf {
    PathBuf::from(dir_of(number)).join(format!("f{number}"))
}

fn blocks(number: usize) -> usize {
    number % 9 + 1
}

fn block(number: usize, version: u32, index: usize) -> Vec<u8> {
    let line = format!("file {number} version {version} block {index}\n");
    fill(&line, BLOCK)
}

/// Returns the content of a file in one version.
pub(crate) fn content(number: usize, version: u32) -> Vec<u8> {
    (0..blocks(number))
        .flat_map(|index| block(number, version, index))
        .collect()
}

/// Returns the n-th record of a log.
pub(crate) fn record(number: usize, version: u32) -> Vec<u8> {
    let line = format!("log {number} record {version}\n");
    fill(&line, RECORD)
}

/// Repeats a line up to so many bytes.
fn fill(line: &str, len: usize) -> Vec<u8> {
    let mut data = line.repeat(len / line.len() + 1).into_bytes();
    data.truncate(len);
    data
}

/// Returns the rights of a file whose rights are changed.
pub(crate) fn mode(number: usize, version: u32) -> u32 {
    let modes = [0o4711, 0o600, 0o755, 0o640, 0o1444, 0o700, 0o2711];
    let index = (number + usize::try_from(version).unwrap_or(0)) % modes.len();
    modes.get(index).copied().unwrap_or(0o644)
}

fn owner(number: usize) -> (u32, u32) {
    let number = u32::try_from(number).unwrap_or(0);
    (1000 + number % 5, 2000 + number % 3)
}

fn dir_mode(number: usize) -> u32 {
    if number.is_multiple_of(2) {
        0o751
    } else {
        0o1775
    }
}

/// Writes the lower.
pub(crate) fn write_lower(root: &Path) -> Result<()> {
    fs::create_dir(root)?;
    for number in 0..FILES {
        let dir = root.join(dir_of(number));
        fs::create_dir_all(&dir)?;
        if kind(number) == Kind::New {
            continue;
        }
        let path = root.join(path(number));
        let data = match kind(number) {
            Kind::Log => record(number, 0),
            _ => content(number, 0),
        };
        fs::write(&path, data)?;
        let (uid, gid) = owner(number);
        fchown(fs::File::open(&path)?, Some(uid), Some(gid))?;
        fs::set_permissions(&path, Permissions::from_mode(mode(number, 0)))?;
        let value = number.to_string();
        rustix::fs::setxattr(&path, "user.own", value.as_bytes(), XattrFlags::empty())?;
    }
    for number in 0..FILES {
        for dir in Path::new(&dir_of(number)).ancestors() {
            if dir.as_os_str().is_empty() {
                continue;
            }
            let (uid, gid) = dir_owner(dir);
            let path = root.join(dir);
            fchown(fs::File::open(&path)?, Some(uid), Some(gid))?;
            fs::set_permissions(
                &path,
                Permissions::from_mode(dir_mode(dir.as_os_str().len())),
            )?;
        }
    }
    Ok(())
}

fn dir_owner(dir: &Path) -> (u32, u32) {
    owner(dir.as_os_str().len())
}

/// What a reader sees of a file: its data, mode and owner; nothing if it is not there.
pub(crate) type Seen = Option<File>;

/// A file as a reader sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    data: Vec<u8>,
    mode: u32,
    owner: (u32, u32),
}

/// Reads all files.
pub(crate) fn look(root: &Path) -> Vec<Seen> {
    let read = |number| {
        let path = root.join(path(number));
        let meta = fs::symlink_metadata(&path).ok()?;
        let data = fs::read(&path).ok()?;
        Some(File {
            data,
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
        })
    };
    (0..FILES).map(read).collect()
}

/// Names what is neither old nor new in the tree at `root`, which [`look`] saw as `seen`.
pub(crate) fn check(root: &Path, lower: &Path, seen: &[Seen], spans: &[Span]) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, (span, seen)) in spans.iter().zip(seen).enumerate() {
        if let Err(fault) = check_file(root, number, seen.as_ref(), *span) {
            let path = path(number).display().to_string();
            faults.push(format!("{path} ({:?}, {span:?}): {fault}", kind(number)));
        }
    }
    for number in 0..280 {
        let dir = dir_of(number);
        let rights = |root: &Path| {
            fs::symlink_metadata(root.join(&dir)).map(|meta| (meta.mode(), meta.uid(), meta.gid()))
        };
        match (rights(root), rights(lower)) {
            (Ok(here), Ok(there)) if here == there => {}
            (here, there) => faults.push(format!("{dir}: {here:?}, and {there:?} in the lower")),
        }
    }
    faults
}

fn check_file(root: &Path, number: usize, seen: Option<&File>, span: Span) -> Result<(), String> {
    let path = root.join(path(number));
    let Some(file) = seen else {
        return match kind(number) {
            Kind::New if span.durable == 0 => Ok(()),
            Kind::Remove if span.started == 1 => Ok(()),
            _ => Err("it is gone, or cannot be read".into()),
        };
    };
    let data = &file.data;
    let full = content(number, 0);
    match kind(number) {
        Kind::Mode => {
            let mut versions = span.durable..=span.started;
            let bits = file.mode;
            if !versions.any(|version| mode(number, version) == bits) {
                return Err(format!("its mode is {bits:o}"));
            }
            same(data, &full)?;
            return of_lower(&path, file, number, None);
        }
        Kind::Attribute => {
            same(data, &full)?;
            check_attribute(&path, span)?;
        }
        Kind::Overwrite => {
            check_blocks(data, number, span)?;
        }
        Kind::Replace => {
            let version = one_version(data, number, span)?;
            if version > 0 {
                return of_run(file);
            }
        }
        Kind::Log => check_log(data, number, span)?,
        Kind::Halve => {
            let half = full.get(..full.len() / 2).unwrap_or_default();
            let (old, new) = (*data == full, data == half);
            if !(old && span.durable == 0 || new && span.started == 1) {
                return Err(describe(data, number));
            }
        }
        Kind::Remove => {
            if span.durable == 1 {
                return Err("it was removed, and is there again".into());
            }
            same(data, &full)?;
        }
        Kind::New => {
            of_run(file)?;
            if span.started == 0 {
                return Err("it is there before it was made".into());
            }
            // Without a sync a plain ext4 may keep the length alone.
            return match span.durable {
                0 => Ok(()),
                _ => same(data, &content(number, 1)),
            };
        }
    }
    of_lower(&path, file, number, Some(mode(number, 0)))
}

/// Owner, attributes and, unless the run changes it, the mode are the lower's.
fn of_lower(path: &Path, file: &File, number: usize, mode: Option<u32>) -> Result<(), String> {
    let found = file.owner;
    if found != owner(number) {
        return Err(format!("its owner is {found:?}"));
    }
    let bits = file.mode;
    // Whoever writes as root leaves setuid and setgid.
    if mode.is_some_and(|mode| mode != bits) {
        return Err(format!("its mode is {bits:o}"));
    }
    let mut value = [0; 32];
    let len = rustix::fs::getxattr(path, "user.own", &mut value)
        .map_err(|errno| format!("its attribute: {errno}"))?;
    if value.get(..len) != Some(number.to_string().as_bytes()) {
        return Err("its attribute has another value".into());
    }
    Ok(())
}

fn of_run(file: &File) -> Result<(), String> {
    if (file.mode, file.owner) == (NEW_MODE, (0, 0)) {
        return Ok(());
    }
    Err(format!(
        "mode and owner are {:o} and {:?}",
        file.mode, file.owner
    ))
}

fn same(data: &[u8], expected: &[u8]) -> Result<(), String> {
    if data == expected {
        return Ok(());
    }
    Err(format!(
        "{} bytes of {}, {} of them zero",
        data.len(),
        expected.len(),
        data.iter().filter(|byte| **byte == 0).count()
    ))
}

fn describe(data: &[u8], number: usize) -> String {
    let zeros = data.iter().filter(|byte| **byte == 0).count();
    format!(
        "{} bytes of {}, {zeros} of them zero",
        data.len(),
        content(number, 0).len()
    )
}

fn check_attribute(path: &Path, span: Span) -> Result<(), String> {
    let mut value = [0; 32];
    let found = match rustix::fs::getxattr(path, "user.version", &mut value) {
        Ok(len) => {
            let text = String::from_utf8_lossy(value.get(..len).unwrap_or_default()).into_owned();
            text.parse()
                .map_err(|_| format!("its version is `{text}`"))?
        }
        Err(rustix::io::Errno::NODATA) => 0,
        Err(errno) => return Err(errno.to_string()),
    };
    if (span.durable..=span.started).contains(&found) {
        return Ok(());
    }
    Err(format!("its version is {found}"))
}

/// Each block is of some version that it may be of.
fn check_blocks(data: &[u8], number: usize, span: Span) -> Result<(), String> {
    if data.len() != blocks(number) * BLOCK {
        return Err(describe(data, number));
    }
    for (index, found) in data.chunks(BLOCK).enumerate() {
        let mut versions = span.durable..=span.started;
        if !versions.any(|version| block(number, version, index) == found) {
            let head = found.get(..40).unwrap_or_default().escape_ascii();
            return Err(format!("block {index} begins with `{head}`"));
        }
    }
    Ok(())
}

/// The whole file is of one version that it may be of.
fn one_version(data: &[u8], number: usize, span: Span) -> Result<u32, String> {
    (span.durable..=span.started)
        .find(|version| content(number, *version) == data)
        .ok_or_else(|| describe(data, number))
}

/// Every record that was synced is there. Of what was appended after that a plain ext4 may keep the length alone.
fn check_log(data: &[u8], number: usize, span: Span) -> Result<(), String> {
    let expected = |last| -> Vec<u8> {
        (0..=last)
            .flat_map(|version| record(number, version))
            .collect()
    };
    let (least, most) = (expected(span.durable), expected(span.started));
    if data.starts_with(&least) && data.len() <= most.len() {
        return Ok(());
    }
    let zeros = data.iter().filter(|byte| **byte == 0).count();
    Err(format!(
        "{} bytes, {} were synced; {zeros} are zero",
        data.len(),
        least.len()
    ))
}
