//! Building a copy in the work directory, step by step.

use std::sync::atomic::Ordering::Relaxed;

use mica_vfs::{
    Caller, Errno, FileFlags, FileType, KillPriv, Mode, SetAttr, SyncScope, XattrMode, XattrName,
    met,
};

use super::{CopyUpStep, Copying, DataLimit, Form, set_times, step};
use crate::acl::is_acl;
use crate::durability::Durability;
use crate::index::Nlink;
use crate::lower_data::DataObject;
use crate::overlay::Overlay;
use crate::protect::COPIED;
use crate::stack::LayerNode;
use crate::work::Temp;
use crate::xattr::is_private;

impl<'a> Copying<'a> {
    /// Builds the copy in the work directory.
    pub(super) fn build(&self) -> Result<(Temp<'a>, LayerNode), Errno> {
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
        let len = self.limit.of(self.attr.size);
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
        if let Some(rights) = self.kept {
            self.overlay.keep_owner(upper, &self.attr, rights)?;
        }
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
            met!(128, is_acl(name.as_bytes()));
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
                met!(65, copied > 0);
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
