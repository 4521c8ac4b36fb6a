//! The view by the kernel's overlayfs, where there is no FUSE: one overlay for each filesystem of the machine, all in one tree.
//!
//! An overlay of the kernel shows one filesystem, and an ordinary user's cannot show a directory below which something is mounted that
//! is not his. So the view is put together of *cells*: a filesystem, or, of one that has such mounts, each directory in which they
//! are not. The upper of a cell is the directory of its name in the upper of the session, so that this is what Mica would have
//! written there, and diff and commit do not ask who wrote it.
//!
//! # Invariants
//!
//! - A directory that is made in the upper to be a cell's has the attributes of the machine's, and is no change.
//! - No mark in the upper leads out of its cell: Mica and the kernel read it alike.

mod cell;
mod lent;
mod lower;
mod marks;
mod overlay;
mod scaffold;
mod veil;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use mica_overlay::XattrNamespace;
use mica_vfs::Errno;
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount};

use super::devices::{NODEV, NOSUID, empty, filesystem};
use super::error::{DoError, step};
use super::lack::Lack;
use super::plan::{Bytes, Plan};
use super::tree::{Mounted, mounted_below, names_of};
use super::view::UnlistedDirs;
use super::view::ViewAccess;
use crate::mountinfo::mounts;
use crate::stack::Limits;
use cell::Cells;
pub(crate) use lent::Lent;
use lower::Dress;

/// A view that is mounted.
#[derive(Debug)]
pub(super) struct View {
    root: PathBuf,
    work: PathBuf,
    /// Directories of the upper that were made for cells, those above others first.
    lent: Vec<(PathBuf, Dress)>,
    /// What of the machine is shown otherwise than it should be.
    pub(super) lacks: Vec<Lack>,
}

/// What all cells are made of.
#[derive(Debug)]
struct Ground<'a> {
    plan: &'a Plan,
    lower: PathBuf,
    upper: PathBuf,
    work: PathBuf,
    /// What the view does not have, from the root of the tree on.
    hidden: Vec<PathBuf>,
    /// Directories that the command is to reach and work in, whoever owns those above them.
    ways: Vec<PathBuf>,
    /// A directory in memory for what only overlays see.
    memory: OwnedFd,
    empty: OwnedFd,
}

impl Ground<'_> {
    fn xattrs(&self) -> XattrNamespace {
        match self.plan.users {
            None => XattrNamespace::Trusted,
            Some(_) => XattrNamespace::User,
        }
    }

    fn is_hidden(&self, path: &Path) -> bool {
        self.hidden.iter().any(|hidden| path.starts_with(hidden))
    }

    /// Returns where an object of the tree is on the machine.
    fn on_machine(&self, path: &Path) -> PathBuf {
        self.lower.join(path)
    }
}

/// Mounts the view at the place of the plan, in a mount namespace of this process.
pub(super) fn mount(plan: &Plan) -> Result<View, DoError> {
    let (lower, root) = (plan.lower.to_path(), plan.root());
    let below: Vec<Mounted> = mounted_below(&lower)?;
    let in_tree = |path: PathBuf| Some(path.strip_prefix(&lower).ok()?.to_owned());
    let mut hidden = Vec::new();
    for one in plan.view.hidden.iter().chain([&plan.store]) {
        hidden.extend(names_of(&one.to_path())?);
    }
    let ways = plan.ways.iter().map(Bytes::to_path);
    let place = step("a place for the view", place(&root))?;
    let ground = Ground {
        plan,
        upper: plan.upper(),
        work: plan.work_of_kernel(),
        hidden: hidden.into_iter().filter_map(in_tree).collect(),
        ways: ways.filter_map(in_tree).collect(),
        lower: lower.clone(),
        memory: place,
        empty: step("an empty directory", empty())?,
    };
    marks::check(&ground.upper, ground.xattrs(), &below, plan.driver)?;
    if plan.view.limits != Limits::default() {
        let source = plan.driver.errno();
        return Err(DoError::NoLimits { source });
    }
    overlay::check_upper(&ground)?;
    let mut cells = Cells::new(&ground, below);
    let mounted = cells.mount_all(&root);
    let lent = cells.lent.iter().map(|(path, _)| path.as_path());
    let lent = lent.filter_map(|path| path.strip_prefix(&ground.upper).ok());
    if let Err(error) = Lent::write(&ground.work, lent) {
        tracing::debug!(%error, "a diff may show what is no change");
    }
    let mut lacks = vec![Lack::fuse(plan.users.is_some(), plan.driver.errno())];
    if plan.view.unlisted == UnlistedDirs::Empty {
        lacks.push(Lack::blank(plan.driver.errno()));
    }
    lacks.append(&mut cells.lacks);
    let view = View {
        root,
        work: ground.work.clone(),
        lent: cells.lent,
        lacks,
    };
    match mounted {
        Ok(()) => Ok(view),
        Err(error) => {
            view.end();
            Err(error)
        }
    }
}

/// Takes back what is left of a view that was not ended.
pub(super) fn tidy(plan: &Plan) {
    let work = plan.work_of_kernel();
    if !work.exists() {
        return;
    }
    Lent::read(&work).take_back(&plan.upper(), &plan.lower.to_path());
    if let Err(error) = super::removal::remove(&work) {
        tracing::debug!(%error, "the kernel's work directories stay");
    }
}

/// Mounts memory where the view is to be: the view then lies over it.
fn place(root: &Path) -> Result<OwnedFd, Errno> {
    let place = filesystem("tmpfs", &[("mode", "0700")], NOSUID | NODEV)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(place.as_fd(), "", CWD, root, flags)?;
    Ok(place)
}

impl View {
    /// Takes the view away when nobody uses it any more, and what the kernel had to work with.
    pub(super) fn end(self) {
        if let Err(errno) = rustix::mount::unmount(&self.root, UnmountFlags::DETACH) {
            tracing::debug!(%errno, "the view goes with this process");
        }
        // What they were made from may change before the session goes on.
        for (path, made) in self.lent.iter().rev() {
            if let Err(errno) = lower::take_back(path, made) {
                tracing::debug!(?path, %errno, "a directory stays in the upper");
            }
        }
        if let Err(error) = super::removal::remove(&self.work) {
            tracing::debug!(%error, "the kernel's work directories stay");
        }
    }
}

/// Opens the parts of the view at `root` that would have to be read-only one by one: all that is mounted there.
pub(super) fn parts(plan: &Plan) -> Result<Vec<OwnedFd>, DoError> {
    if plan.view.access == ViewAccess::ReadWrite {
        return Ok(Vec::new());
    }
    let (path, root) = (Path::new("/proc/self/mountinfo"), plan.root());
    let table = std::fs::read(path).map_err(|source| DoError::Store {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    let points = mounts(&table).map(|mount| mount.point());
    let inside = points.filter(|point| point.starts_with(&root));
    let opened = inside.map(|point| {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW;
        let flags = flags | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::open(point, flags, rustix::fs::Mode::empty())
    });
    step("a read-only view", opened.collect())
}
