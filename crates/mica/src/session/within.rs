//! Work on a session by a process that has its ids: in one of an ordinary user some objects belong to ids that are his, and
//! that he is only in a user namespace.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};

use mica_vfs::Errno;
use rustix::process::{Pid, geteuid};

use super::link::{Link, Message};
use super::plan::{Bytes, Users};
use super::record::Record;
use super::{DoError, Session, front};

/// What a process has that is in the user namespace of a session.
#[derive(Debug)]
pub struct Within {
    /// What is to be read in the place of its standard input.
    pub stdin: OwnedFd,
    /// The session, which who started the process has locked.
    pub session: Session,
}

impl Session {
    /// Runs `line` in the user namespace of the session, if it has one and is this user's, and returns how it ended; `None`:
    /// this process can do the work itself. `line` is the command line of a process that calls [`be_within`] with its
    /// standard input, and that has the session then, which stays locked.
    ///
    /// # Errors
    ///
    /// The process does not get the ids.
    pub fn within(&self, line: &mut Command) -> Result<Option<u8>, DoError> {
        let Some(users) = self.record.users.clone().filter(is_own) else {
            return Ok(None);
        };
        let memory = self.memory.as_ref().map(|upper| upper.as_fd());
        enter(line, users, Bytes::of(&self.dir), memory).map(Some)
    }
}

/// Runs `line` in a user namespace of these users.
fn enter(
    line: &mut Command,
    users: Users,
    dir: Bytes,
    memory: Option<BorrowedFd<'_>>,
) -> Result<u8, DoError> {
    let failed = |source| DoError::Start { source };
    let (link, theirs) = front::link()?;
    line.stdin(Stdio::from(theirs.into_fd()));
    let mut child = line.spawn().map_err(failed)?;
    // The command line keeps the other end open, which then never ends.
    line.stdin(Stdio::null());
    let stdin = io::stdin();
    let given: Vec<_> = [stdin.as_fd()].into_iter().chain(memory).collect();
    let message = Message::Within(users.clone(), dir);
    link.send(&message, &given).map_err(failed)?;
    loop {
        match link.receive().map_err(failed)? {
            Some((Message::Unmapped, _)) => {
                super::users::map_range(Pid::from_child(&child), &users)?;
                link.send(&Message::Mapped, &[]).map_err(failed)?;
            }
            Some((Message::Entered, _)) => break,
            Some((Message::Failed(told), _)) => return Err(told.into()),
            _ => return Err(DoError::Lost),
        }
    }
    let status = child.wait().map_err(failed)?;
    // One that was killed has no status.
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX))
}

/// Whether this process has the id that the command of a session has outside.
fn is_own(users: &Users) -> bool {
    let own = users.uids.iter().find(|ids| ids.inside == users.uid);
    own.is_some_and(|ids| ids.outside == geteuid().as_raw())
}

/// Enters the user namespace of a session: `socket` is the standard input that [`Session::within`] gave. It is for the whole process, which has no threads yet.
///
/// # Errors
///
/// The other end is gone, or makes no sense. What else fails is told there.
pub fn be_within(socket: OwnedFd) -> io::Result<Within> {
    let front = Link::of(socket);
    let Some((Message::Within(users, dir), fds)) = front.receive()? else {
        return Err(Errno::PROTO.into());
    };
    let mut fds = fds.into_iter();
    let stdin = fds.next().ok_or(Errno::PROTO)?;
    let entered = super::stage::enter_users(&front, &users).and_then(|()| {
        let dir = dir.to_path();
        Ok(Session::seen(&dir, Record::read(&dir)?, fds.next()))
    });
    match entered {
        Ok(session) => {
            front.send(&Message::Entered, &[])?;
            Ok(Within { stdin, session })
        }
        Err(error) => {
            front.send(&Message::Failed(error.tell()), &[])?;
            Err(Errno::PERM.into())
        }
    }
}
