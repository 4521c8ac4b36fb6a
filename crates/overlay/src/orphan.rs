//! Orphans: objects without a name that somebody still knows, kept under a name in the work directory.
//!
//! A file that lost its last name is usable while its node is known, and so is one that never had a name (`O_TMPFILE`).
//! The upper keeps such a file by itself, a directory of the host by an open descriptor for each. Where these become many
//! the overlay moves the file to a name in the work directory instead of removing it, and the upper reaches it by that
//! name as it does any other (OVL-61). Nobody sees the name. It goes with the node, with the mount, or at the next mount.
//!
//! How many the upper keeps is asked of the upper ([`Filesystem::nameless`]) and not counted here: only the layer knows
//! which of its nodes cost it something. So an unlink is one call in the common case, where nobody has the file open, the
//! front forgets it at once and the upper keeps nothing.
//!
//! [`Filesystem::nameless`]: mica_vfs::Filesystem::nameless

use std::collections::HashMap;
use std::sync::Arc;

use mica_vfs::lock::{Mutex, Rank};
use mica_vfs::{Errno, FileName, FileNameBuf, FileType, NodeId, RenameFlags, met};

use crate::node::Node;
use crate::overlay::Overlay;
use crate::stack::LayerNode;
use crate::table::Table;
use crate::work::{Temp, Work};

const ORPHANS: Rank = Rank(150);

/// What an orphan was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Past {
    /// It had a name. It gets none again.
    Named,
    /// It was born without one, and link(2) may give it one.
    Nameless,
}

/// Who keeps an object that loses a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeper {
    /// The upper, by itself.
    Layer,
    /// The work directory, by a name.
    Work,
}

/// A name in the work directory, and whose it is.
#[derive(Debug)]
struct Orphan {
    name: FileNameBuf,
    past: Past,
}

/// The orphans of an overlay.
#[derive(Debug)]
pub(crate) struct Orphans {
    work: Arc<Work>,
    /// How many nodes the upper may keep by itself.
    max: usize,
    /// By their nodes, each of which is in the table and marked [`Node::is_orphan`].
    all: Mutex<HashMap<NodeId, Orphan>>,
}

impl Orphans {
    pub(crate) fn new(work: Arc<Work>, max: usize) -> Self {
        Self {
            work,
            max,
            all: Mutex::new(ORPHANS, HashMap::new()),
        }
    }

    /// Says who is to keep `node` when it loses a name of its upper object.
    fn keeper(&self, node: &Node) -> Keeper {
        if node.is_orphan() {
            return Keeper::Layer;
        }
        let kept = self.work.dir.fs().nameless();
        if kept < self.max {
            return Keeper::Layer;
        }
        // What has another name is mostly reached by that, and costs the upper nothing. It may not know the other name,
        // so this does not hold for ever.
        let has_another = || {
            let attr = node.upper().map(LayerNode::attr);
            node.kind != FileType::Directory && attr.is_some_and(|a| a.is_ok_and(|a| a.nlink > 1))
        };
        if kept < self.max.saturating_mul(2) && has_another() {
            return Keeper::Layer;
        }
        Keeper::Work
    }

    fn take(&self, node: &Node) -> Result<Option<Orphan>, Errno> {
        if !node.is_orphan() {
            return Ok(None);
        }
        Ok(self.all.lock()?.remove(&node.id))
    }

    /// Removes the name of an orphan whose node has left the table.
    pub(crate) fn ended(&self, node: &Node) {
        // After a poisoned lock the name stays until the next mount.
        if let Ok(Some(orphan)) = self.take(node) {
            drop(self.work.temp(orphan.name, node.kind));
        }
    }
}

impl Table {
    /// Keeps `node` by `name` in the work directory, where its upper object is.
    pub(crate) fn keep_orphan(
        &self,
        node: &Node,
        name: FileNameBuf,
        past: Past,
    ) -> Result<(), Errno> {
        let orphans = self.orphans.as_ref().ok_or(Errno::ROFS)?;
        let orphan = Orphan { name, past };
        let former = orphans.all.lock()?.insert(node.id, orphan);
        node.set_orphan(true);
        // Two names of one file that go at the same time may both come to the work directory. One is enough.
        if let Some(Orphan { name, .. }) = former {
            drop(orphans.work.temp(name, node.kind));
        }
        // A node that ended before it was marked took no notice.
        if self.get(node.id).is_err() {
            orphans.ended(node);
        }
        Ok(())
    }

    /// Ends all nodes that are kept by a name, referenced or not: the mount is over.
    pub(crate) fn end_orphans(&self) -> Result<(), Errno> {
        let Some(orphans) = &self.orphans else {
            return Ok(());
        };
        let all = std::mem::take(&mut *orphans.all.lock()?);
        all.into_keys().try_for_each(|id| self.expel(id))
    }
}

impl Overlay {
    fn orphans(&self) -> Result<&Orphans, Errno> {
        self.table.orphans.as_ref().ok_or(Errno::ROFS)
    }

    /// Takes a name of `victim` away by `remove`, which is told who keeps the object.
    ///
    /// If the one is out of means the other does it: an upper without descriptors, or a work directory that the object
    /// cannot come to.
    fn part<T>(
        &self,
        victim: &Node,
        remove: impl Fn(Keeper) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let keeper = match self.must_stay(victim)? {
            true => Keeper::Work,
            false => self.orphans()?.keeper(victim),
        };
        match keeper {
            Keeper::Work => remove(Keeper::Work),
            Keeper::Layer => match remove(Keeper::Layer) {
                Err(Errno::MFILE | Errno::NFILE) if !victim.is_orphan() => remove(Keeper::Work),
                done => done,
            },
        }
    }

    /// Removes `name` of `victim` from an upper directory below which no lower shows.
    pub(crate) fn remove_upper(
        &self,
        dir: &LayerNode,
        name: FileName<'_>,
        victim: &Node,
    ) -> Result<(), Errno> {
        self.part(victim, |keeper| {
            if keeper == Keeper::Work && self.move_to_work(dir, name, victim)? {
                return Ok(());
            }
            match victim.kind {
                FileType::Directory => dir.fs().rmdir(dir.id, name),
                _ => dir.fs().unlink(dir.id, name),
            }
        })
    }

    /// Moves the upper object of `victim` to the work directory by one rename. Tells whether that was possible.
    fn move_to_work(
        &self,
        dir: &LayerNode,
        name: FileName<'_>,
        victim: &Node,
    ) -> Result<bool, Errno> {
        let work = self.work()?;
        match work.take(dir, name, victim.kind, RenameFlags::empty()) {
            Ok(temp) => {
                self.keep_temp(victim, temp)?;
                Ok(true)
            }
            Err(errno) => {
                tracing::debug!(%errno, %name, "not moved to the work directory");
                Ok(false)
            }
        }
    }

    /// Puts a whiteout in the place of the upper file of `victim` by one rename (OVL-23).
    pub(crate) fn whiteout_over(
        &self,
        dir: &LayerNode,
        name: FileName<'_>,
        victim: &Node,
    ) -> Result<(), Errno> {
        met!(23);
        self.part(victim, |keeper| {
            let whiteout = self.whiteout_temp()?;
            let spare = match keeper {
                Keeper::Layer => None,
                Keeper::Work => {
                    if whiteout.exchange(dir, name).is_ok() {
                        return self.keep_temp(victim, whiteout);
                    }
                    self.spare_name(victim)
                }
            };
            whiteout.publish(dir, name, RenameFlags::empty())?;
            self.keep_spare(victim, spare)
        })
    }

    /// Keeps `victim` by the temporary name that an exchange has brought it to, or removes it.
    pub(crate) fn keep_or_remove(&self, temp: Temp<'_>, victim: &Node) -> Result<(), Errno> {
        if victim.kind == FileType::Directory {
            // The whiteouts in it go, and who still knows it must not see what they hid.
            victim.set_opaque();
        }
        match self.orphans()?.keeper(victim) {
            Keeper::Work => self.keep_temp(victim, temp),
            Keeper::Layer => {
                drop(temp.exchanged_for(victim.kind));
                Ok(())
            }
        }
    }

    /// Replaces the upper file of `victim` by `rename`.
    ///
    /// Two objects do not move by one call, so the file gets its name in the work directory first. It goes again if the
    /// rename fails; a crash between the two leaves it to the next mount.
    pub(crate) fn replace_upper(
        &self,
        victim: &Node,
        rename: impl Fn() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        if victim.kind == FileType::Directory || victim.upper().is_none() {
            return rename();
        }
        self.part(victim, |keeper| {
            let spare = match keeper {
                Keeper::Layer => None,
                Keeper::Work => self.spare_name(victim),
            };
            rename()?;
            self.keep_spare(victim, spare)
        })
    }

    /// Keeps a file that was just born without a name, if the upper keeps enough of them.
    pub(crate) fn keep_nameless(&self, node: &Node) -> Result<(), Errno> {
        if self.orphans()?.keeper(node) == Keeper::Layer {
            return Ok(());
        }
        match self.spare_name(node).map(Temp::into_name) {
            Some(name) => self.table.keep_orphan(node, name?, Past::Nameless),
            None => Ok(()),
        }
    }

    /// Keeps what lost its name by the temporary one under which it is in the work directory.
    pub(crate) fn keep_temp(&self, node: &Node, temp: Temp<'_>) -> Result<(), Errno> {
        self.table.keep_orphan(node, temp.into_name()?, Past::Named)
    }

    /// Gives the upper file of `node` one more name, in the work directory. `None`: it can have none.
    fn spare_name(&self, node: &Node) -> Option<Temp<'_>> {
        let (work, upper) = (self.work().ok()?, node.upper()?);
        let name = work.temp_name();
        match upper.fs().link(upper.id, work.dir.id, name.as_name()) {
            Ok(entry) => {
                upper.fs().forget(entry.node, 1);
                Some(work.temp(name, node.kind))
            }
            Err(errno) => {
                tracing::debug!(%errno, "not linked into the work directory");
                None
            }
        }
    }

    fn keep_spare(&self, victim: &Node, spare: Option<Temp<'_>>) -> Result<(), Errno> {
        match spare {
            Some(spare) => self.keep_temp(victim, spare),
            None => Ok(()),
        }
    }

    /// Moves an orphan that may be given a name to `name` of an upper directory, over a whiteout if there is one. Tells whether
    /// it did; if not, `node` is to be linked as any other.
    ///
    /// # Errors
    ///
    /// `ENOENT` for one that lost its last name (vfs_link).
    pub(crate) fn name_orphan(
        &self,
        node: &Node,
        dir: &LayerNode,
        name: FileName<'_>,
    ) -> Result<bool, Errno> {
        let Some(Orphan { name: from, past }) = self.orphans()?.take(node)? else {
            return Ok(false);
        };
        let work = self.work()?;
        if past == Past::Nameless {
            let (at, flags) = (work.dir.id, RenameFlags::empty());
            let moved = dir.fs().rename(at, from.as_name(), dir.id, name, flags);
            if moved.is_ok() {
                node.set_orphan(false);
                return Ok(true);
            }
        }
        self.table.keep_orphan(node, from, past)?;
        let links = node.upper().ok_or(Errno::STALE)?.attr()?.nlink;
        if past == Past::Named && links <= 1 {
            return Err(Errno::NOENT);
        }
        Ok(false)
    }
}
