//! The front's side: the stage as its front sees it, and a command that runs.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::changes::Changes;
use super::driver::Driver;
use super::error::DoError;
use super::lack::Lack;
use super::link::{Link, Message, Others, Work};
use super::plan::{Plan, Users};
use super::run::Run;
use super::staging::StageBy;
use super::view::Medium;
use super::{Event, Exit, users};

/// What a stage has prepared.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Where the changes are if they are in memory.
    pub(super) memory: Option<OwnedFd>,
    /// What the view lacks.
    pub(super) lacks: Vec<Lack>,
}

/// What of a plan concerns the front.
#[derive(Debug)]
pub(super) struct Terms {
    users: Option<Users>,
    medium: Medium,
    driver: Driver,
}

/// Makes the two ends of a link.
pub(super) fn link() -> Result<(Link, Link), DoError> {
    Link::pair().map_err(|errno| failed(errno.into()))
}

fn failed(source: io::Error) -> DoError {
    DoError::Start { source }
}

/// The stage, as its front sees it.
#[derive(Debug)]
pub(super) struct Stage {
    link: Link,
    process: Pid,
}

impl Stage {
    pub(super) fn start<'a>(by: impl Into<StageBy<'a>>) -> Result<Self, DoError> {
        let (link, theirs) = link()?;
        let process = by.into().make(theirs.into_fd()).map_err(failed)?;
        Ok(Self { link, process })
    }

    /// Tells the stage what to make, and init, at whose link this process has `init`. `given` are init's end of that, the socket to
    /// join at, and the lock.
    pub(super) fn tell(
        &self,
        plan: Plan,
        init: &Link,
        given: [BorrowedFd<'_>; 3],
    ) -> Result<Terms, DoError> {
        let (users, medium, driver) = (plan.users.clone(), plan.view.medium, plan.driver);
        let plan = Message::Plan(Box::new(plan));
        init.send(&plan, &[]).map_err(failed)?;
        self.link.send(&plan, &given).map_err(failed)?;
        Ok(Terms {
            users,
            medium,
            driver,
        })
    }

    /// Helps the stage with what it was told, and hears what came of it.
    pub(super) fn prepare(&self, terms: Terms) -> Result<Prepared, DoError> {
        let Terms {
            users,
            medium,
            driver,
        } = terms;
        if let Some(users) = users.filter(|users| !users.alone()) {
            self.map(&users)?;
        }
        let mut prepared = Prepared::default();
        if let Medium::Memory { .. } = medium {
            prepared.memory = match self.receive()? {
                (Message::Upper, fds) => fds.into_iter().next(),
                _ => return Err(DoError::Lost),
            };
        }
        if let Driver::Kernel(_) = driver {
            prepared.lacks = match self.receive()? {
                (Message::Lacks(lacks), _) => lacks,
                _ => return Err(DoError::Lost),
            };
        }
        Ok(prepared)
    }

    /// Has it do something in a user namespace of these users, and no more. `told` hears how many steps are done, and may stop it.
    pub(super) fn work(
        self,
        work: Work,
        users: &Users,
        given: &[BorrowedFd<'_>],
        told: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Changes, DoError> {
        let message = Message::Work(work, users.clone());
        self.link.send(&message, given).map_err(failed)?;
        if !users.alone() {
            self.map(users)?;
        }
        let done = loop {
            match self.receive() {
                Ok((Message::Step(steps), _)) if told(steps).is_continue() => {}
                Ok((Message::Step(_), _)) => break Err(DoError::Stopped),
                Ok((Message::Done(changes), _)) => break Ok(changes),
                Ok(_) => break Err(DoError::Lost),
                Err(error) => break Err(error),
            }
        };
        // Without its front it ends.
        drop(self.link);
        wait_for(self.process).map_err(failed)?;
        done
    }

    /// Waits until nothing of a view is left in the session's directory. Init has no front any more.
    pub(super) fn give_up(self, view: View) {
        if view == View::Plain {
            return;
        }
        // Nor has the stage one that answers.
        if let Err(errno) = shutdown(self.link.as_fd(), Shutdown::Write) {
            tracing::debug!(%errno, "the stage waits for nobody");
        }
        // What it says was the reason, or comes to nothing.
        while matches!(self.link.receive(), Ok(Some(_))) {}
    }

    /// Gives the stage the ids that it asks for.
    fn map(&self, users: &Users) -> Result<(), DoError> {
        match self.receive()? {
            (Message::Unmapped, _) => {
                users::map_range(self.process, users)?;
                self.link.send(&Message::Mapped, &[]).map_err(failed)
            }
            _ => Err(DoError::Lost),
        }
    }

    fn receive(&self) -> Result<(Message, Vec<OwnedFd>), DoError> {
        match self.link.receive().map_err(failed)? {
            Some((Message::Failed(told), _)) => Err(told.into()),
            Some(said) => Ok(said),
            None => Err(DoError::Lost),
        }
    }
}

/// A command that runs in a session. Dropping it does not end the command, but the end of this process does.
#[derive(Debug)]
pub struct Running {
    /// `None`: somebody else has made the session run.
    stage: Option<(Stage, View)>,
    init: Arc<Link>,
    terminal: Option<OwnedFd>,
    early: Option<Exit>,
}

/// Whether the stage has to be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// What is in the upper are changes.
    Plain,
    /// Until it is taken down there are directories in the upper that are none.
    Propped,
}

impl Running {
    pub(super) fn start(
        init: Link,
        stage: Option<(Stage, View)>,
        run: &Run,
        stdio: [BorrowedFd<'_>; 3],
    ) -> Result<Self, DoError> {
        let mut running = Self {
            stage,
            init: Arc::new(init),
            terminal: None,
            early: None,
        };
        match running.begin(run, stdio) {
            Ok(()) => Ok(running),
            Err(error) => {
                running.give_up();
                Err(error)
            }
        }
    }

    fn begin(
        &mut self,
        run: &Run,
        [stdin, stdout, stderr]: [BorrowedFd<'_>; 3],
    ) -> Result<(), DoError> {
        let file = run.to_file().map_err(failed)?;
        let given = [file.as_fd(), stdin, stdout, stderr];
        // A stage that failed says so.
        let heard = match self.init.send(&Message::Run, &given) {
            Ok(()) => self.hear()?,
            // Init may have said why before it went.
            Err(error) if is_gone(&error) => match self.hear() {
                Ok(_) => return Err(DoError::Lost),
                Err(error) => return Err(error),
            },
            Err(error) => return Err(failed(error)),
        };
        match heard {
            (Message::Started, fds) => self.terminal = fds.into_iter().next(),
            (Message::Ended(exit), _) => self.early = Some(exit),
            _ => return Err(DoError::Lost),
        }
        Ok(())
    }

    /// Waits until nothing of a view that the kernel makes is in the session's directory, whatever becomes of that next. Nothing was run.
    fn give_up(self) {
        let Self { stage, init, .. } = self;
        // Without a front it ends.
        drop(init);
        if let Some((stage, view)) = stage {
            stage.give_up(view);
        }
    }

    /// Waits for what init says. If it is gone, the stage may know why.
    fn hear(&self) -> Result<(Message, Vec<OwnedFd>), DoError> {
        match self.init.receive().map_err(failed)? {
            Some((Message::Failed(told), _)) => Err(told.into()),
            Some(heard) => Ok(heard),
            None => Err(self.lost()),
        }
    }

    fn lost(&self) -> DoError {
        match &self.stage {
            Some((stage, _)) => stage.receive().err().unwrap_or(DoError::Lost),
            None => DoError::Gone,
        }
    }

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
        match self.hear()?.0 {
            Message::Stopped(signal) => Ok(Event::Stopped(signal)),
            Message::Ended(exit) => Ok(Event::Ended(exit)),
            _ => Err(DoError::Lost),
        }
    }

    /// Waits until all that ran for this command is gone. If nobody else uses the session, nothing changes in it any more, but it is
    /// a moment until it can be [opened](super::Sessions::open).
    ///
    /// # Errors
    ///
    /// The link to init is broken, or there can be no thread to wait for the stage.
    pub fn finish(self) -> Result<Others, DoError> {
        let others = match self.init.receive().map_err(failed)? {
            Some((Message::Left(others), _)) => others,
            // It was ended with all that ran in it.
            _ => Others::None,
        };
        if let Some((Stage { process, link }, view)) = self.stage {
            if view == View::Propped && others == Others::None {
                link.receive().map_err(failed)?;
            }
            // It has namespaces to take down, or others to serve, and is reaped when it has ended.
            thread::Builder::new()
                .name("mica-stage".into())
                .spawn(move || wait_for(process))
                .map_err(failed)?;
        }
        Ok(others)
    }
}

/// Waits until a child has ended.
fn wait_for(child: Pid) -> io::Result<()> {
    rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()))?;
    Ok(())
}

/// Whether a link has nobody at its other end.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
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
