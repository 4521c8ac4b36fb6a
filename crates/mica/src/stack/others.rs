//! Overlays of other programs that use a directory of the stack.
//!
//! The kernel's overlayfs refuses to share an upper with itself alone, and says to nobody which directories it uses. What
//! there is are the options that mount tables show, with the paths as whoever mounted wrote them: relative ones lead
//! nowhere any more, absolute ones were right for a root that the namespace may have left. Paths are followed from the
//! root of a process of the namespace, and compared by device and inode number.
//!
//! fuse-overlayfs shows no paths in the mount table; its command line does, and relative ones are found among the directories
//! that it has open.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use mica_vfs::Errno;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::FsOpenFlags;

use super::holder::{Holder, Overlayer, device_of, mounted_where, serves_fuse};
use super::namespaces::{MountTable, mount_tables, processes};
use super::place::{DirId, Place};
use crate::mountinfo::mounts;

/// A mounted overlay of another program, and the directories that it writes to.
#[derive(Debug)]
pub(crate) struct Other {
    pub(crate) holder: Holder,
    written: Vec<Written>,
}

/// A directory that an overlay writes to.
#[derive(Debug, PartialEq, Eq)]
enum Written {
    Found(DirId),
    /// A path that leads nowhere from here.
    Lost(PathBuf),
}

/// Whether an overlay writes to a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Yes,
    /// A path that cannot be followed could be that of the directory.
    Maybe,
    No,
}

impl Other {
    /// One of the kernel that writes to a directory, and is mounted where process `namespace` is.
    #[cfg(test)]
    pub(super) fn writing_to(id: DirId, namespace: Option<u32>) -> Self {
        let holder = Holder {
            program: Overlayer::Kernel,
            mountpoint: Some("/m".into()),
            namespace,
            server: None,
        };
        let written = vec![Written::Found(id)];
        Self { holder, written }
    }

    /// Tells whether it writes to directory `id`, whose absolute path is `path`.
    pub(crate) fn uses(&self, id: DirId, path: &Path) -> Use {
        let uses = self.written.iter().map(|written| match written {
            Written::Found(found) if *found == id => Use::Yes,
            Written::Lost(lost) if path.ends_with(lost) => Use::Maybe,
            Written::Found(_) | Written::Lost(_) => Use::No,
        });
        uses.fold(Use::No, |strongest, next| match (strongest, next) {
            (Use::Yes, _) | (_, Use::Yes) => Use::Yes,
            (Use::Maybe, _) | (_, Use::Maybe) => Use::Maybe,
            (Use::No, Use::No) => Use::No,
        })
    }
}

/// Finds the overlays of other programs that are mounted in any namespace in sight.
pub(crate) fn others() -> Vec<Other> {
    let tables = mount_tables();
    let mut found = Vec::new();
    let mut known = HashSet::new();
    let mut fuse_overlayfs = false;
    for table in &tables {
        let root = open_root(&table.root());
        for mount in mounts(&table.text) {
            // Version 2 has no type of its own.
            fuse_overlayfs |= [&b"fuse.fuse-overlayfs"[..], b"fuse"].contains(&mount.kind);
            // A mount is in many tables, with the paths of one mounter; the first that shows where they lead will do.
            if mount.kind != b"overlay" || known.contains(mount.dev) {
                continue;
            }
            let options = ["upperdir", "workdir"].map(|name| mount.option(name));
            let written = follow_all(root.as_ref(), options.into_iter().flatten());
            if written.iter().all(|dir| matches!(dir, Written::Found(_))) {
                known.insert(mount.dev.to_vec());
            }
            let holder = Holder {
                program: Overlayer::Kernel,
                mountpoint: Some(mount.point()),
                namespace: table.process,
                server: None,
            };
            found.push(Other { holder, written });
        }
    }
    if fuse_overlayfs {
        found.extend(processes().filter_map(|pid| of_fuse_overlayfs(pid, &tables)));
    }
    found
}

/// Reads from its command line what a server of fuse-overlayfs writes to.
fn of_fuse_overlayfs(pid: u32, tables: &[MountTable]) -> Option<Other> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    // Mica may be called so, too, and may be this very process: one that does not serve yet uses nothing.
    if name.trim_ascii_end() != b"fuse-overlayfs" || !serves_fuse(pid) {
        return None;
    }
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments = line
        .split(|&b| b == 0)
        .flat_map(|word| word.split(|&b| b == b','));
    let paths = arguments.filter_map(|option| {
        let option = option.strip_prefix(b"-o").unwrap_or(option);
        let upper = option.strip_prefix(b"upperdir=");
        upper
            .or_else(|| option.strip_prefix(b"workdir="))
            .map(<[u8]>::to_vec)
    });
    let root = open_root(&PathBuf::from(format!("/proc/{pid}/root")));
    let written = follow_all(root.as_ref(), paths).into_iter();
    let written: Vec<_> = written
        .filter_map(|written| match written {
            Written::Lost(path) => open_in(pid, &path).map(Written::Found),
            found @ Written::Found(_) => Some(found),
        })
        .collect();
    let device = device_of(pid);
    let mounted = device.and_then(|device| mounted_where(tables, &device));
    let (namespace, mountpoint) = mounted.unzip();
    let holder = Holder {
        program: Overlayer::FuseOverlayfs,
        mountpoint,
        namespace: namespace.flatten(),
        server: Some(pid),
    };
    (!written.is_empty()).then_some(Other { holder, written })
}

/// Finds the directory that process `pid` has open and whose path ends in `path`. Nobody else's descriptors can be seen by
/// an ordinary user, who could not write to their directories either.
fn open_in(pid: u32, path: &Path) -> Option<DirId> {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let mut links = fds.filter_map(|fd| Some(fd.ok()?.path()));
    let link = links.find(|link| fs::read_link(link).is_ok_and(|to| to.ends_with(path)))?;
    Some(Place::of(open_root(&link)?).ok()?.id)
}

fn open_root(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}

fn follow_all(root: Option<&OwnedFd>, paths: impl Iterator<Item = Vec<u8>>) -> Vec<Written> {
    paths.map(|path| follow(root, path)).collect()
}

/// Follows a path of mount options, as it is written and with its backslashes taken for escapes.
fn follow(root: Option<&OwnedFd>, path: Vec<u8>) -> Written {
    let plain = without_backslashes(&path);
    let written: PathBuf = OsString::from_vec(path).into();
    let plain: PathBuf = OsString::from_vec(plain).into();
    if written.is_absolute()
        && let Some(root) = root
    {
        for path in [&plain, &written] {
            if let Ok(id) = below(root, path) {
                return Written::Found(id);
            }
        }
    }
    Written::Lost(plain)
}

/// Finds the directory that `path` leads to for a process whose root is `root`.
fn below(root: &OwnedFd, path: &Path) -> Result<DirId, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    let dir = match dir {
        // Before Linux 5.6: absolute links in the path are followed from the wrong root.
        Err(Errno::NOSYS) => {
            let relative = path.strip_prefix("/").unwrap_or(path);
            rustix::fs::openat(root, relative, flags, Mode::empty())?
        }
        other => other?,
    };
    Ok(Place::of(dir)?.id)
}

fn without_backslashes(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut bytes = path.iter();
    while let Some(&byte) = bytes.next() {
        let protected = if byte == b'\\' { bytes.next() } else { None };
        plain.push(*protected.unwrap_or(&byte));
    }
    plain
}

/// Asks the kernel whether its overlayfs writes to `dir`, by an attempt to mount that fails in either case: a directory
/// that is in use is `EBUSY`, before the kernel sees that upper and work directory are the same one.
///
/// The attempt leaves a line in the kernel's log, so it is only made where mount tables leave a doubt. `None`: this
/// process may not ask, or this kernel does not tell.
pub(crate) fn ask_kernel(dir: &OwnedFd) -> Option<bool> {
    attempt(dir, "on", &[], Errno::BUSY)
}

/// Asks the kernel in the same way whether a write to the filesystem of `dir` failed without anybody being told, which it
/// takes for no upper of a volatile mount. To ask by syncfs(2) would be to be told.
pub(crate) fn has_unseen_error(dir: &Path) -> Option<bool> {
    attempt(&open_root(dir)?, "off", &["volatile"], Errno::IO)
}

/// Tries to mount with `dir` for upper and work directory, and tells whether that fails by `errno`.
fn attempt(dir: &OwnedFd, index: &str, flags: &[&str], errno: Errno) -> Option<bool> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    let itself = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let options = [
        ("index", index),
        ("lowerdir", "/"),
        ("upperdir", &itself),
        ("workdir", &itself),
    ];
    for (name, value) in options {
        rustix::mount::fsconfig_set_string(&context, name, value).ok()?;
    }
    for flag in flags {
        rustix::mount::fsconfig_set_flag(&context, *flag).ok()?;
    }
    match rustix::mount::fsconfig_create(&context) {
        Err(refused) if refused == errno => Some(true),
        Err(Errno::INVAL) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(path: &Path) -> DirId {
        Place::of(open_root(path).unwrap()).unwrap().id
    }

    fn other(written: Vec<Written>) -> Other {
        let holder = Holder {
            program: Overlayer::Kernel,
            mountpoint: None,
            namespace: None,
            server: None,
        };
        Other { holder, written }
    }

    #[test]
    fn a_path_is_followed_with_and_without_its_escapes() {
        let dir = tempfile::tempdir().unwrap();
        let root = open_root(Path::new("/")).unwrap();
        for name in ["a,b", r"c\d"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let base = dir.path().to_str().unwrap();
        for (written, name) in [
            (r"a\,b", "a,b"),
            ("a,b", "a,b"),
            (r"c\\d", r"c\d"),
            (r"c\d", r"c\d"),
        ] {
            let found = follow(Some(&root), format!("{base}/{written}").into_bytes());
            assert_eq!(
                found,
                Written::Found(id(&dir.path().join(name))),
                "{written}"
            );
        }
    }

    #[test]
    fn a_link_in_a_path_is_followed_from_the_root_of_its_process() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("upper/deep")).unwrap();
        std::os::unix::fs::symlink("/upper", dir.path().join("link")).unwrap();
        let root = open_root(dir.path()).unwrap();
        let found = below(&root, Path::new("/link/deep")).unwrap();
        assert_eq!(found, id(&dir.path().join("upper/deep")));
    }

    #[test]
    fn a_path_that_leads_nowhere_may_be_any_that_ends_like_it() {
        let dir = tempfile::tempdir().unwrap();
        let here = id(dir.path());
        let lost = |path: &str| other(vec![follow(None, path.into())]);
        let mine = Path::new("/srv/a/upper");
        assert_eq!(lost("upper").uses(here, mine), Use::Maybe);
        assert_eq!(lost("a/upper").uses(here, mine), Use::Maybe);
        assert_eq!(lost("/srv/a/upper").uses(here, mine), Use::Maybe);
        assert_eq!(lost("per").uses(here, mine), Use::No);
        assert_eq!(lost("/a/upper").uses(here, mine), Use::No);
        let both = other(vec![Written::Lost("upper".into()), Written::Found(here)]);
        assert_eq!(both.uses(here, mine), Use::Yes);
    }
}
