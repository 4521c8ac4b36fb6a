//! Removing names.
//!
//! What only the upper has is removed there. What a lower has is hidden by a whiteout, without a copy of it (OVL-23).

use std::sync::Arc;

use mica_vfs::{Cookie, Errno, FileName, FileNameBuf, FileType, Flow, NodeId, RenameFlags, met};

use crate::hard_link::LinksLeft;
use crate::node::Node;
use crate::overlay::Overlay;
use crate::protect::expect_removable;
use crate::stack::LayerNode;
use crate::table::Held;

impl Overlay {
    pub(crate) fn remove_file(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        let dir = self.dir(dir)?;
        // What is not there is missed before the parent is copied up for it.
        let mut early = self.removable_file(&dir, name)?;
        let upper_dir = self.copy_up(&dir)?;
        let (_names, victim, in_upper) = loop {
            self.before_loss(&early, &dir, name)?;
            let names = self.names.enter(dir.id);
            let victim = self.removable_file(&dir, name)?;
            let in_upper = self.is_in_upper(&victim, upper_dir, name)?;
            // If another file of the index has come there, that is to have the name in the upper.
            if in_upper || self.index_for(&victim).is_none() || victim.id == early.id {
                break (names, victim, in_upper);
            }
            drop(names);
            early = victim;
        };
        let _links = self.follow_upper(&victim)?;
        match (in_upper, self.lower_has(&dir, name)?) {
            (true, false) => self.remove_upper(upper_dir, name, &victim)?,
            (true, true) => {
                self.witness_unnamed(&dir, name, &victim)?;
                self.whiteout_over(upper_dir, name, &victim)?;
            }
            (false, _) => {
                met!(23);
                self.witness_hidden(&victim)?;
                self.whiteout_at(upper_dir, name)?;
            }
        }
        self.removed(&dir, name, &victim)
    }

    /// Finds a file that may be removed.
    fn removable_file(&self, dir: &Arc<Node>, name: FileName<'_>) -> Result<Held<'_>, Errno> {
        let file = self.hold(dir, name)?;
        expect_removable(dir, &file)?;
        match file.kind {
            FileType::Directory => Err(Errno::ISDIR),
            _ => Ok(file),
        }
    }

    pub(crate) fn remove_dir(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        let dir = self.dir(dir)?;
        let victim = self.hold(&dir, name)?;
        expect_removable(&dir, &victim)?;
        victim.expect_dir()?;
        // Before the parent is copied up for nothing (ovl_do_remove), and again where nothing changes any more.
        if !self.is_empty_dir(&victim)? {
            return Err(Errno::NOTEMPTY);
        }
        let upper_dir = self.copy_up(&dir)?;
        let _names = self
            .names
            .enter_all([Some(dir.id), Some(victim.id), None, None]);
        if !self.shows(&dir, name, &victim)? {
            return Err(Errno::NOENT);
        }
        if !self.is_empty_dir(&victim)? {
            return Err(Errno::NOTEMPTY);
        }
        let lower_has = self.lower_has(&dir, name)?;
        if lower_has {
            self.witness_hidden(&victim)?;
        }
        match victim.upper() {
            Some(upper) => {
                let whiteouts = self.whiteouts_in(upper)?;
                met!(25, !whiteouts.is_empty());
                if lower_has {
                    self.replace_dir_by_whiteout(upper_dir, name, &victim)?;
                } else if whiteouts.is_empty() {
                    self.remove_upper(upper_dir, name, &victim)?;
                } else {
                    self.move_dir_away(upper_dir, name, &victim)?;
                }
            }
            None => self.whiteout_at(upper_dir, name)?,
        }
        self.listings.drop_dir(victim.id)?;
        self.removed(&dir, name, &victim)
    }

    /// Whether `name` of `dir` is (still) `node`.
    pub(crate) fn shows(
        &self,
        dir: &Arc<Node>,
        name: FileName<'_>,
        node: &Node,
    ) -> Result<bool, Errno> {
        match self.hold(dir, name) {
            Ok(found) => Ok(found.id == node.id),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Notes that `victim` lost its name.
    fn removed(&self, dir: &Node, name: FileName<'_>, victim: &Node) -> Result<(), Errno> {
        self.listing_remove(dir, name)?;
        self.unname(dir, name, victim)
    }

    /// Lets a node that is no longer called `name` be found under it no more.
    pub(crate) fn unname(
        &self,
        dir: &Node,
        name: FileName<'_>,
        victim: &Node,
    ) -> Result<(), Errno> {
        // Before the names of a hard link are counted: see `note_name`.
        self.table.bump(dir)?;
        // An upper file may have other names, under which it is still to be met.
        if self.name_lost(victim, dir, name)? == LinksLeft::None && victim.upper().is_none() {
            self.table.rekey(victim, None, Some(dir))?;
        }
        if victim.is_at(dir, name)? {
            self.table.move_to(victim, None)?;
        }
        Ok(())
    }

    /// Lists the whiteouts of an upper directory that shows no name.
    ///
    /// # Errors
    ///
    /// `ENOTEMPTY`: there is something else.
    fn whiteouts_in(&self, upper: &LayerNode) -> Result<Vec<FileNameBuf>, Errno> {
        let mut names = Vec::new();
        upper.fs().read_dir(upper.id, Cookie::START, &mut |entry| {
            names.push(entry.name.to_owned());
            Flow::Continue
        })?;
        // Looked at, not trusted: what a listing missed must not be deleted.
        for name in &names {
            if let Some((node, attr)) = upper.child(name.as_name())?
                && !self.is_whiteout(&node, &attr)?
            {
                return Err(Errno::NOTEMPTY);
            }
        }
        Ok(names)
    }

    /// Removes the whiteouts of a directory that shows no name and is to be replaced, so that the upper filesystem finds it
    /// empty, too.
    ///
    /// It is made opaque first: then the whiteouts hide nothing, and a crash between any two steps leaves an empty
    /// directory (OVL-25).
    pub(crate) fn sweep(&self, dir: &Node, upper: &LayerNode) -> Result<(), Errno> {
        let names = self.whiteouts_in(upper)?;
        if names.is_empty() {
            return Ok(());
        }
        if !dir.lowers().is_empty() {
            self.set_mark(upper, "opaque", b"y")?;
            dir.set_opaque();
        }
        names
            .iter()
            .try_for_each(|name| upper.fs().unlink(upper.id, name.as_name()))
    }

    /// Moves an upper directory that shows no name, and that no lower has, to the work directory with its whiteouts.
    fn move_dir_away(
        &self,
        dir: &LayerNode,
        name: FileName<'_>,
        victim: &Node,
    ) -> Result<(), Errno> {
        let none = RenameFlags::empty();
        let gone = self.work()?.take(dir, name, FileType::Directory, none)?;
        self.keep_or_remove(gone, victim)
    }

    /// Lets a directory that was to be replaced, and stays, be what it is on disk: if it was swept behind an opaque mark it does
    /// not merge any more, and its number is its own (OVL-25, OVL-30).
    pub(crate) fn swept_in_vain(
        &self,
        dir: &Node,
        name: FileName<'_>,
        stays: &Node,
    ) -> Result<(), Errno> {
        let Some(upper) = stays.upper().filter(|_| stays.is_opaque()) else {
            return Ok(());
        };
        if let Ok(attr) = upper.attr() {
            stays.set_ino(self.number(&upper.layer, attr.dev, attr.ino));
        }
        self.listing_add(dir, name, stays)?;
        if let Some(observer) = self.observer.get() {
            observer.attributes_changed(stays.id);
            observer.numbers_changed(dir.id);
        }
        Ok(())
    }

    /// Puts a whiteout in the place of an upper directory that shows no name. The whiteouts in it go with it.
    ///
    /// By an exchange, or by a rename that leaves a whiteout behind. A filesystem that has neither takes two steps, and
    /// between them the lower directory shows (OVL-23).
    fn replace_dir_by_whiteout(
        &self,
        dir: &LayerNode,
        name: FileName<'_>,
        victim: &Node,
    ) -> Result<(), Errno> {
        let work = self.work()?;
        let whiteout = self.whiteout_temp()?;
        match whiteout.exchange(dir, name) {
            Ok(()) => return self.keep_or_remove(whiteout, victim),
            Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
        let take = |flags| work.take(dir, name, FileType::Directory, flags);
        match take(RenameFlags::WHITEOUT) {
            Ok(gone) => return self.keep_or_remove(gone, victim),
            Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
        let none = RenameFlags::empty();
        let gone = take(none)?;
        if let Err(errno) = whiteout.publish(dir, name, none) {
            // What cannot go back stays: the next mount removes it.
            let gone = gone.into_name()?;
            let back = dir
                .fs()
                .rename(work.dir.id, gone.as_name(), dir.id, name, none);
            self.undone(back);
            return Err(errno);
        }
        self.keep_or_remove(gone, victim)
    }

    /// Takes note of how the first step of two was undone after the second failed.
    pub(crate) fn undone(&self, undone: Result<(), Errno>) {
        if let Err(errno) = undone {
            let upper = self.work().map_or("upper", |work| &work.dir.layer.label);
            tracing::error!(layer = upper, %errno, "a change is half done, and could not be undone");
        }
    }
}
