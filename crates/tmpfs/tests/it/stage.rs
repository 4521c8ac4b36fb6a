//! A filesystem with a clock that ticks at every change, and short forms of its operations.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use mica_tmpfs::{Clock, Limits, Tmpfs};
use mica_vfs::{
    Attr, Caller, Cookie, Entry, Errno, FileName, FileType, Filesystem, Flow, KillPriv, Mode,
    NodeId, Rdev, RenameFlags, SetAttr, Time, XattrMode, XattrName,
};

pub(crate) const ROOT: NodeId = NodeId::ROOT;

/// No two readings are the same.
#[derive(Debug, Default)]
struct Ticks(AtomicI64);

impl Clock for Ticks {
    fn now(&self) -> Time {
        Time {
            secs: 1000 + self.0.fetch_add(1, Ordering::Relaxed),
            nanos: 0,
        }
    }
}

pub(crate) fn tmpfs() -> Tmpfs {
    with_limits(Limits::default())
}

pub(crate) fn with_limits(limits: Limits) -> Tmpfs {
    Tmpfs::with_clock(limits, Arc::new(Ticks::default()))
}

pub(crate) fn name(name: &str) -> FileName<'_> {
    FileName::new(name.as_bytes()).unwrap()
}

pub(crate) fn xattr(name: &str) -> XattrName<'_> {
    XattrName::new(name.as_bytes()).unwrap()
}

pub(crate) fn lookup(fs: &Tmpfs, dir: NodeId, path: &str) -> Result<Entry, Errno> {
    fs.lookup(dir, name(path))
}

pub(crate) fn attr(fs: &Tmpfs, node: NodeId) -> Attr {
    fs.get_attr(node).unwrap()
}

pub(crate) fn file(fs: &Tmpfs, dir: NodeId, path: &str) -> NodeId {
    fs.create(&Caller::ROOT, dir, name(path), Mode::new(0o644))
        .unwrap()
        .node
}

pub(crate) fn file_with(fs: &Tmpfs, path: &str, data: &[u8]) -> NodeId {
    let node = file(fs, ROOT, path);
    assert_eq!(fs.write(node, 0, data, KillPriv::Keep), Ok(data.len()));
    node
}

pub(crate) fn mkdir(fs: &Tmpfs, dir: NodeId, path: &str) -> NodeId {
    fs.mkdir(&Caller::ROOT, dir, name(path), Mode::new(0o755))
        .unwrap()
        .node
}

pub(crate) fn mknod(fs: &Tmpfs, path: &str, kind: FileType, rdev: Rdev) -> NodeId {
    fs.mknod(
        &Caller::ROOT,
        ROOT,
        name(path),
        kind,
        Mode::new(0o644),
        rdev,
    )
    .unwrap()
    .node
}

pub(crate) fn chmod(fs: &Tmpfs, node: NodeId, mode: u32) -> Attr {
    let change = SetAttr {
        mode: Some(Mode::new(mode)),
        ..SetAttr::default()
    };
    fs.set_attr(node, &change).unwrap()
}

pub(crate) fn truncate(fs: &Tmpfs, node: NodeId, size: u64) -> Result<Attr, Errno> {
    let change = SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    fs.set_attr(node, &change)
}

pub(crate) fn rename(
    fs: &Tmpfs,
    from: (NodeId, &str),
    to: (NodeId, &str),
    flags: RenameFlags,
) -> Result<(), Errno> {
    fs.rename(from.0, name(from.1), to.0, name(to.1), flags)
}

pub(crate) fn read(fs: &Tmpfs, node: NodeId) -> Vec<u8> {
    let mut data = vec![0xaa; usize::try_from(attr(fs, node).size).unwrap() + 1];
    let len = fs.read(node, 0, &mut data).unwrap();
    data.truncate(len);
    data
}

pub(crate) fn set_xattr(fs: &Tmpfs, node: NodeId, key: &str, value: &[u8]) -> Result<(), Errno> {
    fs.set_xattr(node, xattr(key), value, XattrMode::Set, KillPriv::Keep)
}

pub(crate) fn get_xattr(fs: &Tmpfs, node: NodeId, key: &str) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; fs.get_xattr(node, xattr(key), &mut [])?];
    if !value.is_empty() {
        fs.get_xattr(node, xattr(key), &mut value)?;
    }
    Ok(value)
}

/// Lists a directory from a cookie: names with their cookies.
pub(crate) fn list_from(fs: &Tmpfs, dir: NodeId, from: Cookie) -> Vec<(String, Cookie)> {
    let mut names = Vec::new();
    fs.read_dir(dir, from, &mut |entry| {
        names.push((entry.name.to_string(), entry.cookie));
        Flow::Continue
    })
    .unwrap();
    names
}

/// Lists the names of a directory, sorted.
pub(crate) fn names(fs: &Tmpfs, dir: NodeId) -> Vec<String> {
    let mut names: Vec<_> = list_from(fs, dir, Cookie::START)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    names.sort();
    names
}
