//! Removing the directory of a session.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::process::geteuid;

use super::error::DoError;
use super::store::failed;

/// What the name of a session that is being removed begins with: no session is called so.
const GONE: &str = ".gone.";

/// Removes the directory of a session. All of it is gone at once: what a process that is killed leaves has no session's name,
/// and goes with the next one.
pub(super) fn remove(dir: &Path) -> Result<(), DoError> {
    let (Some(store), Some(name)) = (dir.parent(), dir.file_name()) else {
        return Ok(());
    };
    sweep(store);
    let mut aside = std::ffi::OsString::from(GONE);
    aside.push(name);
    let aside = store.join(aside);
    let removed = match fs::rename(dir, &aside) {
        Ok(()) => remove_all(&aside),
        // What could not be swept is in the way.
        Err(_) => remove_all(dir),
    };
    removed.map_err(failed("remove", dir))
}

/// Removes what is left of sessions that are gone.
fn sweep(store: &Path) {
    let entries = fs::read_dir(store).into_iter().flatten();
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().as_bytes().starts_with(GONE.as_bytes())
            && let Err(error) = remove_all(&entry.path())
        {
            tracing::debug!(path = ?entry.path(), %error, "what is left of a session stays");
        }
    }
}

/// Removes a directory and what is in it. Others may remove it at the same time.
fn remove_all(dir: &Path) -> io::Result<()> {
    let owner = match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?.uid(),
    };
    if owner == geteuid().as_raw() {
        return remove_own(dir);
    }
    // Its owner may put links in the places of directories meanwhile. The library's follows none.
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Does so with a directory that nobody else changes. Directories that their owner may not enter are opened first: a work directory
/// has some.
fn remove_own(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fs::set_permissions(dir, Permissions::from_mode(0o700))?;
            fs::read_dir(dir)?
        }
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_own(&entry.path())?;
        } else {
            remove_in(dir, || fs::remove_file(entry.path()))?;
        }
    }
    match dir.parent() {
        Some(parent) => remove_in(parent, || fs::remove_dir(dir)),
        None => fs::remove_dir(dir),
    }
}

/// Removes something from `dir`, which may be closed to writing.
fn remove_in(dir: &Path, remove: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let removed = match remove() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fs::set_permissions(dir, Permissions::from_mode(0o700))?;
            remove()
        }
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_to_its_owner_is_removed_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("t");
        fs::create_dir_all(tree.join("closed/below")).unwrap();
        fs::write(tree.join("closed/below/f"), "").unwrap();
        for at in ["closed/below", "closed"] {
            fs::set_permissions(tree.join(at), Permissions::from_mode(0o0)).unwrap();
        }
        remove(&tree).unwrap();
        assert!(!tree.exists());
        remove(&tree).unwrap();
    }
}
