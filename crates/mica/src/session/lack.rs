//! What a view lacks that the kernel makes.

use std::fmt;
use std::path::Path;

use mica_vfs::Errno;
use serde::{Deserialize, Serialize};

use super::plan::Bytes;
use crate::Escaped;

/// What a view lacks, as the kernel makes it and not Mica. Its text is a line without the [reason](Self::errno).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    what: What,
    errno: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum What {
    /// What Mica would have done, of a session with or without ids of its own.
    Fuse { users: bool },
    /// An object of the machine, and the type of its filesystem, that cannot be changed.
    ReadOnly { path: Bytes, kind: String },
    /// An object that is not there.
    Missing { path: Bytes },
    /// Directories that may not be listed are not empty.
    Blank,
}

impl Lack {
    pub(super) fn fuse(users: bool, errno: Errno) -> Self {
        Self::of(What::Fuse { users }, errno)
    }

    pub(super) fn blank(errno: Errno) -> Self {
        Self::of(What::Blank, errno)
    }

    /// `path` is from the root of the tree on.
    pub(super) fn read_only(path: &Path, kind: &str, errno: Errno) -> Self {
        let what = What::ReadOnly {
            path: absolute(path),
            kind: kind.into(),
        };
        Self::of(what, errno)
    }

    pub(super) fn missing(path: &Path, errno: Errno) -> Self {
        let path = absolute(path);
        Self::of(What::Missing { path }, errno)
    }

    fn of(what: What, errno: Errno) -> Self {
        let errno = errno.raw_os_error();
        Self { what, errno }
    }

    /// Returns why.
    #[must_use]
    pub fn errno(&self) -> Errno {
        Errno::from_raw_os_error(self.errno)
    }
}

fn absolute(path: &Path) -> Bytes {
    Bytes::of(Path::new("/").join(path))
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Fuse { users: false } => f.write_str(
                "the kernel makes the view: each filesystem is one of its own, and directories of the machine are renamed on the first \
                 one alone, as /dev/fuse cannot be opened",
            ),
            What::Fuse { users: true } => f.write_str(
                "the kernel makes the view: directories of the machine are not renamed, and what belongs to others is not changed, as \
                 /dev/fuse cannot be opened",
            ),
            What::ReadOnly { path, kind } => {
                let path = path.to_path();
                write!(
                    f,
                    "{} ({kind}) is read-only, as the kernel makes no overlay of it",
                    Escaped::new(&path)
                )
            }
            What::Blank => f.write_str(
                "directories that may not be listed do not show as empty, as the kernel makes the view",
            ),
            What::Missing { path } => {
                write!(f, "{} is not in the view", Escaped::new(&path.to_path()))
            }
        }
    }
}
