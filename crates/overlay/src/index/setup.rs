//! The index at mount: it is bound to the layers, and what a mount before left half done is removed.

use std::sync::Arc;

use mica_vfs::{Attr, Cookie, Errno, FileName, FileNameBuf, FileType, Flow, Mode, NodeId};

use super::{IndexDir, Nlink};
use crate::config::Config;
use crate::error::SetupError;
use crate::origin::Origin;
use crate::stack::{LayerInfo, LayerNode};
use crate::whiteout::is_device_whiteout;
use crate::work::{inherit_nothing, remove_tree};

/// What is to become of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    /// Nothing shows it any more, or what it was copied from is gone.
    Remove,
    /// It means nothing, so the index cannot be trusted.
    Refuse,
}

/// What is needed of the layers to prepare an index.
struct Setup<'a> {
    upper: &'a Arc<LayerInfo>,
    lowers: &'a [Arc<LayerInfo>],
    config: &'a Config,
}

fn failed(action: &'static str, name: &str) -> impl FnOnce(Errno) -> SetupError {
    let name = name.to_owned();
    move |source| SetupError::Work {
        action,
        name,
        source,
    }
}

impl IndexDir {
    /// Opens or makes the index in work directory `work`, checks that it belongs to these layers, and cleans it up
    /// (ovl_get_indexdir).
    pub(crate) fn prepare(
        upper: &Arc<LayerInfo>,
        work: NodeId,
        lowers: &[Arc<LayerInfo>],
        config: &Config,
    ) -> Result<Self, SetupError> {
        let setup = Setup {
            upper,
            lowers,
            config,
        };
        setup.check_handles()?;
        let root = LayerNode::root(upper);
        let first = lowers.first().ok_or(SetupError::NoLower)?;
        let lower = setup.handle_of(first)?;
        let other_lower = || SetupError::OtherLower {
            label: upper.label.clone(),
        };
        setup.bind(&root, "origin", &lower.encode(), other_lower)?;
        let dir = setup.open(work)?;
        let bound = setup.handle_of(upper)?.encode_upper();
        let other_upper = || SetupError::OtherUpper {
            label: upper.label.clone(),
        };
        let old = config
            .xattrs
            .value(&dir, "origin")
            .map_err(failed("read", "index"))?;
        if old.is_some_and(|old| old != bound) {
            // Kernels before 4.16 wrote it there.
            return Err(other_upper());
        }
        setup.bind(&dir, "upper", &bound, other_upper)?;
        setup.clean(&dir)?;
        Ok(Self { dir })
    }

    /// Refuses what [`prepare`](Self::prepare) would refuse, and changes nothing.
    pub(crate) fn examine(
        upper: &Arc<LayerInfo>,
        work: NodeId,
        lowers: &[Arc<LayerInfo>],
        config: &Config,
    ) -> Result<(), SetupError> {
        let setup = Setup {
            upper,
            lowers,
            config,
        };
        setup.check_handles()?;
        let first = lowers.first().ok_or(SetupError::NoLower)?;
        let lower = setup.handle_of(first)?.encode();
        let root = LayerNode::root(upper);
        if setup.is_bound(&root, "origin", &lower)? == Some(false) {
            return Err(SetupError::OtherLower {
                label: upper.label.clone(),
            });
        }
        let name = FileName::new(b"index").map_err(failed("name", "index"))?;
        let entry = match upper.fs.lookup(work, name) {
            Ok(entry) => entry,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(failed("look up", "index")(errno)),
        };
        let dir = LayerNode::adopt(upper, &entry);
        if entry.attr.kind != FileType::Directory {
            return Ok(());
        }
        let bound = setup.handle_of(upper)?.encode_upper();
        for mark in ["origin", "upper"] {
            if setup.is_bound(&dir, mark, &bound)? == Some(false) {
                return Err(SetupError::OtherUpper {
                    label: upper.label.clone(),
                });
            }
        }
        setup.entries(&dir, &mut |_, _, _| Ok(()))
    }
}

impl Setup<'_> {
    /// Checks that objects of every layer are found by their handles, and that a handle tells its filesystem.
    fn check_handles(&self) -> Result<(), SetupError> {
        for layer in self.lowers.iter().chain([self.upper]) {
            let handle = self.handle_of(layer)?;
            let found = layer.fs.attr_by_handle(&handle.handle);
            found.map_err(|source| SetupError::NoHandles {
                label: layer.label.clone(),
                source,
            })?;
        }
        for (at, layer) in self.lowers.iter().enumerate() {
            let alike =
                |other: &&Arc<LayerInfo>| other.fs_idx != layer.fs_idx && other.uuid == layer.uuid;
            if let Some(other) = self.lowers.iter().take(at).find(alike) {
                return Err(SetupError::SameUuid {
                    label: layer.label.clone(),
                    other: other.label.clone(),
                });
            }
        }
        Ok(())
    }

    fn handle_of(&self, layer: &LayerInfo) -> Result<Origin, SetupError> {
        match layer.fs.file_handle(layer.root) {
            Ok(handle) => Ok(Origin {
                uuid: layer.uuid,
                handle,
            }),
            Err(source) => Err(SetupError::NoHandles {
                label: layer.label.clone(),
                source,
            }),
        }
    }

    /// Sets a handle on `node`, or checks that it is the one that is there (ovl_verify_set_fh).
    fn bind(
        &self,
        node: &LayerNode,
        suffix: &str,
        handle: &[u8],
        other: impl FnOnce() -> SetupError,
    ) -> Result<(), SetupError> {
        match self.is_bound(node, suffix, handle)? {
            Some(true) => Ok(()),
            Some(false) => Err(other()),
            None => {
                let set = self.config.xattrs.set(node, suffix, handle);
                set.map_err(failed("mark", suffix))
            }
        }
    }

    /// Tells whether `node` carries this handle; `None`: it carries none.
    fn is_bound(
        &self,
        node: &LayerNode,
        suffix: &str,
        handle: &[u8],
    ) -> Result<Option<bool>, SetupError> {
        let known = self
            .config
            .xattrs
            .value(node, suffix)
            .map_err(failed("read", suffix))?;
        let known = known.filter(|value| !value.is_empty());
        Ok(known.map(|value| value == handle))
    }

    /// Opens the directory, or makes it: closed to all but root, as the kernel's is (ovl_workdir_create).
    fn open(&self, work: NodeId) -> Result<LayerNode, SetupError> {
        let fs = &*self.upper.fs;
        let mounter = &self.config.mounter;
        let name = FileName::new(b"index").map_err(failed("name", "index"))?;
        match fs.lookup(work, name) {
            Ok(entry) => {
                let dir = LayerNode::adopt(self.upper, &entry);
                if entry.attr.kind == FileType::Directory {
                    return Ok(dir);
                }
                fs.unlink(work, name).map_err(failed("replace", "index"))?;
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed("look up", "index")(errno)),
        }
        let entry = fs
            .mkdir(mounter, work, name, Mode::empty())
            .map_err(failed("create", "index"))?;
        let dir = LayerNode::adopt(self.upper, &entry);
        inherit_nothing(&dir, mounter, Mode::empty()).map_err(failed("prepare", "index"))?;
        Ok(dir)
    }

    /// Removes temporaries and the entries that nothing leads to any more (ovl_indexdir_cleanup, OVL-113).
    fn clean(&self, dir: &LayerNode) -> Result<(), SetupError> {
        self.entries(dir, &mut |name, kind, path| {
            tracing::debug!(entry = %name, "removed from the index");
            remove_tree(dir.fs(), dir.id, name, kind, 0).map_err(failed("remove", path))
        })
    }

    /// Hands the entries that are to be removed to `remove`.
    ///
    /// # Errors
    ///
    /// [`SetupError::BadIndex`], and what `remove` answers.
    fn entries(
        &self,
        dir: &LayerNode,
        remove: &mut dyn FnMut(FileName<'_>, FileType, &str) -> Result<(), SetupError>,
    ) -> Result<(), SetupError> {
        let mut names: Vec<FileNameBuf> = Vec::new();
        let listed = dir.fs().read_dir(dir.id, Cookie::START, &mut |entry| {
            names.push(entry.name.to_owned());
            Flow::Continue
        });
        listed.map_err(failed("read", "index"))?;
        for name in &names {
            let name = name.as_name();
            let path = format!("index/{name}");
            let found = dir.child(name).map_err(failed("look up", &path))?;
            let Some((entry, attr)) = found else { continue };
            let verdict = if name.as_bytes().starts_with(b"#") {
                Verdict::Remove
            } else {
                self.judge(&entry, &attr, name)
                    .map_err(failed("read", &path))?
            };
            drop(entry);
            match verdict {
                Verdict::Keep => {}
                Verdict::Remove => remove(name, attr.kind, &path)?,
                Verdict::Refuse => {
                    return Err(SetupError::BadIndex {
                        name: name.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Says what an entry is worth (ovl_verify_index). Whiteouts and directories are there for `nfs_export`.
    fn judge(&self, entry: &LayerNode, attr: &Attr, name: FileName<'_>) -> Result<Verdict, Errno> {
        let Some(bytes) = from_hex(name.as_bytes()) else {
            return Ok(Verdict::Refuse);
        };
        let Ok(origin) = Origin::parse(&bytes) else {
            return Ok(Verdict::Refuse);
        };
        if is_device_whiteout(attr) || attr.kind == FileType::Directory {
            return Ok(Verdict::Keep);
        }
        match self.config.xattrs.value(entry, "origin")? {
            None => return Ok(Verdict::Refuse),
            Some(value) if value != bytes => return Ok(Verdict::Remove),
            Some(_) if attr.nlink > 1 => return Ok(Verdict::Keep),
            Some(_) => {}
        }
        let Some(lower) = self.find(&origin)? else {
            return Ok(Verdict::Remove);
        };
        if lower.kind != attr.kind {
            return Ok(Verdict::Refuse);
        }
        let links = self.config.xattrs.value(entry, "nlink")?;
        let links = links.and_then(|value| Nlink::parse(&value)?.links(attr.nlink, lower.nlink));
        Ok(match links {
            Some(_) if lower.nlink > 1 => Verdict::Keep,
            _ => Verdict::Remove,
        })
    }

    /// Finds the lower object behind a handle.
    fn find(&self, origin: &Origin) -> Result<Option<Attr>, Errno> {
        for layer in self.lowers.iter().filter(|l| l.uuid == origin.uuid) {
            match layer.fs.attr_by_handle(&origin.handle) {
                Ok(attr) => return Ok(Some(attr)),
                Err(errno @ (Errno::IO | Errno::NOMEM)) => return Err(errno),
                Err(_) => {}
            }
        }
        Ok(None)
    }
}

/// Reads lowercase hexadecimal digits; `None` if it is something else.
fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let byte = |&[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
    pairs.iter().map(byte).collect()
}
