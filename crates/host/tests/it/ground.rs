//! A host directory of its own for each test, with a layer on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_host::{FdCache, HostFs, LayerAccess, open_layer};
use mica_vfs::{
    Caller, Cookie, Entry, Errno, FileName, Filesystem, Flow, KillPriv, Mode, NodeId, XattrName,
};
use rustix::thread::{CapabilitySet, capabilities};

/// Counts a test that this machine cannot run.
#[expect(clippy::print_stderr, reason = "a skip is counted by its line")]
pub(crate) fn skip(test: &str, reason: &str) {
    let required = std::env::var_os("MICA_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "{test} cannot run here: {reason}");
    eprintln!("SKIPPED {test}: {reason}");
}

/// Whether this process may do all that root may with files and ids.
pub(crate) fn is_root() -> bool {
    let wanted = CapabilitySet::SETUID
        | CapabilitySet::SETGID
        | CapabilitySet::DAC_READ_SEARCH
        | CapabilitySet::MKNOD
        | CapabilitySet::SYS_ADMIN;
    capabilities(None).unwrap().effective.contains(wanted)
}

/// A layer on a directory that goes away with it.
pub(crate) struct Ground {
    pub(crate) fs: HostFs,
    pub(crate) fds: Arc<FdCache>,
    dir: tempfile::TempDir,
}

impl Ground {
    pub(crate) fn new() -> Self {
        Self::with_limit(64)
    }

    pub(crate) fn with_limit(limit: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fds = FdCache::new(limit);
        let root = open_layer(dir.path(), LayerAccess::ReadWrite).unwrap();
        let fs = HostFs::new(root, LayerAccess::ReadWrite, Arc::clone(&fds)).unwrap();
        Self { fs, fds, dir }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Closes every descriptor that can be opened again.
    pub(crate) fn empty_cache(&self) {
        self.fds.trim_idle(std::time::Duration::ZERO);
    }

    /// Looks a path up, keeping a reference on its last node only.
    pub(crate) fn find(&self, path: &str) -> Result<Entry, Errno> {
        find(&self.fs, path)
    }

    pub(crate) fn node(&self, path: &str) -> NodeId {
        self.find(path).unwrap().node
    }

    /// Makes a file through the layer.
    pub(crate) fn file(&self, name_: &str, data: &[u8]) -> NodeId {
        let born = self
            .fs
            .create(&me(), NodeId::ROOT, name(name_), Mode::new(0o644));
        let node = born.unwrap().node;
        assert_eq!(self.fs.write(node, 0, data, KillPriv::Keep), Ok(data.len()));
        node
    }

    pub(crate) fn mkdir(&self, name_: &str) -> NodeId {
        let born = self
            .fs
            .mkdir(&me(), NodeId::ROOT, name(name_), Mode::new(0o755));
        born.unwrap().node
    }

    pub(crate) fn read(&self, node: NodeId) -> Result<Vec<u8>, Errno> {
        let mut data = vec![0; 4096];
        let count = self.fs.read(node, 0, &mut data)?;
        data.truncate(count);
        Ok(data)
    }
}

pub(crate) fn find(fs: &HostFs, path: &str) -> Result<Entry, Errno> {
    let mut at = NodeId::ROOT;
    let mut found = None;
    for part in path.split('/') {
        let next = fs.lookup(at, name(part));
        if at != NodeId::ROOT {
            fs.forget(at, 1);
        }
        let entry = next?;
        at = entry.node;
        found = Some(entry);
    }
    Ok(found.unwrap())
}

/// The identity that this process makes objects with anyway.
pub(crate) fn me() -> Caller {
    Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        umask: 0o022,
    }
}

pub(crate) fn name(name: &str) -> FileName<'_> {
    FileName::new(name.as_bytes()).unwrap()
}

pub(crate) fn xattr_name(name: &str) -> XattrName<'_> {
    XattrName::new(name.as_bytes()).unwrap()
}

/// Lists a directory, sorted.
pub(crate) fn list(fs: &HostFs, dir: NodeId) -> Vec<String> {
    let mut names = Vec::new();
    fs.read_dir(dir, Cookie::START, &mut |entry| {
        names.push(String::from_utf8(entry.name.as_bytes().to_vec()).unwrap());
        Flow::Continue
    })
    .unwrap();
    names.sort();
    names
}
