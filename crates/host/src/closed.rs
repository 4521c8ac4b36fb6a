//! What is closed to its owner, of whom this process is one without `CAP_DAC_OVERRIDE`.
//!
//! The kernel has checked the caller against the mount, and asks this process for what the caller needs no permission for: the
//! name of a copy in a directory that nobody may write to, a mark on it. Such an object is opened for that moment. Who is
//! killed in it leaves it writable for its owner (OVL-134).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mica_sys::chmod::chmod_fd;
use mica_vfs::{Attr, Errno, FileName, FileType, invent};
use rustix::fs::{Mode, OFlags, openat};

use crate::attr::{Ids, stat_fd};

/// How often it is tried while other threads open and close the same objects.
const ATTEMPTS: usize = 16;

/// An object that is open for a moment.
struct Opened<'a> {
    fd: BorrowedFd<'a>,
    mode: Mode,
}

/// Does `change`, which may need to write to `objects`, and once more with them open if that is refused.
pub(crate) fn with_write<T>(
    objects: &[BorrowedFd<'_>],
    change: impl Fn() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let mut done = change();
    for _ in 0..ATTEMPTS {
        if !matches!(done, Err(Errno::ACCESS)) {
            break;
        }
        let opened: Vec<_> = objects.iter().filter_map(|&fd| Opened::new(fd)).collect();
        done = change();
        drop(opened);
    }
    done
}

/// Opens `name` of `dir` for [`with_write`] if it is a directory.
pub(crate) fn directory(dir: &OwnedFd, name: FileName<'_>) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(dir, name.as_bytes(), flags, Mode::empty()).ok()
}

fn mode_of(attr: &Attr) -> Mode {
    Mode::from_raw_mode(attr.mode.bits())
}

impl<'a> Opened<'a> {
    /// Opens an object; `None` if it was open, or is not ours.
    fn new(fd: BorrowedFd<'a>) -> Option<Self> {
        let attr = stat_fd(fd, Ids::Devices).ok()?;
        let mode = mode_of(&attr);
        let can_be = matches!(attr.kind, FileType::Regular | FileType::Directory);
        if !can_be || mode.contains(Mode::WUSR) {
            return None;
        }
        chmod_fd(fd, mode | Mode::WUSR).ok()?;
        Some(Self { fd, mode })
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        let still = stat_fd(self.fd.as_fd(), Ids::Devices)
            .is_ok_and(|attr| mode_of(&attr) == self.mode | Mode::WUSR);
        if still && let Err(errno) = chmod_fd(self.fd, self.mode) {
            _ = invent!(errno, "an object stays writable for its owner");
        }
    }
}
