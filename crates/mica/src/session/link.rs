//! What the processes of a session say to each other: one message to a packet, descriptors with it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mica_vfs::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use super::Exit;
use super::changes::Changes;
use super::error::{DoError, Told};
use super::lack::Lack;
use super::plan::{Bytes, Plan, Users};

/// No message is longer: those with paths hold a few of them.
const LONGEST: usize = 64 << 10;
/// No message comes with more descriptors.
const FDS: usize = 4;

/// One end of a connection between two processes.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

/// What is said.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// To the stage, with one end of a link to init, the socket at which others join, and the lock of the session: what to do. To
    /// init, without any of them: what the stage was told.
    Plan(Box<Plan>),
    /// To init: a command to run, which a file describes ([`super::run::Run`]). With that file, and with stdin, stdout and stderr of
    /// the command.
    Run,
    /// To the stage: work to do in the user namespace of a session, which has these users. With what the work needs.
    Work(Work, Users),
    /// To a process that is to be in a session's user namespace: that, and the directory of the session.
    /// With what it reads from then, and the directory that has the changes, if they are in memory.
    Within(Users, Bytes),
    /// From that process: it is.
    Entered,
    /// From the stage: so many steps of the work are done.
    Step(u64),
    /// From the stage, its last word: the work is done, and counted that; or the kernel's view is gone.
    Done(Changes),
    /// From the stage: it is in a user namespace that has no ids.
    Unmapped,
    /// To the stage: it has ids.
    Mapped,
    /// From init to the stage: it has mounts of its own.
    Apart,
    /// To init from the stage: the view, which is to be its root directory, if FUSE makes it. With a mount that is nowhere yet.
    View,
    /// From the stage, if the changes are in memory: with the directory that holds them.
    Upper,
    /// From the stage, if the view is the kernel's: it is there, and what it lacks.
    Lacks(Vec<Lack>),
    /// From init: the command runs. With the terminal, if it has one.
    Started,
    /// From init: the command stopped.
    Stopped(i32),
    /// From init: the command ended.
    Ended(Exit),
    /// From init, its last word to who had a command run: whether the commands of others still do.
    Left(Others),
    /// From stage or init, the last word: nothing was run.
    Failed(Told),
    /// To init: a signal for the command.
    Signal(i32),
    /// To init: the command is to go on.
    Continue,
}

/// What can only be done by who has the ids of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Work {
    /// Remove the session in this directory.
    Remove(Bytes),
    /// Count the changes of the session in this directory; with the directory that has them, if they are in memory.
    Count(Bytes),
    /// Copy what is in a directory to another one; with both of them.
    Copy,
}

/// Whether other commands run in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Others {
    /// At least one does.
    Run,
    /// None does: the session ends.
    None,
}

impl Link {
    /// Makes the two ends.
    pub(super) fn pair() -> Result<(Self, Self), Errno> {
        let flags = SocketFlags::CLOEXEC;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(one), Self(other)))
    }

    /// Takes an end that was inherited, or sent.
    pub(super) fn of(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Takes the same end once more.
    pub(super) fn try_clone(&self) -> Result<Self, DoError> {
        let fd = self.0.try_clone();
        fd.map(Self).map_err(|source| DoError::Start { source })
    }

    /// Gives the end away.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Says `message`.
    pub(super) fn send(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::MSGSIZE.into());
        }
        let data = [IoSlice::new(&text)];
        // A reader that is gone is an error, not a signal.
        sendmsg(&self.0, &data, &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for a message; `None` when the other end is closed.
    pub(super) fn receive(&self) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        let mut text = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let data = &mut [IoSliceMut::new(&mut text)];
            match recvmsg(&self.0, data, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                // The other end was closed with something unread. That is said once, and then what it had sent before is heard.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                received => break received?,
            }
        };
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(Errno::MSGSIZE.into());
        }
        let message = serde_json::from_slice(text.get(..received.bytes).unwrap_or_default())?;
        Ok(Some((message, fds)))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (here, there) = Link::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        here.send(&Message::Run, &[file.as_fd()]).unwrap();
        here.send(&Message::Stopped(19), &[]).unwrap();
        let (message, fds) = there.receive().unwrap().unwrap();
        assert_eq!((message, fds.len()), (Message::Run, 1));
        let (message, fds) = there.receive().unwrap().unwrap();
        assert_eq!((message, fds.len()), (Message::Stopped(19), 0));
        drop(here);
        assert!(there.receive().unwrap().is_none());
    }
}
