//! Objects as entries of an archive.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use mica_overlay::XattrNamespace;
use mica_vfs::{Attr, Errno, FileType, Mode, Time};

use super::compression::Packer;
use super::entry::{Entry, Kind};
use super::error::{ExportError, Unexportable};
use super::export::entry_error;
use super::leaving_out::{LeftOut, Note};
use super::owners::Owners;
use super::sparse::{Extent, Map};
use super::writer::{TarWriter, encode};
use crate::convert::{MARKS, NAMED, NAMED_OPAQUE, named};
use crate::offline::Node;
use crate::stack::is_record;

/// How much of a file is read at once.
pub(super) const CHUNK: usize = 256 * 1024;

/// The filesystem that an object is of, which its number is unique in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    Upper,
    Union,
}

/// An object to write, and where its parts are.
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) node: &'a Node,
    /// Whose data it has.
    pub(super) data: &'a Node,
    pub(super) of: Whose,
    /// Names of the attributes that are its own.
    pub(super) xattrs: Vec<Vec<u8>>,
}

/// The archive, and what is known of what is in it.
pub(super) struct Output<'a> {
    pub(super) tar: TarWriter<Packer<'a>>,
    pub(super) owners: Owners,
    /// The first names of files that have more to come, and how many.
    pub(super) links: HashMap<(Whose, u64), (Vec<u8>, u32)>,
    pub(super) buffer: Vec<u8>,
    pub(super) entries: u64,
    pub(super) progress: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    pub(super) note: &'a mut dyn FnMut(Note),
}

impl Output<'_> {
    pub(super) fn note(&mut self, path: &Path, what: LeftOut) {
        (self.note)(Note {
            path: path.to_owned(),
            what,
        });
    }

    /// Chooses the attributes that a layer has.
    pub(super) fn own(
        &mut self,
        path: &Path,
        others: &[Vec<u8>],
    ) -> Result<Vec<Vec<u8>>, ExportError> {
        let mut own = Vec::new();
        for name in others {
            match fate(name) {
                Fate::Kept => own.push(name.clone()),
                Fate::Dropped => {}
                Fate::Told => self.note(path, LeftOut::Attribute(name.clone())),
            }
        }
        own.sort_unstable();
        Ok(own)
    }

    /// Writes an object with its data.
    pub(super) fn write(&mut self, source: &Source<'_>) -> Result<(), ExportError> {
        let attr = source.node.attr();
        let failed = |errno| entry_error(source.path, Unexportable::Unreadable(errno));
        let path = archive_path(source.path, attr.kind);
        if attr.kind == FileType::Socket {
            self.note(source.path, LeftOut::Socket);
            return Ok(());
        }
        if let Some(first) = self.other_name(source.of, attr, &path) {
            let link = self.entry((source.of, source.path), path, Kind::Link(first), attr)?;
            return self.begin(source.path, &link);
        }
        let kind = match attr.kind {
            FileType::Symlink => {
                let target = source.node.fs().read_link(source.node.id());
                Kind::Symlink(target.map_err(failed)?)
            }
            FileType::CharDevice | FileType::BlockDevice => Kind::Device(attr.kind, attr.rdev),
            kind => Kind::Plain(kind),
        };
        let mut entry = self.entry((source.of, source.path), path, kind, attr)?;
        for name in &source.xattrs {
            if let Some(value) = source.node.xattr(name).map_err(failed)? {
                entry.xattrs.push((name.clone(), value));
            }
        }
        if attr.kind != FileType::Regular {
            return self.begin(source.path, &entry);
        }
        entry.size = attr.size;
        entry.map = Map::of(source.data).map_err(failed)?;
        self.begin(source.path, &entry)?;
        let whole = [Extent {
            offset: 0,
            len: entry.size,
        }];
        let extents = entry.map.as_ref().map_or(&whole[..], Map::extents);
        for extent in extents {
            self.data(source, *extent)?;
        }
        Ok(())
    }

    fn entry(
        &self,
        (of, at): (Whose, &Path),
        path: Vec<u8>,
        kind: Kind,
        attr: &Attr,
    ) -> Result<Entry, ExportError> {
        let (uid, gid) = match of {
            Whose::Upper => {
                let owners = self.owners.inside(attr.uid, attr.gid);
                owners.map_err(|why| entry_error(at, why))?
            }
            Whose::Union => self.owners.shown(attr.uid, attr.gid),
        };
        Ok(Entry {
            path,
            kind,
            mode: attr.mode,
            uid,
            gid,
            mtime: attr.mtime,
            size: 0,
            map: None,
            xattrs: Vec::new(),
            has_text_acl: false,
        })
    }

    /// Returns the first name of a file that was written under it.
    fn other_name(&mut self, of: Whose, attr: &Attr, path: &[u8]) -> Option<Vec<u8>> {
        if attr.kind == FileType::Directory || attr.nlink < 2 {
            return None;
        }
        let key = (of, attr.ino.0);
        match self.links.get_mut(&key) {
            None => {
                self.links.insert(key, (path.to_vec(), attr.nlink - 1));
                None
            }
            Some((first, left)) => {
                let first = first.clone();
                *left -= 1;
                if *left == 0 {
                    self.links.remove(&key);
                }
                Some(first)
            }
        }
    }

    fn data(&mut self, source: &Source<'_>, extent: Extent) -> Result<(), ExportError> {
        let failed = |errno| entry_error(source.path, Unexportable::Unreadable(errno));
        let node = source.data;
        let mut left = extent.len;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let buffer = self.buffer.get_mut(..wanted).unwrap_or_default();
            let offset = extent.offset + (extent.len - left);
            let read = node.fs().read(node.id(), offset, buffer);
            let read = match read.map_err(failed)? {
                // It was cut while it was read.
                0 => return Err(failed(Errno::IO)),
                read => read,
            };
            left -= u64::try_from(read).unwrap_or(left);
            let bytes = buffer.get(..read).unwrap_or_default();
            self.tar.data(bytes).map_err(ExportError::Write)?;
            self.check()?;
        }
        Ok(())
    }

    /// Writes that `hidden`, which `path` ends with, is hidden.
    pub(super) fn whiteout(
        &mut self,
        path: &Path,
        hidden: &[u8],
        mtime: Time,
    ) -> Result<(), ExportError> {
        let Some(name) = named(hidden) else {
            let why = if hidden.starts_with(NAMED) {
                Unexportable::NameIsWhiteout
            } else {
                Unexportable::NameTooLong
            };
            return Err(entry_error(path, why));
        };
        self.mark(
            path,
            &path.with_file_name(crate::options::path(name)),
            mtime,
        )
    }

    /// Writes that a directory hides what is below it.
    pub(super) fn opaque(&mut self, dir: &Path, mtime: Time) -> Result<(), ExportError> {
        let name = crate::options::path(NAMED_OPAQUE.to_vec());
        self.mark(dir, &dir.join(name), mtime)
    }

    /// Writes an empty file of nobody.
    fn mark(&mut self, of: &Path, path: &Path, mtime: Time) -> Result<(), ExportError> {
        let entry = Entry {
            path: archive_path(path, FileType::Regular),
            kind: Kind::Plain(FileType::Regular),
            mode: Mode::empty(),
            uid: 0,
            gid: 0,
            mtime,
            size: 0,
            map: None,
            xattrs: Vec::new(),
            has_text_acl: false,
        };
        self.begin(of, &entry)
    }

    fn begin(&mut self, path: &Path, entry: &Entry) -> Result<(), ExportError> {
        let encoded = encode(entry);
        let encoded = encoded.map_err(|_| entry_error(path, Unexportable::Attributes))?;
        self.tar
            .begin(&encoded, entry.stored())
            .map_err(ExportError::Write)?;
        self.entries += 1;
        self.check()
    }

    fn check(&mut self) -> Result<(), ExportError> {
        match (self.progress)(self.entries) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ExportError::Stopped),
        }
    }
}

/// Returns the path that an object has in an archive.
fn archive_path(path: &Path, kind: FileType) -> Vec<u8> {
    let path = path.as_os_str().as_bytes();
    let mut path = path.strip_prefix(b"/").unwrap_or(path).to_vec();
    if path.is_empty() {
        path.push(b'.');
    }
    if kind == FileType::Directory {
        path.push(b'/');
    }
    path
}

/// What becomes of an attribute.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Dropped,
    Told,
}

/// Attributes that only this machine can read, or that every object has.
pub(super) const OF_MACHINE: [&[u8]; 2] = [b"security.selinux", b"security.evm"];

fn fate(name: &[u8]) -> Fate {
    if OF_MACHINE.contains(&name) || MARKS.contains(&name) || is_record(name) {
        return Fate::Dropped;
    }
    if would_be_mark(name) {
        return Fate::Told;
    }
    let carried: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system.posix_acl_"];
    if carried.iter().any(|prefix| name.starts_with(prefix)) {
        Fate::Kept
    } else {
        Fate::Told
    }
}

/// Whether an attribute would be a mark to an overlay of one kind or the other.
pub(super) fn would_be_mark(name: &[u8]) -> bool {
    [XattrNamespace::Trusted, XattrNamespace::User]
        .into_iter()
        .any(|xattrs| name.starts_with(xattrs.prefix()))
}
