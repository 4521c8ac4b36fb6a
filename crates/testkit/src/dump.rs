//! A whole tree as lines that can be compared and read.
//!
//! A dump of a filesystem and one of a directory of the host have the same form, so a mount and a model can be
//! compared. Reading a filesystem also checks it: what a listing tells of a name must be what stat tells, there is one
//! device number, and no reference is left behind.

mod host;
mod vfs;

pub use host::{dump_host, hash_tree};
pub use vfs::dump;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hasher as _};

use bitflags::bitflags;
use mica_vfs::{FileType, Rdev, Time};

/// Data up to this many bytes is shown, longer data is hashed.
const SHOWN_MAX: usize = 64;

bitflags! {
    /// What a dump tells beside path, type, mode, owner, size, data, xattrs, target and device.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Detail: u32 {
        /// Number of names, of all but directories.
        const NLINK = 1;
        /// Which paths are names of one inode.
        const LINKS = 2;
        /// Time of modification.
        const MTIME = 4;
        /// Time of access.
        const ATIME = 8;
        /// Time of change.
        const CTIME = 16;
        /// Inode numbers.
        const INO = 32;
        /// The data itself, for [`Object::raw`].
        const RAW = 64;
        /// All that a lower must keep. Not the time of access: reading may move it.
        const UNTOUCHED = 1 | 2 | 4 | 16 | 32;
    }
}

/// One object of a dump. What is `None` is not compared, but for `target` and `data`, which other types lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Type.
    pub kind: FileType,
    /// Permissions, 12 bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names.
    pub nlink: Option<u32>,
    /// The first path of the same inode; empty if this is it.
    pub same_as: Option<String>,
    /// Time of modification.
    pub mtime: Option<Time>,
    /// Time of access.
    pub atime: Option<Time>,
    /// Time of change.
    pub ctime: Option<Time>,
    /// Inode number.
    pub ino: Option<u64>,
    /// Size of a regular file.
    pub size: Option<u64>,
    /// The data of a regular file, shown or hashed.
    pub data: Option<String>,
    /// Target of a symbolic link.
    pub target: Option<Vec<u8>>,
    /// Device of a device node.
    pub rdev: Option<Rdev>,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// The data of a regular file, whole. Never compared.
    pub raw: Option<Vec<u8>>,
}

impl Object {
    /// Compares all but what one of the two leaves open.
    fn agrees(&self, other: &Self) -> bool {
        fn open<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        (self.kind, self.mode, self.uid, self.gid) == (other.kind, other.mode, other.uid, other.gid)
            && open(&self.nlink, &other.nlink)
            && open(&self.same_as, &other.same_as)
            && open(&self.mtime, &other.mtime)
            && open(&self.atime, &other.atime)
            && open(&self.ctime, &other.ctime)
            && open(&self.ino, &other.ino)
            && (self.size, self.rdev) == (other.size, other.rdev)
            && (&self.data, &self.target) == (&other.data, &other.target)
            && self.xattrs == other.xattrs
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            FileType::Regular => "file",
            FileType::Directory => "dir",
            FileType::Symlink => "link",
            FileType::CharDevice => "char",
            FileType::BlockDevice => "block",
            FileType::Fifo => "fifo",
            FileType::Socket => "socket",
        };
        write!(f, "{kind} {:04o} {}:{}", self.mode, self.uid, self.gid)?;
        if let Some(ino) = self.ino {
            write!(f, " ino={ino}")?;
        }
        if let Some(nlink) = self.nlink {
            write!(f, " nlink={nlink}")?;
        }
        if let Some(same) = self.same_as.as_ref().filter(|same| !same.is_empty()) {
            write!(f, " same-as={same}")?;
        }
        if let Some(rdev) = self.rdev {
            write!(f, " rdev={}:{}", rdev.major, rdev.minor)?;
        }
        if let (Some(size), Some(data)) = (self.size, &self.data) {
            write!(f, " size={size} {data}")?;
        }
        if let Some(target) = &self.target {
            write!(f, " -> {}", target.escape_ascii())?;
        }
        for (name, time) in [
            ("mtime", self.mtime),
            ("atime", self.atime),
            ("ctime", self.ctime),
        ] {
            if let Some(time) = time {
                write!(f, " {name}={}.{:09}", time.secs, time.nanos)?;
            }
        }
        for (name, value) in &self.xattrs {
            write!(f, " {name}='{}'", value.escape_ascii())?;
        }
        Ok(())
    }
}

/// A tree: its objects by path; the root is `""`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Dump(pub BTreeMap<String, Object>);

impl Dump {
    /// Returns the lines that differ, `-` of this one and `+` of `other`; `None` if there are none.
    #[must_use]
    pub fn diff(&self, other: &Self) -> Option<String> {
        let mut diff = String::new();
        let paths: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        for path in paths {
            let (a, b) = (self.0.get(path), other.0.get(path));
            if let (Some(a), Some(b)) = (a, b)
                && a.agrees(b)
            {
                continue;
            }
            for (sign, object) in [('-', a), ('+', b)] {
                if let Some(object) = object {
                    writeln!(diff, "{sign} /{path} {object}").unwrap();
                }
            }
        }
        (!diff.is_empty()).then_some(diff)
    }

    /// Leaves the root itself out: its attributes are the mount's, not the tree's.
    #[must_use]
    pub fn without_root(mut self) -> Self {
        self.0.remove("");
        self
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|(path, object)| writeln!(f, "/{path} {object}"))
    }
}

impl fmt::Debug for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

/// Checks that two trees are the same but for what one of them leaves open.
///
/// # Panics
///
/// If they are not, with the lines that differ.
#[track_caller]
pub fn assert_same(expected: &Dump, found: &Dump, what: &str) {
    if let Some(diff) = expected.diff(found) {
        panic!("{what}: the trees differ (- expected, + found)\n{diff}");
    }
}

/// Turns data into what a dump tells of it, block by block. A block of zeros tells the same as a hole.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    shown: Vec<u8>,
    hasher: DefaultHasher,
}

impl Summary {
    const BLOCK: usize = 4096;

    /// Adds the block at `offset`, a multiple of the block size.
    pub(crate) fn add(&mut self, offset: u64, block: &[u8]) {
        if offset == 0 {
            self.shown = block[..block.len().min(SHOWN_MAX + 1)].to_vec();
        }
        if block.iter().any(|&byte| byte != 0) {
            self.hasher.write_u64(offset);
            let len = block.iter().rposition(|&byte| byte != 0).unwrap_or(0) + 1;
            self.hasher.write(&block[..len]);
        }
    }

    /// Returns what a dump tells of data of `size` bytes.
    pub(crate) fn finish(mut self, size: u64) -> String {
        match usize::try_from(size) {
            Ok(size) if size <= SHOWN_MAX => {
                self.shown.resize(size, 0);
                format!("'{}'", self.shown.escape_ascii())
            }
            _ => format!("#{:016x}", self.hasher.finish()),
        }
    }

    /// Summarises data that is in memory.
    pub(crate) fn of(data: &[u8]) -> String {
        let mut summary = Self::default();
        for (number, block) in data.chunks(Self::BLOCK).enumerate() {
            summary.add((number * Self::BLOCK) as u64, block);
        }
        summary.finish(data.len() as u64)
    }
}

/// Notes for all inodes that have several paths which is the first.
#[derive(Debug, Default)]
struct FirstPaths(BTreeMap<u64, String>);

impl FirstPaths {
    fn note(&mut self, ino: u64, path: &str) {
        self.0.entry(ino).or_insert_with(|| path.to_owned());
    }

    /// Fills `same_as` of a dump whose objects still have their numbers, then drops what was not asked for.
    fn finish(&self, dump: &mut Dump, detail: Detail) {
        for (path, object) in &mut dump.0 {
            if let Some(first) = object.ino.and_then(|ino| self.0.get(&ino))
                && detail.contains(Detail::LINKS)
            {
                let other = if first == path { "" } else { first };
                object.same_as = Some(other.to_owned());
            }
            if !detail.contains(Detail::INO) {
                object.ino = None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
