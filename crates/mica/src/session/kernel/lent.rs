//! What is made in an upper for the kernel's view alone, written down for who looks at the upper before it is taken back.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::lstat;

const NAME: &str = "lent";

/// Directories of an upper that nobody changed anything by, unless there is something in them. Paths begin at the root of the view.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lent(BTreeSet<PathBuf>);

impl Lent {
    /// Reads what is written down in `work`, the kernel's directory to work with. Without that there are none.
    pub(crate) fn read(work: &Path) -> Self {
        let text = fs::read(work.join(NAME)).unwrap_or_default();
        let paths = text
            .split(|&byte| byte == 0)
            .filter(|path| !path.is_empty());
        Self(paths.map(|path| OsStr::from_bytes(path).into()).collect())
    }

    /// Writes down paths from the root of the tree on.
    pub(super) fn write<'a>(work: &Path, paths: impl Iterator<Item = &'a Path>) -> io::Result<()> {
        let mut text = Vec::new();
        for path in paths {
            text.extend_from_slice(Path::new("/").join(path).as_os_str().as_bytes());
            text.push(0);
        }
        fs::write(work.join(NAME), text)
    }

    /// Whether a directory was made so.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.0.contains(path)
    }

    /// Removes those that stand for nothing any more, and have nothing in them.
    pub(crate) fn take_back(&self, upper: &Path, lower: &Path) {
        for path in self.0.iter().rev() {
            let inside = path.strip_prefix("/").unwrap_or(path);
            if lstat(lower.join(inside)).is_err()
                && let Err(errno) = rustix::fs::rmdir(upper.join(inside))
            {
                tracing::debug!(?path, %errno, "a directory stays in the upper");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_and_taken_back_where_it_stands_for_nothing() {
        let place = tempfile::tempdir().unwrap();
        let at = |path: &str| place.path().join(path);
        for dir in [
            "work",
            "lower/kept",
            "upper/kept",
            "upper/gone/below",
            "upper/used",
        ] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        fs::write(at("upper/used/f"), "").unwrap();
        let paths = ["kept", "gone", "gone/below", "used"];
        Lent::write(&at("work"), paths.iter().map(Path::new)).unwrap();
        let lent = Lent::read(&at("work"));
        assert!(lent.has(Path::new("/gone/below")) && !lent.has(Path::new("/lower")));
        lent.take_back(&at("upper"), &at("lower"));
        let left = |path: &str| at("upper").join(path).exists();
        assert_eq!(paths.map(left), [true, false, false, true]);
        assert!(!Lent::read(&at("nowhere")).has(Path::new("/kept")));
    }
}
