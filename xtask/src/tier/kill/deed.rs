//! What a worker does: one system call that changes the tree, so that it happened, did not, or wrote a part.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps,
    Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::rng::Rng;

/// One change.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Create(String, u32),
    Write(String, u64, Data),
    Append(String, Data),
    OpenTruncate(String),
    Truncate(String, u64),
    Allocate(String, FallocateFlags),
    /// A file without a name is made, filled, and gets this name.
    TmpfileLink(String, String, Data),
    Mkdir(String, u32),
    Rmdir(String),
    Unlink(String),
    Symlink(String, String),
    Fifo(String),
    Link(String, String),
    Rename(String, String, RenameFlags),
    Chmod(String, u32),
    Chown(String, u32, u32),
    Utimens(String, i64),
    Setxattr(String, &'static str, Data),
    Removexattr(String, &'static str),
}

/// Bytes that say which write they are of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Data {
    seed: u64,
    len: usize,
}

impl Data {
    /// Returns `len` bytes that `seed` tells from others.
    pub(crate) fn new(seed: u64, len: usize) -> Self {
        Self { seed, len }
    }

    /// Returns the bytes.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut rng = Rng::new(self.seed);
        let words = self.len.div_ceil(8);
        let mut bytes: Vec<u8> = (0..words).flat_map(|_| rng.next().to_le_bytes()).collect();
        bytes.truncate(self.len);
        bytes
    }
}

/// What a successful deed did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Whole,
    /// A write that took this many bytes only.
    Part(usize),
}

const DIRS: &[&str] = &["", "d0/", "d1/", "d2/", "d2/sub/", "new/", "d0/new/"];
const LEAVES: &[&str] = &["a", "b", "c", "e", "f", "g", "big", "l", "p", "x", "y"];
const DIR_NAMES: &[&str] = &[
    "d0", "d1", "d2", "d2/sub", "new", "d0/new", "empty", "d1/empty",
];
const ATTRS: &[&str] = &["user.note", "trusted.note"];
const BITS: &[u32] = &[0o644, 0o600, 0o755, 0o4755, 0o2755, 0o1777];

fn file(rng: &mut Rng) -> String {
    format!("{}{}", rng.pick(DIRS, ""), rng.pick(LEAVES, "a"))
}

fn dir(rng: &mut Rng) -> String {
    rng.pick(DIR_NAMES, "new").to_owned()
}

fn data(rng: &mut Rng, lens: &[usize]) -> Data {
    Data::new(rng.next(), rng.pick(lens, 10))
}

impl Deed {
    /// Draws one.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        match rng.below(3) {
            0 => Self::draw_data(rng),
            1 => Self::draw_name(rng),
            _ => Self::draw_attribute(rng),
        }
    }

    fn draw_data(rng: &mut Rng) -> Self {
        // More than one message takes more than 1 MiB.
        let long = if rng.one_in(8) { 1_200_000 } else { 70_000 };
        let lens = &[10, 5000, long];
        let offset = rng.pick(&[0, 3, 5000, 1 << 17], 0);
        match rng.below(10) {
            0 => Self::Create(file(rng), rng.pick(BITS, 0o644)),
            1..=3 => Self::Write(file(rng), offset, data(rng, lens)),
            4 | 5 => Self::Append(file(rng), data(rng, lens)),
            6 => Self::OpenTruncate(file(rng)),
            7 => Self::Truncate(file(rng), rng.pick(&[0, 2, 9000, 100_000], 0)),
            8 if rng.one_in(2) => Self::Allocate(file(rng), FallocateFlags::empty()),
            8 => {
                let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                Self::Allocate(file(rng), punch)
            }
            _ => Self::TmpfileLink(dir(rng), file(rng), data(rng, &[10, 5000])),
        }
    }

    fn draw_name(rng: &mut Rng) -> Self {
        match rng.below(14) {
            0 => Self::Mkdir(dir(rng), rng.pick(BITS, 0o755)),
            1 => Self::Mkdir(file(rng), rng.pick(BITS, 0o755)),
            2 => Self::Rmdir(dir(rng)),
            3 => Self::Rmdir(file(rng)),
            4 | 5 => Self::Unlink(file(rng)),
            6 => Self::Symlink(file(rng), file(rng)),
            7 => Self::Fifo(file(rng)),
            8 => Self::Link(file(rng), file(rng)),
            9 | 10 => Self::Rename(file(rng), file(rng), RenameFlags::empty()),
            11 => Self::Rename(file(rng), file(rng), RenameFlags::EXCHANGE),
            12 => Self::Rename(dir(rng), dir(rng), RenameFlags::empty()),
            _ => Self::Rename(file(rng), file(rng), RenameFlags::NOREPLACE),
        }
    }

    fn draw_attribute(rng: &mut Rng) -> Self {
        let name = if rng.one_in(4) { dir(rng) } else { file(rng) };
        let attr = rng.pick(ATTRS, "user.note");
        let owner = |rng: &mut Rng| rng.pick(&[0, 1000, 33], 0);
        match rng.below(6) {
            0 | 1 => Self::Chmod(name, rng.pick(BITS, 0o644)),
            2 => Self::Chown(name, owner(rng), owner(rng)),
            3 => Self::Utimens(name, 1_200_000_000),
            4 => Self::Setxattr(name, attr, data(rng, &[0, 10, 1000])),
            _ => Self::Removexattr(name, attr),
        }
    }

    /// Does it in the tree of a plain filesystem, with what an overlay over FUSE does beside it.
    pub(crate) fn apply_to_shadow(&self, root: &Path) -> Result<Done, Errno> {
        self.drop_privileges(root)?;
        self.apply(root)
    }

    /// Takes setuid and setgid from a file that is about to be allocated: whoever asks, over FUSE they go (OVL-43), and they
    /// go first.
    pub(crate) fn drop_privileges(&self, root: &Path) -> Result<(), Errno> {
        let Self::Allocate(name, _) = self else {
            return Ok(());
        };
        let fd = open(root.join(name), OFlags::RDWR, 0)?;
        let stat = rustix::fs::fstat(&fd)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if regular && stat.st_mode & 0o6000 != 0 {
            rustix::fs::fchmod(fd, mode(stat.st_mode & 0o1777))?;
        }
        Ok(())
    }

    /// Does it in the tree at `root`.
    pub(crate) fn apply(&self, root: &Path) -> Result<Done, Errno> {
        match self {
            Self::Create(..)
            | Self::Write(..)
            | Self::Append(..)
            | Self::OpenTruncate(_)
            | Self::Truncate(..)
            | Self::Allocate(..)
            | Self::TmpfileLink(..) => self.apply_to_data(root),
            _ => self.apply_to_name(root).map(|()| Done::Whole),
        }
    }

    fn apply_to_data(&self, root: &Path) -> Result<Done, Errno> {
        let at = |name: &str| root.join(name);
        match self {
            Self::Create(name, bits) => {
                open(
                    at(name),
                    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY,
                    *bits,
                )?;
            }
            Self::Write(name, offset, data) => {
                let fd = open(at(name), OFlags::WRONLY, 0)?;
                let count = rustix::io::pwrite(&fd, &data.bytes(), *offset)?;
                return Ok(part(count, data.len));
            }
            Self::Append(name, data) => {
                let fd = open(at(name), OFlags::WRONLY | OFlags::APPEND, 0)?;
                let count = rustix::io::write(&fd, &data.bytes())?;
                return Ok(part(count, data.len));
            }
            Self::OpenTruncate(name) => {
                open(at(name), OFlags::WRONLY | OFlags::TRUNC, 0)?;
            }
            Self::Truncate(name, len) => {
                rustix::fs::ftruncate(open(at(name), OFlags::WRONLY, 0)?, *len)?;
            }
            Self::Allocate(name, flags) => {
                let fd = open(at(name), OFlags::RDWR, 0)?;
                rustix::fs::fallocate(&fd, *flags, 0, 8192)?;
            }
            Self::TmpfileLink(dir, name, data) => {
                let fd = open(at(dir), OFlags::TMPFILE | OFlags::RDWR, 0o640)?;
                rustix::io::write(&fd, &data.bytes())?;
                let proc = format!("/proc/self/fd/{}", fd.as_raw_fd());
                rustix::fs::linkat(CWD, proc, CWD, at(name), AtFlags::SYMLINK_FOLLOW)?;
            }
            _ => return Err(Errno::NOSYS),
        }
        Ok(Done::Whole)
    }

    fn apply_to_name(&self, root: &Path) -> Result<(), Errno> {
        let at = |name: &str| root.join(name);
        let no_follow = AtFlags::SYMLINK_NOFOLLOW;
        match self {
            Self::Mkdir(name, bits) => rustix::fs::mkdir(at(name), mode(*bits)),
            Self::Rmdir(name) => rustix::fs::rmdir(at(name)),
            Self::Unlink(name) => rustix::fs::unlink(at(name)),
            Self::Symlink(target, name) => rustix::fs::symlink(target.as_str(), at(name)),
            Self::Fifo(name) => rustix::fs::mknodat(CWD, at(name), FileType::Fifo, mode(0o640), 0),
            Self::Link(from, to) => rustix::fs::link(at(from), at(to)),
            Self::Rename(from, to, flags) => {
                rustix::fs::renameat_with(CWD, at(from), CWD, at(to), *flags)
            }
            // A symbolic link would lead out of the worker's tree, or into a name of another type.
            Self::Chmod(name, bits) => {
                let fd = open(at(name), OFlags::RDONLY | OFlags::NOFOLLOW, 0)?;
                rustix::fs::fchmod(fd, mode(*bits))
            }
            Self::Chown(name, uid, gid) => {
                let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
                rustix::fs::chownat(CWD, at(name), Some(uid), Some(gid), no_follow)
            }
            Self::Utimens(name, seconds) => {
                let time = Timespec {
                    tv_sec: *seconds,
                    tv_nsec: 5,
                };
                let times = Timestamps {
                    last_access: time,
                    last_modification: time,
                };
                rustix::fs::utimensat(CWD, at(name), &times, no_follow)
            }
            Self::Setxattr(name, attr, data) => {
                rustix::fs::lsetxattr(at(name), *attr, &data.bytes(), XattrFlags::empty())
            }
            Self::Removexattr(name, attr) => rustix::fs::lremovexattr(at(name), *attr),
            _ => Err(Errno::NOSYS),
        }
    }

    /// Returns the file, the offset and the bytes of a write, given the tree before it.
    pub(crate) fn as_write(&self, before: &Path) -> Option<(String, u64, Vec<u8>)> {
        match self {
            Self::Write(name, offset, data) => Some((name.clone(), *offset, data.bytes())),
            Self::Append(name, data) => {
                let len = std::fs::metadata(before.join(name)).ok()?.len();
                Some((name.clone(), len, data.bytes()))
            }
            _ => None,
        }
    }
}

fn part(count: usize, len: usize) -> Done {
    if count == len {
        Done::Whole
    } else {
        Done::Part(count)
    }
}

fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits)
}

fn open(path: PathBuf, flags: OFlags, bits: u32) -> Result<OwnedFd, Errno> {
    // A FIFO must not block the worker.
    rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NONBLOCK, mode(bits))
}
