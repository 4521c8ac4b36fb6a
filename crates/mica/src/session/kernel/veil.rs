//! The veil of a cell: a lower above that of the machine, which takes away what the view does not have, and gives directories on the way
//! to those of an ordinary user an owner that the kernel can copy.
//!
//! Without it the kernel copies no directory up of an owner who has no id in the user namespace (`EOVERFLOW`), and so nobody could
//! change his own files below one of root's.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use mica_vfs::Errno;
use rustix::fs::{AtFlags, FileType, Mode, lstat, mknodat, utimensat};

use super::cell::Cells;
use super::lower::{is_foreign, like, times};

/// Makes the veil of the cell at `cell`; `None` if it needs none.
pub(super) fn of(cells: &Cells<'_>, cell: &Path) -> Result<Option<OwnedFd>, Errno> {
    let ground = cells.ground;
    let mut dirs = BTreeSet::new();
    let mut gone = BTreeSet::new();
    for hidden in ground.hidden.iter().filter(|path| is_of(cells, path, cell)) {
        // A name in a directory that is not there is none.
        if lstat(ground.on_machine(hidden)).is_ok() {
            gone.insert(hidden.clone());
            dirs.extend(between(cell, hidden.parent().unwrap_or(cell)));
        }
    }
    for way in ground.ways.iter().filter(|path| is_of(cells, path, cell)) {
        dirs.extend(foreign_on(cells, cell, way));
    }
    if dirs.is_empty() && gone.is_empty() {
        return Ok(None);
    }
    let veil = new_dir(cells, "veil", cell)?;
    let open = |path: &Path| -> Result<OwnedFd, Errno> {
        let mut dir = veil.try_clone().map_err(|_| Errno::MFILE)?;
        for path in between(cell, path) {
            let name = path.file_name().unwrap_or_default();
            dir = like(dir.as_fd(), name, &ground.on_machine(&path))?.dir;
        }
        Ok(dir)
    };
    for path in &dirs {
        unless_gone(open(path).map(drop))?;
    }
    let hide = |path: &Path| {
        let dir = open(path.parent().unwrap_or(cell))?;
        let name = path.file_name().unwrap_or_default();
        mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0)
    };
    for path in gone {
        unless_gone(hide(&path))?;
    }
    // What was made in a directory has changed its times, and these are those that the view shows.
    let set_times = |path: &Path| {
        let dir = open(path.parent().unwrap_or(cell))?;
        let name = path.file_name().unwrap_or_default();
        let times = times(&lstat(ground.on_machine(path))?);
        utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
    };
    for path in dirs.iter().rev() {
        unless_gone(set_times(path))?;
    }
    Ok(Some(veil))
}

/// Lets pass that something is not there any more.
fn unless_gone(done: Result<(), Errno>) -> Result<(), Errno> {
    match done {
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}

/// Whether what lies at `path` is seen in the cell at `cell`, and is not all of it.
fn is_of(cells: &Cells<'_>, path: &Path, cell: &Path) -> bool {
    let inner = path.ancestors().skip(1);
    let mut inner = inner.take_while(|dir| *dir != cell);
    path != cell && path.starts_with(cell) && !inner.any(|dir| cells.is_mountpoint(dir))
}

/// Lists the directories below `cell` down to `path`.
fn between(cell: &Path, path: &Path) -> Vec<PathBuf> {
    let above = path.ancestors().take_while(|dir| *dir != cell);
    let mut dirs: Vec<_> = above.map(Path::to_owned).collect();
    dirs.reverse();
    dirs
}

/// Lists the directories on the way to `way` down to the last one whose owner has no id here.
fn foreign_on(cells: &Cells<'_>, cell: &Path, way: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut last = 0;
    if cells.ground.plan.users.is_none() {
        return found;
    }
    for path in between(cell, way) {
        match lstat(cells.ground.on_machine(&path)) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                found.push(path);
                if is_foreign(&stat) {
                    last = found.len();
                }
            }
            _ => break,
        }
    }
    found.truncate(last);
    found
}

/// Makes a directory in memory for the cell at `cell`.
pub(super) fn new_dir(cells: &Cells<'_>, sort: &str, cell: &Path) -> Result<OwnedFd, Errno> {
    let number = cells.count();
    let name = format!("{sort}.{number}");
    let there = cells.ground.on_machine(cell);
    let made = like(cells.ground.memory.as_fd(), OsStr::new(&name), &there)?;
    Ok(made.dir)
}
