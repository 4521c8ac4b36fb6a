//! Why directories are no stack.

use std::fmt;
use std::path::{Path, PathBuf};

use mica_host::OpenLayerError;
use mica_overlay::{SetupError, XattrNamespace};
use mica_vfs::Errno;
use thiserror::Error;

use super::foreign::ForeignMark;
use super::holder::Holder;
use crate::Escaped;
use crate::options::work_beside;

/// What a directory is in a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// One of `lowerdir`.
    Lower,
    /// A data-only layer: one of `datadir+`, or of `lowerdir` after `::`.
    Data,
    /// `upperdir`
    Upper,
    /// `workdir`
    Work,
}

/// A directory of a stack, as the user named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDir {
    /// What it is.
    pub role: Role,
    /// Where it is.
    pub path: PathBuf,
}

impl fmt::Display for LayerDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = match self.role {
            Role::Lower => "lowerdir",
            Role::Data => "data-only layer",
            Role::Upper => "upperdir",
            Role::Work => "workdir",
        };
        write!(f, "{option} {}", Escaped::new(&self.path))
    }
}

/// Why a [`StackSpec`](crate::StackSpec) cannot be opened. Nothing was changed, but for a `work` directory made in the
/// workdir.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StackError {
    /// The directory does not exist.
    #[error("{dir} does not exist")]
    Missing {
        /// The directory.
        dir: LayerDir,
    },
    /// The path leads to something else.
    #[error("{dir} is not a directory")]
    NotDirectory {
        /// The directory.
        dir: LayerDir,
    },
    /// The directory cannot be opened.
    #[error("{dir} cannot be opened")]
    Open {
        /// The directory.
        dir: LayerDir,
        /// Why.
        source: Errno,
    },
    /// The directory cannot be made a layer.
    #[error("{dir} cannot be a layer")]
    Layer {
        /// The directory.
        dir: LayerDir,
        /// Why.
        source: OpenLayerError,
    },
    /// The directory has to be written to, and this user may not.
    #[error("{dir} cannot be written to")]
    NotWritable {
        /// The directory.
        dir: LayerDir,
        /// Why.
        source: Errno,
    },
    /// The directory has to be written to, and its filesystem or mount is read-only.
    #[error("{dir} is on a read-only filesystem")]
    ReadOnly {
        /// The directory.
        dir: LayerDir,
    },
    /// Two directories of the stack are the same one.
    #[error("{second} is the same directory as {first}")]
    Same {
        /// The one named first.
        first: LayerDir,
        /// The other.
        second: LayerDir,
    },
    /// One directory of the stack lies inside another.
    #[error("{inner} is inside {outer}")]
    Inside {
        /// The inner one.
        inner: LayerDir,
        /// The outer one.
        outer: LayerDir,
    },
    /// The upper and the work directory are on different mounts.
    #[error("{work} and {upper} are on different {}", boundary.plural())]
    Apart {
        /// The upper directory.
        upper: LayerDir,
        /// The work directory.
        work: LayerDir,
        /// What lies between them.
        boundary: Boundary,
    },
    /// Another mount writes to the directory.
    #[error("{dir} is in use by {by}")]
    InUse {
        /// The directory.
        dir: LayerDir,
        /// The mount.
        by: Box<Holder>,
    },
    /// The directory cannot be marked as in use.
    #[error("{dir} cannot be locked")]
    Lock {
        /// The directory.
        dir: LayerDir,
        /// Why.
        source: Errno,
    },
    /// `trusted.overlay.*` was asked for without the privilege that it needs.
    #[error(
        "the `trusted.overlay.*` attributes of the layers need CAP_SYS_ADMIN in the initial user namespace"
    )]
    Trusted,
    /// The upper filesystem keeps no extended attributes of the chosen namespace.
    #[error("the filesystem of {upper} does not keep `{namespace}*` attributes")]
    NoXattr {
        /// The upper directory.
        upper: LayerDir,
        /// The namespace.
        namespace: &'static str,
    },
    /// The upper cannot keep owners in the attribute that `xattr_permissions` names.
    #[error("{upper} does not keep owners as `{name}`")]
    NoOwnerXattr {
        /// The upper directory.
        upper: LayerDir,
        /// The attribute.
        name: &'static str,
        /// Why.
        source: Errno,
    },
    /// The upper filesystem lists names without types, which would make whiteouts visible.
    #[error("the filesystem of {upper} lists names without their types (no `d_type`)")]
    NoDirentType {
        /// The upper directory.
        upper: LayerDir,
    },
    /// The upper filesystem takes no whiteouts, so nothing of a lower could be removed.
    #[error("the filesystem of {upper} takes no whiteouts (character devices 0:0)")]
    NoWhiteout {
        /// The upper directory.
        upper: LayerDir,
    },
    /// Names in the layer are found whatever their case.
    #[error("{dir} is casefolded: names in it are found whatever their case")]
    Casefold {
        /// The layer.
        dir: LayerDir,
    },
    /// The upper holds marks of another overlay implementation, which would be shown wrongly.
    #[error("{upper} was written by another overlay: {mark}")]
    Foreign {
        /// The upper directory.
        upper: LayerDir,
        /// The first mark that was found.
        mark: Box<ForeignMark>,
        /// What this mount reads.
        xattrs: XattrNamespace,
    },
    /// A conversion of the layer was interrupted.
    #[error("{dir} is half converted: `{purpose}` was interrupted")]
    HalfConverted {
        /// The layer.
        dir: LayerDir,
        /// What it was, as a command without directories.
        purpose: String,
    },
    /// The work directory holds an index of hard links.
    #[error("{work} was used with `index=on`: names of changed files would show their old content")]
    Index {
        /// The work directory.
        work: LayerDir,
    },
    /// It cannot be found out what the upper filesystem can do.
    #[error("the filesystem of {work} cannot be probed")]
    Probe {
        /// The work directory, where the probe is made.
        work: LayerDir,
        /// Why.
        source: Errno,
    },
    /// The work directory was used by a mount with a feature that this one does not go on with.
    #[error(
        "{work} is marked with the incompatible feature {}",
        Escaped::new(feature)
    )]
    Incompatible {
        /// The upper directory.
        upper: LayerDir,
        /// The work directory.
        work: LayerDir,
        /// The feature.
        feature: String,
    },
    /// The overlay refuses the layers.
    #[error(transparent)]
    Overlay(#[from] SetupError),
}

/// What separates two directories between which nothing can be renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// They are on two filesystems.
    Filesystem,
    /// They are on two mounts of one filesystem.
    Mount,
}

impl Boundary {
    const fn plural(self) -> &'static str {
        match self {
            Self::Filesystem => "filesystems",
            Self::Mount => "mounts of one filesystem",
        }
    }
}

impl StackError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing { dir } => hint_missing(dir),
            Self::NotDirectory { dir } => {
                format!("a layer is a directory; see what this is with `ls -ld {}`", word(&dir.path))
            }
            Self::Open { dir, source } => hint_open(dir, *source)?,
            Self::NotWritable { dir, .. } => {
                format!("see who may write there with `namei -l {}`", word(&dir.path))
            }
            Self::Layer { .. } => return None,
            Self::ReadOnly { .. } => {
                "choose an upperdir and a workdir on a writable filesystem (`findmnt -O rw` lists them), or leave both out for a read-only mount".into()
            }
            Self::Same { first, second } => hint_same(first, second),
            Self::Inside { inner, outer } => hint_inside(inner, outer),
            Self::Apart { upper, .. } => {
                format!("changes are published by rename, which cannot cross mounts; {}", try_work_beside(&upper.path))
            }
            Self::InUse { by, .. } => {
                format!("{}; or give this mount an upperdir and a workdir of its own", by.command())
            }
            Self::Lock { .. } => {
                "choose an upperdir and a workdir on a local filesystem (`findmnt --real` lists them)".into()
            }
            Self::Trusted => {
                "add `-o userxattr`, which keeps them as `user.overlay.*`, or run as root".into()
            }
            Self::NoXattr { upper, .. } | Self::NoWhiteout { upper } => {
                format!("choose an upperdir and a workdir on another filesystem; `findmnt -T {}` shows this one", word(&upper.path))
            }
            Self::NoOwnerXattr { source: Errno::PERM | Errno::ACCESS, .. } => {
                "only root can set that attribute; write `-o xattr_permissions=2` for the one of ordinary users".into()
            }
            Self::NoOwnerXattr { upper, .. } => {
                format!("choose an upperdir and a workdir on another filesystem; `findmnt -T {}` shows this one", word(&upper.path))
            }
            Self::NoDirentType { upper } => {
                format!("choose an upperdir and a workdir on another filesystem (xfs needs `mkfs.xfs -n ftype=1`); `findmnt -T {}` shows this one", word(&upper.path))
            }
            Self::Casefold { dir } => {
                format!("choose another directory; `lsattr -d {}` shows this one's `F`, and a copy made with `cp -a` has it only if the place it is made in has it", word(&dir.path))
            }
            Self::Foreign { upper, mark, xattrs } => mark.hint(&upper.path, *xattrs),
            Self::HalfConverted { dir, purpose } if purpose.as_bytes() == crate::convert::IMPORT => {
                format!("run `mica import` again: it begins anew in {}", word(&dir.path))
            }
            Self::HalfConverted { .. } => {
                "run the same `mica convert` again: it goes on where it was".into()
            }
            Self::Index { work } => {
                let index = work.path.join("index");
                format!("add `-o index=on`, or give the tie between the names up with `rm -r {}`", word(&index))
            }
            Self::Probe { work, .. } => {
                format!("see who may write there with `namei -l {}`", word(&work.path))
            }
            Self::Incompatible { upper, work, feature } => {
                hint_incompatible(&upper.path, &work.path, feature)
            }
            Self::Overlay(error) => hint_overlay(error)?,
        })
    }
}

fn hint_missing(dir: &LayerDir) -> String {
    let path = word(&dir.path);
    match dir.role {
        Role::Lower | Role::Data => format!(
            r"see how far the path leads with `namei {path}`; a `:` or `,` that belongs to a path is written `\:` or `\,`"
        ),
        Role::Upper | Role::Work => format!("make it with `mkdir -p {path}`"),
    }
}

fn hint_open(dir: &LayerDir, errno: Errno) -> Option<String> {
    let path = word(&dir.path);
    match errno {
        Errno::ACCESS | Errno::PERM => Some(format!(
            "see whose permission is missing with `namei -l {path}`"
        )),
        Errno::NOTCONN => Some(format!(
            "a FUSE server that is gone left its mount here; remove it with `fusermount3 -u {path}`"
        )),
        Errno::MFILE | Errno::NFILE => {
            Some("raise the limit of open files with `ulimit -n`".into())
        }
        _ => None,
    }
}

fn hint_same(first: &LayerDir, second: &LayerDir) -> String {
    match (first.role, second.role) {
        (Role::Lower | Role::Data, Role::Lower | Role::Data) => "name each layer once".into(),
        (Role::Upper, Role::Work) => {
            format!(
                "the two hold different things; {}",
                try_work_beside(&first.path)
            )
        }
        _ => {
            "changes would be made in a layer that must not change; choose another directory".into()
        }
    }
}

fn hint_inside(inner: &LayerDir, outer: &LayerDir) -> String {
    match (inner.role, outer.role) {
        (Role::Work, Role::Upper) => try_work_beside(&outer.path),
        (Role::Upper, Role::Work) => try_work_beside(&inner.path),
        (Role::Lower | Role::Data, Role::Lower | Role::Data) => {
            "its files would be there twice; leave one of the two layers out".into()
        }
        (_, Role::Lower | Role::Data) => format!(
            "a change would change the lower layer, too; choose an upperdir and a workdir outside of {}, or on another filesystem (`findmnt -O rw` lists them)",
            Escaped::new(&outer.path)
        ),
        (_, Role::Upper | Role::Work) => format!(
            "a change would change the lower layer, too; move it out with `mv {} NEWPLACE`",
            word(&inner.path)
        ),
    }
}

/// Says how to get rid of a mark in `work/incompat`. A volatile mount leaves its own also when it is unmounted.
fn hint_incompatible(upper: &Path, work: &Path, feature: &str) -> String {
    if feature == "volatile" {
        format!(
            "a volatile mount used it. If the machine did not crash since, take the mark away with `rm -r {}`; if it did, {} and {} may hold half-written files: start with new ones",
            word(&work.join("work/incompat/volatile")),
            Escaped::new(upper),
            Escaped::new(work)
        )
    } else if feature == crate::convert::FEATURE {
        "`mica convert` was interrupted: run the same command again, it goes on where it was".into()
    } else {
        "an overlay that can read it left this behind; mount once with `mount -t overlay`, or start with a new upperdir and workdir".into()
    }
}

fn hint_overlay(error: &SetupError) -> Option<String> {
    match error {
        SetupError::Work { .. } => Some(
            "a workdir is an empty directory that this user may write to; name a new one".into(),
        ),
        SetupError::NoHandles { source, .. } => Some(match *source {
            Errno::PERM | Errno::ACCESS => {
                "to find a file by its handle takes CAP_DAC_READ_SEARCH in the initial user namespace: run as root, or leave `-o index=on` out".into()
            }
            _ => "leave `-o index=on` out: names of a file stay together until the mount ends".into(),
        }),
        SetupError::SameUuid { .. } => Some(
            "leave `-o index=on` out, or give one filesystem another UUID (`tune2fs -U random`, `xfs_admin -U generate`)".into(),
        ),
        SetupError::OtherLower { .. } | SetupError::OtherUpper { .. } => Some(
            "mount it over the layers that it was made with, or take a new upperdir and workdir".into(),
        ),
        SetupError::BadIndex { .. } => Some(
            "give the tie between the names of changed files up: remove the directory `index` in workdir".into(),
        ),
        _ => None,
    }
}

/// Says how to get a work directory that fits `upper`.
fn try_work_beside(upper: &Path) -> String {
    let work = work_beside(upper);
    let work = Escaped::new(&work);
    format!("try `mkdir {work:#}`, then `-o workdir={work:#}`")
}

/// Writes a path as a word of a command.
pub(crate) fn word(path: &Path) -> String {
    format!("{:#}", Escaped::new(path))
}
