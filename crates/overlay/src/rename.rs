//! Renaming.
//!
//! The source is in the upper before anything moves, so what the upper filesystem does by one rename(2) is what the
//! overlay shows. Where a lower has the old name, the same rename leaves a whiteout there (OVL-26).

use std::sync::Arc;

use mica_vfs::{Errno, FileName, FileType, NodeId, RenameFlags, invent, met};

use crate::marks::Opaque;
use crate::node::{Node, Place};
use crate::overlay::Overlay;
use crate::protect::expect_removable;
use crate::redirect::Way;
use crate::stack::LayerNode;

/// One end of a rename.
struct End<'a> {
    dir: Arc<Node>,
    name: FileName<'a>,
}

impl<'a> End<'a> {
    fn upper(&self) -> Result<&LayerNode, Errno> {
        self.dir.upper().ok_or(Errno::STALE)
    }

    fn place(&self) -> Place {
        Place::new(&self.dir, self.name)
    }
}

/// Whether anything is at a name of an upper directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// Nothing in the upper.
    None,
    /// A whiteout.
    Whiteout,
    /// An object.
    Object,
}

impl Overlay {
    pub(crate) fn rename_at(
        &self,
        from: (NodeId, FileName<'_>),
        to: (NodeId, FileName<'_>),
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        let noreplace = flags.contains(RenameFlags::NOREPLACE);
        if flags.contains(RenameFlags::WHITEOUT) || (exchange && noreplace) {
            return Err(Errno::INVAL);
        }
        let from = End {
            dir: self.dir(from.0)?,
            name: from.1,
        };
        let to = End {
            dir: self.dir(to.0)?,
            name: to.1,
        };
        let source = self.hold(&from.dir, from.name)?;
        let target = match self.hold(&to.dir, to.name) {
            Ok(target) => Some(target),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno),
        };
        if noreplace && target.is_some() {
            return Err(Errno::EXIST);
        }
        if exchange && target.is_none() {
            return Err(Errno::NOENT);
        }
        // In the order of renameat2(2): a directory that would come into itself, before what does not fit.
        refuse_into_itself(&source, &to.dir, Errno::INVAL)?;
        if let Some(target) = &target {
            let errno = if exchange {
                Errno::INVAL
            } else {
                Errno::NOTEMPTY
            };
            refuse_into_itself(target, &from.dir, errno)?;
            if target.id == source.id {
                return Ok(());
            }
            expect_removable(&from.dir, &source)?;
            expect_removable(&to.dir, target)?;
            check_kinds(&source, target, exchange)?;
        } else {
            expect_removable(&from.dir, &source)?;
            to.dir.expect_mutable()?;
        }
        let over_dir = |target: &Node| !exchange && target.kind == FileType::Directory;
        if let Some(target) = target.as_ref().filter(|target| over_dir(target))
            && self.can_move(&source)
            && is_redirected(target)
            && !self.is_empty_dir(target)?
        {
            // Before anything is copied up for nothing (ovl_rename).
            return Err(Errno::NOTEMPTY);
        }
        let exchanged = target.as_ref().filter(|_| exchange).map(|target| &**target);
        self.copy_up_ends(&from, &to, &source, exchanged)?;
        let replaced = target.as_ref().map(|target| &***target);
        if let Some(target) = replaced.filter(|_| !exchange) {
            self.before_loss(target, &to.dir, to.name)?;
        }

        let gates = [from.dir.id, to.dir.id].map(Some);
        let target_gate = target
            .as_ref()
            .filter(|t| t.kind == FileType::Directory)
            .map(|t| t.id);
        let _names = self
            .names
            .enter_all([gates[0], gates[1], target_gate, None]);
        self.still_there(&from, &to, &source, replaced)?;
        let lost = replaced.filter(|_| !exchange);
        let _links = lost.map(|target| self.follow_upper(target)).transpose()?;
        match (exchange, &target) {
            (true, Some(target)) => self.exchange(&from, &to, &source, target),
            _ => self.replace(&from, &to, &source, replaced),
        }
    }

    /// Copies up what has to be in the upper before the rename.
    fn copy_up_ends(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        source: &Arc<Node>,
        exchanged: Option<&Arc<Node>>,
    ) -> Result<(), Errno> {
        for moved in [Some(source), exchanged].into_iter().flatten() {
            if !self.can_move(moved) {
                met!(27);
                return Err(Errno::XDEV);
            }
        }
        for (moved, end) in [(Some(source), from), (exchanged, to)] {
            if let Some(moved) = moved.filter(|moved| moved.is_shared() && moved.is_metacopy()) {
                // Of its names the redirect is made of this one (ovl_get_redirect).
                self.table.move_to(moved, Some(end.place()))?;
            }
        }
        self.copy_up(&from.dir)?;
        self.copy_up(&to.dir)?;
        self.copy_up_to_move(source, self.way(source, from, to)?)?;
        self.ensure_name(source, &from.dir, from.name)?;
        let Some(target) = exchanged else {
            return Ok(());
        };
        self.copy_up_to_move(target, self.way(target, to, from)?)?;
        self.ensure_name(target, &to.dir, to.name)
    }

    /// Says how the layers below find what moves from one end to the other.
    fn way(&self, moved: &Node, from: &End<'_>, to: &End<'_>) -> Result<Way, Errno> {
        let same = from.dir.id == to.dir.id && !self.has_several_names(moved)?;
        Ok(if same {
            Way::SameDirectory
        } else {
            Way::Elsewhere
        })
    }

    /// Whether `node` shows under another name what it shows now: without a redirect that would be nothing of a lower directory
    /// (OVL-27, ovl_can_move).
    fn can_move(&self, node: &Node) -> bool {
        self.config.redirects.write() || !is_redirected(node)
    }

    /// Checks in the gates that both names are what they were before them.
    fn still_there(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        source: &Node,
        target: Option<&Node>,
    ) -> Result<(), Errno> {
        let target_same = match target {
            Some(target) => self.shows(&to.dir, to.name, target)?,
            None => match self.hold(&to.dir, to.name) {
                Ok(_) => false,
                Err(Errno::NOENT) => true,
                Err(errno) => return Err(errno),
            },
        };
        let same = target_same
            && self.shows(&from.dir, from.name, source)?
            && self.is_in_upper(source, from.upper()?, from.name)?;
        // A front orders renames of a directory by itself; for others this is a lost race, as ESTALE says.
        if same { Ok(()) } else { Err(Errno::STALE) }
    }

    /// Moves `source` over what is at the new name.
    fn replace(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        source: &Arc<Node>,
        target: Option<&Node>,
    ) -> Result<(), Errno> {
        if let Some(target) = target.filter(|t| t.kind == FileType::Directory)
            && !self.is_empty_dir(target)?
        {
            if target.lowers().is_empty() {
                // The kernel hears it of the upper, which it asks last: what moves is marked by then.
                self.mark_impure_for(&to.dir, source)?;
                self.mark_moved(source, from, to)?;
                return Err(Self::refusal(from, to)?);
            }
            return Err(Errno::NOTEMPTY);
        }
        if let Some(target) = target.filter(|t| t.upper().is_none() || is_redirected(t)) {
            self.witness_hidden(target)?;
        } else if let Some(target) = target {
            self.witness_unnamed(&to.dir, to.name, target)?;
        }
        self.witness_moved(source)?;
        self.witness_unnamed(&from.dir, from.name, source)?;
        let replaced = self.replace_swept(from, to, source, target);
        if let (Err(_), Some(target)) = (replaced, target) {
            self.swept_in_vain(&to.dir, to.name, target)?;
        }
        replaced?;
        if let Some(target) = target {
            self.unname(&to.dir, to.name, target)?;
            self.listings.drop_dir(target.id)?;
        }
        self.listing_remove(&from.dir, from.name)?;
        self.moved(source, to)?;
        self.table.bump(&from.dir)
    }

    /// Returns what the upper says to a rename over a directory that is not empty: some filesystems `EEXIST`, some `ENOTEMPTY`.
    fn refusal(from: &End<'_>, to: &End<'_>) -> Result<Errno, Errno> {
        let (from_dir, to_dir, none) = (from.upper()?, to.upper()?, RenameFlags::empty());
        let fs = from_dir.fs();
        match fs.rename(from_dir.id, from.name, to_dir.id, to.name, none) {
            Err(errno) => Ok(errno),
            // Somebody emptied it behind the overlay's back.
            Ok(()) => Ok(invent!(
                Errno::STALE,
                "the upper changed underneath",
                path = to.dir.path_of(to.name)
            )),
        }
    }

    /// Does what [`replace`](Self::replace) changes on disk. An empty directory in the way is swept first.
    fn replace_swept(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        source: &Arc<Node>,
        target: Option<&Node>,
    ) -> Result<(), Errno> {
        if let Some((target, upper)) = target.and_then(|t| Some((t, t.upper()?)))
            && target.kind == FileType::Directory
        {
            self.sweep(target, upper)?;
        }
        self.mark_impure_for(&to.dir, source)?;
        self.mark_moved(source, from, to)?;
        let at_target = self.target(to)?;
        let leave_whiteout = self.lower_has(&from.dir, from.name)?;
        let rename = || self.move_name(from, to, source, at_target, leave_whiteout);
        match target.filter(|_| at_target == Target::Object) {
            Some(target) => self.replace_upper(target, rename),
            None => rename(),
        }
    }

    /// Renames in the upper, so that a whiteout is left at the old name if a lower has it.
    fn move_name(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        source: &Node,
        at_target: Target,
        leave_whiteout: bool,
    ) -> Result<(), Errno> {
        let (from_dir, to_dir) = (from.upper()?, to.upper()?);
        let rename = |flags| {
            from_dir
                .fs()
                .rename(from_dir.id, from.name, to_dir.id, to.name, flags)
        };
        let is_dir = source.kind == FileType::Directory;
        if at_target == Target::Whiteout && (is_dir || leave_whiteout) {
            // The whiteout of the new name goes to the old one: it is wanted there, or it is removed (ovl_rename).
            match rename(RenameFlags::EXCHANGE) {
                Ok(()) if leave_whiteout => return Ok(()),
                Ok(()) => {
                    // The rename is done. A whiteout that stays hides nothing.
                    if let Err(errno) = from_dir.fs().unlink(from_dir.id, from.name) {
                        tracing::debug!(%errno, name = %from.name, "a needless whiteout stays");
                    }
                    return Ok(());
                }
                Err(Errno::INVAL) if is_dir => {
                    // With the whiteout of the new name away, the old one may still need one of its own.
                    return self.replace_whiteout(to_dir, to.name, || {
                        self.move_name(from, to, source, Target::None, leave_whiteout)
                    });
                }
                Err(Errno::INVAL) => {}
                Err(errno) => return Err(errno),
            }
        }
        if !leave_whiteout {
            return rename(RenameFlags::empty());
        }
        met!(26);
        match rename(RenameFlags::WHITEOUT) {
            // A filesystem without it takes two steps; between them both names show (OVL-26).
            Err(Errno::INVAL) => {
                let whiteout = self.whiteout_temp()?;
                rename(RenameFlags::empty())?;
                let put = whiteout.publish(from_dir, from.name, RenameFlags::empty());
                if put.is_err() && at_target != Target::Object {
                    let (fs, flags) = (from_dir.fs(), RenameFlags::empty());
                    let back = fs.rename(to_dir.id, to.name, from_dir.id, from.name, flags);
                    self.undone(back.and_then(|()| match at_target {
                        Target::Whiteout => self.whiteout_at(to_dir, to.name),
                        Target::None | Target::Object => Ok(()),
                    }));
                }
                put
            }
            other => other,
        }
    }

    /// Exchanges two objects of the upper.
    fn exchange(
        &self,
        from: &End<'_>,
        to: &End<'_>,
        source: &Arc<Node>,
        target: &Arc<Node>,
    ) -> Result<(), Errno> {
        if !self.is_in_upper(target, to.upper()?, to.name)? {
            return Err(Errno::STALE);
        }
        self.mark_impure_for(&to.dir, source)?;
        self.mark_impure_for(&from.dir, target)?;
        self.witness_moved(source)?;
        self.witness_moved(target)?;
        self.witness_unnamed(&from.dir, from.name, source)?;
        self.witness_unnamed(&to.dir, to.name, target)?;
        self.mark_moved(source, from, to)?;
        self.mark_moved(target, to, from)?;
        let (from_dir, to_dir) = (from.upper()?, to.upper()?);
        let flags = RenameFlags::EXCHANGE;
        from_dir
            .fs()
            .rename(from_dir.id, from.name, to_dir.id, to.name, flags)?;
        self.moved(source, to)?;
        self.moved(target, from)
    }

    /// Marks a directory so that it shows at its new place what it shows at the old one: with a redirect if a lower has a part in
    /// it (OVL-90), as that of a metacopy has (OVL-105), else with an opaque mark where a lower may have something of the new name (OVL-28).
    ///
    /// Both marks change nothing at the old place, so a rename that fails or is killed after them leaves the old view.
    fn mark_moved(&self, source: &Arc<Node>, from: &End<'_>, to: &End<'_>) -> Result<(), Errno> {
        if is_redirected(source) {
            let way = self.way(source, from, to)?;
            return self.set_redirect(source, from.name, way);
        }
        if source.kind != FileType::Directory || !to.dir.is_merged() {
            return Ok(());
        }
        let upper = source.upper().ok_or(Errno::STALE)?;
        let marks = self.marks(upper)?;
        if self.opaque(upper, marks, &|| source.path())? == Opaque::Stop {
            return Ok(());
        }
        met!(28);
        match self.set_mark(upper, "opaque", b"y") {
            // An upper that cannot hold the mark cannot have the directory there (ovl_set_opaque_xerr).
            Err(Errno::OPNOTSUPP) => Err(Errno::XDEV),
            set => set,
        }
    }

    /// Says what the upper has at the new name.
    fn target(&self, to: &End<'_>) -> Result<Target, Errno> {
        let Some((node, attr)) = to.upper()?.child(to.name)? else {
            return Ok(Target::None);
        };
        Ok(if self.is_whiteout(&node, &attr)? {
            Target::Whiteout
        } else {
            Target::Object
        })
    }

    /// Notes that `node` is found at `to`.
    fn moved(&self, node: &Arc<Node>, to: &End<'_>) -> Result<(), Errno> {
        self.listing_add(&to.dir, to.name, node)?;
        if node.kind == FileType::Directory || node.is_metacopy() {
            self.table.move_to(node, Some(to.place()))?;
        }
        self.table.bump(&to.dir)
    }
}

/// Whether an object needs a redirect to be found as before under another name (ovl_type_merge_or_lower,
/// ovl_is_metacopy_dentry).
fn is_redirected(node: &Node) -> bool {
    match node.kind {
        FileType::Directory => !node.lowers().is_empty(),
        _ => node.is_metacopy(),
    }
}

/// A directory replaces a directory, anything else anything else; in an exchange all go.
fn check_kinds(source: &Node, target: &Node, exchange: bool) -> Result<(), Errno> {
    let (source, target) = (source.kind, target.kind);
    match (source == FileType::Directory, target == FileType::Directory) {
        _ if exchange => Ok(()),
        (true, false) => Err(Errno::NOTDIR),
        (false, true) => Err(Errno::ISDIR),
        _ => Ok(()),
    }
}

/// Refuses with `errno` to move a directory below itself, or what is below it in its place.
fn refuse_into_itself(source: &Node, dir: &Arc<Node>, errno: Errno) -> Result<(), Errno> {
    if source.kind != FileType::Directory {
        return Ok(());
    }
    let mut at = Some(Arc::clone(dir));
    while let Some(dir) = at {
        if dir.id == source.id {
            return Err(errno);
        }
        at = dir.place()?.map(|place| place.parent);
    }
    Ok(())
}
