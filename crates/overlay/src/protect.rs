//! Immutable and append-only objects: chattr(1) `+i` and `+a`.
//!
//! An upper object that really had one of the flags could be neither linked nor marked. So the flags of a lower, and those that
//! are set here, lie in the attribute `protattr` of the upper object, and the overlay itself refuses what they forbid
//! (OVL-120, OVL-121), where the kernel's VFS does it for overlayfs.

use mica_vfs::{Attr, Errno, FallocateMode, FileFlags, NodeId, Protection, SetAttr, SetTime, met};

use crate::marks::Marks;
use crate::node::Node;
use crate::overlay::Overlay;
use crate::stack::LayerNode;

/// The longest value that is read, `OVL_PROTATTR_MAX`.
const PROTATTR_MAX: usize = 32;

/// The flags that a copy takes over for itself, `OVL_COPY_FS_FLAGS_MASK`.
pub(crate) const COPIED: FileFlags = FileFlags::SYNC.union(FileFlags::NOATIME);

/// Reads the value of a `protattr` (ovl_check_protattr); `None` if it says anything else.
fn parse_protattr(value: &[u8]) -> Option<Protection> {
    let one = |byte: &u8| match byte {
        b'a' => Some(Protection::APPEND),
        b'i' => Some(Protection::IMMUTABLE),
        _ => None,
    };
    let all: Option<Protection> = value.iter().map(one).collect();
    all.filter(|_| !value.is_empty())
}

/// Returns the value that says `protection` (ovl_set_protattr).
fn protattr(protection: Protection) -> &'static [u8] {
    match (
        protection.contains(Protection::APPEND),
        protection.contains(Protection::IMMUTABLE),
    ) {
        (true, true) => b"ai",
        (true, false) => b"a",
        (false, true) => b"i",
        (false, false) => b"",
    }
}

impl Overlay {
    /// Returns what `node`, of any layer, is protected from: by its own flags and, in the upper, by its `protattr`. `marks`
    /// saves a call where they have been read.
    ///
    /// # Errors
    ///
    /// What the upper answers: an object that is protected must not be taken for one that is not.
    pub(crate) fn protection_of(
        &self,
        node: &LayerNode,
        attr: &Attr,
        marks: Option<Marks>,
        path: &dyn Fn() -> String,
    ) -> Result<Protection, Errno> {
        if !node.is_upper() || marks.is_some_and(|marks| !marks.contains(Marks::PROTATTR)) {
            return Ok(attr.protection);
        }
        let mut value = [0; PROTATTR_MAX];
        let kept = match self.mark(node, "protattr", &mut value) {
            Ok(value) => parse_protattr(value),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::ACCESS) => Some(Protection::empty()),
            Err(Errno::RANGE) => None,
            Err(errno) => return Err(errno),
        };
        if kept.is_none() {
            let (layer, path) = (&node.layer.label, path());
            tracing::warn!(layer, path, "malformed protattr ignored");
        }
        Ok(attr.protection | kept.unwrap_or_default())
    }

    /// Writes what an upper object is protected from.
    ///
    /// # Errors
    ///
    /// `EPERM` where the upper cannot hold it (ovl_set_protattr).
    pub(crate) fn keep_protection(
        &self,
        upper: &LayerNode,
        protection: Protection,
    ) -> Result<(), Errno> {
        match self.set_mark(upper, "protattr", protattr(protection)) {
            Err(Errno::OPNOTSUPP) => Err(Errno::PERM),
            set => {
                met!(120);
                set
            }
        }
    }

    pub(crate) fn flags_get(&self, id: NodeId) -> Result<FileFlags, Errno> {
        let node = self.table.get(id)?;
        let real = node.real()?;
        let flags = real.fs().file_flags(real.id)?;
        Ok(flags | FileFlags::from(node.protection()))
    }

    /// Sets the flags: those that protect in `protattr`, all others on the upper object (ovl_fileattr_set). A front has
    /// checked who asks.
    pub(crate) fn flags_set(&self, id: NodeId, flags: FileFlags) -> Result<(), Errno> {
        let node = self.table.get(id)?;
        let upper = self.copy_up_metadata(&node)?;
        // One at a time: what is remembered is what was written last.
        let _copying = self.copying.enter(node.id);
        let (had, protection) = (node.protection(), flags.protection());
        if had == protection {
            let own = flags.difference(FileFlags::PROTECTING);
            return upper.fs().set_file_flags(upper.id, own);
        }
        let before = upper.fs().file_flags(upper.id)?;
        upper
            .fs()
            .set_file_flags(upper.id, flags.difference(FileFlags::PROTECTING))?;
        if let Err(errno) = self.replace_protection(upper, protection) {
            self.undone(upper.fs().set_file_flags(upper.id, before));
            return Err(errno);
        }
        node.set_protection(protection);
        Ok(())
    }

    fn replace_protection(&self, upper: &LayerNode, protection: Protection) -> Result<(), Errno> {
        if !protection.is_empty() {
            return self.keep_protection(upper, protection);
        }
        match self.remove_mark(upper, "protattr") {
            Err(Errno::OPNOTSUPP) => Ok(()),
            removed => removed,
        }
    }
}

impl Node {
    /// Refuses with `EPERM` to change attributes, extended attributes or names of a protected object (may_setattr,
    /// xattr_permission, vfs_link, may_delete), and to take a name from a protected directory.
    pub(crate) fn expect_unprotected(&self) -> Result<(), Errno> {
        if self.protection().is_empty() {
            return Ok(());
        }
        met!(121);
        Err(Errno::PERM)
    }

    /// Refuses with `EPERM` to change an immutable object, and to give an immutable directory a name (inode_permission).
    pub(crate) fn expect_mutable(&self) -> Result<(), Errno> {
        if self.protection().contains(Protection::IMMUTABLE) {
            met!(121);
            return Err(Errno::PERM);
        }
        Ok(())
    }

    /// Refuses with `EPERM` what `change` may not change (vfs_truncate, may_setattr). Of what is append-only nothing but the
    /// times can be set, and both to the time of the call.
    pub(crate) fn expect_settable(&self, change: &SetAttr) -> Result<(), Errno> {
        if self.protection().is_empty() {
            return Ok(());
        }
        let times = change.atime.is_some() || change.mtime.is_some();
        let touch = (change.atime, change.mtime) == (Some(SetTime::Now), Some(SetTime::Now));
        let owned = change.uid.is_some() || change.gid.is_some() || change.mode.is_some();
        if change.size.is_some() || owned || (times && !touch) {
            return Err(Errno::PERM);
        }
        if times { self.expect_mutable() } else { Ok(()) }
    }

    /// Refuses with `EPERM` a write that may not be (may_open). The server sees no open file, so of what is append-only only
    /// the next byte may be written (OVL-122).
    pub(crate) fn expect_writable(&self, offset: u64) -> Result<(), Errno> {
        if self.protection().is_empty() {
            return Ok(());
        }
        self.expect_mutable()?;
        if self.real()?.attr()?.size == offset {
            met!(122);
            return Ok(());
        }
        Err(Errno::PERM)
    }

    /// Refuses with `EPERM` what fallocate(2) may not do: to what is append-only space may be added, and nothing taken
    /// (vfs_fallocate).
    pub(crate) fn expect_allocatable(&self, mode: FallocateMode) -> Result<(), Errno> {
        let adds = mode.difference(FallocateMode::KEEP_SIZE).is_empty();
        if adds {
            self.expect_mutable()
        } else {
            self.expect_unprotected()
        }
    }
}

/// Refuses with `EPERM` to take `victim` away from `dir` (may_delete).
pub(crate) fn expect_removable(dir: &Node, victim: &Node) -> Result<(), Errno> {
    dir.expect_unprotected()?;
    victim.expect_unprotected()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ovl_120_a_protattr_is_a_string_of_a_and_i() {
        let both = Protection::APPEND | Protection::IMMUTABLE;
        for (value, protection) in [
            (&b"a"[..], Some(Protection::APPEND)),
            (b"i", Some(Protection::IMMUTABLE)),
            (b"ai", Some(both)),
            (b"iaa", Some(both)),
            (b"", None),
            (b"x", None),
            (b"aX", None),
            (b"a\0", None),
        ] {
            assert_eq!(parse_protattr(value), protection, "{value:?}");
        }
        for protection in [Protection::APPEND, Protection::IMMUTABLE, both] {
            assert_eq!(parse_protattr(protattr(protection)), Some(protection));
        }
    }
}
