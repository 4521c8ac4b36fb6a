//! Unmounting for a server that cannot do it any more.
//!
//! A server in its cage has no way to its mountpoint, may not call umount2(2) and cannot run `fusermount3`. So another
//! process waits outside from before the server goes in: this same program, run once more. The two have a socket
//! pair, one end each; the helper reads a byte for each request, answers with a line, and ends with the server, whose
//! end of the socket the kernel closes however the server ends.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use mica_fuse::{ByItself, Unmount, UnmountError, Unmounted};
use mica_sys::signals::Blocked;
use mica_vfs::Errno;
use rustix::process::Signal;

/// What becomes of the mount of a server that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoUnmount {
    /// It stays and answers `ENOTCONN`.
    No,
    /// `auto_unmount`: it is detached.
    Yes,
}

/// The helper, as its server sees it.
#[derive(Debug)]
pub struct UnmountHelper {
    socket: UnixStream,
}

impl UnmountHelper {
    /// Starts `command`, which has to call [`help_unmounting`] with its standard input.
    ///
    /// It gets `/` as its working directory and nothing of the caller's output, so that it keeps neither busy; and none of
    /// the signals that end a server: that may need it to follow one.
    ///
    /// # Errors
    ///
    /// The program cannot be run.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        // From its first moment: a ^C goes to all processes of the terminal's foreground.
        let _blocked = Blocked::these(&[Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM])?;
        command
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { socket })
    }

    fn ask(&self) -> io::Result<String> {
        (&self.socket).write_all(b"u")?;
        let mut line = String::new();
        // One request is under way at a time, and its answer is one line: nothing is read beyond it.
        BufReader::new(&self.socket).read_line(&mut line)?;
        Ok(line)
    }
}

impl Unmount for UnmountHelper {
    fn unmount(&self, path: &Path) -> Result<Unmounted, UnmountError> {
        // An error is the end of the helper, as is a line that does not end.
        let line = self.ask().unwrap_or_default();
        match line.strip_suffix('\n') {
            Some(answer) => parse(answer, path),
            None => Err(UnmountError::Alone {
                path: path.to_owned(),
            }),
        }
    }
}

/// Reads what [`fn@print`] wrote.
fn parse(answer: &str, path: &Path) -> Result<Unmounted, UnmountError> {
    let path = || path.to_owned();
    match answer.split_once(' ') {
        None if answer == "gone" => Ok(Unmounted::Gone),
        None if answer == "detached" => Ok(Unmounted::Detached),
        None if answer == "before" => Ok(Unmounted::Before),
        Some(("errno", number)) => Err(UnmountError::Refused {
            path: path(),
            source: number.parse().map_or(Errno::IO, Errno::from_raw_os_error),
        }),
        Some((_, message)) => Err(UnmountError::Helper {
            path: path(),
            message: message.to_owned(),
        }),
        None => Err(UnmountError::Alone { path: path() }),
    }
}

fn print(outcome: &Result<Unmounted, UnmountError>) -> String {
    match outcome {
        Ok(Unmounted::Gone) => "gone".into(),
        Ok(Unmounted::Detached) => "detached".into(),
        Ok(Unmounted::Before) => "before".into(),
        Err(UnmountError::Refused { source, .. }) => format!("errno {}", source.raw_os_error()),
        Err(UnmountError::Helper { message, .. }) => format!("failed {}", message.escape_debug()),
        Err(error) => format!("failed {error}"),
    }
}

/// Unmounts what is mounted at `mountpoint` at each byte that comes from the server at the other end of `requests`,
/// and returns when the server has ended.
///
/// # Errors
///
/// The socket fails.
pub fn help_unmounting(requests: OwnedFd, mountpoint: &Path, auto: AutoUnmount) -> io::Result<()> {
    let mut socket = UnixStream::from(requests);
    let mut byte = [0];
    loop {
        match socket.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => {
                let answer = print(&ByItself.unmount(mountpoint));
                match socket.write_all(format!("{answer}\n").as_bytes()) {
                    // The server was killed meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                    written => written?,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // It was killed before it read an answer.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        }
    }
    if auto == AutoUnmount::Yes && is_dead(mountpoint) {
        // Whatever its type is called. It may be gone by now; there is nobody to tell.
        drop(ByItself.unmount(mountpoint));
    }
    Ok(())
}

/// Tells whether a server is missing at `mountpoint`. Attributes may be cached, but statfs(2) always asks it.
fn is_dead(mountpoint: &Path) -> bool {
    matches!(
        rustix::fs::statfs(mountpoint),
        Err(Errno::NOTCONN | Errno::CONNABORTED)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_it_was_meant() {
        let path = Path::new("/m");
        let refused = || UnmountError::Refused {
            path: path.into(),
            source: Errno::PERM,
        };
        let said = || UnmountError::Helper {
            path: path.into(),
            message: "not yours".into(),
        };
        for outcome in [
            Ok(Unmounted::Gone),
            Ok(Unmounted::Detached),
            Ok(Unmounted::Before),
            Err(refused()),
            Err(said()),
        ] {
            let shown = format!("{outcome:?}");
            assert_eq!(format!("{:?}", parse(&print(&outcome), path)), shown);
        }
    }

    #[test]
    fn a_helper_that_is_gone_is_an_error_and_no_hang() {
        let helper = UnmountHelper::start(&mut Command::new("true")).unwrap();
        let answer = helper.unmount(Path::new("/nowhere"));
        assert!(
            matches!(answer, Err(UnmountError::Alone { .. })),
            "{answer:?}"
        );
    }

    #[test]
    fn the_helper_answers_and_ends_with_its_server() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, theirs) = UnixStream::pair().unwrap();
        let place = dir.path().to_owned();
        let helper =
            std::thread::spawn(move || help_unmounting(theirs.into(), &place, AutoUnmount::Yes));
        let server = UnmountHelper { socket };
        // Nothing is mounted there; an ordinary user hears of fusermount3, too.
        let answer = server.unmount(dir.path());
        assert!(
            matches!(
                answer,
                Ok(Unmounted::Before) | Err(UnmountError::Helper { .. })
            ),
            "{answer:?}"
        );
        drop(server);
        helper.join().unwrap().unwrap();
    }
}
