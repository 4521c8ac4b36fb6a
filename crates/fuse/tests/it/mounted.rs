//! One mounted tmpfs, unmounted when dropped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_fuse::{Audience, MountError, MountFlags, MountOptions, Session, SessionConfig};
use mica_tmpfs::Tmpfs;
use mica_vfs::{Filesystem, NodeId, SetAttr};

/// A tmpfs that is mounted on a directory of its own.
pub(crate) struct Mounted {
    pub(crate) fs: Arc<Tmpfs>,
    session: Option<Session>,
    dir: tempfile::TempDir,
}

impl Mounted {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn session(&self) -> &Session {
        self.session.as_ref().unwrap()
    }

    /// Returns how many requests of that name came so far.
    pub(crate) fn requests(&self, name: &str) -> u64 {
        self.session().stats().requests_named(name)
    }

    /// Unmounts and waits for the server to end.
    pub(crate) fn end(mut self) -> Arc<Tmpfs> {
        let session = self.session.take().unwrap();
        session.unmounter().unmount().unwrap();
        session.join().unwrap();
        Arc::clone(&self.fs)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let unmounted = session.unmounter().unmount();
            if !std::thread::panicking() {
                unmounted.unwrap();
            }
        }
    }
}

/// Skips a test, or fails it where nothing may be skipped.
pub(crate) fn skip(test: &str, reason: &str) {
    assert_ne!(
        std::env::var_os("MICA_REQUIRE_ALL").as_deref(),
        Some("1".as_ref()),
        "{test} cannot run: {reason}"
    );
    eprintln!("SKIPPED {test}: {reason}");
}

/// Mounts a tmpfs, or skips `test` where nothing can be mounted.
pub(crate) fn mount(test: &str) -> Option<Mounted> {
    mount_with(test, |_| {})
}

/// Mounts a tmpfs with changed options, or skips `test` where nothing can be mounted.
pub(crate) fn mount_with(test: &str, change: impl FnOnce(&mut MountOptions)) -> Option<Mounted> {
    let fs = Arc::new(Tmpfs::new());
    let owner = SetAttr {
        uid: Some(rustix::process::geteuid().as_raw()),
        gid: Some(rustix::process::getegid().as_raw()),
        ..SetAttr::default()
    };
    fs.set_attr(NodeId::ROOT, &owner).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut options = MountOptions {
        flags: MountFlags::NOATIME,
        ..MountOptions::default()
    };
    if rustix::process::geteuid().is_root() {
        options.audience = Audience::Everyone;
    }
    change(&mut options);
    let config = SessionConfig::default();
    match Session::mount(fs.clone(), dir.path(), &options, config) {
        Ok(session) => Some(Mounted {
            fs,
            session: Some(session),
            dir,
        }),
        Err(
            error @ (MountError::DeviceMissing
            | MountError::Device { .. }
            | MountError::HelperMissing { .. }
            | MountError::Helper { .. }),
        ) => {
            skip(test, &error.to_string());
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// Mounts a tmpfs and runs the test on it.
macro_rules! on_mount {
    ($(#[$doc:meta])* fn $name:ident($mounted:ident) $body:block) => {
        $(#[$doc])*
        #[test]
        fn $name() {
            let Some($mounted) = crate::mounted::mount(stringify!($name)) else {
                return;
            };
            $body
        }
    };
}
pub(crate) use on_mount;
