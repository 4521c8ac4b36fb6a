//! Work on a session by a process that has its ids: in one of an ordinary user some objects belong to ids that are his, and
//! that he is only in a user namespace.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};

use mica_vfs::Errno;
use rustix::process::{Pid, geteuid};

use super::link::{Link, Message};
use super::plan::Users;
use super::record::Record;
use super::store::Sessions;
use super::{DoError, front};

impl Sessions {
    /// Runs `line` in the user namespace of a session, if it has one and is this user's, and returns how it ended; `None`:
    /// this process can do the work itself. `line` is the command line of a process that calls [`be_within`] with its
    /// standard input.
    ///
    /// # Errors
    ///
    /// There is no session of that name; the process does not get the ids.
    pub fn within(&self, name: &OsStr, line: &mut Command) -> Result<Option<u8>, DoError> {
        let record = match Record::read(&self.dir_of(name)?) {
            Err(DoError::Store { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(DoError::Missing { name: name.into() });
            }
            record => record?,
        };
        let Some(users) = record.users.filter(is_own) else {
            return Ok(None);
        };
        let failed = |source| DoError::Start { source };
        let (link, theirs) = front::link()?;
        line.stdin(Stdio::from(theirs.into_fd()));
        let mut child = line.spawn().map_err(failed)?;
        // The command line keeps the other end open, which then never ends.
        line.stdin(Stdio::null());
        let stdin = io::stdin();
        let message = Message::Within(users.clone());
        link.send(&message, &[stdin.as_fd()]).map_err(failed)?;
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
        Ok(Some(
            status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(u8::MAX),
        ))
    }
}

/// Whether this process has the id that the command of a session has outside.
fn is_own(users: &Users) -> bool {
    let own = users.uids.iter().find(|ids| ids.inside == users.uid);
    own.is_some_and(|ids| ids.outside == geteuid().as_raw())
}

/// Enters the user namespace of a session: `socket` is the standard input that [`Sessions::within`] gave. Returns what is to
/// be read in its place. It is for the whole process, which has no threads yet.
///
/// # Errors
///
/// The other end is gone, or makes no sense. What else fails is told there.
pub fn be_within(socket: OwnedFd) -> io::Result<OwnedFd> {
    let front = Link::of(socket);
    let Some((Message::Within(users), fds)) = front.receive()? else {
        return Err(Errno::PROTO.into());
    };
    let stdin = fds.into_iter().next().ok_or(Errno::PROTO)?;
    match super::stage::enter_users(&front, &users) {
        Ok(()) => front.send(&Message::Entered, &[])?,
        Err(error) => {
            front.send(&Message::Failed(error.tell()), &[])?;
            return Err(Errno::PERM.into());
        }
    }
    Ok(stdin)
}
