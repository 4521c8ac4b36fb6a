//! In what two objects differ.

use std::collections::BTreeMap;
use std::path::Path;

use mica_overlay::{Redirect, XattrNamespace, parse_redirect, unescape};
use mica_vfs::{Errno, FileType};

use super::Aspects;
use super::sides::Sides;
use crate::offline::{Marks, Node, own_suffix};
use crate::options::path as path_of;

/// What is read at once.
const BLOCK: usize = 1 << 16;

/// Compares an object of the upper with what it was, which has the same type or another one. `data` has its data if that is
/// another one.
pub(super) fn compare(
    sides: &Sides,
    old: &Node,
    new: &Node,
    data: Option<&Node>,
) -> Result<Aspects, Errno> {
    let mut aspects = Aspects::empty();
    let (was, is) = (old.attr(), new.attr());
    let kind = is.kind;
    if was.kind != kind {
        return Ok(aspects);
    }
    aspects.set(Aspects::CONTENT, differ(old, new, data)?);
    // A symbolic link has permissions that nobody can change.
    aspects.set(
        Aspects::MODE,
        was.mode != is.mode && kind != FileType::Symlink,
    );
    let whose = &sides.whose;
    let owner = whose.uid(was.uid) != whose.uid(is.uid) || whose.gid(was.gid) != whose.gid(is.gid);
    aspects.set(Aspects::OWNER, owner);
    aspects.set(
        Aspects::XATTR,
        xattrs(old, None)? != xattrs(new, Some(sides.xattrs))?,
    );
    aspects.set(
        Aspects::TIME,
        was.mtime != is.mtime && kind != FileType::Directory,
    );
    Ok(aspects)
}

fn differ(old: &Node, new: &Node, data: Option<&Node>) -> Result<bool, Errno> {
    let is_same = |data: &Node| {
        let (one, other) = (old.attr(), data.attr());
        (one.dev, one.ino) == (other.dev, other.ino)
    };
    Ok(match new.kind() {
        // A metacopy of it.
        FileType::Regular if data.is_some_and(is_same) => false,
        FileType::Regular => {
            let new = data.unwrap_or(new);
            old.attr().size != new.attr().size || !same_data(old, new)?
        }
        FileType::Symlink => old.fs().read_link(old.id())? != new.fs().read_link(new.id())?,
        FileType::CharDevice | FileType::BlockDevice => old.attr().rdev != new.attr().rdev,
        _ => false,
    })
}

/// Finds what has the data of an object of the upper, if it has none itself: it is a metacopy then, of a file of the tree.
/// `below` is what its name is there.
pub(super) fn data_of(sides: &Sides, new: &Node, below: &Path) -> Result<Option<Node>, Errno> {
    let metacopy = [sides.xattrs.prefix(), b"metacopy"].concat();
    if new.kind() != FileType::Regular || new.xattr(&metacopy)?.is_none() {
        return Ok(None);
    }
    let marks = Marks::read(new, sides.xattrs)?;
    let path = match marks.get("redirect").map(parse_redirect) {
        None => below.to_owned(),
        Some(Ok(Redirect::Name(name))) => below.with_file_name(path_of(name.to_vec())),
        Some(Ok(Redirect::Path(path))) => path_of(path.to_vec()),
        Some(Err(_)) => return Err(Errno::IO),
    };
    let found = sides.find(&path)?;
    let found = found.filter(|found| found.kind() == FileType::Regular);
    found.map(Some).ok_or(Errno::IO)
}

/// Whether two files have the same bytes.
pub(crate) fn same_data(one: &Node, other: &Node) -> Result<bool, Errno> {
    let (mut here, mut there) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut at = 0;
    loop {
        let read = fill(one, at, &mut here)?;
        if fill(other, at, &mut there)? != read || here.get(..read) != there.get(..read) {
            return Ok(false);
        }
        if read < BLOCK {
            return Ok(true);
        }
        at += read as u64;
    }
}

/// Reads until `block` is full or the file ends.
fn fill(node: &Node, at: u64, block: &mut [u8]) -> Result<usize, Errno> {
    let mut done = 0;
    while let Some(rest) = block.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match node.fs().read(node.id(), at + done as u64, rest)? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

/// Reads the attributes that are no marks, by their names.
fn xattrs(node: &Node, marks: Option<XattrNamespace>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Errno> {
    let mut found = BTreeMap::new();
    for name in node.xattr_names()? {
        let Some(plain) = plain_name(&name, marks) else {
            continue;
        };
        if let Some(value) = node.xattr(&name)? {
            found.insert(plain, value);
        }
    }
    Ok(found)
}

/// Returns the name that an attribute of an upper has for users; `None` for a mark.
pub(crate) fn plain_name(name: &[u8], marks: Option<XattrNamespace>) -> Option<Vec<u8>> {
    let Some(marks) = marks else {
        return Some(name.to_vec());
    };
    if own_suffix(name, marks).is_some() {
        return None;
    }
    Some(unescape(marks.prefix(), name).map_or_else(|| name.to_vec(), <[u8]>::into_vec))
}
