//! Random layers.

use std::collections::BTreeMap;
use std::fmt;

use mica_testkit::{Body, Item, Stack, Tree};
use mica_vfs::{FileType, Rdev};
use proptest::prelude::*;

/// One object as it is drawn. What cannot be where it was drawn is left out.
#[derive(Clone)]
pub(crate) struct Drawn {
    path: String,
    kind: Kind,
    mode: u32,
    owner: u32,
    xattr: bool,
}

impl fmt::Debug for Drawn {
    /// Short: the layers are in the log of the run.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

#[derive(Debug, Clone)]
enum Kind {
    Dir,
    Opaque,
    Whiteouts,
    File(String),
    Hole(u64),
    Symlink,
    Fifo,
    Device,
    Whiteout,
    /// An empty file; a whiteout where its directory may hold such.
    XattrWhiteout,
    /// One more name of the first regular file of the layer.
    Link,
}

/// A few names, so that layers meet.
pub(crate) fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(String::from)
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(name(), 1..4).prop_map(|names| names.join("/"))
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let kind = prop_oneof![
        4 => Just(Kind::Dir),
        1 => Just(Kind::Opaque),
        1 => Just(Kind::Whiteouts),
        6 => "[a-z]{0,8}".prop_map(Kind::File),
        1 => (1..20_000u64).prop_map(Kind::Hole),
        1 => Just(Kind::Symlink),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Device),
        3 => Just(Kind::Whiteout),
        2 => Just(Kind::XattrWhiteout),
        2 => Just(Kind::Link),
    ];
    let mode = prop::sample::select(vec![0o644, 0o755, 0o600, 0o4755, 0o2755, 0o1777, 0o2770]);
    (path(), kind, mode, 0..3u32, any::<bool>()).prop_map(|(path, kind, mode, owner, xattr)| {
        Drawn {
            path,
            kind,
            mode,
            owner,
            xattr,
        }
    })
}

/// Draws two to `count` layers, topmost first.
pub(crate) fn layers(count: usize) -> impl Strategy<Value = Vec<Vec<Drawn>>> {
    prop::collection::vec(prop::collection::vec(drawn(), 0..14), 2..=count)
}

/// Makes a stack of layers, the first of which is the upper.
pub(crate) fn stack(layers: &[Vec<Drawn>]) -> Stack {
    let mut trees = trees(layers, 1).into_iter();
    let stack = trees
        .next()
        .map_or_else(Stack::new, |upper| Stack::new().upper(upper));
    trees.fold(stack, Stack::lower)
}

/// Makes a stack of lowers alone.
pub(crate) fn read_only(layers: &[Vec<Drawn>]) -> Stack {
    trees(layers, 0)
        .into_iter()
        .fold(Stack::new(), Stack::lower)
}

/// Makes all layers; the first lower has the number `lower`.
fn trees(layers: &[Vec<Drawn>], lower: usize) -> Vec<Tree> {
    let mut trees: Vec<_> = layers
        .iter()
        .zip(1..)
        .enumerate()
        .map(|(number, (layer, time))| {
            let between = number >= lower && number + 1 < layers.len();
            tree(layer, between, 1000 * time)
        })
        .collect();
    for number in 1..trees.len() {
        let (above, below) = trees.split_at_mut(number);
        if let (Some(above), Some(below)) = (above.last_mut(), below.first()) {
            unhide(above, below);
        }
    }
    trees
}

/// Makes ordinary files of the whiteouts in the xattr form that lie in directories with nothing below: as the kernel does,
/// the overlay looks for them in directories that merge with a lower one.
fn unhide(above: &mut Tree, below: &Tree) {
    let dirs = |tree: &Tree| -> Vec<String> {
        let dirs = tree.0.iter().filter(|item| item.body.is_dir());
        dirs.map(|item| item.path.clone()).collect()
    };
    let is_opaque = |item: &&Item| item.body == Body::Opaque;
    let opaque: Vec<_> = above.0.iter().filter(is_opaque).cloned().collect();
    let below = dirs(below);
    for item in &mut above.0 {
        let stops = |dir: &Item| item.path.starts_with(&format!("{}/", dir.path));
        let merges = item
            .path
            .rsplit_once('/')
            .is_some_and(|(dir, _)| below.iter().any(|other| other == dir));
        if item.body == Body::XattrWhiteout && (!merges || opaque.iter().any(stops)) {
            item.body = Body::File(Vec::new());
        }
    }
}

/// Makes a layer of what was drawn. Whiteouts in the xattr form are for layers `between` others: they mean nothing in an
/// upper and in the lowest.
fn tree(layer: &[Drawn], between: bool, time: i64) -> Tree {
    let mut tree = Tree::default();
    let mut bodies: BTreeMap<String, Body> = BTreeMap::new();
    let mut first_file = None;
    for drawn in layer {
        let dirs: Vec<_> = drawn
            .path
            .match_indices('/')
            .map(|(at, _)| &drawn.path[..at])
            .collect();
        let blocked = |dir: &&str| bodies.get(*dir).is_some_and(|body| !body.is_dir());
        if dirs.iter().any(blocked) || bodies.contains_key(&drawn.path) {
            continue;
        }
        for dir in dirs {
            if bodies.insert(dir.to_owned(), Body::Directory).is_none() {
                tree.0.push(dated(Item::new(dir, Body::Directory), time));
            } else if let Some(marked) = find(&tree, dir) {
                bodies.insert(dir.to_owned(), marked);
            }
        }
        let parent = drawn.path.rsplit_once('/').map(|(dir, _)| dir);
        let holds_whiteouts = parent.and_then(|dir| bodies.get(dir)) == Some(&Body::Whiteouts);
        let Some(body) = body(&drawn.kind, between, holds_whiteouts, first_file.as_ref()) else {
            continue;
        };
        if matches!(body, Body::File(_)) {
            first_file.get_or_insert(drawn.path.clone());
        }
        bodies.insert(drawn.path.clone(), body.clone());
        tree.0.push(item(drawn, body, time));
    }
    tree
}

fn find(tree: &Tree, path: &str) -> Option<Body> {
    let found = tree.0.iter().find(|item| item.path == path);
    found.map(|item| item.body.clone())
}

fn body(kind: &Kind, between: bool, whiteouts: bool, first: Option<&String>) -> Option<Body> {
    Some(match kind {
        Kind::Dir => Body::Directory,
        Kind::Opaque => Body::Opaque,
        Kind::Whiteouts if between => Body::Whiteouts,
        Kind::Whiteouts => Body::Directory,
        Kind::File(data) => Body::File(data.clone().into_bytes()),
        Kind::Hole(size) => Body::Hole(*size),
        Kind::Symlink => Body::Symlink("a/b".into()),
        Kind::Fifo => Body::Special(FileType::Fifo, Rdev::default()),
        Kind::Device => Body::Special(FileType::CharDevice, Rdev { major: 1, minor: 3 }),
        Kind::Whiteout => Body::WHITEOUT,
        Kind::XattrWhiteout if whiteouts => Body::XattrWhiteout,
        Kind::XattrWhiteout => Body::File(Vec::new()),
        Kind::Link => Body::Link(first?.clone()),
    })
}

fn item(drawn: &Drawn, body: Body, time: i64) -> Item {
    let plain = matches!(body, Body::File(_) | Body::Hole(_)) || body.is_dir();
    let bare = body.is_whiteout() || matches!(body, Body::Link(_));
    let mut item = Item::new(&drawn.path, body);
    if bare {
        return item;
    }
    item.mode = Some(drawn.mode);
    item.owner = Some((drawn.owner, drawn.owner));
    if drawn.xattr {
        let name = if plain { "user.k" } else { "trusted.k" };
        item.xattrs.push((name.into(), b"layer".to_vec()));
    }
    if drawn.xattr && plain && drawn.owner == 1 {
        // As an overlay in an overlay stores it.
        let name = "trusted.overlay.overlay.opaque";
        item.xattrs.push((name.into(), b"y".to_vec()));
    }
    dated(item, time)
}

/// Each layer has a time of its own, so that a copy-up which loses it shows.
fn dated(mut item: Item, time: i64) -> Item {
    item.time = Some(time);
    item
}
