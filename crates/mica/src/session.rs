//! Sessions: commands that run on a private copy of this machine's files, whose changes are kept apart.
//!
//! # Processes
//!
//! - The *front* is whoever calls [`Session::start`]: it stays as it is, and talks to the others.
//! - The *stage* ([`be_stage`]) makes namespaces and the view, and serves it, from within the cage.
//! - *Init* ([`be_init`]) is the first process of the session's PID namespace, and the parent of the command.
//!
//! Stage and init are programs of the caller's choice that call these functions: the `mica` command runs itself.
//!
//! # Invariants
//!
//! - The front enters no namespace and gives up no right.
//! - Whichever process ends, all that runs in the session ends.
//! - Nothing of the host is written but the session's own directory.

mod base_log;
mod changes;
mod command;
mod devices;
mod error;
mod init;
mod link;
mod plan;
mod record;
mod rights;
mod stage;
mod store;
mod tree;
mod users;
mod whose;
mod within;

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use mica_overlay::XattrNamespace;
use mica_vfs::Errno;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

pub use changes::Changes;
pub use error::{DoError, Told};
pub use init::be_init;
use link::{Link, Message};
use plan::{Bytes, Plan, Start};
use record::Record;
pub use stage::be_stage;
pub use store::{Activity, SessionInfo, Sessions};
pub(crate) use tree::left_out;
pub(crate) use whose::Whose;
pub use within::be_within;

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
    /// Whom it runs as.
    pub who: Who,
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
    #[expect(dead_code, reason = "it is held, and never looked at")]
    lock: OwnedFd,
}

impl Session {
    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &std::ffi::OsStr {
        self.dir.file_name().unwrap_or_default()
    }

    /// Returns the tree that it is on.
    #[must_use]
    pub fn lower(&self) -> PathBuf {
        self.record.lower()
    }

    /// Returns the directory that holds its changes, the upper of an overlay.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        plan::upper_in(&self.dir)
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

    /// Counts its changes.
    #[must_use]
    pub fn changes(&self) -> Changes {
        changes::count(&self.upper(), &self.lower())
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
            return store::remove(&self.dir);
        };
        let mut stage = Stage::start(stage)?;
        let message = Message::Remove(Bytes::of(&self.dir), users.clone());
        let failed = |source| DoError::Start { source };
        stage.link.send(&message, &[]).map_err(failed)?;
        match stage.attend(Some(users))? {
            (Message::Removed, _) => stage.child.wait().map(drop).map_err(failed),
            _ => Err(DoError::Lost),
        }
    }

    /// Runs a command in it. `stage` is the command line of a process that calls [`be_stage`] with its standard input, and
    /// `stdio` what the command has as standard input, output and error. Each of these that is a terminal is replaced by
    /// one of the session.
    ///
    /// # Errors
    ///
    /// A [`DoError`]; nothing was run. That the program cannot be run is no error, but an [`Exit`].
    pub fn start(
        &mut self,
        spec: &RunSpec,
        stage: &mut Command,
        stdio: [BorrowedFd<'_>; 3],
    ) -> Result<Running, DoError> {
        let plan = self.plan(spec)?;
        self.record.users = plan.users.clone();
        self.record.set_command(&spec.command);
        self.record.write(&self.dir)?;
        let stage = Stage::start(stage)?;
        let users = plan.users.clone();
        let sent = stage.link.send(&Message::Plan(plan), &stdio);
        sent.map_err(|source| DoError::Start { source })?;
        let (Message::Born, fds) = stage.attend(users.as_ref())? else {
            return Err(DoError::Lost);
        };
        let init = Link::of(fds.into_iter().next().ok_or(DoError::Lost)?);
        let (first, fds) = stage.hear(&init)?;
        let early = match first {
            Message::Started => None,
            Message::Ended(exit) => Some(exit),
            Message::Failed(told) => return Err(told.into()),
            _ => return Err(DoError::Lost),
        };
        Ok(Running {
            stage,
            init: Arc::new(init),
            terminal: fds.into_iter().next(),
            early,
        })
    }

    fn plan(&self, spec: &RunSpec) -> Result<Plan, DoError> {
        let start = match &spec.dir {
            Some(dir) => Start::In(Bytes::of(dir)),
            None => Start::Near(Bytes::of(std::env::current_dir().unwrap_or("/".into()))),
        };
        let dir = self.dir.canonicalize().map_err(|source| DoError::Store {
            action: "reach",
            path: self.dir.clone(),
            source,
        })?;
        let store = dir.parent().unwrap_or(&dir);
        Ok(Plan {
            store: Bytes::of(store),
            dir: Bytes::of(&dir),
            lower: Bytes::of(self.lower()),
            start,
            users: users::choose(spec.who),
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

/// The stage, as its front sees it.
#[derive(Debug)]
struct Stage {
    link: Link,
    child: Child,
}

impl Stage {
    fn start(line: &mut Command) -> Result<Self, DoError> {
        let (link, theirs) = Link::pair().map_err(|errno| DoError::Start {
            source: errno.into(),
        })?;
        let line = line
            .stdin(Stdio::from(theirs.into_fd()))
            .stdout(Stdio::null());
        let child = line.spawn().map_err(|source| DoError::Start { source })?;
        // The command line keeps the stage's end open, which then never ends.
        line.stdin(Stdio::null());
        Ok(Self { link, child })
    }

    /// Gives the stage the ids that it asks for, and returns what it says then.
    fn attend(&self, users: Option<&plan::Users>) -> Result<(Message, Vec<OwnedFd>), DoError> {
        let failed = |source| DoError::Start { source };
        loop {
            match self.link.receive().map_err(failed)? {
                Some((Message::Unmapped, _)) => {
                    let users = users.ok_or(DoError::Lost)?;
                    users::map_range(Pid::from_child(&self.child), users)?;
                    self.link.send(&Message::Mapped, &[]).map_err(failed)?;
                }
                Some((Message::Failed(told), _)) => return Err(told.into()),
                Some(said) => return Ok(said),
                None => return Err(DoError::Lost),
            }
        }
    }

    /// Waits for what init says. If it is gone, the stage may know why.
    fn hear(&self, init: &Link) -> Result<(Message, Vec<OwnedFd>), DoError> {
        let failed = |source| DoError::Start { source };
        if let Some(heard) = init.receive().map_err(failed)? {
            return Ok(heard);
        }
        match self.link.receive().map_err(failed)? {
            Some((Message::Failed(told), _)) => Err(told.into()),
            _ => Err(DoError::Lost),
        }
    }
}

/// A command that runs in a session. Dropping it does not end the command, but the end of this process does.
#[derive(Debug)]
pub struct Running {
    stage: Stage,
    init: Arc<Link>,
    terminal: Option<OwnedFd>,
    early: Option<Exit>,
}

impl Running {
    /// Returns the master side of the session's terminal, if it has one.
    #[must_use]
    pub fn terminal(&self) -> Option<&OwnedFd> {
        self.terminal.as_ref()
    }

    /// Returns what sends signals from another thread.
    #[must_use]
    pub fn signaller(&self) -> Signaller {
        Signaller {
            init: Arc::clone(&self.init),
        }
    }

    /// Waits until the command stops or ends.
    ///
    /// # Errors
    ///
    /// The session ended without a word.
    pub fn wait(&self) -> Result<Event, DoError> {
        if let Some(exit) = self.early {
            return Ok(Event::Ended(exit));
        }
        match self.stage.hear(&self.init)?.0 {
            Message::Stopped(signal) => Ok(Event::Stopped(signal)),
            Message::Ended(exit) => Ok(Event::Ended(exit)),
            Message::Failed(told) => Err(told.into()),
            _ => Err(DoError::Lost),
        }
    }

    /// Waits until all that ran in the session is gone, and nothing writes to its changes any more.
    ///
    /// # Errors
    ///
    /// The stage cannot be waited for.
    pub fn finish(mut self) -> Result<(), DoError> {
        drop(self.init);
        let ended = self.stage.child.wait();
        ended.map(drop).map_err(|source| DoError::Start { source })
    }
}

/// Sends signals to a command.
#[derive(Debug, Clone)]
pub struct Signaller {
    init: Arc<Link>,
}

impl Signaller {
    /// Sends a signal; those that a terminal sends go to all processes of the command's group.
    ///
    /// # Errors
    ///
    /// The session is gone.
    pub fn send(&self, signal: i32) -> io::Result<()> {
        self.init.send(&Message::Signal(signal), &[])
    }

    /// Lets a command go on that stopped.
    ///
    /// # Errors
    ///
    /// The session is gone.
    pub fn resume(&self) -> io::Result<()> {
        self.init.send(&Message::Continue, &[])
    }
}
