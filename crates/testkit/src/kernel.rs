//! The kernel's overlayfs, on the layers of a stack: does it show what Mica shows?

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use mica_overlay::{Index, XattrNamespace};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::{Detail, Dump, dump_host, skip};

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
        index: Index,
    ) -> io::Result<Self> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let lowers: Vec<_> = lowers.iter().map(|path| path.to_str().unwrap()).collect();
        fsconfig_set_string(&context, "lowerdir", lowers.join(":"))?;
        fsconfig_set_string(&context, "upperdir", upper)?;
        fsconfig_set_string(&context, "workdir", work)?;
        // What Mica does, whatever the module's parameters say.
        for (name, value) in [
            ("redirect_dir", "nofollow"),
            ("metacopy", "off"),
            ("index", if index == Index::On { "on" } else { "off" }),
        ] {
            fsconfig_set_string(&context, name, value)?;
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

    /// Returns a path that leads to the root of the mount. The dot leads through the link of procfs.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/.", self.0.as_raw_fd()))
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
}
