//! What a caller may do, where the overlay decides and not the kernel (OVL-230).
//!
//! All callers are one user then, and what the layers would let him do is what he may do here. Of his own objects the mode says
//! that; of those of others it does as far as all classes have a right, and for the rest the layer is asked, which knows groups and
//! ACLs. The copy of what is another's belongs to the user, or to whom the layers show in the other's place: it keeps in a mark what
//! the layers said (OVL-231).
//!
//! A node remembers what its attributes say whenever they pass, so that warm operations cost no call.
//!
//! # Invariants
//!
//! - To search and to read a lower object of somebody else is left to the layer: what this process does there, it does as the user.
//! - What the user may do with an object of somebody else does not change once it was copied up: he cannot change its mode.

use mica_vfs::{
    Attr, Errno, FileName, FileType, Mode, NodeId, RenameFlags, Rights, SetAttr, SetTime, Through,
    is_for_the_maker, met,
};

use crate::config::{HardLinks, LayerUser, Permissions};
use crate::marks::Marks;
use crate::node::{Known, Node};
use crate::overlay::Overlay;
use crate::stack::LayerNode;

/// Longer than any value of the mark: two ids, a digit, and what is between.
const OWNER_MAX: usize = 32;

/// To change names in a directory.
const NAMES: Rights = Rights::WRITE.union(Rights::EXEC);

/// Reads the value of an `owner` mark: what the user may do. `None` if it makes no sense.
fn parse_owner(value: &[u8]) -> Option<Rights> {
    let mut fields = std::str::from_utf8(value).ok()?.split(':');
    let (uid, gid) = (fields.next()?, fields.next()?);
    let (_, _) = (uid.parse::<u32>().ok()?, gid.parse::<u32>().ok()?);
    let rights = Rights::from_bits(fields.next()?.parse().ok()?)?;
    fields.next().is_none().then_some(rights)
}

/// Writes the value of an `owner` mark.
fn owner_mark(attr: &Attr, rights: Rights) -> String {
    format!("{}:{}:{}", attr.uid, attr.gid, rights.bits())
}

/// What a class of users has by a mode: 0 is that of all others, 1 the group's, 2 the owner's.
fn class(mode: Mode, nth: u32) -> Rights {
    let bits = (mode.bits() >> (3 * nth)) & 7;
    Rights::from_bits_truncate(u8::try_from(bits).unwrap_or_default())
}

fn allowed(is: bool) -> Result<(), Errno> {
    if is { Ok(()) } else { Err(Errno::ACCESS) }
}

impl LayerUser {
    /// What the mode says of an object that is not the user's, where nobody can be asked.
    fn as_other(self, attr: &Attr) -> Rights {
        class(attr.mode, u32::from(attr.gid == self.gid))
    }

    /// Works out what attributes say of an object whose `before` is known.
    fn learn(self, before: Known, attr: &Attr, is_upper: bool) -> Known {
        let mut now = if before.is_recorded() {
            before
        } else if attr.uid == self.uid {
            (before & Known::LOOKED).with(class(attr.mode, 2))
        } else if is_upper {
            Known::recorded(self.as_other(attr))
        } else {
            let all = class(attr.mode, 0) & class(attr.mode, 1) & class(attr.mode, 2);
            // What may be written the layer alone knows: it may be read-only, or protected.
            let sure = all.difference(Rights::WRITE);
            ((before & Known::LOOKED) | Known::FOREIGN | Known::ASK).with(sure)
        };
        now |= Known::VALID;
        now.set(Known::STICKY, attr.mode.contains(Mode::STICKY));
        now
    }
}

impl Overlay {
    /// Whose rights count; `None` if the kernel decides.
    fn user(&self) -> Option<LayerUser> {
        match self.config.permissions {
            Permissions::Of(_) if is_for_the_maker() => None,
            Permissions::Shown => None,
            Permissions::Of(user) => Some(user),
        }
    }

    /// Lets `node` remember what its attributes say, `real` as the layer has them.
    pub(crate) fn learn(&self, node: &Node, real: &Attr) {
        let Some(user) = self.user() else { return };
        let (before, is_upper) = (node.known(), node.upper().is_some());
        // What has no mark is the user's; what may have one is looked at when it counts.
        if !is_upper || before.contains(Known::LOOKED) {
            node.learn(before, user.learn(before, real, is_upper));
        }
    }

    /// Reads what the mark of an upper object says, given its `marks` (OVL-231).
    pub(crate) fn owner_kept(
        &self,
        node: &LayerNode,
        marks: Option<Marks>,
        path: &dyn Fn() -> String,
    ) -> Result<Known, Errno> {
        if self.user().is_none() || !node.is_upper() {
            return Ok(Known::empty());
        }
        if marks.is_some_and(|marks| !marks.contains(Marks::OWNER)) {
            return Ok(Known::LOOKED);
        }
        let mut value = [0; OWNER_MAX];
        let rights = match self.mark(node, "owner", &mut value) {
            Ok(value) => parse_owner(value),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(Known::LOOKED),
            Err(Errno::RANGE) => None,
            Err(errno) => return Err(errno),
        };
        if rights.is_none() {
            let (layer, path) = (&node.layer.label, path());
            tracing::warn!(layer, path, "malformed owner mark: nobody may do anything");
        }
        Ok(Known::recorded(rights.unwrap_or(Rights::empty())))
    }

    /// Returns what is known of `node`, after a look at it if that is nothing.
    fn known(&self, node: &Node, user: LayerUser) -> Result<Known, Errno> {
        let before = node.known();
        let real = node.real()?;
        let stale = real.is_upper() && before.contains(Known::ASK) && !before.is_recorded();
        if before.contains(Known::VALID) && !stale {
            return Ok(before);
        }
        let kept = self.owner_kept(real, None, &|| node.path())?;
        let now = user.learn(kept, &real.attr()?, real.is_upper());
        node.set_known(now);
        Ok(now)
    }

    /// Fails with `EACCES` if the user may not do `wanted` with `node`.
    pub(crate) fn expect_rights(&self, node: &Node, wanted: Rights) -> Result<(), Errno> {
        let Some(user) = self.user() else {
            return Ok(());
        };
        if node.kind == FileType::Symlink {
            return Ok(());
        }
        let known = self.known(node, user)?;
        let missing = wanted.difference(known.rights());
        if missing.is_empty() {
            return Ok(());
        }
        met!(230);
        if !known.contains(Known::ASK) {
            return Err(Errno::ACCESS);
        }
        self.ask(node.real()?, missing, user)
    }

    /// Asks a layer whether the user may do `wanted` with an object that is not his.
    fn ask(&self, lower: &LayerNode, wanted: Rights, user: LayerUser) -> Result<(), Errno> {
        match lower.fs().access(lower.id, wanted) {
            // An old kernel cannot be asked.
            Err(Errno::NOSYS) => allowed(user.as_other(&lower.attr()?).contains(wanted)),
            // A mount is found to be read-only last, when all else is allowed; a filesystem first. There nobody is told whether the
            // mode would let him.
            Err(Errno::ROFS) => {
                let mode = lower.attr()?.mode;
                allowed((class(mode, 0) | class(mode, 1)).contains(Rights::WRITE))?;
                lower
                    .fs()
                    .access(lower.id, wanted.difference(Rights::WRITE))
            }
            answer => answer,
        }
    }

    /// As [`expect_rights`](Self::expect_rights), but leaves to the layer what it decides by itself when it is read.
    fn expect_readable(&self, node: &Node, wanted: Rights) -> Result<(), Errno> {
        let Some(user) = self.user() else {
            return Ok(());
        };
        let known = self.known(node, user)?;
        if known.contains(Known::ASK) || known.rights().contains(wanted) {
            return Ok(());
        }
        met!(230);
        Err(Errno::ACCESS)
    }

    /// Fails with `EACCES` if the user may not search `dir`.
    pub(crate) fn expect_searchable(&self, dir: &Node) -> Result<(), Errno> {
        self.expect_readable(dir, Rights::EXEC)
    }

    /// Fails with `EACCES` if the user may not change names in directory `dir`.
    pub(crate) fn expect_names(&self, dir: NodeId) -> Result<(), Errno> {
        if self.user().is_none() {
            return Ok(());
        }
        let dir = self.dir(dir)?;
        self.expect_rights(&dir, NAMES)
    }

    fn is_foreign(&self, node: &Node, user: LayerUser) -> Result<bool, Errno> {
        Ok(self.known(node, user)?.contains(Known::FOREIGN))
    }

    /// Fails with `EPERM` if `node` is not the user's (inode_owner_or_capable).
    pub(crate) fn expect_own(&self, node: &Node) -> Result<(), Errno> {
        match self.user() {
            Some(user) if self.is_foreign(node, user)? => {
                met!(230);
                Err(Errno::PERM)
            }
            _ => Ok(()),
        }
    }

    /// Fails if the user may not take `name` out of `dir`: `EACCES`, or `EPERM` of what is another's in a sticky directory of
    /// another (may_delete).
    pub(crate) fn expect_loss(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno> {
        let Some(user) = self.user() else {
            return Ok(());
        };
        let dir = self.dir(dir)?;
        self.expect_rights(&dir, NAMES)?;
        let sticky = Known::STICKY | Known::FOREIGN;
        if !self.known(&dir, user)?.contains(sticky) {
            return Ok(());
        }
        match self.hold(&dir, name) {
            Ok(victim) => self.expect_own(&victim),
            // The operation itself says so.
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Fails if the user may not rename so (vfs_rename).
    pub(crate) fn expect_renamable(
        &self,
        from: (NodeId, FileName<'_>),
        to: (NodeId, FileName<'_>),
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        if self.user().is_none() {
            return Ok(());
        }
        self.expect_loss(from.0, from.1)?;
        self.expect_loss(to.0, to.1)?;
        if from.0 == to.0 {
            return Ok(());
        }
        // The directory gets another `..`.
        self.expect_movable(from)?;
        if flags.contains(RenameFlags::EXCHANGE) {
            self.expect_movable(to)?;
        }
        Ok(())
    }

    fn expect_movable(&self, (dir, name): (NodeId, FileName<'_>)) -> Result<(), Errno> {
        let dir = self.dir(dir)?;
        match self.hold(&dir, name) {
            Ok(moved) if moved.kind == FileType::Directory => {
                self.expect_rights(&moved, Rights::WRITE)
            }
            Ok(_) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Fails with `EPERM` if the user may not give `node` another name (may_linkat).
    pub(crate) fn expect_linkable(&self, node: NodeId) -> Result<(), Errno> {
        let Some(user) = self.user() else {
            return Ok(());
        };
        let node = self.table.get(node)?;
        if user.hard_links == HardLinks::All || !self.is_foreign(&node, user)? {
            return Ok(());
        }
        let mode = node.real()?.attr()?.mode;
        let runs_as_others =
            mode.contains(Mode::SETUID) || mode.contains(Mode::SETGID.union(Mode::GROUP_EXEC));
        let harmless = node.kind == FileType::Regular && !runs_as_others;
        if harmless
            && self
                .expect_rights(&node, Rights::READ | Rights::WRITE)
                .is_ok()
        {
            return Ok(());
        }
        met!(232);
        Err(Errno::PERM)
    }

    /// Fails if the user may not make this change (setattr_prepare, vfs_utimes).
    pub(crate) fn expect_changeable(&self, id: NodeId, change: &SetAttr) -> Result<(), Errno> {
        let Some(user) = self.user() else {
            return Ok(());
        };
        if change.through == Through::OpenFile {
            return Ok(());
        }
        let node = self.table.get(id)?;
        if change.size.is_some() {
            self.expect_rights(&node, Rights::WRITE)?;
        }
        if change.mode.is_some() || change.uid.is_some() || change.gid.is_some() {
            self.expect_own(&node)?;
        }
        // Without privileges nobody gives a file away, and to groups only that are his.
        let given = change.uid.is_some_and(|uid| uid != user.uid);
        let elsewhere = change.gid.filter(|&gid| gid != user.gid);
        if given || elsewhere.is_some_and(|gid| !self.has_group(&node, gid)) {
            met!(230);
            return Err(Errno::PERM);
        }
        let now = Some(SetTime::Now);
        match (change.atime, change.mtime) {
            (None, None) => Ok(()),
            // What a truncation does to the time of a file comes with it.
            (None, Some(SetTime::Now)) if change.size.is_some() => Ok(()),
            (atime, mtime) if atime == now && mtime == now => match self.expect_own(&node) {
                Err(Errno::PERM) => self.expect_rights(&node, Rights::WRITE),
                own => own,
            },
            _ => self.expect_own(&node),
        }
    }

    fn has_group(&self, node: &Node, gid: u32) -> bool {
        let attr = node.real().and_then(LayerNode::attr);
        attr.is_ok_and(|attr| attr.gid == gid)
    }

    /// Fails if the user may not change attribute `name` of `node` (xattr_permission). Of those that are not `user.*` the kernel knows.
    pub(crate) fn expect_attribute(&self, id: NodeId, name: &[u8]) -> Result<(), Errno> {
        let Some(user) = self.user() else {
            return Ok(());
        };
        if !name.starts_with(b"user.") {
            return Ok(());
        }
        let node = self.table.get(id)?;
        let known = self.known(&node, user)?;
        if known.contains(Known::STICKY) && node.kind == FileType::Directory {
            self.expect_own(&node)?;
        }
        self.expect_rights(&node, Rights::WRITE)
    }

    /// Fails with `EACCES` if the user may not read attribute `name` of `node`.
    pub(crate) fn expect_attribute_read(&self, node: &Node, name: &[u8]) -> Result<(), Errno> {
        if name.starts_with(b"user.") && node.kind != FileType::Symlink {
            self.expect_readable(node, Rights::READ)
        } else {
            Ok(())
        }
    }

    /// Works out what has to be kept with a copy of `lower`, if it is not the user's.
    pub(crate) fn owner_to_keep(
        &self,
        lower: &LayerNode,
        attr: &Attr,
    ) -> Result<Option<Rights>, Errno> {
        let Some(user) = self.user().filter(|user| user.uid != attr.uid) else {
            return Ok(None);
        };
        let mut rights = Rights::empty();
        for right in Rights::all().iter() {
            match self.ask(lower, right, user) {
                Ok(()) => rights |= right,
                Err(Errno::ACCESS | Errno::PERM) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(Some(rights))
    }

    /// Keeps with the copy of what is another's whose it is, and what the user may do with it (OVL-231).
    pub(crate) fn keep_owner(
        &self,
        upper: &LayerNode,
        attr: &Attr,
        rights: Rights,
    ) -> Result<(), Errno> {
        met!(231);
        match self.set_mark(upper, "owner", owner_mark(attr, rights).as_bytes()) {
            // `user.*` is for files and directories only, and of others nothing is asked.
            Err(Errno::PERM | Errno::OPNOTSUPP) => Ok(()),
            kept => kept,
        }
    }

    /// Lets `node` remember what is kept with its copy, which is about to be shown.
    pub(crate) fn copied_of(&self, node: &Node, kept: Option<Rights>, lower: &Attr) {
        if let Some(user) = self.user() {
            let known = kept.map_or(Known::LOOKED, Known::recorded);
            node.set_known(user.learn(known, lower, true));
        }
    }

    /// Finds out whose the root is: the upper's directory is the user's, whoever has the root of the lowers.
    pub(crate) fn learn_root(&self) -> Result<(), Errno> {
        let root = self.table.get(NodeId::ROOT)?;
        let (Some(lower), true) = (root.first_lower(), root.upper().is_some()) else {
            return Ok(());
        };
        let attr = lower.attr()?;
        match self.owner_to_keep(lower, &attr)? {
            Some(rights) => self.copied_of(&root, Some(rights), &attr),
            None => root.set_known(Known::LOOKED),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ovl_231_the_mark_says_what_the_user_may_do_or_nothing() {
        assert_eq!(
            parse_owner(b"65534:65534:5"),
            Some(Rights::READ | Rights::EXEC)
        );
        assert_eq!(parse_owner(b"0:0:0"), Some(Rights::empty()));
        for bad in [
            &b""[..],
            b"0:0",
            b"0:0:8",
            b"a:0:1",
            b"0:0:1:",
            b"0:0:-1",
            b"\xff:0:1",
        ] {
            assert_eq!(parse_owner(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_mode_has_three_classes() {
        let mode = Mode::new(0o4751);
        assert_eq!(class(mode, 2), Rights::all());
        assert_eq!(class(mode, 1), Rights::READ | Rights::EXEC);
        assert_eq!(class(mode, 0), Rights::EXEC);
    }
}
