//! What is known of lower files with several names: how many names show them, and which the upper lacks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use mica_vfs::lock::{Mutex, Rank};
use mica_vfs::{Errno, FileName, NodeId};

use crate::node::{Node, Place};
use crate::table::Key;

const LINKS: Rank = Rank(145);

/// What is known of one lower file with several names.
#[derive(Debug)]
struct Shared {
    /// What the lower file is known by, of a copy that was found in the index.
    key: Option<Key>,
    /// `st_nlink`: what the lower counts, less the names that were removed, and the new ones.
    links: u32,
    /// Names by which it was found that the upper does not have, besides the node's place. The node holds a reference on each
    /// directory.
    names: Vec<Place>,
}

/// The files with several names of which more is known than their layer tells.
#[derive(Debug)]
pub(crate) struct HardLinks {
    all: Mutex<HashMap<NodeId, Shared>>,
    /// How many changes of link counts there were: what was read on disk before one may be a mix.
    changes: AtomicU32,
}

impl Default for HardLinks {
    fn default() -> Self {
        Self {
            all: Mutex::new(LINKS, HashMap::new()),
            changes: AtomicU32::new(0),
        }
    }
}

impl HardLinks {
    /// Returns the link count of `node`, if that is not the lower's any more.
    pub(super) fn links(&self, node: &Node) -> Option<u32> {
        // After a poisoned lock the layer's count is shown.
        let all = self.all.lock().ok()?;
        all.get(&node.id).map(|shared| shared.links)
    }

    /// Returns how many changes of link counts there were.
    pub(crate) fn changes(&self) -> u32 {
        self.changes.load(Acquire)
    }

    /// Counts a change of what the disk says of a node that is in the table.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Release);
    }

    /// Remembers the link count of `node` from here on.
    pub(super) fn count(&self, node: &Node, links: u32) -> Result<(), Errno> {
        let mut all = self.all.lock()?;
        all.entry(node.id).or_insert_with(|| Shared::new(links));
        Ok(())
    }

    /// Remembers a copy that was found in the index.
    pub(crate) fn insert(&self, node: &Node, key: Key, links: u32) -> Result<(), Errno> {
        let key = Some(key);
        let shared = Shared {
            key,
            ..Shared::new(links)
        };
        self.all.lock()?.insert(node.id, shared);
        Ok(())
    }

    /// Changes the link count of `node` and returns it.
    pub(super) fn change(&self, node: &Node, change: i32) -> Result<u32, Errno> {
        let mut all = self.all.lock()?;
        let shared = all.get_mut(&node.id).ok_or(Errno::IO)?;
        shared.links = shared.links.saturating_add_signed(change);
        self.changed();
        Ok(shared.links)
    }

    /// Notes one more name, unless it is known.
    pub(crate) fn add(
        &self,
        node: &Node,
        links: u32,
        dir: &Arc<Node>,
        name: FileName<'_>,
    ) -> Result<(), Errno> {
        let mut all = self.all.lock()?;
        let shared = all.entry(node.id).or_insert_with(|| Shared::new(links));
        if !shared.names.iter().any(|place| place.is(dir, name)) {
            dir.refs.fetch_add(1, Relaxed);
            shared.names.push(Place::new(dir, name));
        }
        Ok(())
    }

    /// Notes the one name to remember, and returns those before it.
    pub(super) fn replace(
        &self,
        node: &Node,
        links: u32,
        dir: &Arc<Node>,
        name: FileName<'_>,
    ) -> Result<Vec<Place>, Errno> {
        let mut all = self.all.lock()?;
        let shared = all.entry(node.id).or_insert_with(|| Shared::new(links));
        dir.refs.fetch_add(1, Relaxed);
        Ok(std::mem::replace(
            &mut shared.names,
            vec![Place::new(dir, name)],
        ))
    }

    /// Corrects the link count of `node`.
    pub(crate) fn set(&self, node: &Node, links: u32) -> Result<(), Errno> {
        if let Some(shared) = self.all.lock()?.get_mut(&node.id) {
            shared.links = links;
        }
        Ok(())
    }

    /// Returns what the lower file is known by, of a copy that was found in the index.
    pub(super) fn key(&self, node: &Node) -> Option<Key> {
        let all = self.all.lock().ok()?;
        all.get(&node.id).and_then(|shared| shared.key)
    }

    pub(super) fn take(
        &self,
        node: &Node,
        is: impl Fn(&Place) -> bool,
    ) -> Result<Option<Place>, Errno> {
        let mut all = self.all.lock()?;
        let names = all.get_mut(&node.id).map(|shared| &mut shared.names);
        Ok(names.and_then(|names| {
            let at = names.iter().position(is)?;
            Some(names.remove(at))
        }))
    }

    /// Returns a name that the upper does not have.
    pub(super) fn next(&self, node: &Node) -> Result<Option<Place>, Errno> {
        let all = self.all.lock()?;
        Ok(all
            .get(&node.id)
            .and_then(|shared| shared.names.first().cloned()))
    }

    /// Returns the directories of all names that the upper does not have.
    pub(super) fn parents(&self, node: &Node) -> Result<Vec<Arc<Node>>, Errno> {
        let all = self.all.lock()?;
        let names = all.get(&node.id).map_or(&[][..], |shared| &shared.names);
        Ok(names
            .iter()
            .map(|place| Arc::clone(&place.parent))
            .collect())
    }

    /// Forgets the names of a copied file that only the table refers to. Returns them; the references are to be ended.
    pub(crate) fn unused(&self, node: &Node) -> Vec<Place> {
        let Ok(mut all) = self.all.lock() else {
            return Vec::new();
        };
        // Who notes a name has a reference, so none can come that would have to stay.
        if !node.is_kept() || node.refs.load(Relaxed) != 1 {
            return Vec::new();
        }
        let names = all.get_mut(&node.id).map(|shared| &mut shared.names);
        names.map(std::mem::take).unwrap_or_default()
    }

    /// Forgets a node that has left the table. Returns the places whose references end, and what led to it beside its key.
    pub(crate) fn ended(&self, node: &Node) -> (Vec<Place>, Option<Key>) {
        let all = self.all.lock().map(|mut all| all.remove(&node.id));
        let shared = all.ok().flatten();
        shared.map_or_else(Default::default, |shared| (shared.names, shared.key))
    }
}

impl Shared {
    const fn new(links: u32) -> Self {
        Self {
            key: None,
            links,
            names: Vec::new(),
        }
    }
}
