//! A tree as plain data: what is compared when two trees must be the same.
//!
//! A dump is read by system calls only and knows nothing of overlays; what may differ between two trees is said
//! by [`Lens`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::Metadata;
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::IFlags;

/// All objects of a tree by their path from its root, which itself is the empty path.
pub(crate) type Dump = BTreeMap<PathBuf, Node>;

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) nlink: u64,
    pub(crate) size: u64,
    pub(crate) rdev: u64,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, i64),
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    /// The number that the directory listing gave.
    pub(crate) listed_ino: u64,
    /// The target of a link; a hash of the content of a file.
    pub(crate) body: String,
    pub(crate) xattrs: BTreeMap<String, String>,
    /// Those flags of chattr(1) that an overlay keeps.
    pub(crate) flags: String,
}

impl Node {
    /// Returns what stands for an object that cannot be read.
    fn unreadable(error: &anyhow::Error) -> Self {
        Self {
            kind: '!',
            mode: 0,
            owner: (0, 0),
            nlink: 0,
            size: 0,
            rdev: 0,
            mtime: (0, 0),
            dev: 0,
            ino: 0,
            listed_ino: 0,
            // The system's words without the path, which is another one on each side.
            body: error.root_cause().to_string(),
            xattrs: BTreeMap::new(),
            flags: String::new(),
        }
    }

    /// Says whether this is a whiteout in the form of a device.
    pub(crate) fn is_whiteout(&self) -> bool {
        self.kind == 'c' && self.rdev == 0
    }
}

/// What counts when two dumps are compared.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lens {
    /// Times from this second on are all "now"; 0: times count to the nanosecond.
    pub(crate) now: i64,
    /// The trees are uppers on disk: whiteouts may share an inode, in any way (D-12).
    pub(crate) upper: bool,
}

/// Returns the second that it is, for a [`Lens`].
pub(crate) fn now() -> Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_secs())?)
}

/// Fails if there are `lines` of a comparison of `what`, and shows the first ones.
pub(crate) fn expect_none(what: &str, lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let shown: Vec<_> = lines.iter().take(80).map(String::as_str).collect();
    bail!(
        "{what}: {} differences:\n  {}",
        lines.len(),
        shown.join("\n  ")
    )
}

/// What becomes of an object that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Faults {
    /// The dump fails.
    Fail,
    /// It is part of the dump, as what was answered.
    Shown,
}

/// Reads the tree under `root`.
pub(crate) fn read(root: &Path) -> Result<Dump> {
    read_with(root, Faults::Fail)
}

/// The same of a tree whose numbers can be relied on.
///
/// # Errors
///
/// If a listing has another number than the object, or an object lies on another device than the root.
pub(crate) fn read_numbered(root: &Path) -> Result<Dump> {
    let dump = read(root)?;
    let faults = check_numbers(&dump);
    ensure!(
        faults.is_empty(),
        "inode numbers:\n  {}",
        faults.join("\n  ")
    );
    Ok(dump)
}

/// Reads as [`read`] does; `faults` says what becomes of objects that cannot be read.
pub(crate) fn read_with(root: &Path, faults: Faults) -> Result<Dump> {
    let mut dump = Dump::new();
    let meta = std::fs::symlink_metadata(root).with_context(|| failed("stat", root))?;
    dump.insert(PathBuf::new(), node(root, &meta, meta.ino())?);
    if meta.is_dir() {
        read_below(root, Path::new(""), faults, &mut dump)?;
    }
    Ok(dump)
}

fn read_below(root: &Path, dir: &Path, faults: Faults, dump: &mut Dump) -> Result<()> {
    let full = root.join(dir);
    for entry in std::fs::read_dir(&full).with_context(|| failed("list", &full))? {
        let entry = entry.with_context(|| failed("list", &full))?;
        let path = dir.join(entry.file_name());
        let read = entry
            .metadata()
            .with_context(|| failed("stat", &entry.path()))
            .and_then(|meta| node(&entry.path(), &meta, entry.ino()));
        let node = match read {
            Err(error) if faults == Faults::Shown => Node::unreadable(&error),
            other => other?,
        };
        let is_dir = node.kind == 'd';
        dump.insert(path.clone(), node);
        if is_dir {
            read_below(root, &path, faults, dump)?;
        }
    }
    Ok(())
}

fn node(path: &Path, meta: &Metadata, listed_ino: u64) -> Result<Node> {
    let kind = kind(meta);
    let body = match kind {
        'f' => hash(path)?,
        'l' => std::fs::read_link(path)
            .with_context(|| failed("readlink", path))?
            .to_string_lossy()
            .into_owned(),
        _ => String::new(),
    };
    Ok(Node {
        kind,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        nlink: meta.nlink(),
        size: if matches!(kind, 'f' | 'l') {
            meta.len()
        } else {
            0
        },
        rdev: if matches!(kind, 'c' | 'b') {
            meta.rdev()
        } else {
            0
        },
        mtime: (meta.mtime(), meta.mtime_nsec()),
        dev: meta.dev(),
        ino: meta.ino(),
        listed_ino,
        body,
        xattrs: xattrs(path)?,
        flags: flags(path, kind)?,
    })
}

/// The flags that an overlay keeps, by their letters in chattr(1).
pub(crate) const FLAGS: [(char, IFlags); 5] = [
    ('a', IFlags::APPEND),
    ('i', IFlags::IMMUTABLE),
    ('d', IFlags::NODUMP),
    ('A', IFlags::NOATIME),
    ('S', IFlags::SYNC),
];

/// Those of them that keep an object from being changed or removed.
pub(crate) const PROTECTING: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);

/// Returns the letters of those flags that are set.
pub(crate) fn letters(flags: IFlags) -> String {
    let set = FLAGS.iter().filter(|(_, flag)| flags.contains(*flag));
    set.map(|(letter, _)| letter).collect()
}

/// Returns the flag of a letter.
pub(crate) fn flag(letter: char) -> Option<IFlags> {
    let known = FLAGS.iter().find(|(known, _)| *known == letter);
    known.map(|(_, flag)| *flag)
}

fn flags(path: &Path, kind: char) -> Result<String> {
    if !matches!(kind, 'f' | 'd') {
        return Ok(String::new());
    }
    let file = std::fs::File::open(path).with_context(|| failed("open", path))?;
    // Not every filesystem has flags.
    let flags = rustix::fs::ioctl_getflags(&file).unwrap_or(IFlags::empty());
    Ok(letters(flags))
}

fn kind(meta: &Metadata) -> char {
    let kind = meta.file_type();
    if kind.is_dir() {
        'd'
    } else if kind.is_symlink() {
        'l'
    } else if kind.is_fifo() {
        'p'
    } else if kind.is_socket() {
        's'
    } else if kind.is_char_device() {
        'c'
    } else if kind.is_block_device() {
        'b'
    } else {
        'f'
    }
}

fn hash(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).with_context(|| failed("open", path))?;
    let mut hasher = DefaultHasher::new();
    let mut buffer = [0; 1 << 13];
    loop {
        let count = file
            .read(&mut buffer)
            .with_context(|| failed("read", path))?;
        let Some(data) = buffer.get(..count).filter(|data| !data.is_empty()) else {
            break;
        };
        hasher.write(data);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn xattrs(path: &Path) -> Result<BTreeMap<String, String>> {
    // Most objects have a few short attributes, or none.
    let mut names = vec![0; 1 << 10];
    let mut listed = rustix::fs::llistxattr(path, &mut names);
    if listed == Err(rustix::io::Errno::RANGE) {
        names = vec![0; 1 << 16];
        listed = rustix::fs::llistxattr(path, &mut names);
    }
    let count = match listed {
        Ok(count) => count,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(errno) => return Err(errno).with_context(|| failed("listxattr", path)),
    };
    let mut all = BTreeMap::new();
    if count == 0 {
        return Ok(all);
    }
    let mut value = vec![0; 1 << 16];
    for name in names
        .get(..count)
        .unwrap_or_default()
        .split(|b| *b == 0)
        .filter(|n| !n.is_empty())
    {
        let count = rustix::fs::lgetxattr(path, name, &mut value)
            .with_context(|| failed(&format!("getxattr {}", name.escape_ascii()), path))?;
        let value = value
            .get(..count)
            .unwrap_or_default()
            .escape_ascii()
            .to_string();
        all.insert(name.escape_ascii().to_string(), value);
    }
    Ok(all)
}

fn failed(call: &str, path: &Path) -> String {
    format!("{call} {} failed", path.display())
}

/// Names every difference between two trees, one line each.
pub(crate) fn compare(
    a: &Dump,
    b: &Dump,
    (a_name, b_name): (&str, &str),
    lens: Lens,
) -> Vec<String> {
    let mut lines = Vec::new();
    let paths: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
    for path in paths {
        let shown = if path.as_os_str().is_empty() {
            Path::new("/")
        } else {
            path.as_path()
        };
        let shown = shown.as_os_str().as_bytes().escape_ascii();
        match (a.get(path), b.get(path)) {
            (Some(x), Some(y)) => {
                let (x, y) = (describe(x, lens), describe(y, lens));
                for (field, (left, right)) in FIELDS.iter().zip(x.iter().zip(&y)) {
                    if left != right {
                        lines.push(format!(
                            "{shown}: {field} is {left} on {a_name}, {right} on {b_name}"
                        ));
                    }
                }
            }
            (Some(x), None) => lines.push(format!("{shown}: '{}' on {a_name} only", x.kind)),
            (None, Some(y)) => lines.push(format!("{shown}: '{}' on {b_name} only", y.kind)),
            (None, None) => {}
        }
    }
    lines
}

const FIELDS: [&str; 9] = [
    "type", "mode", "owner", "nlink", "size", "device", "mtime", "flags", "content",
];

/// Writes what the lens lets through, in the order of [`FIELDS`]; the xattrs come with the content.
fn describe(node: &Node, lens: Lens) -> [String; FIELDS.len()] {
    let whiteout = node.is_whiteout();
    let mtime = if lens.now != 0 && node.mtime.0 >= lens.now {
        "now".to_owned()
    } else {
        format!("{}.{:09}", node.mtime.0, node.mtime.1)
    };
    let mut body = node.body.clone();
    for (name, value) in &node.xattrs {
        // D-14: the kernel draws a uuid for its fsid at the first mount of an upper, and any reader may do without.
        if lens.upper && name.ends_with(".overlay.uuid") {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = write!(body, " {name}={value}");
    }
    let masked = |text: String| {
        if lens.upper && whiteout {
            "*".to_owned()
        } else {
            text
        }
    };
    [
        node.kind.to_string(),
        masked(format!("{:04o}", node.mode)),
        format!("{}:{}", node.owner.0, node.owner.1),
        masked(node.nlink.to_string()),
        node.size.to_string(),
        format!("{:x}", node.rdev),
        masked(mtime),
        node.flags.clone(),
        body,
    ]
}

/// Names every object whose listed inode number is not its own, or that lies on another device than the root.
pub(crate) fn check_numbers(dump: &Dump) -> Vec<String> {
    let device = dump.get(Path::new("")).map(|root| root.dev);
    let mut lines = Vec::new();
    for (path, node) in dump {
        if node.listed_ino != node.ino {
            lines.push(format!(
                "{}: d_ino {} but st_ino {}",
                path.display(),
                node.listed_ino,
                node.ino
            ));
        }
        if node.kind != '!' && Some(node.dev) != device {
            lines.push(format!(
                "{}: st_dev {:x} differs from the root's",
                path.display(),
                node.dev
            ));
        }
    }
    lines
}

/// Writes a dump, one object a line.
pub(crate) fn render(dump: &Dump) -> String {
    let mut text = String::new();
    for (path, node) in dump {
        let fields = describe(node, Lens::default()).join("\t");
        let _ = writeln!(
            text,
            "{}\t{fields}",
            path.as_os_str().as_bytes().escape_ascii()
        );
    }
    text
}

/// Takes from a dump what an overlay counts otherwise (OVL-33), and what its own work in a directory leaves there.
pub(crate) fn plain(dump: &mut Dump) {
    for node in dump.values_mut().filter(|node| node.kind == 'd') {
        node.nlink = 0;
        node.mtime = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Lens, check_numbers, compare, read};

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/f"), "one").unwrap();
        std::os::unix::fs::symlink("f", dir.path().join("d/l")).unwrap();
        dir
    }

    #[test]
    fn a_tree_equals_itself() {
        let dir = tree();
        let dump = read(dir.path()).unwrap();
        assert_eq!(dump.len(), 4);
        assert!(compare(&dump, &dump, ("a", "b"), Lens::default()).is_empty());
        assert!(check_numbers(&dump).is_empty());
    }

    #[test]
    fn changed_content_and_missing_names_are_differences() {
        let dir = tree();
        let before = read(dir.path()).unwrap();
        std::fs::write(dir.path().join("d/f"), "two").unwrap();
        std::fs::remove_file(dir.path().join("d/l")).unwrap();
        let after = read(dir.path()).unwrap();
        let lens = Lens {
            now: 1,
            upper: false,
        };
        let lines = compare(&before, &after, ("a", "b"), lens);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("d/f: content")));
        assert!(lines.iter().any(|line| line == "d/l: 'l' on a only"));
        assert!(before.contains_key(Path::new("d/l")));
    }
}
