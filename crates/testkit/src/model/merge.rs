//! Merging layers into a model.
//!
//! The rules of lookup: from the top, a whiteout hides what is below, a non-directory hides it too, an opaque directory
//! is the last one that merges. The topmost object gives the attributes. A redirect of a directory says what the layers below
//! are asked for instead, also on the way to where another one leads.

use std::collections::{BTreeMap, BTreeSet};

use mica_vfs::{Caller, FileType, Rdev};

use super::{Inode, Model, ModelId, Origin};
use crate::{Detail, Dump, Object};

/// A layer and whether it is the upper.
struct Layer<'a> {
    dump: &'a Dump,
    is_upper: bool,
}

/// An object of one layer.
#[derive(Clone)]
struct Part<'a> {
    layer: usize,
    /// Where the layer has it: a redirect leads elsewhere.
    path: String,
    object: &'a Object,
}

/// What the layers are asked for.
struct Target {
    names: Vec<String>,
    /// From their roots, not in the directories that merge.
    from_root: bool,
}

struct Merge<'a> {
    layers: Vec<Layer<'a>>,
    prefix: &'a str,
    model: Model,
    /// Objects of the upper that have several names, by inode number.
    upper_inodes: BTreeMap<u64, ModelId>,
    /// Those of lowers, by layer and number.
    lower_inodes: BTreeMap<(usize, u64), ModelId>,
    /// The data of what is added next.
    data: Vec<u8>,
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
                path: String::new(),
                object: &layers[layer].dump.0[""],
            })
            .collect();
        let mut merge = Merge {
            layers,
            prefix,
            model: Self {
                names: BTreeMap::new(),
                changed_by: BTreeSet::new(),
                inodes: BTreeMap::new(),
                next: Self::ROOT,
                caller: Caller::ROOT,
                redirects: false,
            },
            upper_inodes: BTreeMap::new(),
            lower_inodes: BTreeMap::new(),
            data: Vec::new(),
        };
        merge.add("", &roots[0], Origin::Lower);
        merge.directory("", &roots);
        merge.model.check();
        merge.model
    }

    /// Lets directories of lowers be renamed from here, as with `redirect_dir=on`.
    #[must_use]
    pub const fn with_redirects(mut self, redirects: bool) -> Self {
        self.redirects = redirects;
        self
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
            names.extend(children(self.layers[part.layer].dump, &part.path));
        }
        for name in names {
            self.name(&joined(path, name), name, parts);
        }
    }

    /// Finds what a name shows, from the top of the layers that its directory is merged of.
    fn name(&mut self, path: &str, name: &str, parts: &[Part<'a>]) {
        let mut stack: Vec<Part<'a>> = Vec::new();
        let mut file: Option<Part<'a>> = None;
        let mut data = None;
        let mut target = Target {
            names: vec![name.to_owned()],
            from_root: false,
        };
        let mut asked: Vec<_> = parts.iter().map(|p| (p.layer, p.path.clone())).collect();
        asked.reverse();
        while let Some((layer, base)) = asked.pop() {
            let was_from_root = target.from_root;
            let (found, goes_on) = self.ask(layer, &base, &mut target);
            let (mut stopped, is_first) = (!goes_on, stack.is_empty() && file.is_none());
            match found {
                Some(part) if part.object.kind == FileType::Directory => match file {
                    Some(_) => stopped = true,
                    None => stack.push(part),
                },
                Some(part) if is_first || file.is_some() => {
                    if !self.is_metacopy(part.object) {
                        data.clone_from(&part.object.raw);
                    }
                    file.get_or_insert(part);
                }
                _ => {}
            }
            if stopped {
                break;
            }
            if target.from_root && !was_from_root {
                let below = (layer + 1).max(self.first_lower())..self.layers.len();
                asked = below.rev().map(|layer| (layer, String::new())).collect();
            }
        }
        if let Some(file) = file {
            self.file(path, &file, data);
        }
        if let Some(top) = stack.first().cloned() {
            let has_lower = stack.iter().any(|part| !self.layers[part.layer].is_upper);
            let origin = if has_lower {
                Origin::Lower
            } else {
                Origin::Upper
            };
            self.add(path, &top, origin);
            self.directory(path, &stack);
        }
    }

    /// Asks a layer, and returns what it has and whether the layers below are asked, too. A redirect changes what for.
    fn ask(&self, layer: usize, base: &str, target: &mut Target) -> (Option<Part<'a>>, bool) {
        let dump: &'a Dump = self.layers[layer].dump;
        let names = target.names.clone();
        let (mut at, mut goes_on) = (base.to_owned(), true);
        let mut found = None;
        for (done, name) in names.iter().enumerate() {
            at = joined(&at, name);
            let Some(object) = dump.0.get(&at) else {
                return (None, goes_on);
            };
            if self.is_whiteout(object) {
                return (None, false);
            }
            let is_last = done + 1 == names.len();
            let is_metacopy = is_last && self.is_metacopy(object);
            if object.kind != FileType::Directory && !is_metacopy {
                let part = is_last.then_some(Part {
                    layer,
                    path: at,
                    object,
                });
                return (part, false);
            }
            if self.mark(object, "opaque") == Some(b"y") {
                goes_on = false;
            } else if let Some(redirect) = self.mark(object, "redirect") {
                let redirect = std::str::from_utf8(redirect).unwrap();
                let rest = &names[done + 1..];
                let before = &target.names[..target.names.len() - rest.len() - 1];
                let mut led: Vec<String> = match redirect.strip_prefix('/') {
                    Some(path) => {
                        (target.from_root, goes_on) = (true, true);
                        path.split('/').map(String::from).collect()
                    }
                    None => before
                        .iter()
                        .cloned()
                        .chain([redirect.to_owned()])
                        .collect(),
                };
                led.extend_from_slice(rest);
                target.names = led;
            }
            found = Some(object);
        }
        let part = found.map(|object| Part {
            layer,
            path: at,
            object,
        });
        (part, goes_on)
    }

    /// Whether the data of a file lies below it.
    fn is_metacopy(&self, object: &Object) -> bool {
        object.kind == FileType::Regular && self.mark(object, "metacopy").is_some()
    }

    /// Adds what is no directory. The `data` that was found for it are cut or filled up to its size.
    fn file(&mut self, path: &str, part: &Part<'a>, data: Option<Vec<u8>>) {
        let mut data = match data {
            None if self.is_metacopy(part.object) => panic!("/{path} has no data below"),
            data => data.unwrap_or_default(),
        };
        data.resize(usize::try_from(part.object.size.unwrap_or(0)).unwrap(), 0);
        self.data = data;
        self.non_directory(path, part);
    }

    fn first_lower(&self) -> usize {
        self.layers.iter().filter(|layer| layer.is_upper).count()
    }

    fn mark<'o>(&self, object: &'o Object, name: &str) -> Option<&'o [u8]> {
        let value = object.xattrs.get(&format!("{}{name}", self.prefix));
        value.map(Vec::as_slice)
    }

    fn non_directory(&mut self, path: &str, part: &Part<'a>) {
        let ino = part.object.ino.unwrap();
        if !self.layers[part.layer].is_upper {
            if part.object.nlink.unwrap() == 1 {
                self.add(path, part, Origin::Lower);
            } else if let Some(&id) = self.lower_inodes.get(&(part.layer, ino)) {
                self.model.names.insert(path.to_owned(), id);
            } else {
                let id = self.add(path, part, Origin::LowerAlias);
                self.lower_inodes.insert((part.layer, ino), id);
            }
            return;
        }
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

    fn add(&mut self, path: &str, part: &Part<'_>, origin: Origin) -> ModelId {
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
            data: std::mem::take(&mut self.data),
            target: object.target.clone().unwrap_or_default(),
            xattrs: xattrs.collect(),
            mtime: object.mtime,
            atime: object.atime,
            origin,
            before: None,
        };
        self.model.insert(path, inode)
    }

    fn is_whiteout(&self, object: &Object) -> bool {
        let device = object.kind == FileType::CharDevice && object.rdev == Some(Rdev::WHITEOUT);
        let mark = format!("{}whiteout", self.prefix);
        device || (object.size == Some(0) && object.xattrs.contains_key(&mark))
    }
}

/// Returns the names of what a directory of a layer holds.
fn children<'a>(dump: &'a Dump, dir: &str) -> impl Iterator<Item = &'a str> {
    let inside = joined(dir, "");
    dump.0.keys().filter_map(move |path| {
        let name = path.strip_prefix(&inside)?;
        (!name.is_empty() && !name.contains('/')).then_some(name)
    })
}

/// Returns the path of a name in a directory.
fn joined(dir: &str, name: &str) -> String {
    match dir {
        "" => name.to_owned(),
        dir => format!("{dir}/{name}"),
    }
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
