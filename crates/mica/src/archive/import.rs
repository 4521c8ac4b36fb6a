//! From an archive to an upper, in one pass.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use mica_overlay::XattrNamespace;
use mica_vfs::{FileName, FileType, Mode, Rdev, SetAttr};

use super::compression::unpack;
use super::dress::{Dress, born, forget_acls, write};
use super::entry::{Entry, Kind};
use super::error::{Flaw, ImportError};
use super::leaving_out::{LeftOut, Note};
use super::names::{self, Meaning};
use super::place::{Place, Stop};
use super::reader::{ReadError, TarReader};
use super::sparse::{Extent, Map};
use super::target::{Target, make};
use crate::convert::{NAMED, maker, unmark};
use crate::offline::{Node, is_device_whiteout};
use crate::options::path as path_of;
use crate::stack::Stack;

/// How much of a file is written at once.
const CHUNK: usize = 256 * 1024;

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
