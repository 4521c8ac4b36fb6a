//! A server in the foreground, which a test talks to.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, Stdio};

use rustix::process::{Pid, Signal};

use crate::ground::{Ground, Server};

/// A server in the foreground, whose stderr the test reads.
#[derive(Debug)]
pub(crate) struct Foreground {
    child: Child,
    said: BufReader<ChildStderr>,
    server: Server,
}

impl Foreground {
    /// Mounts with `-f` and waits until the mount answers.
    pub(crate) fn start(ground: &Ground, more: &[&str]) -> Self {
        let options = "lowerdir=l,upperdir=u,workdir=w,userxattr";
        let mount = [&["mount", "-f", "-v", "-o", options, "m"], more].concat();
        let mut child = ground.mica(&mount).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let server = Server::watch(Pid::from_child(&child));
        let mut started = Self {
            child,
            said,
            server,
        };
        started.says("mounted");
        started
    }

    /// Reads until a line contains `text`; returns the lines.
    #[track_caller]
    pub(crate) fn says(&mut self, text: &str) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        loop {
            let mut line = String::new();
            let length = self.said.read_line(&mut line).unwrap();
            assert_ne!(length, 0, "{text} was not said, but {lines:#?}");
            lines.push(line.trim_end().to_owned());
            if line.contains(text) {
                return lines;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.server.signal(signal);
    }

    /// Waits for the end; returns the status, or nothing for a signal.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> Option<i32> {
        self.server.ends();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
