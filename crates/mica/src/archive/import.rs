//! From an archive to an upper, in one pass.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use mica_host::{LayerAccess, OwnerXattr, Owners as Recording};
use mica_overlay::XattrNamespace;
use mica_vfs::{
    Errno, FileName, FileType, KillPriv, Mode, Rdev, SetAttr, SetTime, XATTR_SIZE_MAX, XattrMode,
    XattrName,
};

use super::compression::unpack;
use super::entry::{Entry, Kind};
use super::error::{Flaw, ImportError};
use super::export::{OF_MACHINE, is_record, would_be_mark};
use super::leaving_out::{LeftOut, Note};
use super::names::{self, Meaning};
use super::place::{Place, Stop, clear, set_times};
use super::reader::{ReadError, TarReader};
use super::sparse::{Extent, Map};
use crate::convert::{MARKS, NAMED, Scratch, maker, mark, purpose_on, unmark};
use crate::offline::{Node, is_device_whiteout};
use crate::options::path as path_of;
use crate::stack::{AtRest, Opening, Stack};

/// How much of a file is written at once.
const CHUNK: usize = 256 * 1024;
/// What the mark on a directory says while a part of a layer is in it.
const PURPOSE: &[u8] = b"mica import";

/// Whose the objects are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImportOwners {
    /// Whose the archive says, which takes root.
    #[default]
    Real,
    /// This user's own. Attributes that the user may not set are left out.
    Mine,
    /// This user's own, with the owners of the archive in an attribute, as mounts with `xattr_permissions=2` show them.
    Recorded,
}

/// What becomes of devices in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DevicePolicy {
    /// An archive with devices is refused.
    #[default]
    Refuse,
    /// They are made.
    Make,
}

/// What an archive is imported to.
#[derive(Debug, Clone, Default)]
pub struct ImportSpec {
    /// The directory, which is made if it does not exist, and empty otherwise.
    pub dir: PathBuf,
    /// Whose the objects are.
    pub owners: ImportOwners,
    /// What becomes of devices.
    pub devices: DevicePolicy,
    /// Where marks are kept; `None`: where mounts of this process keep them.
    pub prefix: Option<XattrNamespace>,
}

/// What was imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// How many entries the archive has.
    pub entries: u64,
    /// Where marks are kept.
    pub xattrs: XattrNamespace,
}

/// Imports a layer: reads an archive from `source`, of whichever compression, and makes an upper of it.
///
/// Until all of it is there, the directory carries a mark that mounts refuse. `progress` is called with the number of entries
/// so far, and may stop it; `note` is told what is left out.
///
/// # Errors
///
/// [`ImportError`]; what was made is removed again.
pub fn import(
    spec: &ImportSpec,
    source: &mut dyn Read,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    note: &mut dyn FnMut(Note),
) -> Result<Imported, ImportError> {
    let prepare = |source| ImportError::Prepare {
        dir: spec.dir.clone(),
        source,
    };
    let made = make(&spec.dir)?;
    let target = match Target::open(spec) {
        Ok(target) => target,
        Err(error) => {
            if made {
                // It is empty, and nobody else's.
                drop(std::fs::remove_dir(&spec.dir));
            }
            return Err(error);
        }
    };
    let root = &target.at_rest.upper;
    let xattrs = spec.prefix.unwrap_or_else(|| {
        if Stack::may_use_trusted() {
            XattrNamespace::Trusted
        } else {
            XattrNamespace::User
        }
    });
    let mut job = Job {
        spec,
        place: Place::new(root, xattrs).map_err(prepare)?,
        root: root.clone(),
        root_entry: None,
        buffer: vec![0; CHUNK],
        entries: 0,
        progress,
        note,
    };
    let done = job.run(source).and_then(|()| {
        let Job {
            place,
            root_entry,
            note,
            entries,
            ..
        } = job;
        finish(&target, spec, (place, root_entry), note)?;
        Ok(Imported { entries, xattrs })
    });
    let failed = match done {
        Ok(imported) => return Ok(imported),
        Err(failed) => failed,
    };
    match target.undo(made.then_some(spec.dir.as_path())) {
        Ok(()) => Err(failed),
        Err(_) => Err(ImportError::Remains {
            dir: spec.dir.clone(),
            source: Box::new(failed),
        }),
    }
}

/// Makes the directory, if there is none; returns whether there was none.
fn make(dir: &Path) -> Result<bool, ImportError> {
    match std::fs::create_dir(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(ImportError::Make {
            dir: dir.to_owned(),
            source: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        }),
    }
}

/// The directory, open and marked.
struct Target {
    at_rest: AtRest,
    /// Where objects are prepared, if their owners are recorded.
    scratch: Option<Scratch>,
}

impl Target {
    fn open(spec: &ImportSpec) -> Result<Self, ImportError> {
        let prepare = |source| ImportError::Prepare {
            dir: spec.dir.clone(),
            source,
        };
        let (scratch, recording) = match spec.owners {
            ImportOwners::Real | ImportOwners::Mine => (None, Recording::Real),
            ImportOwners::Recorded => {
                let scratch = Scratch::of(&spec.dir, None).map_err(prepare)?;
                scratch.make().map_err(prepare)?;
                (Some(scratch), Recording::Xattr(OwnerXattr::User))
            }
        };
        let opened = AtRest::open_with(
            &Opening {
                upper: &spec.dir,
                work: scratch.as_ref().map(Scratch::path),
                lowers: &[],
                access: LayerAccess::ReadWrite,
            },
            recording,
        );
        let begun = opened.map_err(ImportError::from).and_then(|at_rest| {
            begin(&at_rest, spec)?;
            Ok(at_rest)
        });
        match begun {
            Ok(at_rest) => Ok(Self { at_rest, scratch }),
            Err(error) => {
                // It is empty, and in nobody's way.
                if let Some(scratch) = scratch {
                    scratch.remove().ok();
                }
                Err(error)
            }
        }
    }

    /// Removes what was made.
    fn undo(self, made: Option<&Path>) -> Result<(), Errno> {
        let root = &self.at_rest.upper;
        clear(root)?;
        let attr = *root.attr();
        unmark(root)?;
        set_times(root, (attr.atime, attr.mtime))?;
        if let Some(scratch) = &self.scratch {
            scratch.remove()?;
        }
        if let Some(dir) = made {
            std::fs::remove_dir(dir)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        }
        Ok(())
    }
}

/// Marks the directory, which is empty or has what an interrupted import left.
fn begin(at_rest: &AtRest, spec: &ImportSpec) -> Result<(), ImportError> {
    let prepare = |source| ImportError::Prepare {
        dir: spec.dir.clone(),
        source,
    };
    let root = &at_rest.upper;
    match purpose_on(root).map_err(prepare)? {
        Some(purpose) if purpose == PURPOSE => clear(root).map_err(prepare)?,
        None if root.names().map_err(prepare)?.is_empty() => {
            mark(root, PURPOSE).map_err(prepare)?;
        }
        _ => {
            let dir = spec.dir.clone();
            return Err(ImportError::NotEmpty { dir });
        }
    }
    if spec.owners == ImportOwners::Recorded {
        at_rest.record_root().map_err(prepare)?;
    }
    Ok(())
}

/// Gives the root what it is to have, puts all on disk, and takes the mark away.
fn finish(
    target: &Target,
    spec: &ImportSpec,
    (place, root_entry): (Place, Option<Entry>),
    note: &mut dyn FnMut(Note),
) -> Result<(), ImportError> {
    let failed = |source| ImportError::Prepare {
        dir: spec.dir.clone(),
        source,
    };
    let root = &target.at_rest.upper;
    let implied = place.leave().map_err(failed)?;
    for path in implied {
        note(Note {
            path: Path::new("/").join(path_of(path)),
            what: LeftOut::Directory,
        });
    }
    target.at_rest.sync().map_err(failed)?;
    if let Some(entry) = &root_entry {
        let mut dress = Dress {
            owners: spec.owners,
            note,
        };
        dress.put_on(root, entry).map_err(|stop| at(b"./", stop))?;
    }
    unmark(root).map_err(failed)?;
    if let Some(scratch) = &target.scratch {
        scratch.remove().map_err(failed)?;
    }
    target.at_rest.sync().map_err(failed)
}

/// Says at which entry it ended.
fn at(path: &[u8], stop: Stop) -> ImportError {
    let entry = path_of(path.to_vec());
    match stop {
        Stop::Flaw(why) if path.is_empty() => ImportError::Archive(why),
        Stop::Flaw(why @ Flaw::Trailing) => ImportError::Archive(why),
        Stop::Flaw(why) => ImportError::Entry { path: entry, why },
        Stop::Errno(source) => ImportError::Write {
            path: entry,
            source,
        },
        Stop::Read(source) => ImportError::Read(source),
        Stop::Stopped => ImportError::Stopped,
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Flaw(flaw) => Self::Flaw(flaw),
            ReadError::Read(error) => Self::Read(error),
        }
    }
}

type Archive<'a> = TarReader<Box<dyn Read + 'a>>;

struct Job<'a> {
    spec: &'a ImportSpec,
    place: Place,
    root: Node,
    /// What the root is to have, when all else is there.
    root_entry: Option<Entry>,
    buffer: Vec<u8>,
    entries: u64,
    progress: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    note: &'a mut dyn FnMut(Note),
}

impl Job<'_> {
    fn run(&mut self, source: &mut dyn Read) -> Result<(), ImportError> {
        let mut archive = TarReader::new(unpack(source).map_err(ImportError::Read)?);
        while let Some(entry) = self.next(&mut archive)? {
            self.entries += 1;
            let made = self.entry(&entry, &mut archive);
            made.map_err(|stop| at(archive.path(), stop))?;
        }
        Ok(())
    }

    fn next(&mut self, archive: &mut Archive<'_>) -> Result<Option<Entry>, ImportError> {
        match archive.next() {
            Ok(entry) => Ok(entry),
            Err(error) => Err(at(archive.path(), error.into())),
        }
    }

    fn check(&mut self) -> Result<(), Stop> {
        match (self.progress)(self.entries) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stop::Stopped),
        }
    }

    fn note(&mut self, entry: &Entry, what: LeftOut) {
        let path = path_of(entry.path.clone());
        (self.note)(Note { path, what });
    }

    fn entry(&mut self, entry: &Entry, archive: &mut Archive<'_>) -> Result<(), Stop> {
        self.check()?;
        if entry.has_text_acl {
            self.note(entry, LeftOut::TextAcl);
        }
        let (dir, meaning) = names::split(&entry.path)?;
        let is_mark = matches!(meaning, Meaning::Whiteout(_) | Meaning::Opaque);
        if is_mark && (entry.kind != Kind::Plain(FileType::Regular) || entry.size != 0) {
            return Err(Flaw::Whiteout.into());
        }
        match meaning {
            Meaning::Root => self.root(entry),
            Meaning::Opaque if dir.is_empty() => Err(Flaw::OpaqueRoot.into()),
            Meaning::Opaque => {
                let dir = self.place.enter(&dir)?.node.clone();
                Ok(self.place.make_opaque(&dir)?)
            }
            Meaning::Whiteout(hidden) => self.whiteout(&dir, hidden),
            Meaning::Object(name) => self.object(entry, (&dir, name), archive),
        }
    }

    fn root(&mut self, entry: &Entry) -> Result<(), Stop> {
        if entry.kind != Kind::Plain(FileType::Directory) {
            return Err(Flaw::Root.into());
        }
        match self.root_entry.replace(entry.clone()) {
            None => Ok(()),
            Some(_) => Err(Flaw::Duplicate.into()),
        }
    }

    fn whiteout(&mut self, dir: &[&[u8]], hidden: &[u8]) -> Result<(), Stop> {
        let dir = self.place.enter(dir)?.node.clone();
        match dir.child(hidden)? {
            None => {
                let (kind, none) = (FileType::CharDevice, Mode::empty());
                let name = FileName::new(hidden)?;
                let made = dir
                    .fs()
                    .mknod(&maker(), dir.id(), name, kind, none, Rdev::WHITEOUT)?;
                drop(dir.adopt(made.node, made.attr));
                Ok(())
            }
            Some(there) if is_device_whiteout(there.attr()) => Err(Flaw::Duplicate.into()),
            // What is below is hidden, and not what is here.
            Some(there) if there.kind() == FileType::Directory => {
                Ok(self.place.make_opaque(&there)?)
            }
            Some(_) => Ok(()),
        }
    }

    fn object(
        &mut self,
        entry: &Entry,
        (dir, name): (&[&[u8]], &[u8]),
        archive: &mut Archive<'_>,
    ) -> Result<(), Stop> {
        check_kind(&entry.kind, self.spec.devices)?;
        let level = self.place.enter(dir)?;
        let (dir, gives_acl) = (level.node.clone(), level.gives_acl);
        let is_dir = entry.kind == Kind::Plain(FileType::Directory);
        let mut hides = false;
        match dir.child(name)? {
            None => {}
            Some(there) if is_device_whiteout(there.attr()) => {
                dir.fs().unlink(dir.id(), FileName::new(name)?)?;
                hides = is_dir;
            }
            Some(there) if is_dir && self.place.was_implied(&there) => {
                return self.dress(&there, entry);
            }
            Some(_) => return Err(Flaw::Duplicate.into()),
        }
        if let Kind::Link(target) = &entry.kind {
            return self.link(target, &dir, name);
        }
        let node = born(&dir, name, &entry.kind)?;
        if gives_acl && node.kind() != FileType::Symlink {
            forget_acls(&node)?;
        }
        if node.kind() == FileType::Regular {
            self.fill(&node, entry, archive)?;
        }
        if hides {
            self.place.make_opaque(&node)?;
        }
        self.dress(&node, entry)
    }

    fn dress(&mut self, node: &Node, entry: &Entry) -> Result<(), Stop> {
        let mut dress = Dress {
            owners: self.spec.owners,
            note: self.note,
        };
        dress.put_on(node, entry)
    }

    /// Gives a file of this archive another name.
    fn link(&self, target: &[u8], dir: &Node, name: &[u8]) -> Result<(), Stop> {
        let mut node = self.root.clone();
        for name in names::inside(target)? {
            if name.starts_with(NAMED) {
                return Err(Flaw::LinkTarget.into());
            }
            node = match node.kind() {
                FileType::Directory => node.child(name)?.ok_or(Flaw::LinkTarget)?,
                kind => return Err(Flaw::Through(kind).into()),
            };
        }
        if node.kind() == FileType::Directory || is_device_whiteout(node.attr()) {
            return Err(Flaw::LinkTarget.into());
        }
        let made = dir.fs().link(node.id(), dir.id(), FileName::new(name)?)?;
        drop(dir.adopt(made.node, made.attr));
        Ok(())
    }

    /// Writes the data of a file.
    fn fill(&mut self, node: &Node, entry: &Entry, archive: &mut Archive<'_>) -> Result<(), Stop> {
        let whole = [Extent {
            offset: 0,
            len: entry.size,
        }];
        let extents = entry.map.as_ref().map_or(&whole[..], Map::extents);
        for extent in extents {
            let mut end = extent.offset;
            let mut left = extent.len;
            while left > 0 {
                let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
                let buffer = self.buffer.get_mut(..wanted).unwrap_or_default();
                let read = archive.data(buffer)?;
                write(node, end, buffer.get(..read).unwrap_or_default())?;
                let read = u64::try_from(read).unwrap_or_default();
                if read == 0 {
                    return Err(Flaw::Truncated.into());
                }
                end += read;
                left -= read;
                self.check()?;
            }
        }
        // A hole at the end, after an extent of no length.
        if entry.map.is_some() {
            let size = SetAttr {
                size: Some(entry.size),
                ..SetAttr::default()
            };
            node.fs().set_attr(node.id(), &size)?;
        }
        Ok(())
    }
}

fn check_kind(kind: &Kind, devices: DevicePolicy) -> Result<(), Flaw> {
    match kind {
        Kind::Device(FileType::CharDevice, Rdev::WHITEOUT) => Err(Flaw::WhiteoutDevice),
        Kind::Device(..) if devices == DevicePolicy::Refuse => Err(Flaw::Device),
        Kind::Symlink(target) if target.is_empty() || target.contains(&0) => Err(Flaw::Name),
        _ => Ok(()),
    }
}

/// Makes an object that is nobody else's yet.
fn born(dir: &Node, name: &[u8], kind: &Kind) -> Result<Node, Errno> {
    let (fs, id, name) = (dir.fs(), dir.id(), FileName::new(name)?);
    let private = Mode::new(0o600);
    let made = match kind {
        Kind::Plain(FileType::Directory) => fs.mkdir(&maker(), id, name, Mode::new(0o700))?,
        Kind::Plain(FileType::Regular) => fs.create(&maker(), id, name, private)?,
        Kind::Symlink(target) => fs.symlink(&maker(), id, name, target)?,
        Kind::Plain(kind) => fs.mknod(&maker(), id, name, *kind, private, Rdev::default())?,
        Kind::Device(kind, rdev) => fs.mknod(&maker(), id, name, *kind, private, *rdev)?,
        // It has its object already.
        Kind::Link(_) => return Err(Errno::INVAL),
    };
    Ok(dir.adopt(made.node, made.attr))
}

/// Removes the ACLs that an object got from its directory.
fn forget_acls(node: &Node) -> Result<(), Errno> {
    for name in [&b"system.posix_acl_access"[..], b"system.posix_acl_default"] {
        match node.fs().remove_xattr(node.id(), XattrName::new(name)?) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn write(node: &Node, mut offset: u64, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = node.fs().write(node.id(), offset, bytes, KillPriv::Keep)?;
        if written == 0 {
            return Err(Errno::IO);
        }
        bytes = bytes.get(written..).unwrap_or_default();
        offset += u64::try_from(written).unwrap_or_default();
    }
    Ok(())
}

/// Gives an object its owner, attributes, mode and time.
struct Dress<'a> {
    owners: ImportOwners,
    note: &'a mut dyn FnMut(Note),
}

impl Dress<'_> {
    fn put_on(&mut self, node: &Node, entry: &Entry) -> Result<(), Stop> {
        let (fs, id) = (node.fs(), node.id());
        if self.owners != ImportOwners::Mine {
            let owner = SetAttr {
                uid: Some(entry.uid),
                gid: Some(entry.gid),
                ..SetAttr::default()
            };
            fs.set_attr(id, &owner)?;
        }
        for (name, value) in &entry.xattrs {
            self.xattr(node, entry, (name, value))?;
        }
        let rest = SetAttr {
            mode: (node.kind() != FileType::Symlink).then_some(entry.mode),
            atime: Some(SetTime::At(entry.mtime)),
            mtime: Some(SetTime::At(entry.mtime)),
            ..SetAttr::default()
        };
        fs.set_attr(id, &rest)?;
        Ok(())
    }

    fn xattr(
        &mut self,
        node: &Node,
        entry: &Entry,
        (name, value): (&[u8], &[u8]),
    ) -> Result<(), Stop> {
        if would_be_mark(name) || is_record(name) || MARKS.contains(&name) {
            return Err(Flaw::Mark(name.to_vec()).into());
        }
        let Ok(checked) = XattrName::new(name) else {
            return Err(Flaw::Attribute(name.to_vec()).into());
        };
        if value.len() > XATTR_SIZE_MAX {
            return Err(Flaw::Attribute(name.to_vec()).into());
        }
        let is_acl = name.starts_with(b"system.posix_acl_");
        if OF_MACHINE.contains(&name) || (name.starts_with(b"system.") && !is_acl) {
            self.note(entry, LeftOut::Attribute(name.to_vec()));
            return Ok(());
        }
        let mode = XattrMode::Set;
        let set = node
            .fs()
            .set_xattr(node.id(), checked, value, mode, KillPriv::Keep);
        match set {
            Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP)
                if self.owners != ImportOwners::Real =>
            {
                self.note(entry, LeftOut::Forbidden(name.to_vec()));
                Ok(())
            }
            set => Ok(set?),
        }
    }

    fn note(&mut self, entry: &Entry, what: LeftOut) {
        let path = path_of(entry.path.clone());
        (self.note)(Note { path, what });
    }
}
