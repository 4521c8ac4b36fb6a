//! What an earlier run, by Mica, may have left in the upper that the kernel would take for something else.

use std::fs;
use std::path::{Path, PathBuf};

use mica_overlay::{Opaque, Redirect, XattrNamespace, parse_opaque, parse_redirect};
use mica_vfs::Errno;
use rustix::fs::{FileType, lgetxattr, lstat};

use crate::options::path as path_of;
use crate::session::driver::Driver;
use crate::session::error::DoError;
use crate::session::tree::Mounted;

/// What the upper has at the name of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InUpper {
    /// Nothing, or a directory that merges with the one of the machine.
    Merges,
    /// Something of the session's own, or nothing any more.
    Replaced,
}

/// Looks what the upper has on the way to a cell.
pub(super) fn in_upper(
    upper: &Path,
    cell: &Path,
    xattrs: XattrNamespace,
) -> Result<InUpper, Errno> {
    let mut at = upper.to_owned();
    for name in cell {
        at.push(name);
        let stat = match lstat(&at) {
            Err(Errno::NOENT) => return Ok(InUpper::Merges),
            stat => stat?,
        };
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let own = is_dir && mark(&at, xattrs, b"opaque")?.is_some_and(|value| is_opaque(&value));
        if !is_dir || own {
            return Ok(InUpper::Replaced);
        }
    }
    Ok(InUpper::Merges)
}

fn is_opaque(value: &[u8]) -> bool {
    parse_opaque(value) == Ok(Opaque::Stop)
}

/// Fails if directories were renamed in a way that the kernel would not follow: an ordinary user's never, root's if the directory or
/// what it was comes from another filesystem than the root's, or has one below it.
pub(super) fn check(
    upper: &Path,
    xattrs: XattrNamespace,
    below: &[Mounted],
    driver: Driver,
) -> Result<(), DoError> {
    let mut left = vec![PathBuf::new()];
    while let Some(dir) = left.pop() {
        let Ok(entries) = fs::read_dir(upper.join(&dir)) else {
            // Its user cannot look into it, nor does the kernel for him.
            continue;
        };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = dir.join(entry.file_name());
            let value = mark(&entry.path(), xattrs, b"redirect").unwrap_or_default();
            if let Some(value) = value
                && !is_followed(&path, &value, xattrs, below)
            {
                return Err(DoError::Renamed {
                    fuse: driver.errno(),
                    path: Path::new("/").join(path),
                });
            }
            left.push(path);
        }
    }
    Ok(())
}

fn is_followed(path: &Path, value: &[u8], xattrs: XattrNamespace, below: &[Mounted]) -> bool {
    let from = match parse_redirect(value) {
        Ok(Redirect::Path(from)) => path_of(from.to_vec()),
        Ok(Redirect::Name(name)) => path.with_file_name(path_of(name.to_vec())),
        Err(_) => return true,
    };
    let from = from.strip_prefix("/").unwrap_or(&from);
    let apart = |mounted: &Mounted| {
        let related = |one: &Path| one.starts_with(&mounted.path) || mounted.path.starts_with(one);
        !related(from) && !related(path)
    };
    xattrs == XattrNamespace::Trusted && below.iter().all(apart)
}

/// Reads a mark of a directory.
fn mark(path: &Path, xattrs: XattrNamespace, suffix: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    use std::os::unix::ffi::OsStrExt as _;
    let name = [xattrs.prefix(), suffix].concat();
    let mut value = vec![0; 65536];
    match lgetxattr(path, std::ffi::OsStr::from_bytes(&name), &mut value) {
        Ok(len) => {
            value.truncate(len);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_is_followed_within_the_first_filesystem() {
        let below = [Mounted {
            path: "srv/disk".into(),
            kind: "ext4".into(),
        }];
        let followed = |path: &str, value: &str, xattrs| {
            is_followed(Path::new(path), value.as_bytes(), xattrs, &below)
        };
        let root = XattrNamespace::Trusted;
        assert!(followed("usr/b", "a", root));
        assert!(followed("usr/b", "/opt/a", root));
        assert!(!followed("usr/b", "a", XattrNamespace::User));
        assert!(!followed("usr/b", "/srv", root));
        assert!(!followed("usr/b", "/srv/disk/a", root));
        assert!(!followed("srv/disk/b", "a", root));
    }
}
