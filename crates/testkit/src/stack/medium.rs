//! What the layers of a stack lie on.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use mica_host::{FdCache, HostFs, LayerAccess};
use mica_overlay::Layer;
use mica_tmpfs::Tmpfs;
use mica_vfs::{Caller, FileName, Filesystem, Mode, NodeId};
use rustix::fs::{Mode as HostMode, OFlags};

use crate::require_root;

use crate::Detail;

/// How many descriptors the host layers of one stack keep open.
const FDS: usize = 256;

/// What layers are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Trees in memory.
    Memory,
    /// Directories of the host.
    Host,
}

impl Medium {
    /// All that this user can build layers on: an ordinary one may neither make whiteouts nor set `trusted.*` on the host,
    /// which is reported as a skip of the calling test.
    pub fn all() -> impl Iterator<Item = Self> {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        let host = require_root(&format!("{test} on the host")).map(|()| Self::Host);
        std::iter::once(Self::Memory).chain(host)
    }
}

/// How many filesystems layers in memory lie on. Directories of the host all lie on one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filesystems {
    /// All on one.
    One,
    /// Each lower on its own, upper and work on another.
    #[default]
    Several,
}

/// Where the layers of one stack lie, for as long as they are used.
pub(super) enum Ground {
    Memory {
        filesystems: Filesystems,
        /// The one with upper and work is last.
        all: Vec<Arc<Tmpfs>>,
        roots: usize,
    },
    Host {
        all: Vec<Arc<HostFs>>,
        fds: Arc<FdCache>,
        roots: usize,
        /// After the filesystems: they have open what it removes.
        dir: tempfile::TempDir,
    },
}

impl Ground {
    pub(super) fn new(medium: Medium, filesystems: Filesystems) -> Self {
        match medium {
            Medium::Memory => Self::Memory {
                filesystems,
                all: Vec::new(),
                roots: 0,
            },
            Medium::Host => Self::Host {
                all: Vec::new(),
                fds: FdCache::new(FDS),
                roots: 0,
                dir: tempfile::tempdir().unwrap(),
            },
        }
    }

    /// Makes an empty directory for a layer that can be written to. `work` comes on the filesystem of the layer before.
    pub(super) fn layer(&mut self, label: &str) -> Layer {
        match self {
            Self::Memory {
                filesystems,
                all,
                roots,
            } => {
                if all.is_empty() || (*filesystems == Filesystems::Several && label != "work") {
                    all.push(Arc::new(Tmpfs::new()));
                }
                let fs = Arc::clone(all.last().unwrap());
                let name = FileName::new(label.as_bytes()).unwrap();
                let mode = Mode::new(0o755);
                let made = fs.mkdir(&Caller::ROOT, NodeId::ROOT, name, mode).unwrap();
                *roots += 1;
                layer(fs, made.node, label)
            }
            Self::Host {
                all,
                fds,
                roots,
                dir,
            } => {
                let path = dir.path().join(label);
                std::fs::create_dir(&path).unwrap();
                if label == "work" {
                    let fs = all.last().unwrap();
                    let root = fs.attach(open(&path)).unwrap();
                    *roots += 1;
                    return layer(Arc::<HostFs>::clone(fs), root, label);
                }
                let fs = HostFs::new(open(&path), LayerAccess::ReadWrite, Arc::clone(fds));
                let fs = Arc::new(fs.unwrap());
                all.push(Arc::clone(&fs));
                *roots += 1;
                layer(fs, NodeId::ROOT, label)
            }
        }
    }

    /// Lets a layer be read only from here, where the medium knows that.
    pub(super) fn seal(&mut self, built: Layer) -> Layer {
        match self {
            Self::Memory { .. } => built,
            Self::Host { all, fds, dir, .. } => {
                let path = dir.path().join(&built.label);
                let fs = HostFs::new(open(&path), LayerAccess::ReadOnly, Arc::clone(fds));
                let fs = Arc::new(fs.unwrap());
                *all.last_mut().unwrap() = Arc::clone(&fs);
                layer(fs, NodeId::ROOT, &built.label)
            }
        }
    }

    /// What moves by reading alone: the host notes when a symbolic link was read, whoever asks.
    pub(super) const fn unsettled(&self) -> Detail {
        match self {
            Self::Memory { .. } => Detail::empty(),
            Self::Host { .. } => Detail::ATIME,
        }
    }

    /// The directory of the host that the layers lie in.
    pub(super) fn dir(&self) -> Option<&Path> {
        match self {
            Self::Memory { .. } => None,
            Self::Host { dir, .. } => Some(dir.path()),
        }
    }

    /// Counts the nodes of all layers that are referenced.
    pub(super) fn nodes(&self) -> usize {
        match self {
            Self::Memory { all, .. } => {
                let nodes = all.iter().map(|fs| fs.referenced_nodes().unwrap());
                nodes.sum()
            }
            Self::Host { all, .. } => all.iter().map(|fs| fs.nodes()).sum(),
        }
    }

    /// Counts the nodes of all layers that the stack itself references.
    pub(super) fn roots(&self) -> usize {
        match self {
            Self::Memory { roots, .. } | Self::Host { roots, .. } => *roots,
        }
    }
}

fn layer(fs: Arc<dyn Filesystem>, root: NodeId, label: &str) -> Layer {
    Layer {
        fs,
        root,
        label: label.to_owned(),
    }
}

fn open(path: &Path) -> OwnedFd {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, HostMode::empty()).unwrap()
}
