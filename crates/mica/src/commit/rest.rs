//! What is left of a session after a commit.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::plan::{Plan, Rest};
use crate::session::Session;

/// Where the changes go that are on the machine, until the session is removed.
const COMMITTED: &str = "committed";

fn committed(session: &Session) -> PathBuf {
    session.dir().join(COMMITTED)
}

/// Whether all of a session is on the machine, and what is left is to remove it.
pub(super) fn is_over(session: &Session) -> bool {
    committed(session).exists()
}

/// Takes what was committed out of a session. It can be done again.
pub(super) fn leave(session: &Session, plan: &Plan) -> io::Result<()> {
    let upper = session.upper();
    match &plan.rest {
        // One that is in memory goes by itself.
        Rest::Nothing if upper.parent() != Some(session.dir()) => {
            DirBuilder::new().mode(0o700).create(committed(session))
        }
        Rest::Nothing => fs::rename(&upper, committed(session)),
        Rest::AllBut(paths) => {
            for path in paths {
                let path = path.to_path();
                let path = upper.join(path.strip_prefix("/").unwrap_or(&path));
                match remove(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
                    removed => removed?,
                }
            }
            Ok(())
        }
    }
}

/// Removes an object, of a directory all that is in it. The directory that it was in keeps its times: they are the session's.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let above = path.parent().and_then(|dir| fs::File::open(dir).ok());
    let times = above.as_ref().and_then(|dir| {
        let had = dir.metadata().ok()?;
        let times = fs::FileTimes::new().set_accessed(had.accessed().ok()?);
        Some(times.set_modified(had.modified().ok()?))
    });
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)?;
    } else {
        fs::remove_file(path)?;
    }
    match above.zip(times) {
        Some((dir, times)) => dir.set_times(times),
        None => Ok(()),
    }
}
