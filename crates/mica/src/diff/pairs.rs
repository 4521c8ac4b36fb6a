//! From what is in an upper to what became of objects: a name that is gone and a copy of what it named are a file that was
//! renamed.

use std::collections::HashMap;

use mica_overlay::Origin;
use mica_vfs::{Errno, FileType};

use super::compare::compare;
use super::sides::Sides;
use super::survey::{Entry, What};
use super::{Aspects, Change, ChangeKind};
use crate::offline::Node;

/// Turns entries into changes; what has not changed is left out.
pub(super) fn changes(entries: Vec<Entry>, sides: &Sides) -> Vec<Change> {
    let pairs = pairs(&entries, sides);
    let gone: Vec<usize> = pairs.values().copied().collect();
    let mut changes = Vec::new();
    for (nth, entry) in entries.iter().enumerate() {
        if gone.contains(&nth) {
            continue;
        }
        if let Some(old) = pairs.get(&nth).and_then(|&old| entries.get(old)) {
            changes.push(renamed(entry, old, sides));
            continue;
        }
        if let Some(covered) = &entry.covered {
            changes.push(Change {
                path: entry.path.clone(),
                from: None,
                kind: ChangeKind::Deleted,
                aspects: Aspects::empty(),
                old: Some(covered.clone()),
                new: None,
                data: None,
            });
        }
        changes.extend(change(entry));
    }
    changes
}

fn change(entry: &Entry) -> Option<Change> {
    let mut from = None;
    let kind = match &entry.what {
        What::Added => ChangeKind::Added,
        What::Deleted => ChangeKind::Deleted,
        What::Modified | What::Merged | What::Replaced if entry.aspects.is_empty() => return None,
        What::Modified | What::Merged | What::Replaced => ChangeKind::Modified,
        What::Retyped => ChangeKind::Retyped,
        What::Moved { from: was } => {
            from = Some(was.clone());
            ChangeKind::Renamed
        }
    };
    Some(Change {
        path: entry.path.clone(),
        from,
        kind,
        aspects: entry.aspects,
        old: entry.old.clone(),
        new: entry.new.clone(),
        data: entry.data.clone(),
    })
}

fn renamed(entry: &Entry, gone: &Entry, sides: &Sides) -> Change {
    let both = gone.old.as_ref().zip(entry.new.as_ref());
    let aspects = both.and_then(|(old, new)| compare(sides, old, new, entry.data.as_ref()).ok());
    Change {
        path: entry.path.clone(),
        from: Some(gone.path.clone()),
        kind: ChangeKind::Renamed,
        aspects: aspects.unwrap_or_default(),
        old: gone.old.clone(),
        new: entry.new.clone(),
        data: entry.data.clone(),
    }
}

/// Finds for each new file the name that is gone of what it is a copy of.
pub(crate) fn pairs(entries: &[Entry], sides: &Sides) -> HashMap<usize, usize> {
    let numbered = || entries.iter().enumerate();
    let mut origins: HashMap<Vec<u8>, usize> = HashMap::new();
    let added = numbered().filter(|(_, entry)| entry.what == What::Added);
    for (nth, node) in added.filter_map(|(nth, entry)| Some((nth, entry.new.as_ref()?))) {
        // A file with several names has been copied under one of them.
        if node.kind() == FileType::Regular
            && let Some(origin) = origin_of(node, sides)
        {
            origins.entry(origin).or_insert(nth);
        }
    }
    if origins.is_empty() {
        return HashMap::new();
    }
    let mut pairs = HashMap::new();
    let deleted = numbered().filter(|(_, entry)| entry.what == What::Deleted);
    for (nth, old) in deleted.filter_map(|(nth, entry)| Some((nth, entry.old.as_ref()?))) {
        if old.kind() == FileType::Regular
            && let Ok(handle) = handle_of(old)
            && let Some(new) = origins.remove(&handle)
        {
            pairs.insert(new, nth);
        }
    }
    pairs
}

fn origin_of(node: &Node, sides: &Sides) -> Option<Vec<u8>> {
    let name = [sides.xattrs.prefix(), b"origin"].concat();
    let origin = Origin::parse(&node.xattr(&name).ok()??).ok()?;
    Some(told(origin.handle.kind, &origin.handle.bytes))
}

fn handle_of(node: &Node) -> Result<Vec<u8>, Errno> {
    let handle = node.fs().file_handle(node.id())?;
    Ok(told(handle.kind, &handle.bytes))
}

fn told(kind: i32, bytes: &[u8]) -> Vec<u8> {
    [&kind.to_ne_bytes(), bytes].concat()
}
