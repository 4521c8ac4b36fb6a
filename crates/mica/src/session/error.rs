//! Why a session cannot be had.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use mica_vfs::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::barred::Barred;
use super::view::Medium;
use crate::{CageError, Escaped, MountError, StackError};

/// Why nothing was run, or a session cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DoError {
    /// A name that no directory can have, or that would be taken for an option.
    #[error("{} is no name for a session", Escaped::new(name))]
    Name {
        /// What the user named it.
        name: PathBuf,
    },
    /// There is no session of that name.
    #[error("there is no session {}", Escaped::new(name))]
    Missing {
        /// The name.
        name: PathBuf,
    },
    /// Something runs in the session, or changes it.
    #[error("the session {} is in use", Escaped::new(name))]
    Running {
        /// The name.
        name: PathBuf,
    },
    /// The session is of another tree.
    #[error("the session {} is on {}", Escaped::new(name), Escaped::new(lower))]
    OtherLower {
        /// The name.
        name: PathBuf,
        /// The tree that it is on.
        lower: PathBuf,
    },
    /// What belongs to a session cannot be read or written.
    #[error("cannot {action} {}", Escaped::new(path))]
    Store {
        /// What was to be done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A session of a version of Mica that keeps other things.
    #[error("{} is not of this version of Mica", Escaped::new(path))]
    Format {
        /// Its description.
        path: PathBuf,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// The directory to begin in cannot be found, or the tree to work on.
    #[error("cannot reach {}", Escaped::new(path))]
    Directory {
        /// What the user named.
        path: PathBuf,
        /// Why not.
        source: Errno,
    },
    /// A process of the session cannot be started.
    #[error("cannot start a process of the session")]
    Start {
        /// Why not.
        source: io::Error,
    },
    /// A step of the preparation failed.
    #[error("cannot make {step}")]
    Step {
        /// What it makes.
        step: &'static str,
        /// Why not.
        source: Errno,
    },
    /// The layers.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The mount.
    #[error("cannot mount the view of the session")]
    Mount(#[source] MountError),
    /// The confinement of the server.
    #[error(transparent)]
    Cage(#[from] CageError),
    /// Ids for the user namespace cannot be had.
    #[error("`{program}` gives no ids: {message}")]
    Ids {
        /// Which program was asked.
        program: &'static str,
        /// What it said.
        message: String,
    },
    /// No capability has that name.
    #[error("there is no capability {}", Escaped::new(name))]
    Capability {
        /// The name.
        name: PathBuf,
    },
    /// The session runs, and so its view is what it is.
    #[error("the session {} runs, and its view stays as it is", Escaped::new(name))]
    Begun {
        /// The name.
        name: PathBuf,
    },
    /// The session is gone with who runs it, and so nobody joins it.
    #[error(
        "the session {} keeps its changes in memory, for who began it alone",
        Escaped::new(name)
    )]
    InMemory {
        /// The name.
        name: PathBuf,
    },
    /// The session is another user's inside.
    #[error("the session {} is not one of root", Escaped::new(name))]
    OtherUser {
        /// The name.
        name: PathBuf,
    },
    /// The last command of a session ended before another one could join it.
    #[error("the session has ended")]
    Gone,
    /// A process of the session ended without a word.
    #[error("the session ended unexpectedly")]
    Lost,
    /// There is nothing at /proc.
    #[error("there is no /proc")]
    NoProc,
    /// In a user namespace there can be no new procfs where the one that there is has mounts in it, as in containers.
    #[error(
        "the kernel gives a user namespace no /proc, as parts of the one here are hidden by mounts"
    )]
    MaskedProc {
        /// What the kernel said.
        source: Errno,
    },
    /// An ordinary user's session needs a user namespace.
    #[error("the kernel gives no user namespace: {why}")]
    Barred {
        /// Why not.
        why: Barred,
        /// What the kernel said.
        source: Errno,
    },
    /// There is no FUSE, and the kernel's overlayfs does not work with the directory of the changes.
    #[error(
        "/dev/fuse cannot be opened, and the kernel takes no changes in {}",
        Escaped::new(dir)
    )]
    KernelUpper {
        /// Why there is no FUSE.
        fuse: Errno,
        /// The directory.
        dir: PathBuf,
        /// What it is.
        medium: Medium,
        /// Why not.
        source: Errno,
    },
    /// There is no FUSE, and the kernel's overlayfs does not work with the tree.
    #[error(
        "/dev/fuse cannot be opened, and the kernel makes no overlay of {}",
        Escaped::new(dir)
    )]
    KernelLower {
        /// Why there is no FUSE.
        fuse: Errno,
        /// The tree.
        dir: PathBuf,
        /// Why not.
        source: Errno,
    },
    /// Without FUSE a session cannot go on in which directories were renamed.
    #[error(
        "without /dev/fuse there is no view of {}, a directory that the session renamed",
        Escaped::new(path)
    )]
    Renamed {
        /// Why there is no FUSE.
        fuse: Errno,
        /// The directory, as it is called now.
        path: PathBuf,
    },
    /// A session is to be made, and there is one of that name.
    #[error("there is a session {} already", Escaped::new(name))]
    Exists {
        /// The name.
        name: PathBuf,
    },
    /// A commit of the session was interrupted.
    #[error("a commit of the session {} was interrupted", Escaped::new(name))]
    Unfinished {
        /// The name.
        name: PathBuf,
    },
    /// Something that the session changed cannot be copied.
    #[error("cannot copy {} of the session", Escaped::new(path))]
    Copy {
        /// Its path in the session.
        path: PathBuf,
        /// Why not.
        source: Errno,
    },
    /// The kernel makes the view, and limits nothing.
    #[error("there is no limit for what a session takes where the kernel makes its view")]
    NoLimits {
        /// Why it does.
        source: Errno,
    },
    /// The caller did not want it to go on.
    #[error("it was stopped")]
    Stopped,
    /// What another process of the session said.
    #[error(transparent)]
    Told(#[from] Told),
}

impl DoError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing { .. } => "`mica sessions` lists them".into(),
            Self::Name { .. } => {
                "letters, digits, `.`, `_` and `-`, of which the first two cannot begin it".into()
            }
            Self::Running { name } => {
                format!(
                    "what runs in it has to end first: `mica sessions` shows {}",
                    Escaped::new(name)
                )
            }
            Self::Capability { .. } => {
                "write a name of capabilities(7), such as `SYS_PTRACE`".into()
            }
            Self::Begun { .. } => {
                "leave out the options that change the view, or wait until it has ended".into()
            }
            Self::InMemory { .. } => "share one that is kept: `mica do --name NAME`".into(),
            Self::NoLimits { .. } => "keep the changes in memory: `--memory`".into(),
            Self::Unfinished { name } => {
                format!("finish or undo it: `mica commit {}`", name.display())
            }
            Self::OtherLower { .. } | Self::OtherUser { .. } | Self::Exists { .. } => {
                "choose another name".into()
            }
            Self::NoProc => "mount it first: `mount -t proc proc /proc`".into(),
            Self::MaskedProc { .. } => {
                "whoever runs this container unhides them: `--security-opt unmask=ALL` (podman), `--security-opt systempaths=unconfined` (docker)".into()
            }
            Self::Barred { why, .. } => why.hint().into(),
            Self::KernelUpper {
                fuse,
                medium: Medium::Directory,
                ..
            } => {
                format!(
                    "{}; or leave the changes in memory by `--memory`",
                    device_hint(*fuse)
                )
            }
            Self::KernelUpper { fuse, .. } | Self::KernelLower { fuse, .. } => {
                device_hint(*fuse).into()
            }
            Self::Renamed { fuse, .. } => {
                format!(
                    "{}; `mica diff` and `mica commit` need none",
                    device_hint(*fuse)
                )
            }
            Self::Mount(error) => return error.hint(std::path::Path::new("/")),
            Self::Stack(error) => return error.hint(),
            Self::Told(told) => return told.hint.clone(),
            _ => return None,
        })
    }

    /// Says it in a form that goes to another process.
    pub(super) fn tell(&self) -> Told {
        let mut told = Told {
            text: self.to_string(),
            cause: None,
            errno: None,
            hint: self.hint(),
        };
        let mut causes = Vec::new();
        let mut next = self.source();
        while let Some(error) = next {
            let errno = error.downcast_ref::<Errno>().copied();
            let errno = errno.or_else(|| Errno::from_io_error(error.downcast_ref::<io::Error>()?));
            match errno {
                Some(errno) => told.errno = Some(errno.raw_os_error()),
                None => causes.push(error.to_string()),
            }
            next = error.source();
        }
        let errno = told.errno.take();
        let last = errno.map(Told::errno);
        told.cause = causes
            .into_iter()
            .rev()
            .fold(last.map(Box::new), |cause, text| {
                Some(Box::new(Told {
                    text,
                    cause,
                    errno: None,
                    hint: None,
                }))
            });
        told
    }
}

/// What an administrator does for FUSE.
fn device_hint(why: Errno) -> &'static str {
    match why {
        Errno::ACCESS => "an administrator permits FUSE by `chmod 0666 /dev/fuse`",
        Errno::PERM => "whoever runs this container gives it the device: `--device /dev/fuse`",
        _ => {
            "an administrator provides FUSE by `modprobe fuse`, and to a container by `--device /dev/fuse`"
        }
    }
}

/// What another process said of its failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    text: String,
    cause: Option<Box<Self>>,
    errno: Option<i32>,
    hint: Option<String>,
}

impl Told {
    fn errno(errno: i32) -> Self {
        Self {
            text: Errno::from_raw_os_error(errno).to_string(),
            cause: None,
            errno: Some(errno),
            hint: None,
        }
    }

    /// Returns the number of the error, if it is one of the system.
    #[must_use]
    pub fn number(&self) -> Option<Errno> {
        self.errno.map(Errno::from_raw_os_error)
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Told {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// Names the step that an error is of.
pub(super) fn step<T>(step: &'static str, result: Result<T, Errno>) -> Result<T, DoError> {
    result.map_err(|source| DoError::Step { step, source })
}
