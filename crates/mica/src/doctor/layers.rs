//! What the directories of a mount are, looked at without changing them.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use mica_host::{FdCache, Features, HostFs, LayerAccess};
use mica_sys::handle::Handle;
use mica_vfs::{Errno, NodeId};
use rustix::fs::{Mode, OFlags, StatVfsMountFlags};

use super::asked::Asked;
use super::depth;
use crate::Escaped;
use crate::stack::in_use::used_by;
use crate::stack::others::{Other, has_unseen_error, others};
use crate::stack::place::{DirId, Place, above};
use crate::stack::{Holder, LayerDir, Role, unmapped};

/// Types of filesystems, as statfs(2) numbers them.
pub(super) mod magic {
    pub(in crate::doctor) const OVERLAY: u32 = 0x794c_7630;
    pub(in crate::doctor) const TMPFS: u32 = 0x0102_1994;
    pub(in crate::doctor) const FUSE: u32 = 0x6573_5546;
    pub(in crate::doctor) const AUTOFS: u32 = 0x187;
    pub(in crate::doctor) const NFS: u32 = 0x6969;
    pub(in crate::doctor) const SMB: [u32; 3] = [0x517b, 0xff53_4d42, 0xfe53_4d42];
    pub(in crate::doctor) const V9FS: u32 = 0x0102_1997;
    pub(in crate::doctor) const CEPH: u32 = 0x00c3_6400;
    pub(in crate::doctor) const PROC: u32 = 0x9fa0;
    pub(in crate::doctor) const FAT: [u32; 2] = [0x4d44, 0x2011_bab0];
}

/// A directory, or why it is none.
#[derive(Debug)]
pub(super) enum Looked {
    Missing,
    NotDirectory,
    Closed(Errno),
    Open(Box<Facts>),
}

/// What a directory is.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) place: Place,
    /// The directories above it, up to the root of its mount.
    pub(super) above: Vec<DirId>,
    /// The type of its filesystem.
    pub(super) magic: u32,
    pub(super) read_only: bool,
    /// How many filesystems lie on each other there, as far as mount tables tell.
    pub(super) depth: u32,
    pub(super) casefold: bool,
    /// The mount that writes to it.
    pub(super) by: Option<Box<Holder>>,
    pub(super) handles: bool,
    pub(super) uuid: Option<[u8; 16]>,
    /// Its owner or group has no name in this user namespace.
    pub(super) unmapped: bool,
    /// Of the upper alone, if it is asked for with `volatile`: a write failed, and nobody was told.
    pub(super) unseen_error: bool,
    /// Of the work directory alone.
    pub(super) features: Option<Features>,
}

/// A directory of the mount.
#[derive(Debug)]
pub(super) struct Dir {
    pub(super) dir: LayerDir,
    pub(super) looked: Looked,
}

impl Dir {
    /// Returns what it is, if it is a directory that can be opened.
    pub(super) fn facts(&self) -> Option<&Facts> {
        match &self.looked {
            Looked::Open(facts) => Some(facts),
            Looked::Missing | Looked::NotDirectory | Looked::Closed(_) => None,
        }
    }
}

/// The directories of a mount.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// Those with names first.
    pub(super) lowers: Vec<Dir>,
    pub(super) upper: Option<Dir>,
    pub(super) work: Option<Dir>,
}

impl Layers {
    pub(super) fn look(asked: &Asked) -> Self {
        let others = others();
        let look = |role, path: &PathBuf| Dir {
            dir: LayerDir {
                role,
                path: path.clone(),
            },
            looked: look(path, &others),
        };
        let lowers = asked.lowers.iter().map(|path| look(Role::Lower, path));
        let data = asked.data.iter().map(|path| look(Role::Data, path));
        let mut layers = Self {
            lowers: lowers.chain(data).collect(),
            upper: asked.upper.as_ref().map(|path| look(Role::Upper, path)),
            work: asked.work.as_ref().map(|path| look(Role::Work, path)),
        };
        let xattr: &[u8] = if asked.userxattr {
            b"user.overlay."
        } else {
            b"trusted.overlay."
        };
        if asked.volatile
            && let Some(Dir { dir, looked }) = &mut layers.upper
            && let Looked::Open(facts) = looked
        {
            facts.unseen_error = has_unseen_error(&dir.path) == Some(true);
        }
        let alone = layers.work_is_alone();
        if alone
            && let Some(Dir { dir, looked }) = &mut layers.work
            && let Looked::Open(facts) = looked
            && facts.by.is_none()
        {
            facts.features = probe(&dir.path, xattr);
        }
        layers
    }

    /// Tells whether the work directory neither is nor lies in another one of the mount: scratch files would be made there.
    fn work_is_alone(&self) -> bool {
        let Some(work) = self.work.as_ref().and_then(Dir::facts) else {
            return false;
        };
        let others = self.upper.iter().chain(&self.lowers);
        let mut others = others.filter_map(Dir::facts).map(|facts| facts.place.id);
        !others.any(|id| id == work.place.id || work.above.contains(&id))
    }

    /// Returns upper, work and lowers, those that can be opened.
    pub(super) fn open(&self) -> impl Iterator<Item = (&LayerDir, &Facts)> {
        self.all().filter_map(|dir| Some((&dir.dir, dir.facts()?)))
    }

    /// Says what was found, for people.
    pub(super) fn seen(&self) -> Vec<(&'static str, String)> {
        let mut seen = Vec::new();
        for dir in self.all() {
            let role = match dir.dir.role {
                Role::Lower => "lowerdir",
                Role::Data => "datadir",
                Role::Upper => "upperdir",
                Role::Work => "workdir",
            };
            let path = Escaped::new(&dir.dir.path);
            let Some(facts) = dir.facts() else {
                seen.push((role, format!("{path}, which cannot be opened")));
                continue;
            };
            let mut text = format!("{path}, {}", name_of(facts.magic));
            if facts.read_only {
                text.push_str(", read-only");
            }
            if let Some(features) = facts.features {
                text.push_str(&format!(", {}", abilities(features)));
            }
            seen.push((role, text));
        }
        seen
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Dir> {
        let written = self.upper.iter().chain(&self.work);
        written.chain(&self.lowers)
    }
}

fn look(path: &Path, others: &[Other]) -> Looked {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Looked::Missing,
        Err(Errno::NOTDIR) => return Looked::NotDirectory,
        Err(errno) => return Looked::Closed(errno),
    };
    match facts(path, &dir, others) {
        Ok(facts) => Looked::Open(Box::new(facts)),
        Err(errno) => Looked::Closed(errno),
    }
}

fn facts(path: &Path, dir: &OwnedFd, others: &[Other]) -> Result<Facts, Errno> {
    let statfs = rustix::fs::fstatfs(dir)?;
    let mount = rustix::fs::fstatvfs(dir)?;
    let flags = rustix::fs::ioctl_getflags(dir);
    let owned = fs::metadata(path).ok();
    let known = unmapped::unmapped();
    Ok(Facts {
        place: Place::of(dir)?,
        above: above(dir)?,
        // The kernel's numbers have 32 bits; where the field is wider its sign is extended.
        magic: u32::try_from(statfs.f_type & 0xffff_ffff).unwrap_or_default(),
        read_only: mount.f_flag.contains(StatVfsMountFlags::RDONLY),
        depth: depth::of(path),
        casefold: flags.is_ok_and(|flags| flags.bits() & CASEFOLD != 0),
        by: used_by(dir, path, others),
        handles: Handle::of(dir.as_fd(), c"").is_ok(),
        uuid: mica_sys::fsattr::fs_uuid(dir.as_fd()).ok(),
        unmapped: owned
            .is_some_and(|found| known.uid == Some(found.uid()) || known.gid == Some(found.gid())),
        unseen_error: false,
        features: None,
    })
}

/// `FS_CASEFOLD_FL`
const CASEFOLD: u32 = 0x4000_0000;

/// Finds out by trying, in the work directory, what its filesystem can do.
fn probe(work: &Path, xattr: &[u8]) -> Option<Features> {
    let dir = mica_host::open_layer(work, LayerAccess::ReadWrite).ok()?;
    let fs = HostFs::new(dir, LayerAccess::ReadWrite, FdCache::new(8)).ok()?;
    fs.probe(NodeId::ROOT, xattr).ok()
}

/// Names the types of filesystems that overlays are often made of.
fn name_of(magic: u32) -> String {
    let names = [
        (0xef53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683e, "btrfs"),
        (0x2fc1_2fc1, "zfs"),
        (0xf2f5_2010, "f2fs"),
        (0x8584_58f6, "ramfs"),
        (0x7371_7368, "squashfs"),
        (0xe0f5_e1e2, "erofs"),
        (magic::TMPFS, "tmpfs"),
        (magic::OVERLAY, "an overlay"),
        (magic::FUSE, "FUSE"),
        (magic::NFS, "NFS"),
        (magic::V9FS, "9p"),
        (magic::PROC, "proc"),
        (magic::AUTOFS, "autofs"),
    ];
    let known = names.iter().find(|(number, _)| *number == magic);
    known.map_or_else(
        || format!("filesystem {magic:#x}"),
        |(_, name)| (*name).to_owned(),
    )
}

/// Names what a filesystem lacks of what an upper can use.
fn abilities(features: Features) -> String {
    let all = [
        ("d_type", features.d_type),
        ("attributes", features.xattr),
        ("whiteouts", features.whiteout),
        ("RENAME_WHITEOUT", features.rename_whiteout),
        ("RENAME_EXCHANGE", features.rename_exchange),
        ("O_TMPFILE", features.tmpfile),
    ];
    let lacks: Vec<&str> = all
        .iter()
        .filter(|(_, has)| !has)
        .map(|(name, _)| *name)
        .collect();
    match lacks.as_slice() {
        [] => "which has all that an upper uses".to_owned(),
        lacks => format!("which lacks {}", lacks.join(", ")),
    }
}
