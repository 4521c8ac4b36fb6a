//! Random operations.

use std::fmt;

use mica_testkit::{Model, Walk};
use mica_vfs::{Errno, FileType, Rdev, RenameFlags, Time, XattrMode};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::layers::name;

/// An operation as it is drawn: it picks its objects from what the model has at that moment.
#[derive(Clone)]
pub(crate) struct Step {
    kind: Kind,
    object: Index,
    other: Index,
    dir: Index,
    name: String,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Create(u32),
    Mkdir(u32),
    Mknod(FileType, u32),
    Symlink,
    Link,
    Unlink,
    Rmdir,
    RemoveAll,
    Rename(RenameFlags),
    /// A rename onto an object that exists.
    RenameOver(RenameFlags),
    Write(u16, u16),
    Truncate(u16),
    Chmod(u32),
    Chown(u32),
    Utimens(i64),
    SetXattr(&'static str, XattrMode),
    RemoveXattr(&'static str),
    Remount,
}

/// An operation on paths.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create(String, u32),
    Mkdir(String, u32),
    Mknod(String, FileType, Rdev),
    Symlink(String),
    Link(String, String),
    Unlink(String),
    Rmdir(String),
    Rename(String, String, RenameFlags),
    Write(String, u16, u16),
    Truncate(String, u16),
    Chmod(String, u32),
    Chown(String, u32),
    Utimens(String, i64),
    SetXattr(String, &'static str, XattrMode),
    RemoveXattr(String, &'static str),
    Remount,
}

const XATTRS: [&str; 5] = [
    "user.k",
    "trusted.k",
    "security.capability",
    "trusted.overlay.opaque",
    "nowhere.k",
];

fn mode() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0o644, 0o666, 0o755, 0o777, 0o4755, 0o2775, 0o6711])
}

fn flags() -> impl Strategy<Value = RenameFlags> {
    prop_oneof![
        6 => Just(RenameFlags::empty()),
        2 => Just(RenameFlags::NOREPLACE),
        3 => Just(RenameFlags::EXCHANGE),
        1 => Just(RenameFlags::WHITEOUT),
        1 => Just(RenameFlags::EXCHANGE | RenameFlags::NOREPLACE),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    let types = prop::sample::select(vec![
        FileType::Fifo,
        FileType::Socket,
        FileType::CharDevice,
        FileType::Regular,
    ]);
    let xattr_mode =
        prop::sample::select(vec![XattrMode::Set, XattrMode::Create, XattrMode::Replace]);
    let xattr = prop::sample::select(XATTRS.to_vec());
    prop_oneof![
        4 => mode().prop_map(Kind::Create),
        4 => mode().prop_map(Kind::Mkdir),
        1 => (types, 0..2u32).prop_map(|(kind, minor)| Kind::Mknod(kind, minor)),
        1 => Just(Kind::Symlink),
        3 => Just(Kind::Link),
        5 => Just(Kind::Unlink),
        4 => Just(Kind::Rmdir),
        1 => Just(Kind::RemoveAll),
        5 => flags().prop_map(Kind::Rename),
        5 => flags().prop_map(Kind::RenameOver),
        4 => (0..9000u16, 0..6000u16).prop_map(|(at, len)| Kind::Write(at, len)),
        2 => (0..9000u16).prop_map(Kind::Truncate),
        2 => mode().prop_map(Kind::Chmod),
        2 => (0..4u32).prop_map(Kind::Chown),
        1 => (0..100i64).prop_map(Kind::Utimens),
        3 => (xattr.clone(), xattr_mode).prop_map(|(name, mode)| Kind::SetXattr(name, mode)),
        2 => xattr.prop_map(Kind::RemoveXattr),
        2 => Just(Kind::Remount),
    ]
}

/// Draws an operation.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    (
        kind(),
        any::<Index>(),
        any::<Index>(),
        any::<Index>(),
        name(),
    )
        .prop_map(|(kind, object, other, dir, name)| Step {
            kind,
            object,
            other,
            dir,
            name,
        })
}

impl fmt::Debug for Step {
    /// Short: what was picked is in the log of the run.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl Step {
    /// Picks the objects from `model`. A removal of all is one operation for each object, the deepest first.
    pub(crate) fn pick(&self, model: &Model) -> Vec<Op> {
        let paths = model.paths();
        let pick = |index: &Index| match paths.len() {
            0 => self.name.clone(),
            _ => index.get(&paths).clone(),
        };
        let object = pick(&self.object);
        let new = self.new_path(model, &paths);
        vec![match self.kind {
            Kind::Create(mode) => Op::Create(new, mode),
            Kind::Mkdir(mode) => Op::Mkdir(new, mode),
            Kind::Mknod(kind, minor) => {
                // Device 0:0 is a whiteout of another overlay.
                let major = minor;
                Op::Mknod(new, kind, Rdev { major, minor })
            }
            Kind::Symlink => Op::Symlink(new),
            Kind::Link => Op::Link(object, new),
            Kind::Unlink => Op::Unlink(object),
            Kind::Rmdir => Op::Rmdir(object),
            Kind::RemoveAll => return remove_all(&object, &paths, model),
            Kind::Rename(flags) => Op::Rename(object, new, flags),
            Kind::RenameOver(flags) => Op::Rename(object, pick(&self.other), flags),
            Kind::Write(at, len) => Op::Write(object, at, len),
            Kind::Truncate(size) => Op::Truncate(object, size),
            Kind::Chmod(mode) => Op::Chmod(object, mode),
            Kind::Chown(owner) => Op::Chown(object, owner),
            Kind::Utimens(time) => Op::Utimens(object, time),
            Kind::SetXattr(name, mode) => Op::SetXattr(object, name, mode),
            Kind::RemoveXattr(name) => Op::RemoveXattr(object, name),
            Kind::Remount => Op::Remount,
        }]
    }

    /// A path in a directory; now and then in something that is none.
    fn new_path(&self, model: &Model, paths: &[String]) -> String {
        let dirs = model.dirs();
        let strange = self.dir.index(16) == 0 && !paths.is_empty();
        let dir = if strange {
            self.other.get(paths)
        } else {
            self.dir.get(&dirs)
        };
        match dir.as_str() {
            "" => self.name.clone(),
            dir => format!("{dir}/{}", self.name),
        }
    }
}

fn remove_all(object: &str, paths: &[String], model: &Model) -> Vec<Op> {
    let dirs = model.dirs();
    let inside = format!("{object}/");
    let all = paths
        .iter()
        .filter(|path| *path == object || path.starts_with(&inside));
    let remove = |path: &String| match dirs.contains(path) {
        true => Op::Rmdir(path.clone()),
        false => Op::Unlink(path.clone()),
    };
    all.rev().map(remove).collect()
}

/// What a write of `len` bytes at `at` writes.
fn data(at: u16, len: u16) -> Vec<u8> {
    let seed = at.to_le_bytes()[0];
    (0..len)
        .map(|n| n.to_le_bytes()[0].wrapping_add(seed))
        .collect()
}

/// What an attribute is set to. The kernel takes only a valid capability (`vfs_cap_data`, revision 2).
fn value(name: &str) -> &'static [u8] {
    match name {
        "security.capability" => b"\0\0\0\x02\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        _ => b"set",
    }
}

fn time(secs: i64) -> Time {
    Time { secs, nanos: 123 }
}

impl Op {
    /// The path that may lose its object.
    pub(crate) fn victim(&self) -> Option<&str> {
        match self {
            Self::Unlink(path) | Self::Rename(_, path, _) => Some(path),
            _ => None,
        }
    }

    /// Does it to the model.
    pub(crate) fn model(&self, model: &mut Model) -> Result<(), Errno> {
        match self {
            Self::Create(path, mode) => model.create(path, *mode),
            Self::Mkdir(path, mode) => model.mkdir(path, *mode),
            Self::Mknod(path, kind, rdev) => model.mknod(path, *kind, 0o644, *rdev),
            Self::Symlink(path) => model.symlink("to", path),
            Self::Link(old, new) => model.link(old, new),
            Self::Unlink(path) => model.unlink(path),
            Self::Rmdir(path) => model.rmdir(path),
            Self::Rename(from, to, flags) => model.rename(from, to, *flags),
            Self::Write(path, at, len) => model.write_at(path, (*at).into(), &data(*at, *len)),
            Self::Truncate(path, size) => model.truncate(path, (*size).into()),
            Self::Chmod(path, mode) => model.chmod(path, *mode),
            Self::Chown(path, owner) => model.chown(path, *owner, *owner),
            Self::Utimens(path, secs) => model.utimens(path, time(*secs), time(secs + 1)),
            Self::SetXattr(path, name, mode) => model.setxattr(path, name, value(name), *mode),
            Self::RemoveXattr(path, name) => model.removexattr(path, name),
            Self::Remount => Ok(()),
        }
    }

    /// Does it to the overlay.
    pub(crate) fn overlay(&self, walk: Walk<'_>) -> Result<(), Errno> {
        match self {
            Self::Create(path, mode) => walk.create(path, *mode),
            Self::Mkdir(path, mode) => walk.mkdir_mode(path, *mode),
            Self::Mknod(path, kind, rdev) => walk.mknod(path, *kind, 0o644, *rdev),
            Self::Symlink(path) => walk.symlink("to", path),
            Self::Link(old, new) => walk.link(old, new),
            Self::Unlink(path) => walk.unlink(path),
            Self::Rmdir(path) => walk.rmdir(path),
            Self::Rename(from, to, flags) => walk.rename_with(from, to, *flags),
            Self::Write(path, at, len) => walk.write_at(path, (*at).into(), &data(*at, *len)),
            Self::Truncate(path, size) => walk.truncate(path, (*size).into()),
            Self::Chmod(path, mode) => walk.chmod(path, *mode),
            Self::Chown(path, owner) => walk.chown(path, *owner, *owner),
            Self::Utimens(path, secs) => walk.utimens(path, time(*secs), time(secs + 1)),
            Self::SetXattr(path, name, mode) => walk.setxattr_with(path, name, value(name), *mode),
            Self::RemoveXattr(path, name) => walk.removexattr(path, name),
            Self::Remount => Ok(()),
        }
    }
}
