//! From an upper to an archive, in one pass.

use std::collections::HashMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use mica_host::{LayerAccess, OwnerXattr, Owners as Recording};
use mica_overlay::XattrNamespace;
use mica_vfs::{Attr, Errno, FileType, Mode, Time};

use super::compression::{Compression, Packer};
use super::entry::{Entry, Kind};
use super::error::{ExportError, Unexportable};
use super::leaving_out::{LeftOut, Note};
use super::owners::Owners;
use super::resolve::{Merged, below};
use super::sparse::{Extent, Map};
use super::writer::{TarWriter, encode};
use crate::convert::{MARKS, NAMED, NAMED_OPAQUE, named, purpose_on};
use crate::offline::{
    Dir, Lowers, Marks, Node, Object, Visit, is_device_whiteout, namespace_of, walk,
};
use crate::session::Session;
use crate::stack::{AtRest, LayerDir, Opening, Role, StackError};

/// How much of a file is read at once.
const CHUNK: usize = 256 * 1024;

/// What is exported.
#[derive(Debug, Clone, Default)]
pub struct ExportSpec {
    /// The upper directory.
    pub upper: PathBuf,
    /// The lowers that redirects and metacopies lead to, topmost first; may be empty if there are none of these.
    pub lowers: Vec<PathBuf>,
    /// Data-only lowers, which are asked for data in turn.
    pub data: Vec<PathBuf>,
    /// What is around the archive.
    pub compression: Compression,
}

/// What was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// How many entries the archive has.
    pub entries: u64,
}

/// Exports an upper that no mount uses as a layer. Of a `session`, owners are what they are in it.
///
/// `progress` is called with the number of entries so far, and may stop it; `note` is told what is left out.
///
/// # Errors
///
/// [`ExportError`]; what was written to `out` is no whole archive then.
pub fn export(
    spec: &ExportSpec,
    session: Option<&Session>,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    note: &mut dyn FnMut(Note),
) -> Result<Exported, ExportError> {
    let owners = session.map_or_else(|| Ok(Owners::default()), Owners::of)?;
    let (at_rest, recording) = open(spec)?;
    let root = |errno| entry_error(Path::new("/"), Unexportable::Unreadable(errno));
    let xattrs = namespace_of(&at_rest.upper).map_err(root)?;
    let merged = if spec.lowers.is_empty() {
        None
    } else {
        let lowers = (spec.lowers.as_slice(), spec.data.as_slice());
        Some(Merged::open(&spec.upper, lowers, xattrs, recording)?)
    };
    let lowers = Lowers::new(at_rest.lowers.clone(), spec.data.len(), xattrs);
    let packer = Packer::new(out, spec.compression).map_err(ExportError::Write)?;
    let mut job = Job {
        out: Output {
            tar: TarWriter::new(packer),
            owners,
            links: HashMap::new(),
            buffer: vec![0; CHUNK],
            entries: 0,
            progress,
            note,
        },
        merged,
        xattrs,
        copied: None,
        failed: None,
    };
    let walked = walk(&at_rest.upper, &lowers, &mut job);
    match (job.failed.take(), walked) {
        (Some(failed), _) => return Err(failed),
        (None, Err(errno)) => return Err(root(errno)),
        (None, Ok(())) => {}
    }
    let Output { tar, entries, .. } = job.out;
    let packer = tar.finish().map_err(ExportError::Write)?;
    packer.finish().map_err(ExportError::Write)?;
    Ok(Exported { entries })
}

/// Opens the upper, and finds out where its owners are.
fn open(spec: &ExportSpec) -> Result<(AtRest, Recording), ExportError> {
    let lowers = [&spec.lowers[..], &spec.data].concat();
    let opening = Opening {
        upper: &spec.upper,
        work: None,
        lowers: &lowers,
        access: LayerAccess::ReadOnly,
    };
    let at_rest = AtRest::open(&opening)?;
    let unreadable = |errno| entry_error(Path::new("/"), Unexportable::Unreadable(errno));
    if let Some(purpose) = purpose_on(&at_rest.upper).map_err(unreadable)? {
        let dir = LayerDir {
            role: Role::Upper,
            path: spec.upper.clone(),
        };
        let purpose = purpose.escape_ascii().to_string();
        return Err(StackError::HalfConverted { dir, purpose }.into());
    }
    let recorded = at_rest.has_recorded_owners().map_err(unreadable)?;
    if !recorded {
        return Ok((at_rest, Recording::Real));
    }
    drop(at_rest);
    let recording = Recording::Xattr(OwnerXattr::User);
    Ok((AtRest::open_with(&opening, recording)?, recording))
}

fn entry_error(path: &Path, why: Unexportable) -> ExportError {
    ExportError::Entry {
        path: path.to_owned(),
        why,
    }
}

/// An object to write, and where its parts are.
struct Source<'a> {
    path: &'a Path,
    node: &'a Node,
    /// Whose data it has.
    data: &'a Node,
    /// The filesystem that its number is of: 0 the upper, 1 the union.
    of: u8,
    /// Names of the attributes that are its own.
    xattrs: Vec<Vec<u8>>,
}

/// The archive, and what is known of what is in it.
struct Output<'a> {
    tar: TarWriter<Packer<'a>>,
    owners: Owners,
    /// The first names of files that have more to come, and how many.
    links: HashMap<(u8, u64), (Vec<u8>, u32)>,
    buffer: Vec<u8>,
    entries: u64,
    progress: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    note: &'a mut dyn FnMut(Note),
}

struct Job<'a> {
    out: Output<'a>,
    merged: Option<Merged>,
    xattrs: XattrNamespace,
    /// The directory that was written from the union, with all that is in it.
    copied: Option<PathBuf>,
    failed: Option<ExportError>,
}

impl Visit for Job<'_> {
    fn object(&mut self, object: &Object<'_>) -> Result<(), Errno> {
        if self.failed.is_some() {
            return Err(Errno::CANCELED);
        }
        if self.copied.is_some() {
            return Ok(());
        }
        self.visit(object).or_else(|failed| self.fail(failed))
    }

    fn leave(&mut self, dir: &Dir) -> Result<(), Errno> {
        if self.copied.as_ref() == Some(&dir.path) {
            self.copied = None;
        }
        Ok(())
    }

    fn elsewhere(&mut self, path: &Path) {
        self.refuse(path, Unexportable::Mountpoint);
    }

    fn unreadable(&mut self, path: &Path, errno: Errno) {
        self.refuse(path, Unexportable::Unreadable(errno));
    }
}

impl Job<'_> {
    fn fail(&mut self, failed: ExportError) -> Result<(), Errno> {
        self.failed.get_or_insert(failed);
        Err(Errno::CANCELED)
    }

    fn refuse(&mut self, path: &Path, why: Unexportable) {
        self.failed.get_or_insert_with(|| entry_error(path, why));
    }

    fn visit(&mut self, object: &Object<'_>) -> Result<(), ExportError> {
        let attr = object.node.attr();
        let is_empty_file = attr.kind == FileType::Regular && attr.size == 0;
        let is_whiteout = object.parent.is_some() && is_device_whiteout(attr)
            || is_empty_file && object.marks.has("whiteout");
        if is_whiteout {
            // Its own time says nothing, and nobody keeps it.
            let mtime = object
                .parent
                .map_or(attr.mtime, |dir| dir.node.attr().mtime);
            return self.out.whiteout(object.path, object.name, mtime);
        }
        if object.name.starts_with(NAMED) {
            return Err(entry_error(object.path, Unexportable::NameIsWhiteout));
        }
        if object.marks.has("protattr") {
            self.out.note(object.path, LeftOut::Flags);
        }
        let is_metacopy = attr.kind == FileType::Regular && object.marks.has("metacopy");
        let is_redirect = attr.kind == FileType::Directory && object.marks.has("redirect");
        let whole = if is_metacopy || is_redirect {
            Some(self.resolve(object)?)
        } else {
            None
        };
        let xattrs = self.out.own(object.path, &object.marks.others)?;
        self.out.write(&Source {
            path: object.path,
            node: object.node,
            data: whole.as_ref().unwrap_or(object.node),
            of: 0,
            xattrs,
        })?;
        if attr.kind != FileType::Directory {
            return Ok(());
        }
        if is_redirect && let Some(whole) = whole {
            self.out.opaque(object.path, attr.mtime)?;
            return self.copy(object.path, whole);
        }
        if object.marks.is_opaque() && object.parent.is_some() {
            self.out.opaque(object.path, attr.mtime)?;
        }
        self.old_whiteouts(object)
    }

    /// Writes the whiteouts that are attributes of a directory.
    fn old_whiteouts(&mut self, object: &Object<'_>) -> Result<(), ExportError> {
        for (mark, _) in object.marks.iter() {
            let Some(hidden) = mark.strip_prefix(b"whiteout.") else {
                continue;
            };
            let there = object.node.child(hidden);
            let there =
                there.map_err(|errno| entry_error(object.path, Unexportable::Unreadable(errno)))?;
            if there.is_none() {
                let path = object.path.join(crate::options::path(hidden.to_vec()));
                self.out.whiteout(&path, hidden, object.node.attr().mtime)?;
            }
        }
        Ok(())
    }

    /// Finds what the object is in the union.
    fn resolve(&self, object: &Object<'_>) -> Result<Node, ExportError> {
        let Some(merged) = &self.merged else {
            return Err(entry_error(object.path, Unexportable::Redirect));
        };
        // The union shows a directory whose other part is nowhere without a word.
        if object.node.kind() == FileType::Directory && object.below.is_empty() {
            return Err(entry_error(object.path, Unexportable::NotBelow));
        }
        merged.find(object.path).map_err(|errno| {
            let why = match errno {
                Errno::IO | Errno::NOENT => Unexportable::NotBelow,
                errno => Unexportable::Unreadable(errno),
            };
            entry_error(object.path, why)
        })
    }

    /// Writes all that is in a directory of the union.
    fn copy(&mut self, path: &Path, dir: Node) -> Result<(), ExportError> {
        self.copied = Some(path.to_owned());
        let Self { out, xattrs, .. } = self;
        let unreadable = |path: &Path, errno| entry_error(path, Unexportable::Unreadable(errno));
        let mut visit = |path: &Path, node: &Node| {
            if path
                .file_name()
                .is_some_and(|name| name.as_bytes().starts_with(NAMED))
            {
                return Err(entry_error(path, Unexportable::NameIsWhiteout));
            }
            let marks = Marks::read(node, *xattrs).map_err(|errno| unreadable(path, errno))?;
            let xattrs = out.own(path, &marks.others)?;
            out.write(&Source {
                path,
                node,
                data: node,
                of: 1,
                xattrs,
            })
        };
        below(dir, path.to_owned(), &mut visit, unreadable)
    }
}

impl Output<'_> {
    fn note(&mut self, path: &Path, what: LeftOut) {
        (self.note)(Note {
            path: path.to_owned(),
            what,
        });
    }

    /// Chooses the attributes that a layer has.
    fn own(&mut self, path: &Path, others: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, ExportError> {
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
    fn write(&mut self, source: &Source<'_>) -> Result<(), ExportError> {
        let attr = source.node.attr();
        let failed = |errno| entry_error(source.path, Unexportable::Unreadable(errno));
        let path = archive_path(source.path, attr.kind);
        if attr.kind == FileType::Socket {
            self.note(source.path, LeftOut::Socket);
            return Ok(());
        }
        if let Some(first) = self.other_name(source.of, attr, &path) {
            let link = self.entry(source.path, path, Kind::Link(first), attr)?;
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
        let mut entry = self.entry(source.path, path, kind, attr)?;
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
        at: &Path,
        path: Vec<u8>,
        kind: Kind,
        attr: &Attr,
    ) -> Result<Entry, ExportError> {
        let owners = self.owners.inside(attr.uid, attr.gid);
        let (uid, gid) = owners.map_err(|why| entry_error(at, why))?;
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
    fn other_name(&mut self, of: u8, attr: &Attr, path: &[u8]) -> Option<Vec<u8>> {
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
    fn whiteout(&mut self, path: &Path, hidden: &[u8], mtime: Time) -> Result<(), ExportError> {
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
    fn opaque(&mut self, dir: &Path, mtime: Time) -> Result<(), ExportError> {
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

/// Whether an attribute records the owner of its object.
pub(super) fn is_record(name: &[u8]) -> bool {
    name.ends_with(b".override_stat")
}
