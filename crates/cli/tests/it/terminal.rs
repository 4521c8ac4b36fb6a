//! A command on a terminal of its own, at which the test sits.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

use crate::do_run::Place;

/// A command that leads a session on a terminal.
///
/// script(1) is not used: it waits 10 ms for the last that a command has said, which is too short on a busy machine.
pub(crate) struct Terminal {
    child: Child,
    master: File,
    said: Vec<u8>,
}

impl Terminal {
    /// `mica do` of a shell script.
    pub(crate) fn start(place: &Place, options: &[&str], script: &str) -> Self {
        let inside = place.script(options, script);
        let words = inside.get_args().map(|word| word.to_str().unwrap());
        let words: Vec<_> = words.map(|word| format!("'{word}'")).collect();
        Self::line(place, &format!("exec $MICA {}", words.join(" ")))
    }

    /// Runs a line of a shell, in which `$MICA` is the program.
    pub(crate) fn line(place: &Place, line: &str) -> Self {
        let mut command = Command::new("setsid");
        command
            .args(["--ctty", "sh", "-c", line])
            .env("MICA", env!("CARGO_BIN_EXE_mica"))
            .env("LC_ALL", "C")
            .env("XDG_STATE_HOME", place.at("state"))
            .env("NO_COLOR", "1")
            .env("PAGER", "cat")
            .current_dir(place.at("d"));
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        command
            .stdin(end(&slave))
            .stdout(end(&slave))
            .stderr(end(&slave));
        Self {
            child: command.spawn().unwrap(),
            master: master.into(),
            said: Vec::new(),
        }
    }

    /// Reads one byte more; nothing if all have closed the terminal.
    fn hears(&mut self) -> bool {
        let mut byte = [0];
        // That nobody has it open any more is EIO.
        let heard = self.master.read(&mut byte).is_ok_and(|read| read == 1);
        if heard {
            self.said.push(byte[0]);
        }
        heard
    }

    /// Waits until it has said `text`, and forgets what it said.
    pub(crate) fn waits(&mut self, text: &str) -> String {
        while !self.said.ends_with(text.as_bytes()) {
            assert!(self.hears(), "{}", String::from_utf8_lossy(&self.said));
        }
        String::from_utf8(std::mem::take(&mut self.said)).unwrap()
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end; returns the status, and what it said.
    pub(crate) fn ends(mut self) -> (Option<i32>, String) {
        while self.hears() {}
        let status = self.child.wait().unwrap().code();
        // The kernel shows ^C after it has sent the signal: before or after what is said on that.
        let said = String::from_utf8(self.said).unwrap();
        (status, said.replace('\r', "").replace("^C", ""))
    }
}
