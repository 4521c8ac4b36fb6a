//! Lower files with several names.
//!
//! All names of one lower file are one node for the life of the mount, before and after its copy-up (OVL-32). The upper
//! gets those names by which the file was looked up when it changed, and others when it changes again: the server is
//! not told by which name a program reached a file, so each that may have been it keeps the change on disk (OVL-110).
//! Which lower file is which copied node is remembered until the mount ends, or until its last name is gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mica_vfs::lock::{Mutex, Rank};
use mica_vfs::{Attr, Errno, FileName, NodeId};

use crate::copy_up::set_times;
use crate::node::{Node, Place};
use crate::overlay::Overlay;
use crate::stack::LayerNode;
use crate::table::{Held, Key, Table};

const LINKS: Rank = Rank(115);

/// What is known of one lower file with several names.
#[derive(Debug)]
struct Shared {
    /// `st_nlink`: what the lower counts, less the names that were removed, and the new ones.
    links: u32,
    /// Names by which it was found that the upper does not have, besides the node's place. The node holds a reference on each
    /// directory.
    names: Vec<Place>,
}

/// The files with several names of which more is known than their layer tells.
#[derive(Debug)]
pub(crate) struct HardLinks(Mutex<HashMap<NodeId, Shared>>);

impl Default for HardLinks {
    fn default() -> Self {
        Self(Mutex::new(LINKS, HashMap::new()))
    }
}

/// What became of a file that lost one of its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinksLeft {
    /// It has others, as far as the layers tell.
    Some,
    /// That was the last one.
    None,
}

/// Whether a name that was looked up is what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noted {
    Yes,
    /// The directory changed meanwhile: look again.
    Raced,
}

impl HardLinks {
    /// Returns the link count of `node`, if that is not the lower's any more.
    fn links(&self, node: &Node) -> Option<u32> {
        // After a poisoned lock the layer's count is shown.
        let all = self.0.lock().ok()?;
        all.get(&node.id).map(|shared| shared.links)
    }

    /// Remembers the link count of `node` from here on.
    fn count(&self, node: &Node, links: u32) -> Result<(), Errno> {
        let mut all = self.0.lock()?;
        all.entry(node.id).or_insert_with(|| Shared::new(links));
        Ok(())
    }

    /// Changes the link count of `node` and returns it.
    fn change(&self, node: &Node, change: i32) -> Result<u32, Errno> {
        let mut all = self.0.lock()?;
        let shared = all.get_mut(&node.id).ok_or(Errno::IO)?;
        shared.links = shared.links.saturating_add_signed(change);
        Ok(shared.links)
    }

    /// Notes one more name, unless it is known.
    fn add(
        &self,
        node: &Node,
        links: u32,
        dir: &Arc<Node>,
        name: FileName<'_>,
    ) -> Result<(), Errno> {
        let mut all = self.0.lock()?;
        let shared = all.entry(node.id).or_insert_with(|| Shared::new(links));
        if !shared.names.iter().any(|place| place.is(dir, name)) {
            dir.refs.fetch_add(1, Relaxed);
            shared.names.push(Place {
                parent: Arc::clone(dir),
                name: name.to_owned(),
            });
        }
        Ok(())
    }

    fn take(&self, node: &Node, is: impl Fn(&Place) -> bool) -> Result<Option<Place>, Errno> {
        let mut all = self.0.lock()?;
        let names = all.get_mut(&node.id).map(|shared| &mut shared.names);
        Ok(names.and_then(|names| {
            let at = names.iter().position(is)?;
            Some(names.remove(at))
        }))
    }

    /// Returns a name that the upper does not have.
    fn next(&self, node: &Node) -> Result<Option<Place>, Errno> {
        let all = self.0.lock()?;
        Ok(all
            .get(&node.id)
            .and_then(|shared| shared.names.first().cloned()))
    }

    /// Returns the directories of all names that the upper does not have.
    fn parents(&self, node: &Node) -> Result<Vec<Arc<Node>>, Errno> {
        let all = self.0.lock()?;
        let names = all.get(&node.id).map_or(&[][..], |shared| &shared.names);
        Ok(names
            .iter()
            .map(|place| Arc::clone(&place.parent))
            .collect())
    }

    /// Forgets the names of a copied file that only this mount remembers. Returns them; the references are to be ended.
    pub(crate) fn unused(&self, node: &Node) -> Vec<Place> {
        let Ok(mut all) = self.0.lock() else {
            return Vec::new();
        };
        // Who notes a name has a reference, so none can come that would have to stay.
        if node.upper().is_none() || node.refs.load(Relaxed) != 1 {
            return Vec::new();
        }
        let names = all.get_mut(&node.id).map(|shared| &mut shared.names);
        names.map(std::mem::take).unwrap_or_default()
    }

    /// Forgets a node that has left the table. Returns the places whose references end.
    pub(crate) fn ended(&self, node: &Node) -> Vec<Place> {
        let all = self.0.lock().map(|mut all| all.remove(&node.id));
        all.ok()
            .flatten()
            .map_or_else(Vec::new, |shared| shared.names)
    }
}

impl Shared {
    const fn new(links: u32) -> Self {
        Self {
            links,
            names: Vec::new(),
        }
    }
}

impl Table {
    /// Ends the reference of a name that is no longer noted.
    fn drop_place(&self, place: Option<Place>) {
        if let Some(place) = place {
            self.put(&place.parent, 1);
        }
    }
}

impl Overlay {
    /// Notes that `node`, one of whose names only a lower has, was found as `name` when `dir` had `version`; `attr` is the lower
    /// file's.
    pub(crate) fn note_name(
        &self,
        node: &Arc<Node>,
        (dir, version): (&Arc<Node>, u32),
        name: FileName<'_>,
        attr: &Attr,
    ) -> Result<Noted, Errno> {
        let known = node.is_at(dir, name)?;
        if !known {
            self.table.links.add(node, attr.nlink, dir, name)?;
        }
        // Whoever takes a name away changes the version first and then drops the note: one of the two is seen.
        if dir.version() == version {
            return Ok(Noted::Yes);
        }
        if !known {
            self.drop_note(node, dir, name)?;
        }
        Ok(Noted::Raced)
    }

    /// Forgets that `node` is called `name`, as the name is gone or in the upper.
    fn drop_note(&self, node: &Node, dir: &Node, name: FileName<'_>) -> Result<(), Errno> {
        let noted = self.table.links.take(node, |place| place.is(dir, name))?;
        self.table.drop_place(noted);
        Ok(())
    }

    /// Returns the link count of `node` if it is one of those that are counted here.
    pub(crate) fn counted_links(&self, node: &Node) -> Option<u32> {
        self.table.links.links(node).filter(|_| node.is_shared())
    }

    /// Whether `node` has names that only a lower knows, so that its upper object must be kept for them.
    pub(crate) fn has_lower_names(&self, node: &Node) -> bool {
        self.counted_links(node).is_some_and(|links| links > 0)
    }

    /// Counts one more name of `node`.
    pub(crate) fn name_added(&self, node: &Node) -> Result<(), Errno> {
        if node.is_shared() {
            self.table.links.change(node, 1)?;
        }
        Ok(())
    }

    /// Counts that `victim` lost `name`, which `dir` shows no more, and says what is left of it.
    pub(crate) fn name_lost(
        &self,
        victim: &Node,
        dir: &Node,
        name: FileName<'_>,
    ) -> Result<LinksLeft, Errno> {
        if !victim.is_shared() {
            return Ok(match victim.upper() {
                Some(_) => LinksLeft::Some,
                None => LinksLeft::None,
            });
        }
        self.count_links(victim)?;
        let links = self.table.links.change(victim, -1)?;
        self.drop_note(victim, dir, name)?;
        if victim.is_at(dir, name)? {
            let other = self.table.links.take(victim, |_| true)?;
            // Moving there takes a reference of its own.
            self.table.move_to(victim, other.clone())?;
            self.table.drop_place(other);
        }
        if links > 0 {
            return Ok(LinksLeft::Some);
        }
        if let (Some(_), Some(lower)) = (victim.upper(), victim.lowers().first())
            // The name is gone. A node that stays known costs some memory.
            && let Ok(attr) = lower.node.attr()
        {
            self.table
                .release_copied(Key::of(lower.node.layer.idx, &attr))?;
        }
        Ok(LinksLeft::None)
    }

    /// Lets the names that `victim` is known by keep what it holds, before it loses one of them. The caller is in no gate.
    pub(crate) fn before_loss(&self, victim: &Node) -> Result<(), Errno> {
        if !victim.is_shared() {
            return Ok(());
        }
        // Now: when the name is gone nothing may fail.
        self.count_links(victim)?;
        victim
            .upper()
            .map_or(Ok(()), |upper| self.link_names(victim, upper))
    }

    /// Whether the upper object of `victim`, which is about to lose a name, has to stay for those that only a lower has.
    pub(crate) fn must_stay(&self, victim: &Node) -> Result<bool, Errno> {
        let others = self.counted_links(victim).is_some_and(|links| links > 1);
        match victim.upper() {
            Some(upper) if others && !victim.is_orphan() => Ok(upper.attr()?.nlink <= 1),
            _ => Ok(false),
        }
    }

    /// Counts the names of `node` from here on, if that is not done yet.
    pub(crate) fn count_links(&self, node: &Node) -> Result<(), Errno> {
        if self.table.links.links(node).is_none() {
            let links = node.real()?.attr()?.nlink;
            self.table.links.count(node, links)?;
        }
        Ok(())
    }

    /// Copies up the directories of the names that [`link_names`](Self::link_names) will make.
    pub(crate) fn prepare_names(&self, node: &Node) -> Result<(), Errno> {
        let parents = self.table.links.parents(node)?;
        parents
            .iter()
            .try_for_each(|dir| self.copy_up(dir).map(drop))
    }

    /// Gives the upper object of `node` every name by which it was looked up (OVL-110).
    ///
    /// # Locks
    ///
    /// Takes the names gates of the directories, one after the other. The caller is in none.
    pub(crate) fn link_names(&self, node: &Node, upper: &LayerNode) -> Result<(), Errno> {
        while let Some(place) = self.table.links.next(node)? {
            match self.link_name(node, upper, &place) {
                Ok(()) => {}
                // No more names fit, or the directory is not to be copied. The name shows the change until the mount ends.
                Err(errno @ (Errno::MLINK | Errno::OVERFLOW | Errno::NOENT)) => {
                    tracing::warn!(%errno, path = node.path(), name = %place.name.as_name(),
                        "a name of a changed file is not in the upper: it shows the old content after the mount");
                }
                Err(errno) => return Err(errno),
            }
            self.drop_note(node, &place.parent, place.name.as_name())?;
        }
        Ok(())
    }

    fn link_name(&self, node: &Node, upper: &LayerNode, place: &Place) -> Result<(), Errno> {
        let (parent, name) = (&place.parent, place.name.as_name());
        let dir = self.copy_up(parent)?;
        let _names = self.names.enter(parent.id);
        if !self.is_lower_name(node, parent, name)? {
            return Ok(());
        }
        self.mark_impure(parent)?;
        let before = dir.attr()?;
        let entry = upper.fs().link(upper.id, dir.id, name)?;
        upper.fs().forget(entry.node, 1);
        // The link is made: a parent with another time is not worth an error.
        if let Err(errno) = set_times(dir, &before) {
            tracing::debug!(%errno, "the parent's times were not restored");
        }
        self.table.bump(parent)
    }

    /// Whether `name` of `dir` is (still) the lower file under `node`. The caller is in the gate of `dir`.
    pub(crate) fn is_lower_name(
        &self,
        node: &Node,
        dir: &Node,
        name: FileName<'_>,
    ) -> Result<bool, Errno> {
        let Some(top) = self.topmost(dir, name, 0)? else {
            return Ok(false);
        };
        let key = Key::of(top.node.layer.idx, &top.attr);
        let found = self.table.reference(key)?;
        let found = found.map(|found| Held::adopt(&self.table, found));
        Ok(matches!(key, Key::Shared { .. }) && found.is_some_and(|found| found.id == node.id))
    }

    /// Whether the upper directory has `name`, by which `node` was found.
    pub(crate) fn is_in_upper(
        &self,
        node: &Node,
        dir: &LayerNode,
        name: FileName<'_>,
    ) -> Result<bool, Errno> {
        match node.upper() {
            None => Ok(false),
            Some(_) if !node.is_shared() => Ok(true),
            Some(_) => Ok(dir.child(name)?.is_some()),
        }
    }
}

impl Place {
    /// Whether this is `name` in `dir`.
    pub(crate) fn is(&self, dir: &Node, name: FileName<'_>) -> bool {
        self.parent.id == dir.id && self.name.as_name() == name
    }
}
