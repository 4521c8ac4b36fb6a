//! What a new mount makes of lower files with several names.

use std::collections::BTreeMap;

use super::{Model, ModelId, Origin};

impl Model {
    /// Splits the names of lower files as the layers do, which `on_disk` is merged from: those that the upper has are
    /// one file, and the others are what the lower has.
    ///
    /// # Panics
    ///
    /// If the upper lacks a name by which such a file was changed.
    pub fn remount(&mut self, on_disk: &Self) {
        for path in std::mem::take(&mut self.changed_by) {
            let found = on_disk.find(&path).map(|id| on_disk.inode(id).origin);
            assert_eq!(
                found,
                Ok(Origin::Upper),
                "the upper has /{path}, by which the file was changed"
            );
        }
        // Also those that did not change: an operation that failed may have copied one up.
        let linked = |id: &ModelId| self.inodes[id].origin == Origin::LowerAlias;
        let linked: Vec<_> = self.inodes.keys().copied().filter(linked).collect();
        for id in linked {
            self.split(id, on_disk);
        }
    }

    /// Gives those names of a lower file that the upper has to a new object, and lets the others lead to what it was before.
    fn split(&mut self, id: ModelId, on_disk: &Self) {
        let mut copy = self.inodes[&id].clone();
        let before = copy
            .before
            .take()
            .map_or_else(|| copy.clone(), |before| *before);
        copy.origin = Origin::Upper;
        let names: BTreeMap<_, _> = self
            .names
            .clone()
            .into_iter()
            .filter(|(_, of)| *of == id)
            .collect();
        let in_upper = |path: &String| {
            let found = on_disk.find(path);
            found.is_ok_and(|id| on_disk.inode(id).origin == Origin::Upper)
        };
        let (upper, lower): (Vec<_>, Vec<_>) = names.into_keys().partition(in_upper);
        if let Some((first, rest)) = upper.split_first() {
            let new = self.insert(first, copy);
            rest.iter()
                .for_each(|path| _ = self.names.insert(path.clone(), new));
        }
        if lower.is_empty() {
            self.inodes.remove(&id);
        } else {
            self.inodes.insert(id, before);
        }
    }
}
