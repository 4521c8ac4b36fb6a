//! Lower files with several names.
//!
//! All names of one lower file are one node for the life of the mount, before and after its copy-up (OVL-32). The upper
//! gets those names by which the file was looked up when it changed, and others when it changes again: the server is
//! not told by which name a program reached a file, so each that may have been it keeps the change on disk (OVL-110).
//! With an index all names keep it in any case, and the upper gets the one that was looked up last.
//! Which lower file is which copied node is remembered until the mount ends, or until its last name is gone.

mod known;

use std::sync::Arc;

use mica_vfs::{Attr, Errno, FileName, met};

use crate::copy_up::restore_times;
use crate::index::Nlink;
use crate::node::{Node, Place};
use crate::overlay::Overlay;
use crate::stack::LayerNode;
use crate::table::{Held, Key};

pub(crate) use known::HardLinks;

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
        let indexed = self.index_for(node).is_some() && node.upper().is_some();
        let known = !indexed && node.is_at(dir, name)?;
        if !known {
            match self.index_for(node) {
                None => self.table.links.add(node, attr.nlink, dir, name)?,
                Some(_) => self.note_last(node, attr.nlink, dir, name)?,
            }
        }
        // Whoever takes a name away changes the version first and then drops the note: one of the two is seen.
        if dir.version() == version {
            return Ok(Noted::Yes);
        }
        if !known {
            self.drop_note(node, dir, name)?;
            if node.is_at(dir, name)? {
                self.table.move_to(node, None)?;
            }
        }
        Ok(Noted::Raced)
    }

    /// Lets `name` be the one that the upper gets when the file changes.
    fn note_last(
        &self,
        node: &Node,
        links: u32,
        dir: &Arc<Node>,
        name: FileName<'_>,
    ) -> Result<(), Errno> {
        let copied = node.upper().is_some();
        // The redirect of a metacopy names it by that one (ovl_get_redirect).
        if !copied || node.is_metacopy() {
            self.table.move_to(node, Some(Place::new(dir, name)))?;
        }
        if copied {
            let before = self.table.links.replace(node, links, dir, name)?;
            self.table.put_parents(before);
        }
        Ok(())
    }

    /// Notes that `node` was found by a name that the upper has when `dir` had `version`: if it is a file in the index, no other
    /// is the one that was looked up last.
    pub(crate) fn note_upper_name(
        &self,
        node: &Node,
        (dir, version): (&Arc<Node>, u32),
        name: FileName<'_>,
    ) -> Result<Noted, Errno> {
        if self.index_for(node).is_none() {
            return Ok(Noted::Yes);
        }
        while let Some(noted) = self.table.links.take(node, |_| true)? {
            self.table.put_parents([noted]);
        }
        // Its data is copied by way of this name: no directory of another one is copied for it (ovl_copy_up_flags).
        if node.is_metacopy() && !node.is_at(dir, name)? {
            return self.table.move_found(node, Place::new(dir, name), version);
        }
        Ok(Noted::Yes)
    }

    /// Lets the place of a file that goes to the index be the first name that the upper gets.
    pub(crate) fn place_to_note(&self, node: &Node, links: u32) -> Result<(), Errno> {
        let Some(Place { parent, name }) = node.place()? else {
            return Ok(());
        };
        self.table.links.add(node, links, &parent, name.as_name())?;
        if node.is_metacopy() {
            return Ok(());
        }
        self.table.move_to(node, None)
    }

    /// Forgets that `node` is called `name`, as the name is gone or in the upper.
    fn drop_note(&self, node: &Node, dir: &Node, name: FileName<'_>) -> Result<(), Errno> {
        let noted = self.table.links.take(node, |place| place.is(dir, name))?;
        self.table.put_parents(noted);
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
            self.table.put_parents(other);
        }
        if links > 0 {
            return Ok(LinksLeft::Some);
        }
        if victim.upper().is_some() {
            self.drop_entry(victim);
            // If the lower cannot be read: a node that stays known costs some memory.
            let lower = || victim.lowers().first()?.node.attr().ok();
            let key = self.table.links.key(victim);
            let key = key.or_else(|| lower().map(|attr| Key::shared(&attr)));
            key.map_or(Ok(()), |key| self.table.release_copied(key, victim.id))?;
        }
        Ok(LinksLeft::None)
    }

    /// Lets the names that `victim` is known by keep what it holds, before it loses `name`. The caller is in no gate.
    ///
    /// With an index it is copied up first, and gets the name in the upper: it is the upper's link count that the loss changes
    /// (ovl_nlink_start).
    pub(crate) fn before_loss(
        &self,
        victim: &Node,
        dir: &Arc<Node>,
        name: FileName<'_>,
    ) -> Result<(), Errno> {
        if !victim.is_shared() {
            return Ok(());
        }
        // Now: when the name is gone nothing may fail.
        self.count_links(victim)?;
        if self.index_for(victim).is_some() {
            self.copy_up_metadata(victim)?;
            return self.ensure_name(victim, dir, name);
        }
        victim
            .upper()
            .map_or(Ok(()), |upper| self.link_names(victim, upper))
    }

    /// Lets the upper have `name` of a file that is copied up.
    pub(crate) fn ensure_name(
        &self,
        node: &Node,
        dir: &Arc<Node>,
        name: FileName<'_>,
    ) -> Result<(), Errno> {
        let Some(upper) = node.upper().filter(|_| node.is_shared()) else {
            return Ok(());
        };
        self.link_name(node, upper, &Place::new(dir, name))
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
    /// Takes the names gates of the directories, one after the other, and within each the links gate. The caller is in none.
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
        let Some(lower) = self.lower_of_name(node, parent, name)? else {
            return Ok(());
        };
        self.mark_impure(parent)?;
        let before = dir.attr()?;
        let lower = i64::from(lower.nlink);
        met!(110);
        let _links = self.index_for(node).map(|_| self.linking.enter(node.id));
        self.set_nlink(node, upper, |all| Nlink::Lower(all - lower))?;
        let entry = upper.fs().link(upper.id, dir.id, name)?;
        upper.fs().forget(entry.node, 1);
        let links = i64::from(Self::lasting_links(node, &entry.attr));
        self.table.links.changed();
        self.set_nlink(node, upper, |all| Nlink::Upper(all - links))?;
        restore_times(dir, &before);
        self.table.bump(parent)
    }

    /// Returns the attributes of the lower file under `node` if `name` of `dir` is (still) that. The caller is in the gate of
    /// `dir`.
    fn lower_of_name(
        &self,
        node: &Node,
        dir: &Node,
        name: FileName<'_>,
    ) -> Result<Option<Attr>, Errno> {
        let Some(top) = self.topmost(dir, name, 0)? else {
            return Ok(None);
        };
        let key = Key::of(top.node.layer.idx, &top.attr);
        let found = self.table.reference(key)?;
        let found = found.map(|found| Held::adopt(&self.table, found));
        let same = matches!(key, Key::Shared { .. }) && found.is_some_and(|f| f.id == node.id);
        Ok(same.then_some(top.attr))
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
