//! The cells of a view, and what lies where no overlay can be.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use mica_sys::mount::restrict_tree;
use mica_vfs::Errno;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::lower::Dress;
use super::marks::{InUpper, in_upper};
use super::overlay::{Layers, Renames, directory, overlay, work};
use super::{Ground, lower, scaffold, veil};
use crate::session::devices::{NODEV, NOSUID, put};
use crate::session::error::{DoError, step};
use crate::session::lack::Lack;
use crate::session::tree::{Mounted, is_left_out};

const COPY: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

/// The view while it is put together.
#[derive(Debug)]
pub(super) struct Cells<'a> {
    pub(super) ground: &'a Ground<'a>,
    below: Vec<Mounted>,
    /// The first overlay, in which all others are.
    root: Option<OwnedFd>,
    made: usize,
    pub(super) lacks: Vec<Lack>,
    /// Directories that were made in the upper.
    pub(super) lent: Vec<(PathBuf, Dress)>,
}

/// What an attempt at a cell came to.
enum Made {
    Whole,
    /// Something that is not this user's is mounted below.
    HasMounts,
    /// The kernel has no overlay of it.
    Refused(Errno),
}

impl<'a> Cells<'a> {
    pub(super) fn new(ground: &'a Ground<'a>, below: Vec<Mounted>) -> Self {
        Self {
            ground,
            below,
            root: None,
            made: 0,
            lacks: Vec::new(),
            lent: Vec::new(),
        }
    }

    /// Mounts the view at `place`.
    pub(super) fn mount_all(&mut self, place: &Path) -> Result<(), DoError> {
        match self.whole(Path::new(""), Some(place))? {
            Made::Whole => {}
            Made::HasMounts => self.scaffold(Path::new(""), Some(place))?,
            Made::Refused(source) => {
                return Err(DoError::KernelLower {
                    fuse: self.ground.plan.driver.errno(),
                    dir: self.ground.lower.clone(),
                    source,
                });
            }
        }
        let mut taken = Vec::new();
        for Mounted { path, kind } in self.below.clone() {
            // What lies in that which is not entered is not there either.
            if self.ground.is_hidden(&path) || taken.iter().any(|dir| path.starts_with(dir)) {
                continue;
            }
            if is_left_out(&kind) {
                step("a mount that hides another", self.cover(&path))?;
                taken.push(path);
            } else {
                self.filesystem(&path, &kind)?;
            }
        }
        Ok(())
    }

    /// Shows a filesystem of the machine.
    fn filesystem(&mut self, path: &Path, kind: &str) -> Result<(), DoError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Another mount lies over it, or its user does not get there.
        let Ok(there) = open(self.ground.on_machine(path), flags, Mode::empty()) else {
            return Ok(());
        };
        let stat = step("a part of the view", fstat(&there))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return self.bind(path, None);
        }
        self.directory(path, Some(kind))
    }

    /// Shows a directory, as one cell or several. Of a filesystem `kind` is the type. What goes meanwhile is not there.
    fn directory(&mut self, path: &Path, kind: Option<&str>) -> Result<(), DoError> {
        match self.parts(path, kind) {
            Err(DoError::Step {
                source: Errno::NOENT,
                ..
            }) => Ok(()),
            shown => shown,
        }
    }

    fn parts(&mut self, path: &Path, kind: Option<&str>) -> Result<(), DoError> {
        match self.whole(path, None)? {
            Made::Whole => Ok(()),
            Made::HasMounts => self.scaffold(path, None),
            Made::Refused(errno) => self.bind(path, Some((kind.unwrap_or("directory"), errno))),
        }
    }

    /// Tries one overlay of a directory.
    fn whole(&mut self, path: &Path, place: Option<&Path>) -> Result<Made, DoError> {
        let there = self.ground.on_machine(path);
        match open_tree(CWD, &there, COPY | OpenTreeFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => {}
            Err(Errno::INVAL) => return Ok(Made::HasMounts),
            Err(errno) => return Ok(Made::Refused(errno)),
        }
        let machine = match directory(&there) {
            Ok(machine) => machine,
            Err(errno) => return Ok(Made::Refused(errno)),
        };
        let veil = step("what hides parts of the view", veil::of(self, path))?;
        let mut lowers: Vec<_> = veil.iter().map(AsFd::as_fd).collect();
        lowers.push(machine.as_fd());
        self.cell(path, place, &lowers)
    }

    /// Whether a filesystem is mounted at a path.
    pub(super) fn is_mountpoint(&self, path: &Path) -> bool {
        self.below.iter().any(|mounted| mounted.path == path)
    }

    /// Returns how many cells were begun.
    pub(super) fn count(&self) -> usize {
        self.made
    }

    /// Shows a directory below which others have mounted something: an overlay of the names in it, and a cell for each of its
    /// directories.
    fn scaffold(&mut self, path: &Path, place: Option<&Path>) -> Result<(), DoError> {
        let frame = step("a part of the view", scaffold::of(self, path))?;
        match self.cell(path, place, &[frame.dir.as_fd()])? {
            Made::Whole | Made::HasMounts => {}
            Made::Refused(errno) => {
                self.lacks.push(Lack::missing(path, errno));
                return step("a part of the view", self.cover(path));
            }
        }
        for dir in frame.dirs {
            self.directory(&dir, None)?;
        }
        for path in frame.bound {
            self.bind(&path, None)?;
        }
        Ok(())
    }

    /// Mounts an overlay of `lowers` at `path` of the view, or as the whole of it at `place`.
    fn cell(
        &mut self,
        path: &Path,
        place: Option<&Path>,
        lowers: &[BorrowedFd<'_>],
    ) -> Result<Made, DoError> {
        let ground = self.ground;
        let upper = match self.upper(path) {
            Ok(Some(upper)) => upper,
            Ok(None) => return Ok(Made::Whole),
            Err(errno) => return Ok(Made::Refused(errno)),
        };
        self.made += 1;
        let work = work(ground, self.made)?;
        let layers = Layers {
            lowers,
            upper: upper.as_fd(),
            work: work.as_fd(),
        };
        let renames = match place {
            Some(_) => Renames::Redirected,
            None => Renames::Refused,
        };
        let mount = match overlay(&layers, ground.xattrs(), renames) {
            Ok(mount) => mount,
            Err(errno) => return Ok(Made::Refused(errno)),
        };
        let Some(place) = place else {
            let put = self.put(path, mount.as_fd());
            return step("a part of the view", put).map(|()| Made::Whole);
        };
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        step("the view", move_mount(mount.as_fd(), "", CWD, place, flags))?;
        self.root = Some(mount);
        Ok(Made::Whole)
    }

    /// Opens the directory of the upper that holds the changes of a cell, and makes what is missing on the way; `None` if the session
    /// has put something else there.
    fn upper(&mut self, path: &Path) -> Result<Option<OwnedFd>, Errno> {
        let ground = self.ground;
        match in_upper(&ground.upper, path, ground.xattrs())? {
            InUpper::Merges => {}
            InUpper::Replaced => return Ok(None),
        }
        let mut dir = directory(&ground.upper)?;
        let mut so_far = PathBuf::new();
        for name in path {
            so_far.push(name);
            let like = lower::like(dir.as_fd(), name, &ground.on_machine(&so_far))?;
            dir = like.dir;
            if let Some(dress) = like.made {
                self.lent.push((ground.upper.join(&so_far), dress));
            }
            if let Some(errno) = like.lacks {
                return Err(errno);
            }
        }
        Ok(Some(dir))
    }

    /// Shows an object of the machine itself, read-only.
    fn bind(&mut self, path: &Path, refused: Option<(&str, Errno)>) -> Result<(), DoError> {
        let bound = || -> Result<(), Errno> {
            let flags = COPY | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
            let tree = open_tree(CWD, self.ground.on_machine(path), flags)?;
            let inert = MountAttrFlags::MOUNT_ATTR_RDONLY | NODEV | NOSUID;
            restrict_tree(tree.as_fd(), inert)?;
            self.put(path, tree.as_fd())
        };
        let lack = match (bound(), refused) {
            (Ok(()), None) | (Err(Errno::NOENT), _) => return Ok(()),
            (Ok(()), Some((kind, errno))) => Lack::read_only(path, kind, errno),
            // What cannot be shown is not there.
            (Err(errno), _) => Lack::missing(path, errno),
        };
        self.lacks.push(lack);
        Ok(())
    }

    /// Lays something empty over a mountpoint.
    fn cover(&self, path: &Path) -> Result<(), Errno> {
        let flags = COPY | OpenTreeFlags::AT_EMPTY_PATH;
        let copy = open_tree(&self.ground.empty, "", flags)?;
        match self.put(path, copy.as_fd()) {
            // A file has no use for a directory over it.
            Err(Errno::NOTDIR | Errno::INVAL) => Ok(()),
            covered => covered,
        }
    }

    /// Puts a mount in its place in the view, if there is that.
    fn put(&self, path: &Path, mount: BorrowedFd<'_>) -> Result<(), Errno> {
        let Some(root) = &self.root else {
            return Err(Errno::NOENT);
        };
        // O_PATH without O_DIRECTORY: nothing is mounted by looking.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        match openat2(root, path, flags, Mode::empty(), resolve) {
            Ok(at) => put(mount, at.as_fd()),
            // The session has removed it, or put something else there.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
