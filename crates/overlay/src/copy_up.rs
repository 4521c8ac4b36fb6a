//! Copy-up: an object of a lower becomes one of the upper, before its first change.
//!
//! The copy is built under a temporary name in the work directory, in the order of [`CopyUpStep`], and shown by one
//! rename. Whoever looks sees the lower object or the whole copy; a crash leaves one of the two (OVL-22).
//!
//! The copy of a regular file may be a metacopy, whose data stays where it is until it is changed (OVL-104).

mod build;
mod data;
mod publish;
mod step;

use mica_vfs::{Attr, Errno, FileType, Rights, SetAttr, SetTime, invent, met};

use crate::config::Metacopies;
use crate::node::Node;
use crate::overlay::Overlay;
use crate::stack::LayerNode;
use crate::witness::Fate;

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
    /// Returns how much of `size` bytes is copied to what is no metacopy.
    fn of(self, size: u64) -> u64 {
        match self {
            // Where no metacopies are made, the data comes with the metadata.
            Self::Whole | Self::Metadata => size,
            Self::Cut(change) => change.size.unwrap_or(u64::MAX).min(size),
        }
    }

    /// Whether data is asked for that `node`, which is in the upper, has not there.
    fn lacks_data(self, node: &Node) -> bool {
        self != Self::Metadata && node.is_metacopy()
    }
}

/// Whether [`Overlay::copy_up_data`] made the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// It was in the upper already, if only as a metacopy. That has its data now, all of it, unless none was asked for.
    Before,
    /// It was not, and is what was asked for. These were its attributes when it was shown.
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
    /// What the user may do with it, if it is not his.
    kept: Option<Rights>,
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
            && !limit.lacks_data(node)
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
            if limit.lacks_data(node) {
                self.copy_lower_data(node, upper)?;
            }
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
            kept: self.owner_to_keep(lower, &attr)?,
        };
        let (temp, upper) = copying.build()?;
        // Before it is the copy that is asked.
        self.copied_of(node, copying.kept, &attr);
        let attr = step(node, CopyUpStep::Publish, copying.publish(temp, upper))?;
        let upper = node.upper().ok_or(Errno::IO)?;
        Ok((upper, Made::Now(attr)))
    }

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

/// Gives upper directory `dir` the times that it had `before` a name was put into it that changes nothing there. The name is in
/// place: a directory with another time is not worth an error.
pub(crate) fn restore_times(dir: &LayerNode, before: &Attr) {
    if let Err(errno) = set_times(dir, before) {
        tracing::debug!(%errno, "the parent's times were not restored");
    }
}

/// Gives `node` the access and modification times of `attr`.
fn set_times(node: &LayerNode, attr: &Attr) -> Result<(), Errno> {
    let (atime, mtime) = (Some(SetTime::At(attr.atime)), Some(SetTime::At(attr.mtime)));
    let change = SetAttr {
        atime,
        mtime,
        ..SetAttr::default()
    };
    node.fs().set_attr(node.id, &change).map(drop)
}
