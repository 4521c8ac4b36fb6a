//! What a command is told to be: sent as a file, as an environment may be long.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use super::plan::Bytes;

/// A command to run in a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// The program and its arguments.
    pub(super) command: Vec<Bytes>,
    /// Its whole environment.
    pub(super) environment: Vec<(Bytes, Bytes)>,
    pub(super) start: Start,
    pub(super) umask: u32,
}

/// Where the command begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Start {
    /// In this directory, or not at all.
    In(Bytes),
    /// In this directory if the view has it, in `/` otherwise.
    Near(Bytes),
}

impl Run {
    /// Writes it down for another process.
    pub(super) fn to_file(&self) -> io::Result<OwnedFd> {
        let mut file = std::fs::File::from(memfd_create("mica-run", MemfdFlags::CLOEXEC)?);
        file.write_all(&serde_json::to_vec(self)?)?;
        Ok(file.into())
    }

    /// Reads what another process wrote.
    pub(super) fn from_file(file: OwnedFd) -> io::Result<Self> {
        let file = std::fs::File::from(file);
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let mut text = vec![0; len];
        file.read_exact_at(&mut text, 0)?;
        Ok(serde_json::from_slice(&text)?)
    }

    pub(super) fn words(&self) -> impl Iterator<Item = OsString> {
        self.command.iter().map(Bytes::to_os_string)
    }

    pub(super) fn environment(&self) -> impl Iterator<Item = (OsString, OsString)> {
        let all = self.environment.iter();
        all.map(|(name, value)| (name.to_os_string(), value.to_os_string()))
    }
}

impl Start {
    pub(super) fn path(&self) -> PathBuf {
        let (Self::In(path) | Self::Near(path)) = self;
        path.to_path()
    }
}

/// Returns the umask of this process, in which nobody else changes it meanwhile.
pub(super) fn umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    rustix::process::umask(mask);
    mask.as_raw_mode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_comes_back_as_it_was() {
        let run = Run {
            command: vec![Bytes::of("sh"), Bytes::Other(vec![0xff])],
            environment: vec![(Bytes::of("A"), Bytes::of("x".repeat(200_000)))],
            start: Start::In(Bytes::of("/")),
            umask: 0o22,
        };
        let file = run.to_file().unwrap();
        assert_eq!(Run::from_file(file).unwrap(), run);
    }
}
