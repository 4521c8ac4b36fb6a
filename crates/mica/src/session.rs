//! Sessions: commands that run on a private copy of this machine's files, whose changes are kept apart.
//!
//! # Processes
//!
//! - The *front* is whoever calls [`Session::start`]: it stays as it is, and talks to the others.
//! - The *stage* ([`be_stage`]) makes namespaces and the view, and serves it, from within the cage.
//! - *Init*, a child of the stage, is the first process of the session's PID namespace, and the parent of the command.
//!
//! The stage is a copy of the front where that has one thread, or a program of the caller's choice that calls this function ([`StageBy`]).
//!
//! # Invariants
//!
//! - The front enters no namespace and gives up no right.
//! - Whichever process ends, all that runs in the session ends.
//! - Nothing of the host is written but the session's own directory.

mod barred;
mod base_log;
mod changes;
mod chroot;
mod command;
mod copying;
mod devices;
mod driver;
mod error;
mod extras;
mod forking;
mod front;
mod init;
mod joining;
mod kernel;
mod lack;
mod leftovers;
mod link;
mod listing;
mod lock;
mod network;
mod plan;
mod record;
mod removal;
mod rights;
mod run;
mod stage;
mod staging;
mod store;
mod tree;
mod unlisted;
mod users;
mod view;
mod whose;
mod within;

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

use mica_overlay::XattrNamespace;
use mica_vfs::Errno;
use serde::{Deserialize, Serialize};

use crate::diff::Glob;
pub use barred::Barred;

pub(crate) use base_log::{Base, Recorded};
pub use changes::Changes;
use driver::Driver;
pub use error::{DoError, Told};
pub use front::{Running, Signaller};
use front::{Stage, View};
pub(crate) use kernel::Lent;
pub use lack::Lack;
pub use link::Others;
use link::{Link, Work};
pub use listing::{Activity, SessionInfo};
use plan::Plan;
pub(crate) use plan::{Bytes, Ids, Users};
use record::Record;
use run::{Run, Start};
pub use stage::be_stage;
pub use staging::StageBy;
pub use store::{Entered, Sessions};
pub(crate) use tree::left_out;
pub use view::{Extra, ExtraSource, Medium, Network, UnlistedDirs, ViewAccess, ViewSpec};
pub(crate) use whose::Whose;
pub use within::{Within, be_within};

/// Whom a command runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Who {
    /// Whoever starts it.
    #[default]
    Same,
    /// Root of the session.
    Root,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct RunSpec {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// The directory to begin in; `None`: the caller's, or `/` where the view does not have that.
    pub dir: Option<PathBuf>,
    /// Whom it runs as. Who joins a session is who it is there.
    pub who: Who,
    /// Its whole environment; `None`: the caller's.
    pub environment: Option<Vec<(OsString, OsString)>>,
    /// What its session is, if it begins with it.
    pub view: ViewSpec,
}

impl RunSpec {
    /// Returns directories that the command is likely to work in: where it begins, its user's own, and those for temporary files.
    fn ways(&self) -> impl Iterator<Item = PathBuf> {
        let begin = self.dir.clone().or_else(|| std::env::current_dir().ok());
        let named = ["HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"];
        let named = named.into_iter().filter_map(std::env::var_os);
        let all = begin.into_iter().chain(named.map(PathBuf::from));
        let all = all.chain(["/tmp".into(), "/var/tmp".into()]);
        all.filter_map(|path| path.canonicalize().ok())
    }

    /// Describes the command, with the environment and the umask of this process.
    fn to_run(&self) -> Run {
        let start = match &self.dir {
            Some(dir) => Start::In(Bytes::of(dir)),
            None => Start::Near(Bytes::of(std::env::current_dir().unwrap_or("/".into()))),
        };
        let environment = match &self.environment {
            Some(environment) => environment.clone(),
            None => std::env::vars_os().collect(),
        };
        Run {
            command: self.command.iter().map(Bytes::of).collect(),
            environment: environment
                .into_iter()
                .map(|(name, value)| (Bytes::of(name), Bytes::of(value)))
                .collect(),
            start,
            umask: run::umask(),
        }
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// With this status.
    Code(u8),
    /// By this signal.
    Signal(i32),
    /// It was not run: the number of the error.
    NotRun(i32),
}

impl Exit {
    /// Returns the exit status that a shell would give: 126 and 127 for what cannot be run, 128 and the number of a signal.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(signal).map_or(u8::MAX, |n| n.saturating_add(128)),
            Self::NotRun(errno) if init::is_missing(Errno::from_raw_os_error(errno)) => 127,
            Self::NotRun(_) => 126,
        }
    }
}

/// What a running command did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It stopped by a signal, and waits to be [continued](Signaller::resume).
    Stopped(i32),
    /// It ended.
    Ended(Exit),
}

/// A session that this process has locked.
#[derive(Debug)]
pub struct Session {
    dir: PathBuf,
    record: Record,
    /// `None`: it is only looked at, and another process has locked it.
    lock: Option<OwnedFd>,
    /// Where the changes are, if that is in memory.
    memory: Option<OwnedFd>,
    on_lack: fn(&Lack),
}

/// A session in which commands run that others have started.
#[derive(Debug)]
pub struct Joined {
    dir: PathBuf,
    record: Record,
    init: Link,
}

impl Session {
    fn new(dir: PathBuf, record: Record, lock: Option<OwnedFd>) -> Self {
        Self {
            dir,
            record,
            lock,
            memory: None,
            on_lack: |_| (),
        }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &std::ffi::OsStr {
        self.dir.file_name().unwrap_or_default()
    }

    /// Has `tell` hear what the view lacks, if the kernel makes it as there is no FUSE, before a command runs in it.
    pub fn on_lack(&mut self, tell: fn(&Lack)) {
        self.on_lack = tell;
    }

    /// Returns the tree that it is on.
    #[must_use]
    pub fn lower(&self) -> PathBuf {
        self.record.lower()
    }

    /// Returns the directory that holds its changes, the upper of an overlay.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        match &self.memory {
            Some(upper) => format!("/proc/self/fd/{}", upper.as_raw_fd()).into(),
            None => plan::upper_in(&self.dir),
        }
    }

    /// Returns where is kept what its commit does.
    pub(crate) fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }

    /// Returns which of its directories are no changes.
    pub(crate) fn lent(&self) -> Lent {
        Lent::read(&plan::work_of_kernel_in(&self.dir))
    }

    /// Returns its own directory.
    pub(crate) fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// Reads what the machine had before the session changed it.
    pub(crate) fn base(&self) -> Result<Base, DoError> {
        let path = plan::base_log_in(&self.dir);
        Base::read(&path).map_err(|source| DoError::Store {
            action: "read",
            path,
            source,
        })
    }

    /// Returns when it was made, in seconds since 1970.
    pub(crate) fn created(&self) -> u64 {
        self.record.created
    }

    /// Removes it as this process, which can.
    pub(crate) fn remove(&self) -> Result<(), DoError> {
        removal::remove(&self.dir)
    }

    /// Returns which ids it has; `None`: one of root, which has all.
    pub(crate) fn users(&self) -> Option<&Users> {
        self.record.users.as_ref()
    }

    /// Says whose its objects are.
    pub(crate) fn whose(&self) -> Whose {
        Whose::of(self.record.users.as_ref())
    }

    /// Returns under which prefix its upper has marks.
    pub(crate) fn xattrs(&self) -> XattrNamespace {
        match self.record.users {
            None => XattrNamespace::Trusted,
            Some(_) => XattrNamespace::User,
        }
    }

    /// Takes a session that this process is not to change.
    fn seen(dir: &std::path::Path, record: Record, memory: Option<OwnedFd>) -> Self {
        Self {
            memory,
            ..Self::new(dir.to_owned(), record, None)
        }
    }

    /// Leaves names out of what is [told](Session::diff) of its changes, and of what is [committed](Session::commit), besides those that
    /// it has left out before. It is remembered when a command is [started](Session::start).
    pub fn ignore(&mut self, globs: &[Glob]) {
        for glob in globs {
            if !self.record.ignored.contains(glob) {
                self.record.ignored.push(glob.clone());
            }
        }
    }

    /// Returns the patterns of names of which nothing is told.
    #[must_use]
    pub fn ignored(&self) -> &[Glob] {
        &self.record.ignored
    }

    /// Removes it with all changes. `stage` is the command line of a process that calls [`be_stage`] with its standard input:
    /// it is started for a session of an ordinary user that has objects of other ids.
    ///
    /// # Errors
    ///
    /// Something in it cannot be removed.
    pub fn discard(self, stage: &mut Command) -> Result<(), DoError> {
        let users = self.record.users.as_ref().filter(|users| !users.alone());
        let Some(users) = users else {
            return removal::remove(&self.dir);
        };
        let work = Work::Remove(Bytes::of(&self.dir));
        let stage = Stage::start(stage)?;
        stage.work(work, users, &[], &mut on).map(drop)
    }

    /// Runs a command in it. `stage` says how its stage is made (the command line of a program, say), and `stdio` is what the command has
    /// as standard input, output and error. Each of these that is a terminal is replaced by one of the session. Until that ends,
    /// others may join it.
    ///
    /// # Errors
    ///
    /// A [`DoError`]; nothing was run. That the program cannot be run is no error, but an [`Exit`].
    pub fn start<'a>(
        &mut self,
        spec: &RunSpec,
        stage: impl Into<StageBy<'a>>,
        stdio: [BorrowedFd<'_>; 3],
    ) -> Result<Running, DoError> {
        let plan = self.plan(spec)?;
        // It gets ready meanwhile.
        let stage = Stage::start(stage)?;
        self.record.users = plan.users.clone();
        self.record.set_command(&spec.command);
        self.record.in_memory = matches!(plan.view.medium, Medium::Memory { .. });
        self.ignore(&spec.view.ignored);
        let view = match plan.driver {
            Driver::Mica => View::Plain,
            Driver::Kernel(_) => View::Propped,
        };
        let (init, theirs) = front::link()?;
        let door = joining::door()?;
        let lock = self.lock.as_ref().ok_or(DoError::Lost)?;
        let given = [theirs.as_fd(), door.as_fd(), lock.as_fd()];
        let terms = stage.tell(plan, &init, given)?;
        drop(theirs);
        // Who joins reads the description.
        let described = self.record.write(&self.dir);
        let listening = described.and_then(|()| joining::listen(&door, &self.dir));
        drop(door);
        match listening.and_then(|()| stage.prepare(terms)) {
            Ok(prepared) => {
                self.memory = prepared.memory;
                prepared.lacks.iter().for_each(self.on_lack);
            }
            Err(error) => {
                drop(init);
                stage.give_up(view);
                return Err(error);
            }
        }
        Running::start(init, Some((stage, view)), &spec.to_run(), stdio)
    }

    fn plan(&self, spec: &RunSpec) -> Result<Plan, DoError> {
        if std::fs::metadata("/proc/self/fd").is_err() {
            return Err(DoError::NoProc);
        }
        let dir = self.dir.canonicalize().map_err(|source| DoError::Store {
            action: "reach",
            path: self.dir.clone(),
            source,
        })?;
        let store = dir.parent().unwrap_or(&dir);
        // Who it is for stays, as the ids that its changes have mean nothing to others.
        let users = if self.record.command.is_empty() {
            users::choose(spec.who)?
        } else {
            users::accept(self.record.users.as_ref(), spec.who, self.name())?;
            self.record.users.clone()
        };
        Ok(Plan {
            store: Bytes::of(store),
            dir: Bytes::of(&dir),
            lower: Bytes::of(self.lower()),
            users,
            driver: Driver::choose(),
            ways: spec.ways().map(Bytes::of).collect(),
            view: spec.view.resolve()?,
        })
    }

    /// Notes how the command ended.
    ///
    /// # Errors
    ///
    /// The description of the session cannot be written.
    pub fn note_end(&mut self, exit: Exit) -> Result<(), DoError> {
        self.record.ended = Some(exit);
        self.record.write(&self.dir)
    }
}

/// Lets work go on that nobody watches.
fn on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

impl Joined {
    /// Returns the name of the session.
    #[must_use]
    pub fn name(&self) -> &std::ffi::OsStr {
        self.dir.file_name().unwrap_or_default()
    }

    /// Returns the tree that it is on.
    #[must_use]
    pub fn lower(&self) -> PathBuf {
        self.record.lower()
    }

    /// Runs a command, among those that run there, with `stdio` as [`Session::start`] takes it. Its environment, its umask and the
    /// directory to begin in are the caller's; its limits are those of the session.
    ///
    /// # Errors
    ///
    /// A [`DoError`]; nothing was run. [`DoError::Gone`] if the last command ended meanwhile: the session can be
    /// [entered](Sessions::enter) again.
    pub fn start(&self, spec: &RunSpec, stdio: [BorrowedFd<'_>; 3]) -> Result<Running, DoError> {
        let name = self.name();
        if spec.view != ViewSpec::default() {
            return Err(DoError::Begun { name: name.into() });
        }
        users::accept(self.record.users.as_ref(), spec.who, name)?;
        let init = self.init.try_clone()?;
        Running::start(init, None, &spec.to_run(), stdio)
    }
}
