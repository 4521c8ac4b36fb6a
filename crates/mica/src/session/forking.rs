//! A session that begins with what another one changed, and one whose changes come from memory to disk.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Mode, OFlags};

use super::Session;
use super::copying::copy_all;
use super::error::DoError;
use super::front::Stage;
use super::link::Work;
use super::plan::{base_log_in, upper_in};
use super::store::{Sessions, failed, lay_out};

impl Sessions {
    /// Makes a session that begins with what the session `from` changed, in which nothing runs: called `name`, or by the next
    /// number. `stage` is the command line of a process that calls [`be_stage`](super::be_stage) with its standard input, which is
    /// started for a session of an ordinary user; `progress` is told how many objects are copied, and may stop it.
    ///
    /// # Errors
    ///
    /// A [`DoError`]; then there is no new session.
    pub fn fork(
        &self,
        from: &OsStr,
        name: Option<&OsStr>,
        stage: &mut Command,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Session, DoError> {
        let source = self.open(from)?;
        if source.journal().exists() {
            return Err(DoError::Unfinished { name: from.into() });
        }
        let session = lay_out(self.fresh(name)?, source.record.clone())?;
        match session.begin_as(&source, stage, progress) {
            Ok(()) => Ok(session),
            Err(error) => {
                session.discard(stage)?;
                Err(error)
            }
        }
    }

    /// Makes the directory of a new session.
    fn fresh(&self, name: Option<&OsStr>) -> Result<PathBuf, DoError> {
        let Some(name) = name else {
            return self.make_numbered();
        };
        let dir = self.dir_of(name)?;
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => Ok(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(DoError::Exists { name: name.into() })
            }
            Err(error) => Err(failed("make", &dir)(error)),
        }
    }
}

impl Session {
    /// Whether its changes are in memory alone, and gone with this process.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Puts changes that are in memory on disk, after the last command has ended; `stage` and `progress` are as [`Sessions::fork`] takes
    /// them. A session that has them there stays as it is. It has to be kept before it is committed: a commit that is interrupted goes
    /// on with what is on disk.
    ///
    /// # Errors
    ///
    /// A [`DoError`]; then the session can only be looked at, and discarded.
    pub fn keep(
        &mut self,
        stage: &mut Command,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), DoError> {
        if self.memory.is_some() {
            let from = open_dir(&self.upper())?;
            self.copy_from(from, stage, progress)?;
            self.memory = None;
            self.record.in_memory = false;
            self.record.write(&self.dir)?;
        }
        Ok(())
    }

    /// Copies what another session has, and becomes one that can be found.
    fn begin_as(
        &self,
        source: &Self,
        stage: &mut Command,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), DoError> {
        let from = open_dir(&source.upper())?;
        self.copy_from(from, stage, progress)?;
        let log = base_log_in(&source.dir);
        match fs::copy(&log, base_log_in(&self.dir)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("copy", &log)(error));
            }
            _ => {}
        }
        self.record.write(&self.dir)
    }

    /// Fills its upper on disk, which is empty, with what is in `from`.
    fn copy_from(
        &self,
        from: OwnedFd,
        stage: &mut Command,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), DoError> {
        let to = open_dir(&upper_in(&self.dir))?;
        let Some(users) = &self.record.users else {
            return copy_all(from, to, progress);
        };
        let stage = Stage::start(stage)?;
        let given = [from.as_fd(), to.as_fd()];
        stage.work(Work::Copy, users, &given, progress).map(drop)
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd, DoError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    opened.map_err(|errno| failed("open", path)(errno.into()))
}
