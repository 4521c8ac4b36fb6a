//! Traces of other overlay implementations in an upper, which would be shown wrongly.
//!
//! An upper says nowhere who wrote it. What tells are marks that this mount would take for files, or not read at all. The
//! root of the upper and one level below are looked at, as far as [`NAMES_MAX`] names: more would make every mount pay for
//! a rare mistake. A mark counts only if it changes the view: `.wh.NAME` is a file like any other where no lower has `NAME`.
//! And it counts only where nobody but the upper's owner can have made it ([`Makers`]); elsewhere it is warned of.

mod below;
mod makers;
mod mark;

use std::path::{Path, PathBuf};

use mica_overlay::{Layer, Opaque, XattrNamespace, parse_opaque};
use mica_vfs::{
    Attr, Cookie, Errno, FileName, FileNameBuf, FileType, Filesystem, Flow, NodeId, XATTR_SIZE_MAX,
    XattrName,
};

use super::error::{LayerDir, StackError};
use super::warning::StackWarning;
use crate::options::path;
use below::{Dir, merging, roots};
use makers::Makers;
pub use mark::ForeignMark;

/// The most names that are looked at.
const NAMES_MAX: usize = 10_000;
/// The most names of one directory.
const NAMES_OF_DIR_MAX: usize = 1_000;

/// What begins the name of a whiteout of aufs, and of fuse-overlayfs where it cannot make device nodes.
const WHITEOUT: &[u8] = b".wh.";
/// What begins the names that aufs keeps for itself.
const AUFS: &[u8] = b".wh..wh.";
/// The file that makes a directory opaque.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Where the marks of another namespace change the view.
const READ_BY_VIEW: [&str; 4] = ["opaque", "redirect", "metacopy", "whiteout"];

/// Where fuse-overlayfs keeps owner and mode with `xattr_permissions`.
const OVERRIDES: [&str; 3] = [
    "user.fuseoverlayfs.override_stat",
    "security.fuseoverlayfs.override_stat",
    "user.containers.override_stat",
];

/// Looks for what another implementation left in `upper`, and stops at the first that would be shown wrongly.
///
/// # Errors
///
/// [`StackError::Foreign`]
pub(super) fn refuse_foreign(
    dir: &LayerDir,
    upper: &Layer,
    lowers: &[Layer],
    xattrs: XattrNamespace,
    warnings: &mut Vec<StackWarning>,
) -> Result<(), StackError> {
    let open = |source| StackError::Open {
        dir: dir.clone(),
        source,
    };
    let root = upper.fs.get_attr(upper.root).map_err(open)?;
    let mut search = Search {
        fs: &*upper.fs,
        xattrs,
        makers: Makers::of(&root),
        ours: false,
        left: NAMES_MAX,
        stray: None,
        doubted: None,
    };
    let root = Dir {
        node: upper.root,
        attr: root,
        path: PathBuf::new(),
        below: roots(lowers),
    };
    let mark = search.root(&root).map_err(open)?;
    if let Some(mark) = mark {
        let (upper, mark) = (dir.clone(), Box::new(mark));
        return Err(StackError::Foreign {
            upper,
            mark,
            xattrs,
        });
    }
    if let Some(file) = search.stray {
        let upper = dir.clone();
        warnings.push(StackWarning::StrayMark { upper, file });
    }
    if let Some(mark) = search.doubted {
        warnings.push(StackWarning::DoubtfulMark {
            upper: dir.clone(),
            mark: Box::new(mark),
            xattrs,
        });
    }
    Ok(())
}

/// The search in one upper.
struct Search<'a> {
    fs: &'a dyn Filesystem,
    xattrs: XattrNamespace,
    makers: Makers,
    /// The upper's root carries a mark that this mount reads: what is in the other namespace is data.
    ours: bool,
    left: usize,
    /// A mark that has no effect, and is only in the way.
    stray: Option<PathBuf>,
    /// A mark that somebody else can have made.
    doubted: Option<ForeignMark>,
}

impl Search<'_> {
    fn root(&mut self, dir: &Dir<'_>) -> Result<Option<ForeignMark>, Errno> {
        let names = self.names(dir.node)?;
        if let Some(mark) = self.kept_in_root(dir, &names)? {
            return Ok(Some(mark));
        }
        if let Some(mark) = self.attributes(dir, Path::new("/"))? {
            return Ok(Some(mark));
        }
        if let Some(mark) = self.among(dir, &names)? {
            return Ok(Some(mark));
        }
        for name in &names {
            if let Some(mark) = self.entry(dir, name)? {
                return Ok(Some(mark));
            }
        }
        Ok(None)
    }

    /// Returns a mark if it counts, and remembers it for a warning if somebody else can have made it.
    fn weigh(&mut self, mark: ForeignMark, counts: bool) -> Option<ForeignMark> {
        if counts {
            return Some(mark);
        }
        self.doubted.get_or_insert(mark);
        None
    }

    /// Lists a directory, as far as is looked.
    fn names(&mut self, dir: NodeId) -> Result<Vec<FileNameBuf>, Errno> {
        let most = NAMES_OF_DIR_MAX.min(self.left);
        let mut names = Vec::new();
        self.fs.read_dir(dir, Cookie::START, &mut |entry| {
            if names.len() >= most {
                return Flow::Stop;
            }
            names.push(entry.name.to_owned());
            Flow::Continue
        })?;
        self.left -= names.len();
        Ok(names)
    }

    /// Finds the names that aufs and unionfs-fuse keep in the root.
    fn kept_in_root(
        &mut self,
        dir: &Dir<'_>,
        names: &[FileNameBuf],
    ) -> Result<Option<ForeignMark>, Errno> {
        for name in names {
            let bytes = name.as_name().as_bytes();
            let kept = |name: &[u8]| path(name.to_vec());
            let mark = match bytes {
                b".wh..wh.aufs" | b".wh..wh.plnk" | b".wh..wh.orph" => {
                    ForeignMark::Aufs { name: kept(bytes) }
                }
                b".unionfs" | b".unionfs-fuse" => ForeignMark::UnionfsFuse { name: kept(bytes) },
                _ => continue,
            };
            let entry = self.fs.lookup(dir.node, name.as_name())?;
            let counts = self.makers.alone_put(&dir.attr, &entry.attr);
            let empty = match &mark {
                ForeignMark::UnionfsFuse { .. } if entry.attr.kind == FileType::Directory => {
                    self.names(entry.node).map(|kept| kept.is_empty())
                }
                ForeignMark::UnionfsFuse { .. } => Ok(true),
                _ => Ok(false),
            };
            self.fs.forget(entry.node, 1);
            if !empty? && let Some(mark) = self.weigh(mark, counts) {
                return Ok(Some(mark));
            }
        }
        Ok(None)
    }

    /// Finds the files in a directory that are marks by their names.
    fn among(
        &mut self,
        dir: &Dir<'_>,
        names: &[FileNameBuf],
    ) -> Result<Option<ForeignMark>, Errno> {
        for name in names {
            let bytes = name.as_name().as_bytes();
            if bytes == OPAQUE
                && let Some(file) = self.empty_file(dir, name.as_name())?
            {
                if self.is_opaque(dir) {
                    self.stray
                        .get_or_insert(dir.path.join(path(bytes.to_vec())));
                } else if !dir.below.is_empty() {
                    let counts = self.makers.alone_put(&dir.attr, &file);
                    let mark = ForeignMark::OpaqueFile {
                        dir: dir.path.clone(),
                    };
                    if let Some(mark) = self.weigh(mark, counts) {
                        return Ok(Some(mark));
                    }
                }
            }
            let hidden = bytes.strip_prefix(WHITEOUT);
            let Some(Ok(hidden)) = hidden.map(FileName::new) else {
                continue;
            };
            if !bytes.starts_with(AUFS)
                && dir.below.iter().any(|lower| lower.has(hidden))
                && self
                    .fs
                    .lookup(dir.node, hidden)
                    .map(|e| self.fs.forget(e.node, 1))
                    .is_err()
                && let Some(empty) = self.empty_file(dir, name.as_name())?
            {
                let counts = self.makers.alone_put(&dir.attr, &empty);
                let file = dir.path.join(path(bytes.to_vec()));
                if let Some(mark) = self.weigh(ForeignMark::Whiteout { file }, counts) {
                    return Ok(Some(mark));
                }
            }
        }
        Ok(None)
    }

    /// Looks at an entry of the root, and into it if it is a directory.
    fn entry(&mut self, root: &Dir<'_>, name: &FileNameBuf) -> Result<Option<ForeignMark>, Errno> {
        let entry = match self.fs.lookup(root.node, name.as_name()) {
            Ok(entry) => entry,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let found = self.look_at(root, name, entry.node, &entry.attr);
        self.fs.forget(entry.node, 1);
        found
    }

    fn look_at(
        &mut self,
        root: &Dir<'_>,
        name: &FileNameBuf,
        node: NodeId,
        attr: &Attr,
    ) -> Result<Option<ForeignMark>, Errno> {
        let dir = Dir {
            node,
            attr: *attr,
            path: path(name.as_name().as_bytes().to_vec()),
            below: if attr.kind == FileType::Directory {
                merging(&root.below, name.as_name())
            } else {
                Vec::new()
            },
        };
        if let Some(mark) = self.attributes(&dir, &dir.path)? {
            return Ok(Some(mark));
        }
        if attr.kind != FileType::Directory {
            return Ok(None);
        }
        let names = match self.names(node) {
            // Closed to this user; so it is to the mount.
            Err(Errno::ACCESS) => return Ok(None),
            names => names?,
        };
        self.among(&dir, &names)
    }

    /// Returns what is known of an empty file; `None`: it is another object.
    fn empty_file(&self, dir: &Dir<'_>, name: FileName<'_>) -> Result<Option<Attr>, Errno> {
        let entry = self.fs.lookup(dir.node, name)?;
        self.fs.forget(entry.node, 1);
        let empty = entry.attr.kind == FileType::Regular && entry.attr.size == 0;
        Ok(empty.then_some(entry.attr))
    }

    /// Reads a mark that this mount reads, too.
    fn ours(&self, dir: &Dir<'_>, mark: &[u8], value: &mut [u8]) -> Result<usize, Errno> {
        let name = [self.xattrs.prefix(), mark].concat();
        self.fs.get_xattr(dir.node, XattrName::new(&name)?, value)
    }

    /// Whether this mount hides what lies below a directory (OVL-5).
    fn is_opaque(&self, dir: &Dir<'_>) -> bool {
        let mut value = [0; 8];
        let read = self.ours(dir, b"opaque", &mut value).ok();
        let value = read.and_then(|len| value.get(..len));
        value.map(parse_opaque) == Some(Ok(Opaque::Stop))
    }

    /// Finds an attribute that this mount would not read.
    fn attributes(&mut self, dir: &Dir<'_>, object: &Path) -> Result<Option<ForeignMark>, Errno> {
        let mut names = vec![0; 1024];
        let length = loop {
            match self.fs.list_xattr(dir.node, &mut names) {
                Err(Errno::RANGE) if names.len() < XATTR_SIZE_MAX => {
                    names.resize(XATTR_SIZE_MAX, 0);
                }
                // Sockets and links of other users, and what the mount will refuse by itself.
                Err(Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM) => return Ok(None),
                length => break length?,
            }
        };
        let names = names.get(..length).unwrap_or_default();
        let names = || names.split(|&byte| byte == 0);
        let prefix = self.xattrs.prefix();
        self.ours |=
            dir.path.as_os_str().is_empty() && names().any(|name| name.starts_with(prefix));
        let counts = self.makers.alone_mark(&dir.attr);
        for name in names() {
            let Some(mark) = self.attribute(dir, name, object) else {
                continue;
            };
            let counts = match mark {
                // Nobody but root makes those of `trusted.`.
                ForeignMark::OtherNamespace { reads, .. } => match reads {
                    XattrNamespace::Trusted => counts && !self.ours,
                    XattrNamespace::User => true,
                },
                // Nor those of `security.`.
                ForeignMark::OverrideStat { attribute, .. } => {
                    counts || attribute.starts_with("security.")
                }
                _ => counts,
            };
            if let Some(mark) = self.weigh(mark, counts) {
                return Ok(Some(mark));
            }
        }
        Ok(None)
    }

    /// Says what an attribute means that this mount would not read.
    fn attribute(&self, dir: &Dir<'_>, name: &[u8], object: &Path) -> Option<ForeignMark> {
        let merges = dir.attr.kind == FileType::Directory && !dir.below.is_empty();
        let object = object.to_owned();
        if let Some(attribute) = OVERRIDES.into_iter().find(|known| known.as_bytes() == name) {
            return Some(ForeignMark::OverrideStat { object, attribute });
        }
        if name == b"user.fuseoverlayfs.opaque" {
            let hides = merges && !self.is_opaque(dir);
            return hides.then_some(ForeignMark::OpaqueXattr { dir: object });
        }
        let other = match self.xattrs {
            XattrNamespace::Trusted => XattrNamespace::User,
            XattrNamespace::User => XattrNamespace::Trusted,
        };
        let mark = name.strip_prefix(other.prefix())?;
        let read = READ_BY_VIEW
            .into_iter()
            .find(|known| known.as_bytes() == mark)?;
        let has_ours = self.ours(dir, mark, &mut []).is_ok();
        let in_effect = !has_ours && (merges || read != "opaque");
        in_effect.then(|| ForeignMark::OtherNamespace {
            object,
            attribute: name.escape_ascii().to_string(),
            reads: self.xattrs,
        })
    }
}
