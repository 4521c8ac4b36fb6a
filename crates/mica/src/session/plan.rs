//! What the stage and init have to know: all that was decided before anything was made.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::driver::Driver;
use super::view::{Medium, View};

/// A path or a word, which need not be UTF-8: text where it is, its bytes where it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Bytes {
    Text(String),
    Other(Vec<u8>),
}

impl Bytes {
    pub(crate) fn of(word: impl Into<OsString>) -> Self {
        match word.into().into_string() {
            Ok(text) => Self::Text(text),
            Err(other) => Self::Other(other.as_bytes().to_vec()),
        }
    }

    pub(super) fn to_os_string(&self) -> OsString {
        match self {
            Self::Text(text) => text.into(),
            Self::Other(bytes) => OsString::from_vec(bytes.clone()),
        }
    }

    pub(crate) fn to_path(&self) -> PathBuf {
        self.to_os_string().into()
    }
}

/// Consecutive ids of a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ids {
    pub(crate) inside: u32,
    pub(crate) outside: u32,
    pub(crate) count: u32,
}

/// The user namespace of a session of an ordinary user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Users {
    /// Whom the command runs as, inside.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) uids: Vec<Ids>,
    pub(crate) gids: Vec<Ids>,
}

impl Users {
    /// Whether there is one id alone, which a process may map for itself.
    pub(super) fn alone(&self) -> bool {
        let one = |ids: &[Ids]| matches!(ids, [only] if only.count == 1);
        one(&self.uids) && one(&self.gids)
    }
}

/// What to make, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The session's own directory.
    pub(super) dir: Bytes,
    /// The directory of all sessions, which the view does not have.
    pub(super) store: Bytes,
    /// The tree to work on.
    pub(super) lower: Bytes,
    /// `None`: as root, without a user namespace.
    pub(super) users: Option<Users>,
    pub(super) driver: Driver,
    /// Directories that the command is likely to work in.
    pub(super) ways: Vec<Bytes>,
    pub(super) view: View,
}

impl Plan {
    /// Where the changes are.
    fn medium(&self) -> PathBuf {
        match self.view.medium {
            Medium::Directory => self.dir.to_path(),
            Medium::Memory { .. } => self.memory(),
        }
    }

    /// Where memory is mounted, if the changes are kept in it.
    pub(super) fn memory(&self) -> PathBuf {
        memory_in(&self.dir.to_path())
    }

    pub(super) fn upper(&self) -> PathBuf {
        upper_in(&self.medium())
    }

    pub(super) fn work(&self) -> PathBuf {
        work_in(&self.medium())
    }

    /// Where the kernel prepares changes, if the view is its.
    pub(super) fn work_of_kernel(&self) -> PathBuf {
        work_of_kernel_in(&self.medium())
    }

    pub(super) fn base_log(&self) -> PathBuf {
        base_log_in(&self.dir.to_path())
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.to_path().join("log")
    }

    pub(super) fn root(&self) -> PathBuf {
        root_in(&self.dir.to_path())
    }
}

/// Where the changes of a session lie.
pub(super) fn upper_in(dir: &Path) -> PathBuf {
    dir.join("upper")
}

/// Where they are prepared.
pub(super) fn work_in(dir: &Path) -> PathBuf {
    dir.join("work")
}

/// Where the kernel prepares them, if the view is its, and where [`Lent`](super::Lent) is kept.
pub(super) fn work_of_kernel_in(dir: &Path) -> PathBuf {
    dir.join("work-kernel")
}

/// The socket at which commands come to a running session.
pub(super) fn socket_in(dir: &Path) -> PathBuf {
    dir.join("socket")
}

/// Where is kept what the lower objects were that it changed.
pub(super) fn base_log_in(dir: &Path) -> PathBuf {
    dir.join("base.log")
}

/// The empty directory on which memory is mounted for the changes, in the mount namespace of the stage alone.
pub(super) fn memory_in(dir: &Path) -> PathBuf {
    dir.join("memory")
}

/// The empty directory on which the view is mounted, in the mount namespaces of the session alone.
pub(super) fn root_in(dir: &Path) -> PathBuf {
    dir.join("root")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_comes_back_as_it_was() {
        for word in [b"plain".to_vec(), b"\xff\xfe".to_vec(), Vec::new()] {
            let word = OsString::from_vec(word);
            let text = serde_json::to_string(&Bytes::of(&word)).unwrap();
            let back: Bytes = serde_json::from_str(&text).unwrap();
            assert_eq!(back.to_os_string(), word);
        }
    }
}
