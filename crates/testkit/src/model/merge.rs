//! Merging layers into a model.
//!
//! The rules of lookup: from the top, a whiteout hides what is below, a non-directory hides it too, an opaque directory
//! is the last one that merges. The topmost object gives the attributes.

use std::collections::{BTreeMap, BTreeSet};

use mica_vfs::{Caller, FileType, Rdev};

use super::{Inode, Model, ModelId, Origin};
use crate::{Detail, Dump, Object};

/// A layer and whether it is the upper.
struct Layer<'a> {
    dump: &'a Dump,
    is_upper: bool,
}

/// A directory in one layer.
#[derive(Clone, Copy)]
struct Part<'a> {
    layer: usize,
    object: &'a Object,
}

struct Merge<'a> {
    layers: Vec<Layer<'a>>,
    prefix: &'a str,
    model: Model,
    /// Objects of the upper that have several names, by inode number.
    upper_inodes: BTreeMap<u64, ModelId>,
}

impl Model {
    /// What to dump of a layer to merge it.
    pub const LAYER: Detail = Self::DETAIL.union(Detail::INO).union(Detail::RAW);

    /// Merges layers, the upper over the lowers, topmost first. The overlay's attributes begin with `prefix`.
    #[must_use]
    pub fn merge(upper: Option<&Dump>, lowers: &[Dump], prefix: &str) -> Self {
        let upper = upper.map(|dump| Layer {
            dump,
            is_upper: true,
        });
        let lowers = lowers.iter().map(|dump| Layer {
            dump,
            is_upper: false,
        });
        let layers: Vec<_> = upper.into_iter().chain(lowers).collect();
        let roots: Vec<_> = (0..layers.len())
            .map(|layer| Part {
                layer,
                object: &layers[layer].dump.0[""],
            })
            .collect();
        let mut merge = Merge {
            layers,
            prefix,
            model: Self {
                names: BTreeMap::new(),
                inodes: BTreeMap::new(),
                next: Self::ROOT,
                caller: Caller::ROOT,
            },
            upper_inodes: BTreeMap::new(),
        };
        merge.add("", roots[0], Origin::Lower);
        merge.directory("", &roots);
        merge.model.check();
        merge.model
    }

    /// Lets objects be made by `caller` from here.
    #[must_use]
    pub const fn by(mut self, caller: Caller) -> Self {
        self.caller = caller;
        self
    }
}

impl<'a> Merge<'a> {
    fn directory(&mut self, path: &str, parts: &[Part<'a>]) {
        let mut names = BTreeSet::new();
        for part in parts {
            names.extend(children(self.layers[part.layer].dump, path));
        }
        for child in names {
            self.name(child, parts);
        }
    }

    /// Finds what a name shows, from the top of the layers that its directory is merged of.
    fn name(&mut self, path: &str, parts: &[Part<'a>]) {
        let mut stack: Vec<Part<'a>> = Vec::new();
        for part in parts {
            let dump: &'a Dump = self.layers[part.layer].dump;
            let Some(object) = dump.0.get(path) else {
                continue;
            };
            let found = Part {
                layer: part.layer,
                object,
            };
            if self.is_whiteout(object) {
                break;
            }
            if object.kind != FileType::Directory {
                if stack.is_empty() {
                    self.non_directory(path, found);
                }
                break;
            }
            stack.push(found);
            if object.xattrs.get(&format!("{}opaque", self.prefix)) == Some(&b"y".to_vec()) {
                break;
            }
        }
        if let Some(&top) = stack.first() {
            let has_lower = stack.iter().any(|part| !self.layers[part.layer].is_upper);
            let origin = if has_lower {
                Origin::Lower
            } else {
                Origin::Upper
            };
            self.add(path, top, origin);
            self.directory(path, &stack);
        }
    }

    fn non_directory(&mut self, path: &str, part: Part<'a>) {
        let linked = part.object.nlink.unwrap() > 1;
        if !self.layers[part.layer].is_upper {
            let origin = if linked {
                Origin::LowerAlias
            } else {
                Origin::Lower
            };
            self.add(path, part, origin);
            return;
        }
        let ino = part.object.ino.unwrap();
        match self.upper_inodes.get(&ino) {
            Some(&id) => {
                self.model.names.insert(path.to_owned(), id);
            }
            None => {
                let id = self.add(path, part, Origin::Upper);
                self.upper_inodes.insert(ino, id);
            }
        }
    }

    fn add(&mut self, path: &str, part: Part<'_>, origin: Origin) -> ModelId {
        let object = part.object;
        // A whiteout of another overlay is stored as an empty file.
        let mark = object.xattrs.get(&format!("{}nested", self.prefix));
        let nested = object.kind == FileType::Regular && object.size == Some(0) && mark.is_some();
        // What it carries for others is not shown.
        let hidden = match object.kind {
            _ if mark.map(Vec::as_slice) != Some(b"x") => None,
            FileType::Directory => Some(format!("{}opaque", self.prefix)),
            _ => Some(format!("{}whiteout", self.prefix)),
        };
        let xattrs = object.xattrs.iter().filter_map(|(name, value)| {
            let name = shown_xattr(name, self.prefix)?;
            (Some(&name) != hidden.as_ref()).then(|| (name, value.clone()))
        });
        let inode = Inode {
            kind: if nested {
                FileType::CharDevice
            } else {
                object.kind
            },
            mode: object.mode,
            uid: object.uid,
            gid: object.gid,
            rdev: object.rdev.unwrap_or(Rdev::WHITEOUT),
            data: object.raw.clone().unwrap_or_default(),
            target: object.target.clone().unwrap_or_default(),
            xattrs: xattrs.collect(),
            mtime: object.mtime,
            atime: object.atime,
            origin,
        };
        self.model.insert(path, inode)
    }

    fn is_whiteout(&self, object: &Object) -> bool {
        let device = object.kind == FileType::CharDevice && object.rdev == Some(Rdev::WHITEOUT);
        let mark = format!("{}whiteout", self.prefix);
        device || (object.size == Some(0) && object.xattrs.contains_key(&mark))
    }
}

/// Returns the paths of what a directory of a layer holds.
fn children<'a>(dump: &'a Dump, dir: &str) -> impl Iterator<Item = &'a str> {
    let inside = if dir.is_empty() {
        String::new()
    } else {
        format!("{dir}/")
    };
    dump.0.keys().filter_map(move |path| {
        let name = path.strip_prefix(&inside)?;
        (!name.is_empty() && !name.contains('/')).then_some(path.as_str())
    })
}

/// Returns the name under which an overlay shows an attribute of a layer: its own are hidden, escaped ones lose a level.
fn shown_xattr(name: &str, prefix: &str) -> Option<String> {
    match name.strip_prefix(prefix) {
        None => Some(name.to_owned()),
        Some(private) => {
            let escaped = private.strip_prefix("overlay.")?;
            Some(format!("{prefix}{escaped}"))
        }
    }
}
