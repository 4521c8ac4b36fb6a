//! From an upper to an archive, in one pass.

use std::collections::HashMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use mica_host::{LayerAccess, OwnerXattr, Owners as Recording};
use mica_overlay::XattrNamespace;
use mica_vfs::{Errno, FileType};

use super::compression::{Compression, Packer};
use super::error::{ExportError, Unexportable};
use super::leaving_out::{LeftOut, Note};
use super::output::{CHUNK, Output, Source, Whose};
use super::owners::Owners;
use super::resolve::{Beneath, Merged, below};
use super::writer::TarWriter;
use crate::convert::{NAMED, purpose_on};
use crate::offline::{Dir, Marks, Node, Object, Visit, is_device_whiteout, namespace_of, walk};
use crate::session::Session;
use crate::stack::{AtRest, LayerDir, Opening, Role, StackError};

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
    let owners = session.map(Owners::of).unwrap_or_default();
    let beneath = match session {
        // A tree that is gone is needed only for what was renamed, which is refused then.
        Some(session) if spec.lowers.is_empty() => {
            Beneath::of(session).unwrap_or_else(|_| Beneath::Dirs(Vec::new(), Vec::new()))
        }
        _ => Beneath::Dirs(spec.lowers.clone(), spec.data.clone()),
    };
    let (at_rest, recording) = open(spec, &beneath)?;
    let root = |errno| entry_error(Path::new("/"), Unexportable::Unreadable(errno));
    let xattrs = namespace_of(&at_rest.upper).map_err(root)?;
    let merged = Merged::open(&spec.upper, &beneath, xattrs, recording)?;
    let lowers = beneath.lowers(&at_rest.lowers, xattrs).map_err(root)?;
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
        beneath: &beneath,
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
fn open(spec: &ExportSpec, beneath: &Beneath) -> Result<(AtRest, Recording), ExportError> {
    let lowers = beneath.dirs();
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

pub(super) fn entry_error(path: &Path, why: Unexportable) -> ExportError {
    ExportError::Entry {
        path: path.to_owned(),
        why,
    }
}

struct Job<'a> {
    out: Output<'a>,
    beneath: &'a Beneath,
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
        let is_redirect = attr.kind == FileType::Directory
            && object.marks.has("redirect")
            && object.parent.is_some()
            && !object.marks.is_opaque();
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
            of: Whose::Upper,
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
        if self.beneath.has_mounts(object.below) {
            return Err(entry_error(object.path, Unexportable::MountBelow));
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
                of: Whose::Union,
                xattrs,
            })
        };
        below(dir, path.to_owned(), &mut visit, unreadable)
    }
}
