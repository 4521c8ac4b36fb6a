//! Shared mode: lowers that others change while they are mounted (OVL-138, OVL-139).
//!
//! Nothing that a node remembers of a lower is believed: each lookup compares it with what the layers have. A node whose object
//! another one has replaced gives its key away and is found no more; who has it still reads what it was, as of a file that was
//! removed. The directories that merge in a node may change under it; so the directory stays what it is to programs that are in it.
//!
//! The upper is not looked at in this way: it belongs to the mount.

use std::sync::Arc;

use mica_vfs::{
    Access, Attr, Coherence, DataVersion, Errno, FileName, FileType, HostFile, Opened, met,
};

use crate::hard_link::Noted;
use crate::lookup::Top;
use crate::node::{NewNode, Node, Place, Renewed};
use crate::overlay::Overlay;
use crate::stack::LayerNode;
use crate::table::Key;

/// What a lookup that found a known node is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validity {
    /// The node shows what is there.
    Valid,
    /// It showed what was there and is found no more, or the directory changed meanwhile.
    LookAgain,
}

impl Overlay {
    /// Whether others change the lowers.
    pub(crate) fn is_shared(&self) -> bool {
        self.config.coherence == Coherence::Shared
    }

    /// Compares `node`, which was found by `key`, with `top`, which `dir` has now as `name`.
    pub(crate) fn revalidate(
        &self,
        node: &Arc<Node>,
        key: Key,
        (dir, version): (&Arc<Node>, u32),
        name: FileName<'_>,
        top: Top,
    ) -> Result<Validity, Errno> {
        if !top.node.is_upper() && !self.is_made_of(node, &top.node, &top.attr) {
            return self.supersede(node, key, (dir, version));
        }
        if node.kind == FileType::Directory {
            return self.revalidate_dir(node, key, (dir, version), name, top);
        }
        if node.upper().is_none() {
            if node.protection() != top.attr.protection {
                node.set_protection(top.attr.protection);
            }
            return self.move_found(node, key, (dir, version), name, &top.attr);
        }
        Ok(Validity::Valid)
    }

    /// Looks again which directories merge, and lets those be the node's.
    fn revalidate_dir(
        &self,
        node: &Arc<Node>,
        key: Key,
        (dir, version): (&Arc<Node>, u32),
        name: FileName<'_>,
        top: Top,
    ) -> Result<Validity, Errno> {
        // One that was moved is another: a directory whose place could change might come to lie in itself.
        if node.upper().is_none() && !node.is_at(dir, name)? {
            return self.supersede(node, key, (dir, version));
        }
        if node.is_opaque() {
            return Ok(Validity::Valid);
        }
        let new = self.assemble(dir, name, top)?;
        if node.merges(&new.lowers) {
            return Ok(Validity::Valid);
        }
        met!(139);
        let NewNode { upper, lowers, .. } = new;
        match self.table.renew(node, (dir, version), upper, lowers)? {
            Renewed::Yes => {}
            Renewed::Raced => return Ok(Validity::LookAgain),
            Renewed::TooOften => return self.supersede(node, key, (dir, version)),
        }
        self.listings.drop_dir(node.id)?;
        Ok(Validity::Valid)
    }

    /// Notes that a lower file is called `name` by now: under that name it is copied up.
    fn move_found(
        &self,
        node: &Arc<Node>,
        key: Key,
        (dir, version): (&Arc<Node>, u32),
        name: FileName<'_>,
        attr: &Attr,
    ) -> Result<Validity, Errno> {
        if node.is_at(dir, name)? {
            return Ok(Validity::Valid);
        }
        if let (Key::Shared { .. }, Some(Place { parent, name })) = (key, node.place()?) {
            // It may have that name, too. Before the upper gets it, that is looked at.
            self.table
                .links
                .add(node, attr.nlink, &parent, name.as_name())?;
        }
        match self
            .table
            .move_found(node, Place::new(dir, name), version)?
        {
            Noted::Yes => Ok(Validity::Valid),
            Noted::Raced => Ok(Validity::LookAgain),
        }
    }

    /// Lets `node` be found no more by `key`, which belongs to another object by now, or to one at another place.
    fn supersede(
        &self,
        node: &Arc<Node>,
        key: Key,
        (dir, version): (&Arc<Node>, u32),
    ) -> Result<Validity, Errno> {
        // What was seen may be old; then it says nothing of the node.
        if dir.version() != version {
            return Ok(Validity::LookAgain);
        }
        met!(138);
        self.table.give_up(node, key)?;
        Ok(Validity::LookAgain)
    }

    /// Whether the object `lower`, which has the attributes `attr`, is the one that `node` was made of.
    fn is_made_of(&self, node: &Node, lower: &LayerNode, attr: &Attr) -> bool {
        let Some(first) = node.first_lower() else {
            return false;
        };
        if first.layer.idx == lower.layer.idx {
            return first.id == lower.id;
        }
        // One file with several names may be found through several layers (OVL-32).
        let same = |own: Attr| (own.dev, own.ino, own.kind) == (attr.dev, attr.ino, attr.kind);
        node.is_shared() && first.attr().is_ok_and(same)
    }

    /// Does what fails with `ESTALE` if a directory that merges in `dir` is gone once more without it: for who is in the directory,
    /// as nobody looks up its name for him.
    pub(crate) fn with_fresh<T>(
        &self,
        dir: &Arc<Node>,
        call: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match call() {
            Err(Errno::STALE) if self.is_shared() => {
                let Place { parent, name } = dir.place()?.ok_or(Errno::STALE)?;
                let found = self.hold(&parent, name.as_name())?;
                if found.id != dir.id {
                    return Err(Errno::STALE);
                }
                call()
            }
            result => result,
        }
    }

    /// Fails if the name by which a lower object is known leads elsewhere.
    ///
    /// # Errors
    ///
    /// `ESTALE`: who asks looks the name up again. Nothing is logged: this is what a shared mount is for.
    pub(crate) fn expect_in_place(&self, node: &Node) -> Result<(), Errno> {
        self.version(node).map(drop)
    }

    /// Returns the version of what `node` shows. `None`: nothing leads to it any more.
    ///
    /// # Errors
    ///
    /// As [`expect_in_place`](Self::expect_in_place).
    fn version(&self, node: &Node) -> Result<Option<DataVersion>, Errno> {
        if !self.is_shared() || node.upper().is_some() {
            return Ok(Some(DataVersion::Own));
        }
        // Without a place it is the root, or was removed from the overlay and is still open.
        let Some(Place { parent, name }) = node.place()? else {
            return Ok(None);
        };
        match self.topmost(&parent, name.as_name(), 0)? {
            Some(top) if self.is_made_of(node, &top.node, &top.attr) => {
                Ok(Some(DataVersion::of(&top.attr)))
            }
            // Copied up since.
            _ if node.upper().is_some() => Ok(Some(DataVersion::Own)),
            _ => {
                met!(138);
                Err(Errno::STALE)
            }
        }
    }

    /// Lets a program that opens `node` see what was written to the lower before. As long as somebody has the file of the lower, the
    /// lower does not open it by name again.
    pub(crate) fn opened(&self, node: &Node, known: Option<DataVersion>) -> Result<Opened, Errno> {
        let version = self.version(node)?;
        if version == Some(DataVersion::Own) {
            let file = None;
            return Ok(Opened { file, version });
        }
        let is_known = version.is_some() && version == known;
        if let Some(observer) = self.observer.get().filter(|_| !is_known) {
            observer.attributes_changed(node.id);
        }
        let file = match node.kind {
            FileType::Regular => self.lower_file(node)?,
            _ => None,
        };
        Ok(Opened { file, version })
    }

    fn lower_file(&self, node: &Node) -> Result<Option<HostFile>, Errno> {
        let data = self.data_of(node)?.node;
        match data.layer.fs.host_file(data.id, Access::Read) {
            // By name, then.
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => Ok(None),
            file => file,
        }
    }
}
