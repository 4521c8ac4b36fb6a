//! Finding out what the host filesystem under an upper can do, by doing it.

use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use mica_sys::xattr::{self, Object};
use mica_vfs::{Cookie, Errno, Flow, NodeId};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, XattrFlags, mknodat, openat, renameat_with,
    statat, unlinkat,
};

use crate::HostFs;
use crate::entry_name::EntryName;

/// What an upper's filesystem can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// A listing tells types (`d_type`).
    pub d_type: bool,
    /// The overlay's attributes can be set.
    pub xattr: bool,
    /// Whiteouts, character devices 0:0, can be made.
    pub whiteout: bool,
    /// `RENAME_WHITEOUT` works.
    pub rename_whiteout: bool,
    /// `RENAME_EXCHANGE` works.
    pub rename_exchange: bool,
    /// `O_TMPFILE` works.
    pub tmpfile: bool,
}

/// Two names of this process in the scratch directory, removed when dropped.
#[derive(Debug)]
struct Scratch {
    dir: std::sync::Arc<OwnedFd>,
    names: [String; 2],
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// What the names of scratch files begin with.
const PREFIX: &str = "#probe-";

impl Scratch {
    fn new(dir: std::sync::Arc<OwnedFd>) -> Result<Self, Errno> {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut names = [String::new(), String::new()];
        for (name, which) in names.iter_mut().zip(["a", "b"]) {
            let pid = std::process::id();
            write!(name, "{PREFIX}{pid}-{nth}-{which}").map_err(|_| Errno::NOMEM)?;
        }
        let scratch = Self { dir, names };
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        for name in &scratch.names {
            drop(openat(&scratch.dir, name, flags, Mode::RUSR | Mode::WUSR)?);
        }
        Ok(scratch)
    }

    fn rename(&self, flags: RenameFlags) -> Result<(), Errno> {
        let [a, b] = &self.names;
        renameat_with(&self.dir, a, &self.dir, b, flags)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for name in &self.names {
            // What cannot be removed was not made, or the next probe here removes it.
            unlinkat(&self.dir, name, AtFlags::empty()).ok();
        }
    }
}

impl HostFs {
    /// Finds out what the filesystem under `scratch`, a directory that may be written to, can do. `xattr_prefix` is that of
    /// the overlay's own attributes.
    ///
    /// Nothing is left behind; what a probe left that was killed is removed, so the caller has the directory for itself.
    ///
    /// # Errors
    ///
    /// `EROFS`, and what making a file in `scratch` answers. A feature that is missing is no error.
    pub fn probe(&self, scratch: NodeId, xattr_prefix: &[u8]) -> Result<Features, Errno> {
        self.writable()?;
        let open = self.dir(scratch)?;
        self.remove_leftovers(scratch, &open.fd)?;
        let names = Scratch::new(open.fd)?;
        let rename_exchange = names.rename(RenameFlags::EXCHANGE).is_ok();
        Ok(Features {
            d_type: self.tells_types(scratch, &names)?,
            xattr: takes_xattr(&names, xattr_prefix),
            rename_exchange,
            tmpfile: takes_tmpfile(&names.dir),
            whiteout: takes_whiteout(&names),
            // Last, as it leaves the first name to a whiteout.
            rename_whiteout: leaves_whiteout(&names),
        })
    }

    fn remove_leftovers(&self, scratch: NodeId, dir: &OwnedFd) -> Result<(), Errno> {
        let mut leftovers = Vec::new();
        self.list(scratch, Cookie::START, &mut |entry| {
            let name = entry.name.as_bytes();
            if name.starts_with(PREFIX.as_bytes()) {
                leftovers.push(EntryName::new(name));
            }
            Flow::Continue
        })?;
        for name in &leftovers {
            // A user's directory of that name is none of ours.
            unlinkat(dir, name.as_c_str(), AtFlags::empty()).ok();
        }
        Ok(())
    }

    fn tells_types(&self, scratch: NodeId, names: &Scratch) -> Result<bool, Errno> {
        let mut told = false;
        let [name, _] = &names.names;
        self.list(scratch, Cookie::START, &mut |entry| {
            if entry.name.as_bytes() == name.as_bytes() {
                told = entry.kind.is_some();
                return Flow::Stop;
            }
            Flow::Continue
        })?;
        Ok(told)
    }
}

fn takes_xattr(names: &Scratch, prefix: &[u8]) -> bool {
    let [name, _] = &names.names;
    let (name, attr) = (
        EntryName::new(name.as_bytes()),
        EntryName::new(&[prefix, b"probe"].concat()),
    );
    let object = Object::Entry(names.dir.as_fd(), name.as_c_str());
    xattr::set(object, attr.as_c_str(), b"0", XattrFlags::empty()).is_ok()
}

fn takes_tmpfile(dir: &OwnedFd) -> bool {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    openat(dir, c".", flags, Mode::RUSR | Mode::WUSR).is_ok()
}

/// Makes a whiteout in the place of the second name. Filesystems that keep no devices refuse, and servers of others that
/// keep this one for themselves.
fn takes_whiteout(names: &Scratch) -> bool {
    let [_, name] = &names.names;
    unlinkat(&names.dir, name, AtFlags::empty()).is_ok()
        && mknodat(
            &names.dir,
            name,
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        )
        .is_ok()
}

fn leaves_whiteout(names: &Scratch) -> bool {
    let [old, _] = &names.names;
    names.rename(RenameFlags::WHITEOUT).is_ok()
        && statat(&names.dir, old, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
        })
}
