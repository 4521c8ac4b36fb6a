//! The names in a directory below which others have mounted something, as a lower: directories that cells will lie over,
//! symbolic links, copies of small files of the user's own, and empty files for others of the machine to be bound to.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use mica_vfs::Errno;
use rustix::fs::{
    Access, FileType, Mode, OFlags, Stat, lstat, mknodat, openat, readlink, symlinkat,
};

use super::cell::Cells;
use super::lower::{dress, is_foreign, like};
use super::veil::new_dir;

/// Larger files are not copied.
const LARGEST: u64 = 1 << 20;

/// A lower, and what is to be mounted over the names in it. Paths are those of the tree.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) dir: OwnedFd,
    pub(super) dirs: Vec<PathBuf>,
    /// What the machine's own is bound to.
    pub(super) bound: Vec<PathBuf>,
}

/// Makes that of the directory at `path`.
pub(super) fn of(cells: &Cells<'_>, path: &Path) -> Result<Frame, Errno> {
    let ground = cells.ground;
    let there = ground.on_machine(path);
    let mut frame = Frame {
        dir: new_dir(cells, "frame", path)?,
        dirs: Vec::new(),
        bound: Vec::new(),
    };
    let entries = fs::read_dir(&there);
    let entries = entries.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    for entry in entries.flatten() {
        let inside = path.join(entry.file_name());
        if !ground.is_hidden(&inside) {
            // What has gone meanwhile, or cannot be made, is not there.
            if let Err(errno) = add(cells, &mut frame, &entry.file_name(), inside) {
                tracing::debug!(name = ?entry.file_name(), %errno, "not in the view");
            }
        }
    }
    dress(frame.dir.as_fd(), &there, &lstat(&there)?)?;
    Ok(frame)
}

const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// Copies what is in a file, or as much of it as one that is being written may have.
fn copy(there: &Path, mut to: File) -> io::Result<()> {
    let from = File::from(rustix::fs::open(there, READ, Mode::empty())?);
    io::copy(&mut from.take(LARGEST), &mut to).map(drop)
}

/// Gives a copy the attributes of its original, and says whether it has them all.
fn is_like(dir: BorrowedFd<'_>, name: &OsStr, there: &Path, stat: &Stat) -> Result<bool, Errno> {
    let file = openat(dir, name, READ, Mode::empty())?;
    Ok(dress(file.as_fd(), there, stat)?.is_none())
}

fn add(cells: &Cells<'_>, frame: &mut Frame, name: &OsStr, inside: PathBuf) -> Result<(), Errno> {
    let there = cells.ground.on_machine(&inside);
    let stat = lstat(&there)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let dir = frame.dir.as_fd();
    match kind {
        FileType::Directory => {
            like(dir, name, &there)?;
            // Of what its user cannot enter he has nothing to change.
            let closed = is_foreign(&stat) && rustix::fs::access(&there, Access::EXEC_OK).is_err();
            match (cells.is_mountpoint(&inside), closed) {
                // A filesystem comes in its turn.
                (true, _) => {}
                (false, true) => frame.bound.push(inside),
                (false, false) => frame.dirs.push(inside),
            }
        }
        FileType::Symlink => symlinkat(readlink(&there, Vec::new())?, dir, name)?,
        // Of the machine's nothing but the name is for the session.
        FileType::Fifo | FileType::Socket => {
            mknodat(
                dir,
                name,
                kind,
                Mode::from_raw_mode(stat.st_mode & 0o777),
                0,
            )?;
        }
        FileType::RegularFile => {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
            let file = openat(dir, name, flags, mode)?;
            if cells.is_mountpoint(&inside) {
                return Ok(());
            }
            let small = u64::try_from(stat.st_size).is_ok_and(|size| size <= LARGEST);
            let own = small && !is_foreign(&stat);
            if !(own && copy(&there, file.into()).is_ok() && is_like(dir, name, &there, &stat)?) {
                frame.bound.push(inside);
            }
        }
        _ => return Err(Errno::OPNOTSUPP),
    }
    Ok(())
}
