//! Copy-up: an object of a lower becomes one of the upper, before its first change.
//!
//! The copy is built under a temporary name in the work directory, in the order of [`CopyUpStep`], and shown by one
//! rename. Whoever looks sees the lower object or the whole copy; a crash leaves one of the two (OVL-22).
//!
//! The copy of a regular file may be a metacopy, whose data stays where it is until it is changed (OVL-104).

mod data;
mod step;

use std::sync::atomic::Ordering::Relaxed;

use mica_vfs::{
    Attr, Caller, Errno, FileFlags, FileName, FileType, KillPriv, Mode, RenameFlags, SetAttr,
    SetTime, SyncScope, XattrMode, XattrName, invent, met,
};

use crate::acl::is_acl;
use crate::config::Metacopies;
use crate::durability::Durability;
use crate::index::Nlink;
use crate::lower_data::DataObject;
use crate::node::Node;
use crate::overlay::Overlay;
use crate::protect::COPIED;
use crate::stack::LayerNode;
use crate::table::Key;
use crate::witness::Fate;
use crate::work::Temp;
use crate::xattr::is_private;

pub use step::CopyUpStep;

/// How much of a file's data is worth copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataLimit<'a> {
    /// All of it.
    Whole,
    /// What is left by this change, which truncates: the copy is shown when it is made. A copy that were cut first and
    /// changed afterwards would have lost data though the change failed.
    Cut(&'a SetAttr),
    /// None, where metacopies are made: the change is one of metadata.
    Metadata,
}

impl DataLimit<'_> {
    /// Returns how much of `size` bytes is copied.
    fn of(self, size: u64) -> u64 {
        match self {
            Self::Whole => size,
            Self::Cut(change) => change.size.unwrap_or(u64::MAX).min(size),
            Self::Metadata => 0,
        }
    }
}

/// Whether [`Overlay::copy_up_data`] made the copy, or cut a metacopy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// It was there, and was not changed.
    Before,
    /// It did. These were its attributes when it was shown.
    Now(Attr),
}

/// One copy-up under way.
struct Copying<'a> {
    overlay: &'a Overlay,
    node: &'a Node,
    lower: &'a LayerNode,
    attr: Attr,
    limit: DataLimit<'a>,
    form: Form,
}

/// What a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    Metacopy,
}

/// Names the step in the log when it fails.
fn step<T>(node: &Node, step: CopyUpStep, result: Result<T, Errno>) -> Result<T, Errno> {
    if let Err(errno) = &result {
        tracing::debug!(%step, %errno, path = node.path(), "copy-up failed");
    }
    result
}

impl Overlay {
    /// Copies `node` to the upper with its data, or does nothing if it is there. Ancestors are copied first.
    ///
    /// # Errors
    ///
    /// - `EROFS`: the stack has no upper.
    /// - What a layer answers (`ENOSPC`, `EDQUOT`, `EIO`): the temporary is removed, the lower object is still shown.
    ///
    /// # Locks
    ///
    /// Takes the copying gate of the node, and within it the names gate of its parent. The caller is in no gate.
    pub(crate) fn copy_up<'n>(&self, node: &'n Node) -> Result<&'n LayerNode, Errno> {
        Ok(self.copy_up_data(node, DataLimit::Whole)?.0)
    }

    /// Copies `node` up for a change of its metadata: a regular file may be a metacopy then.
    pub(crate) fn copy_up_metadata<'n>(&self, node: &'n Node) -> Result<&'n LayerNode, Errno> {
        Ok(self.copy_up_data(node, DataLimit::Metadata)?.0)
    }

    /// Copies `node` up with no more data than `limit` asks for.
    pub(crate) fn copy_up_data<'n>(
        &self,
        node: &'n Node,
        limit: DataLimit<'_>,
    ) -> Result<(&'n LayerNode, Made), Errno> {
        if let Some(upper) = node.upper()
            && (limit == DataLimit::Metadata || !node.is_metacopy())
        {
            if node.is_shared() {
                self.link_names(node, upper)?;
            }
            return Ok((upper, Made::Before));
        }
        self.work()?;
        // The chain of ancestors without an upper, the node's parent first. It is short, and each link is copied whole
        // before the next, so a failure half-way leaves complete directories.
        let mut missing = Vec::new();
        let mut at = node.place()?;
        while let Some(place) = at {
            if place.parent.upper().is_some() {
                break;
            }
            at = place.parent.place()?;
            missing.push(place.parent);
        }
        for dir in missing.iter().rev() {
            self.copy_up_one(dir, DataLimit::Whole)?;
        }
        if !node.is_shared() {
            return self.copy_up_one(node, limit);
        }
        self.prepare_names(node)?;
        let copied = self.copy_up_one(node, limit)?;
        self.link_names(node, copied.0)?;
        Ok(copied)
    }

    fn copy_up_one<'n>(
        &self,
        node: &'n Node,
        limit: DataLimit<'_>,
    ) -> Result<(&'n LayerNode, Made), Errno> {
        let _copying = self.copying.enter(node.id);
        if let Some(upper) = node.upper() {
            if limit == DataLimit::Metadata || !node.is_metacopy() {
                return Ok((upper, Made::Before));
            }
            self.copy_lower_data(node, upper)?;
            return Ok((upper, Made::Before));
        }
        self.expect_in_place(node)?;
        met!(20);
        let lower = node.real()?;
        // Before its attributes are read: what changes after that is a change to what was recorded.
        self.witness(lower, Fate::Copied)?;
        let attr = step(node, CopyUpStep::Read, lower.attr())?;
        self.refuse_unmapped(node, lower, &attr)?;
        if node.is_shared() {
            self.count_links(node)?;
        }
        let copying = Copying {
            overlay: self,
            node,
            lower,
            attr,
            limit,
            form: self.form(node, limit),
        };
        let (temp, upper) = copying.build()?;
        let attr = step(node, CopyUpStep::Publish, copying.publish(temp, upper))?;
        let upper = node.upper().ok_or(Errno::IO)?;
        Ok((upper, Made::Now(attr)))
    }
}

impl Overlay {
    /// Says what the copy of `node` is to be (ovl_need_meta_copy_up).
    fn form(&self, node: &Node, limit: DataLimit<'_>) -> Form {
        let regular = node.kind == FileType::Regular && limit == DataLimit::Metadata;
        if regular && self.config.metacopies == Metacopies::On {
            Form::Metacopy
        } else {
            Form::Whole
        }
    }

    /// Refuses to copy what belongs to somebody whom this user namespace has no id for: the copy could not be theirs
    /// (OVL-72, ovl_copy_up_one). With a squash nobody is told whose it is (OVL-73).
    fn refuse_unmapped(&self, node: &Node, lower: &LayerNode, attr: &Attr) -> Result<(), Errno> {
        let unmapped = self.config.unmapped;
        let known = unmapped.uid != Some(attr.uid) && unmapped.gid != Some(attr.gid);
        if known || self.config.ids.squashes() {
            return Ok(());
        }
        Err(invent!(
            Errno::OVERFLOW,
            "no copy-up: owner or group has no mapping in this user namespace",
            layer = lower.layer.label,
            path = node.path()
        ))
    }
}

impl Overlay {
    /// Fails if the data of a lower object changed since it had the attributes `before`: what was copied is a mix (OVL-137).
    ///
    /// # Errors
    ///
    /// `ESTALE`. The log says so once.
    fn expect_unchanged(&self, data: &LayerNode, before: &Attr, node: &Node) -> Result<(), Errno> {
        let now = data.attr()?;
        if (now.size, now.mtime) == (before.size, before.mtime) {
            return Ok(());
        }
        self.changed_told.call_once(|| {
            _ = invent!(
                Errno::STALE,
                "a lower was changed from outside while a file of it was copied up; others are not reported",
                layer = data.layer.label,
                path = node.path()
            );
        });
        Err(Errno::STALE)
    }
}

impl<'a> Copying<'a> {
    /// Builds the copy in the work directory.
    fn build(&self) -> Result<(Temp<'a>, LayerNode), Errno> {
        if let Some(place) = self.node.place()? {
            step(
                self.node,
                CopyUpStep::Impure,
                self.overlay.mark_impure(&place.parent).and_then(|()| {
                    self.overlay
                        .mark_nested_for(&place.parent, self.node, &self.attr)
                }),
            )?;
        }
        let (temp, upper) = step(self.node, CopyUpStep::Create, self.create())?;
        let copied = step(self.node, CopyUpStep::Data, self.data(&upper))?;
        step(self.node, CopyUpStep::Owner, self.owner(&upper))?;
        step(self.node, CopyUpStep::Xattrs, self.xattrs(&upper))?;
        step(self.node, CopyUpStep::Flags, self.flags(&upper))?;
        step(self.node, CopyUpStep::Origin, self.origin(&upper))?;
        if self.form == Form::Metacopy {
            met!(104);
            step(self.node, CopyUpStep::Size, self.size(&upper))?;
            let marked = self.overlay.set_mark(&upper, "metacopy", b"");
            step(self.node, CopyUpStep::Mark, marked)?;
        }
        step(self.node, CopyUpStep::Mode, self.mode(&upper))?;
        step(self.node, CopyUpStep::Times, set_times(&upper, &self.attr))?;
        if let DataLimit::Cut(change) = self.limit {
            let changed = self.overlay.change_attr(&upper, change);
            step(self.node, CopyUpStep::Change, changed)?;
        }
        if self.must_sync(copied) {
            step(
                self.node,
                CopyUpStep::Sync,
                upper.fs().fsync(upper.id, SyncScope::All),
            )?;
        }
        self.overlay
            .counters
            .copied_bytes
            .fetch_add(copied, Relaxed);
        Ok((temp, upper))
    }

    fn create(&self) -> Result<(Temp<'a>, LayerNode), Errno> {
        let work = self.overlay.work()?;
        let (dir, caller) = (&work.dir, &self.overlay.config.mounter);
        let (fs, name) = (dir.fs(), work.temp_name());
        let as_name = name.as_name();
        let private = Mode::new(0o600);
        let entry = match self.node.kind {
            FileType::Regular => fs.create(caller, dir.id, as_name, private),
            FileType::Directory => fs.mkdir(caller, dir.id, as_name, Mode::new(0o700)),
            FileType::Symlink => {
                let target = self.lower.fs().read_link(self.lower.id)?;
                fs.symlink(caller, dir.id, as_name, &target)
            }
            _ if self.node.is_nested_whiteout(&self.attr) => {
                fs.create(caller, dir.id, as_name, private)
            }
            kind => fs.mknod(caller, dir.id, as_name, kind, private, self.attr.rdev),
        }?;
        let upper = LayerNode::adopt(&dir.layer, &entry);
        Ok((work.temp(name, self.node.kind), upper))
    }

    /// Copies the data and returns how many bytes it covers.
    fn data(&self, upper: &LayerNode) -> Result<u64, Errno> {
        if self.node.kind != FileType::Regular || self.form == Form::Metacopy {
            return Ok(0);
        }
        let len = match self.limit {
            // Where no metacopies are made, the data comes with the metadata.
            DataLimit::Metadata => self.attr.size,
            limit => limit.of(self.attr.size),
        };
        if len == 0 {
            return Ok(0);
        }
        let DataObject { node: data, end } = self.overlay.data_of(self.node)?;
        // Below a metacopy may lie less than it says.
        let before = match end {
            Some(_) => data.attr()?,
            None => self.attr,
        };
        let there = end.map_or(len, |end| before.size.min(end).min(len));
        upper.fs().copy_from(upper.id, data.fs(), data.id, there)?;
        self.overlay.expect_unchanged(data, &before, self.node)?;
        if there < len {
            self.size(upper)?;
        }
        Ok(there)
    }

    /// Gives the copy the size of the lower file.
    fn size(&self, upper: &LayerNode) -> Result<(), Errno> {
        let change = SetAttr {
            size: Some(self.attr.size),
            ..SetAttr::default()
        };
        upper.fs().set_attr(upper.id, &change).map(drop)
    }

    fn owner(&self, upper: &LayerNode) -> Result<(), Errno> {
        let Caller { uid, gid, .. } = self.overlay.config.mounter;
        let uid = Some(self.attr.uid).filter(|&owner| owner != uid);
        let gid = Some(self.attr.gid).filter(|&group| group != gid);
        if uid.is_none() && gid.is_none() {
            return Ok(());
        }
        let change = SetAttr {
            uid,
            gid,
            ..SetAttr::default()
        };
        match upper.fs().set_attr(upper.id, &change) {
            // Of the squashed owner nobody sees that it is the mounter (OVL-73).
            Err(errno) if self.overlay.config.ids.forgives(errno) => Ok(()),
            changed => changed.map(drop),
        }
    }

    fn xattrs(&self, upper: &LayerNode) -> Result<(), Errno> {
        let prefix = self.overlay.config.xattrs.prefix();
        let mut names: Vec<Box<[u8]>> = Vec::new();
        self.lower.for_each_xattr(&mut |name| {
            if is_private(prefix, name) {
                met!(41);
            } else {
                names.push(name.into());
            }
        })?;
        for name in &names {
            let name = XattrName::new(name)?;
            if is_acl(name.as_bytes()) {
                met!(128);
            }
            let value = match self.lower.xattr(name) {
                Ok(value) => value,
                // A broken file capability is listed and cannot be read (ovl_copy_xattr).
                Err(Errno::NODATA | Errno::INVAL) if name.as_bytes() == b"security.capability" => {
                    continue;
                }
                Err(errno) => return Err(errno),
            };
            let set = upper
                .fs()
                .set_xattr(upper.id, name, &value, XattrMode::Set, KillPriv::Keep);
            match set {
                // An upper without attributes loses what nobody's safety depends on.
                Err(Errno::OPNOTSUPP) if !is_protective(name.as_bytes()) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Copies the file flags: those that protect to `protattr`, and what else the kernel copies to the copy itself (OVL-120,
    /// ovl_copy_fileattr).
    fn flags(&self, upper: &LayerNode) -> Result<(), Errno> {
        if !matches!(self.node.kind, FileType::Regular | FileType::Directory) {
            return Ok(());
        }
        let protection = self.node.protection();
        if !protection.is_empty() {
            match self.overlay.keep_protection(upper, protection) {
                // The copy is protected for the life of the mount.
                Err(Errno::PERM) => {
                    let path = self.node.path();
                    tracing::warn!(path, "no room for the immutable and append-only flags");
                }
                kept => kept?,
            }
        }
        let Some(lower) = flags_of(self.lower)?.map(|flags| flags & COPIED) else {
            return Ok(());
        };
        if lower.is_empty() {
            return Ok(());
        }
        let Some(had) = flags_of(upper)? else {
            return Ok(());
        };
        let flags = had.difference(COPIED) | lower;
        upper.fs().set_file_flags(upper.id, flags)
    }

    /// Whether the copy, with `copied` bytes of data, has to be on disk before its name is: a rename may be durable before
    /// what it shows (OVL-65, OVL-67).
    ///
    /// As in the kernel, links, devices, pipes and sockets are left out, which nobody can open to sync
    /// (ovl_should_sync_metadata).
    fn must_sync(&self, copied: u64) -> bool {
        match self.overlay.config.durability {
            Durability::Auto => {
                if copied > 0 {
                    met!(65);
                }
                copied > 0
            }
            Durability::Strict => {
                matches!(self.node.kind, FileType::Regular | FileType::Directory)
            }
            Durability::Volatile => {
                met!(66);
                false
            }
        }
    }

    /// Notes the lower object, so that the number stays what it is. Not of a file with several names, unless there is an index:
    /// for the next mount the others are another file (OVL-32).
    fn origin(&self, upper: &LayerNode) -> Result<(), Errno> {
        let indexed = self.overlay.index_for(self.node).is_some();
        if self.node.kind != FileType::Directory && self.attr.nlink > 1 && !indexed {
            return Ok(());
        }
        // Its entry is its one link in the upper.
        self.overlay
            .set_nlink(self.node, upper, |all| Nlink::Upper(all - 1))?;
        let origin = Overlay::origin_of(self.lower)?;
        match self.overlay.set_mark(upper, "origin", &origin) {
            // `user.*` is for files and directories only.
            Err(Errno::PERM | Errno::OPNOTSUPP) => Ok(()),
            other => other,
        }
    }

    fn mode(&self, upper: &LayerNode) -> Result<(), Errno> {
        if self.node.kind == FileType::Symlink {
            return Ok(());
        }
        let change = SetAttr {
            mode: Some(self.attr.mode),
            ..SetAttr::default()
        };
        upper.fs().set_attr(upper.id, &change).map(drop)
    }

    /// Shows the copy, and makes it the node's. Returns what its attributes were.
    ///
    /// The key comes before the name: a lookup that finds the name finds the node.
    fn publish(self, temp: Temp<'_>, upper: LayerNode) -> Result<Attr, Errno> {
        let (overlay, node) = (self.overlay, self.node);
        let attr = upper.attr()?;
        let key = Key::inode(upper.layer.idx, &attr);
        overlay.counters.copy_ups.fetch_add(1, Relaxed);
        node.set_metacopy(self.form == Form::Metacopy);
        if let Some(index) = overlay.index_for(node) {
            overlay.table.add_key(node, key)?;
            if let Err(errno) = overlay.to_entry(index, temp, self.lower) {
                overlay.table.drop_key(node, key)?;
                return Err(errno);
            }
            node.set_upper(upper);
            overlay.table.rekey(node, Some(key), None)?;
            overlay.place_to_note(node, self.attr.nlink)?;
            return Ok(attr);
        }
        loop {
            let Some(place) = node.place()? else {
                // The file lost its name while it was open: the copy lives on under the one that it was built under. To
                // remove that now would save nothing (OVL-64).
                met!(64);
                overlay.keep_temp(node, temp)?;
                node.set_upper(upper);
                if overlay.has_lower_names(node) {
                    overlay.table.rekey(node, Some(key), None)?;
                }
                return Ok(attr);
            };
            let parent = &place.parent;
            let _names = overlay.names.enter(parent.id);
            if !node.is_at(parent, place.name.as_name())? {
                continue;
            }
            overlay.table.add_key(node, key)?;
            if let Err(errno) = self.rename(temp, parent, place.name.as_name()) {
                overlay.table.drop_key(node, key)?;
                return Err(errno);
            }
            node.set_upper(upper);
            overlay.listing_add(parent, place.name.as_name(), node)?;
            overlay.table.rekey(node, Some(key), Some(parent))?;
            self.tell_observer();
            if node.kind != FileType::Directory && self.form == Form::Whole {
                // A file in the upper needs its place no more, nor its parent.
                overlay.table.move_to(node, None)?;
            }
            return Ok(attr);
        }
    }

    /// Tells of what the caller did not ask for: a directory that merges counts its links otherwise (OVL-33).
    fn tell_observer(&self) {
        if let Some(observer) = self.overlay.observer.get()
            && self.node.kind == FileType::Directory
        {
            observer.attributes_changed(self.node.id);
        }
    }

    /// Renames the copy into the upper parent, whose own times stay: nothing was changed in it.
    fn rename(&self, temp: Temp<'_>, parent: &Node, name: FileName<'_>) -> Result<(), Errno> {
        let dir = parent.upper().ok_or(Errno::STALE)?;
        let before = dir.attr()?;
        met!(22);
        temp.publish(dir, name, RenameFlags::empty())?;
        // The object is in place: a parent with another time is not worth an error.
        if let Err(errno) = set_times(dir, &before) {
            tracing::debug!(%errno, "the parent's times were not restored");
        }
        Ok(())
    }
}

/// Reads the file flags of an object; `None` if it has none, or this process may not open it to ask.
fn flags_of(node: &LayerNode) -> Result<Option<FileFlags>, Errno> {
    match node.fs().file_flags(node.id) {
        Ok(flags) => Ok(Some(flags)),
        Err(Errno::NOTTY | Errno::INVAL | Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM) => {
            Ok(None)
        }
        Err(errno) => Err(errno),
    }
}

/// Whether losing the attribute would take protection away.
fn is_protective(name: &[u8]) -> bool {
    name.starts_with(b"security.") || name.starts_with(b"system.posix_acl_")
}

/// Gives `node` the access and modification times of `attr`.
pub(crate) fn set_times(node: &LayerNode, attr: &Attr) -> Result<(), Errno> {
    let (atime, mtime) = (Some(SetTime::At(attr.atime)), Some(SetTime::At(attr.mtime)));
    node.fs()
        .set_attr(
            node.id,
            &SetAttr {
                atime,
                mtime,
                ..SetAttr::default()
            },
        )
        .map(drop)
}
