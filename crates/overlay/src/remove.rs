//! Removing names.
//!
//! What only the upper has is removed there. What a lower has is hidden by a whiteout, without a copy of it (OVL-23).

use std::sync::Arc;

use mica_vfs::{Cookie, Errno, FileName, FileType, Flow, NodeId, RenameFlags};

use crate::node::Node;
use crate::overlay::Overlay;
use crate::stack::LayerNode;

impl Overlay {
    pub(crate) fn remove_file(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        let dir = self.dir(dir)?;
        // What is not there is missed before the parent is copied up for it.
        drop(self.hold(&dir, name)?);
        let upper_dir = self.copy_up(&dir)?;
        let _names = self.names.enter(dir.id);
        let victim = self.hold(&dir, name)?;
        if victim.kind == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        match (victim.upper().is_some(), self.lower_has(&dir, name)?) {
            (true, false) => self.remove_upper(upper_dir, name, &victim)?,
            (true, true) => self.whiteout_over(upper_dir, name, &victim)?,
            (false, _) => self.whiteout_at(upper_dir, name)?,
        }
        self.removed(&dir, name, &victim)
    }

    pub(crate) fn remove_dir(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        let dir = self.dir(dir)?;
        let victim = self.hold(&dir, name)?;
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
        match victim.upper() {
            Some(upper) => {
                self.sweep(&victim, upper)?;
                if lower_has {
                    self.replace_dir_by_whiteout(upper_dir, name, &victim)?;
                } else {
                    self.remove_upper(upper_dir, name, &victim)?;
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
        if victim.upper().is_none() {
            self.table.rekey(victim, None, Some(dir))?;
        } else {
            // An upper file may have other names, under which it is still to be met.
            self.table.bump(dir)?;
        }
        if victim.is_at(dir, name)? {
            self.table.move_to(victim, None)?;
        }
        Ok(())
    }

    /// Removes the whiteouts of a directory that shows no name, so that the upper filesystem finds it empty, too.
    ///
    /// It is made opaque first: then the whiteouts hide nothing, and a crash between any two steps leaves an empty
    /// directory (OVL-25).
    pub(crate) fn sweep(&self, dir: &Node, upper: &LayerNode) -> Result<(), Errno> {
        let mut names = Vec::new();
        upper.fs().read_dir(upper.id, Cookie::START, &mut |entry| {
            names.push(entry.name.to_owned());
            Flow::Continue
        })?;
        if names.is_empty() {
            return Ok(());
        }
        // Looked at, not trusted: what a listing missed must not be deleted.
        for name in &names {
            if let Some((node, attr)) = upper.child(name.as_name())?
                && !self.is_whiteout(&node, &attr)?
            {
                return Err(Errno::NOTEMPTY);
            }
        }
        if !dir.lowers().is_empty() {
            self.set_mark(upper, "opaque", b"y")?;
            dir.set_opaque();
        }
        names
            .iter()
            .try_for_each(|name| upper.fs().unlink(upper.id, name.as_name()))
    }

    /// Puts a whiteout in the place of an empty upper directory.
    ///
    /// By an exchange, or by a rename that leaves a whiteout behind. A filesystem that has neither takes two steps, and
    /// between them the lower directory shows.
    fn replace_dir_by_whiteout(
        &self,
        dir: &LayerNode,
        name: FileName<'_>,
        victim: &Node,
    ) -> Result<(), Errno> {
        let work = self.work()?;
        let whiteout = self.whiteout_temp()?;
        let fs = dir.fs();
        match whiteout.exchange(dir, name) {
            Ok(()) => return self.keep_or_remove(whiteout, victim),
            Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
        let gone = work.temp_name();
        match fs.rename(
            dir.id,
            name,
            work.dir.id,
            gone.as_name(),
            RenameFlags::WHITEOUT,
        ) {
            Ok(()) => self.keep_or_remove(work.temp(gone, FileType::Directory), victim),
            Err(Errno::INVAL) => {
                fs.rmdir(dir.id, name)?;
                whiteout.publish(dir, name, RenameFlags::empty())
            }
            Err(errno) => Err(errno),
        }
    }
}
