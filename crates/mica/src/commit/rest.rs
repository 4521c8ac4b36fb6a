//! What is left of a session after a commit.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, Timespec, Timestamps};

use super::plan::{Plan, Rest, Taken};
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
        Rest::AllBut(taken) => {
            for taken in taken {
                take(&upper, taken)?;
            }
            Ok(())
        }
    }
}

/// Takes an object out of an upper, of a directory all that is in it. It can be done again.
pub(super) fn take(upper: &Path, Taken { path, above }: &Taken) -> io::Result<()> {
    let path = path.to_path();
    let path = upper.join(path.strip_prefix("/").unwrap_or(&path));
    missing_or(remove(&path))?;
    // Also of one that is gone: who removed it may have been killed before this.
    match (path.parent(), above) {
        (Some(dir), Some(times)) => missing_or(set_times(dir, *times)),
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

fn missing_or(done: io::Result<()>) -> io::Result<()> {
    match done.as_ref().map_err(io::Error::kind) {
        Err(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        _ => done,
    }
}

/// Gives a directory times; what is in its place by now has its own.
fn set_times(dir: &Path, [read, changed]: [(i64, u32); 2]) -> io::Result<()> {
    let time = |(secs, nanos): (i64, u32)| Timespec {
        tv_sec: secs,
        tv_nsec: nanos.into(),
    };
    let times = Timestamps {
        last_access: time(read),
        last_modification: time(changed),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty())?;
    Ok(rustix::fs::futimens(dir, &times)?)
}
