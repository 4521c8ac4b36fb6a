//! The socket at which commands come to a session that runs.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use mica_vfs::Errno;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use super::error::DoError;
use super::link::Link;
use super::plan::socket_in;

/// Opens the directory of a session so that its socket has a short path: addresses end after 108 bytes.
fn address(dir: &Path) -> Result<(OwnedFd, SocketAddrUnix), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    let address = SocketAddrUnix::new(socket_in(&short))?;
    Ok((dir, address))
}

fn socket() -> Result<OwnedFd, Errno> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    socket_with(family, kind, SocketFlags::CLOEXEC, None)
}

/// Makes the socket at which others join, which nobody can find yet.
pub(super) fn door() -> Result<OwnedFd, DoError> {
    let made = socket().and_then(|socket| {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(socket)
    });
    made.map_err(|errno| DoError::Start {
        source: errno.into(),
    })
}

/// Listens with `door` for who joins the session in `dir`, which is locked and described.
pub(super) fn listen(door: &OwnedFd, dir: &Path) -> Result<(), DoError> {
    let listen = || -> Result<(), Errno> {
        match rustix::fs::unlink(socket_in(dir)) {
            Err(Errno::NOENT) => {}
            removed => removed?,
        }
        let (_dir, address) = address(dir)?;
        rustix::net::bind(door, &address)?;
        rustix::net::listen(door, BACKLOG)
    };
    listen().map_err(|errno| DoError::Store {
        action: "listen at",
        path: socket_in(dir),
        source: errno.into(),
    })
}

/// How many may come at once.
const BACKLOG: i32 = 64;

/// Comes to the session in `dir`, which runs.
pub(super) fn connect(dir: &Path) -> Result<Link, Errno> {
    let (_dir, address) = address(dir)?;
    let socket = socket()?;
    rustix::net::connect(&socket, &address)?;
    Ok(Link::of(socket))
}
