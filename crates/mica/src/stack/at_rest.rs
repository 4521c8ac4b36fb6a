//! An upper that no mount uses, opened to be read or changed as it lies on disk.
//!
//! The same rules as for a mount say whether the directories may be used: locks of Mica, mounts of others. Nothing is
//! prepared in the work directory and nothing is probed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_host::{FdCache, HostFs, LayerAccess, Owners};
use mica_vfs::{Errno, Filesystem, NodeId};

use super::apart::{apart, check_apart};
use super::error::{LayerDir, Role, StackError};
use super::in_use::{self, InUse};
use super::opened::Opened;
use super::{raise_fd_limit, reach};
use crate::offline::Node;

/// Which directories are opened, and what for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening<'a> {
    pub(crate) upper: &'a Path,
    pub(crate) work: Option<&'a Path>,
    pub(crate) lowers: &'a [PathBuf],
    /// What is done with upper and work. Lowers are read.
    pub(crate) access: LayerAccess,
}

/// Directories of a stack that is not mounted, held as in use until dropped.
#[derive(Debug)]
pub(crate) struct AtRest {
    pub(crate) upper: Node,
    pub(crate) work: Option<Node>,
    /// Topmost first.
    pub(crate) lowers: Vec<Node>,
    in_use: Vec<InUse>,
    /// The layer of the upper.
    fs: Arc<HostFs>,
}

impl AtRest {
    /// Opens the directories and keeps mounts of Mica away from them.
    ///
    /// # Errors
    ///
    /// A [`StackError`] that names the directory: it is missing, in use by a mount, or inside another one.
    pub(crate) fn open(opening: &Opening<'_>) -> Result<Self, StackError> {
        Self::open_with(opening, Owners::Real)
    }

    /// Opens them, and reads and writes the owners of the upper as `owners` says. With a work directory and owners that
    /// are recorded, objects are prepared there.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub(crate) fn open_with(opening: &Opening<'_>, owners: Owners) -> Result<Self, StackError> {
        let fds = FdCache::new(raise_fd_limit());
        let mut upper = Opened::open_for(Role::Upper, opening.upper, opening.access)?;
        let work = opening.work;
        let mut work = work
            .map(|path| Opened::open_for(Role::Work, path, opening.access))
            .transpose()?;
        let lowers = opening.lowers.iter();
        let lowers = lowers.map(|path| Opened::open(Role::Lower, path));
        let lowers = lowers.collect::<Result<Vec<_>, _>>()?;
        let all: Vec<&Opened> = [&upper].into_iter().chain(&work).chain(&lowers).collect();
        check_apart(&all)?;
        let mut in_use = Vec::new();
        let mut unsure = Vec::new();
        let written: Vec<&Opened> = [&upper].into_iter().chain(&work).collect();
        for written in &written {
            in_use.push(InUse::claim(written)?);
        }
        let others = in_use::settled(&written);
        for written in written {
            in_use::refuse_shared(written, &others, &mut unsure)?;
        }
        if let (Some(work), LayerAccess::ReadWrite) = (&mut work, opening.access) {
            reach::narrow(&mut upper, work);
        }
        let (upper, work, fs) = nodes(upper, work, (opening.access, owners), &fds)?;
        let lowers = lowers.into_iter().map(|lower| {
            alone(lower, (LayerAccess::ReadOnly, Owners::Real), &fds).map(|(node, _)| node)
        });
        Ok(Self {
            upper,
            work,
            lowers: lowers.collect::<Result<_, _>>()?,
            in_use,
            fs,
        })
    }

    /// Tells whether owners and modes of the upper are recorded in attributes.
    pub(crate) fn has_recorded_owners(&self) -> Result<bool, Errno> {
        let names = self.upper.xattr_names()?;
        Ok(names.iter().any(|name| is_record(name)))
    }

    /// Records the owner of the upper's root, if owners are recorded, and finds out whether they can be.
    pub(crate) fn record_root(&self) -> Result<(), Errno> {
        self.fs.probe_owners()?;
        self.fs.record_root(None)
    }

    /// Puts all of the upper's filesystem on disk.
    pub(crate) fn sync(&self) -> Result<(), Errno> {
        self.in_use.first().map_or(Ok(()), InUse::sync)
    }
}

/// Makes layers of upper and work: one, if anything is to be renamed between them.
fn nodes(
    upper: Opened,
    work: Option<Opened>,
    (access, owners): (LayerAccess, Owners),
    fds: &Arc<FdCache>,
) -> Result<(Node, Option<Node>, Arc<HostFs>), StackError> {
    let upper_dir = upper.dir.clone();
    let upper_place = upper.place;
    let (upper, fs) = alone(upper, (access, owners), fds)?;
    let Some(work) = work else {
        return Ok((upper, None, fs));
    };
    if access == LayerAccess::ReadOnly {
        let (work, _) = alone(work, (access, Owners::Real), fds)?;
        return Ok((upper, Some(work), fs));
    }
    if !upper_place.same_mount(work.place) {
        return Err(apart(&upper_dir, upper_place, &work));
    }
    let dir = work.dir;
    let opened = |source| not_opened(&dir, source);
    let id = fs.attach(work.fd).map_err(opened)?;
    let shared: Arc<dyn Filesystem> = Arc::<HostFs>::clone(&fs);
    let work = Node::root(shared, id).map_err(opened)?;
    Ok((upper, Some(work), fs))
}

fn alone(
    opened: Opened,
    (access, owners): (LayerAccess, Owners),
    fds: &Arc<FdCache>,
) -> Result<(Node, Arc<HostFs>), StackError> {
    let dir = opened.dir;
    let failed = |source| not_opened(&dir, source);
    let fs = HostFs::new(opened.fd, access, Arc::clone(fds)).map_err(failed)?;
    let fs = Arc::new(fs.with_owners(owners));
    let shared: Arc<dyn Filesystem> = Arc::<HostFs>::clone(&fs);
    let node = Node::root(shared, NodeId::ROOT).map_err(failed)?;
    Ok((node, fs))
}

fn not_opened(dir: &LayerDir, source: Errno) -> StackError {
    StackError::Open {
        dir: dir.clone(),
        source,
    }
}

/// Whether an attribute records the owner of its object.
pub(crate) fn is_record(name: &[u8]) -> bool {
    name.ends_with(b".override_stat")
}
