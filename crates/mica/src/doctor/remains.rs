//! What earlier mounts left in an upper and its work directory.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use mica_sys::handle::Handle;
use rustix::fs::{IFlags, Mode, OFlags};

/// What is in the way in a work directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// The mark of a feature, in `work/incompat`.
    Incompatible(String),
    /// Something that the kernel cannot remove.
    Kept(PathBuf),
}

/// How deep the kernel looks into `work/work` (ovl_workdir_cleanup).
const CLEANED: usize = 2;

/// Looks for what would keep the kernel from emptying `work/work`.
pub(super) fn left_in(work: &Path) -> Left {
    let dir = work.join("work");
    let marks = fs::read_dir(dir.join("incompat")).into_iter().flatten();
    if let Some(mark) = marks.flatten().next() {
        return Left::Incompatible(mark.file_name().to_string_lossy().into_owned());
    }
    match kept(&dir, 0) {
        Some(what) => Left::Kept(what),
        None => Left::Nothing,
    }
}

fn kept(dir: &Path, depth: usize) -> Option<PathBuf> {
    if has_flag(dir) {
        return Some(dir.to_owned());
    }
    let entries = fs::read_dir(dir).ok()?.flatten();
    entries
        .map(|entry| (entry.path(), entry.file_type()))
        .find_map(|(path, kind)| {
            let kind = kind.ok()?;
            if depth >= CLEANED {
                // It is too deep to be removed at all.
                return Some(path);
            }
            if kind.is_dir() {
                return kept(&path, depth + 1);
            }
            (kind.is_file() && has_flag(&path)).then_some(path)
        })
}

fn has_flag(path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let flags = rustix::fs::open(path, flags, Mode::empty()).and_then(rustix::fs::ioctl_getflags);
    flags.is_ok_and(|flags| flags.intersects(IFlags::IMMUTABLE | IFlags::APPEND))
}

/// Where the type of a file handle is in a stored one, and where its bytes begin (`struct ovl_fb`).
const TYPE: usize = 4;
const BYTES: usize = 21;

/// Tells whether the file handle that `at` carries as an attribute of the overlay is that of another directory than `dir`.
pub(super) fn is_of_another(at: &Path, mark: &str, dir: &Path, userxattr: bool) -> bool {
    let prefix = if userxattr { "user" } else { "trusted" };
    let name = format!("{prefix}.overlay.{mark}");
    let mut value = vec![0; 256];
    let Ok(name) = CString::new(name) else {
        return false;
    };
    let Ok(len) = rustix::fs::lgetxattr(at, &name, &mut value) else {
        return false;
    };
    value.truncate(len);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own =
        rustix::fs::open(dir, flags, Mode::empty()).and_then(|dir| Handle::of(dir.as_fd(), c""));
    let (Ok(own), Some(kind), Some(bytes)) = (own, value.get(TYPE), value.get(BYTES..)) else {
        return false;
    };
    own.kind() != i32::from(*kind) || own.bytes() != bytes
}
