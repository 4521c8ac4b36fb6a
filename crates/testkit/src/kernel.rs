//! The kernel's overlayfs, on the layers of a stack: does it show what Mica shows?

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use mica_host::{FdCache, HostFs, LayerAccess};
use mica_overlay::{Index, Redirects, XattrNamespace};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::{Detail, Dump, dump_host, skip};

/// How many files of a mount are kept open.
const FDS: usize = 64;

/// A mount of the kernel's overlayfs that is attached nowhere: nobody else sees it, and it ends with this.
#[derive(Debug)]
pub struct KernelMount(OwnedFd);

impl KernelMount {
    /// Mounts `lowers`, topmost first, under `upper`. As everywhere, that empties the work directory.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn new(
        lowers: &[PathBuf],
        upper: &Path,
        work: &Path,
        xattrs: XattrNamespace,
        redirects: Redirects,
    ) -> io::Result<Self> {
        Self::indexed(lowers, (upper, work), xattrs, redirects, Index::Off)
    }

    /// Does the same with or without an index.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn indexed(
        lowers: &[PathBuf],
        upper: (&Path, &Path),
        xattrs: XattrNamespace,
        redirects: Redirects,
        index: Index,
    ) -> io::Result<Self> {
        let redirects = match (xattrs, redirects) {
            // The kernel has nothing else for them.
            (XattrNamespace::User, _) | (_, Redirects::NoFollow) => "nofollow",
            (_, Redirects::Follow) => "follow",
            (_, Redirects::On) => "on",
        };
        // What Mica does, whatever the module's parameters say.
        let options = [
            ("redirect_dir", redirects),
            ("metacopy", "off"),
            ("index", if index == Index::On { "on" } else { "off" }),
        ];
        Self::with_options(lowers, &[], upper, xattrs, &options)
    }

    /// Mounts `lowers` and the data-only layers `data` under `upper` and its work directory, with these options.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn with_options(
        lowers: &[PathBuf],
        data: &[PathBuf],
        (upper, work): (&Path, &Path),
        xattrs: XattrNamespace,
        options: &[(&str, &str)],
    ) -> io::Result<Self> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for lower in lowers {
            fsconfig_set_string(&context, "lowerdir+", lower)?;
        }
        for data in data {
            fsconfig_set_string(&context, "datadir+", data)?;
        }
        fsconfig_set_string(&context, "upperdir", upper)?;
        fsconfig_set_string(&context, "workdir", work)?;
        for (name, value) in options {
            fsconfig_set_string(&context, *name, *value)?;
        }
        if xattrs == XattrNamespace::User {
            fsconfig_set_flag(&context, "userxattr")?;
        }
        fsconfig_create(&context)?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        Ok(Self(fsmount(&context, flags, MountAttrFlags::empty())?))
    }

    /// Leaves `test` out unless this process may mount overlayfs: `CAP_SYS_ADMIN`, and a kernel that has it.
    #[must_use]
    pub fn is_possible(test: &str) -> bool {
        match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
            Ok(_) => true,
            Err(errno @ (Errno::PERM | Errno::NODEV | Errno::NOSYS)) => {
                skip(
                    test,
                    &format!("cannot mount the kernel's overlayfs: {errno}"),
                );
                false
            }
            Err(errno) => panic!("fsopen: {errno}"),
        }
    }

    /// Opens the mount, to walk it as an overlay of Mica is walked.
    ///
    /// # Panics
    ///
    /// If it cannot be opened.
    #[must_use]
    pub fn fs(&self) -> HostFs {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(&self.0, c".", flags, Mode::empty()).unwrap();
        HostFs::new(root, LayerAccess::ReadWrite, FdCache::new(FDS)).unwrap()
    }

    /// Reads the merged tree.
    ///
    /// # Panics
    ///
    /// If something cannot be read.
    #[must_use]
    pub fn dump(&self, detail: Detail) -> Dump {
        dump_host(&self.path(), detail)
    }

    /// Returns a path of the root, for this process.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        // The dot leads through the link of procfs.
        PathBuf::from(format!("/proc/self/fd/{}/.", self.0.as_raw_fd()))
    }
}
