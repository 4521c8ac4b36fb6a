//! Who can have made a mark.
//!
//! Attributes of `user.` and files of any name are data to a mount that does not read them: whoever owns a directory can make
//! them through the mount. Such a mark tells nothing of the program that wrote the upper, and must not keep the next mount
//! from it.

use mica_vfs::{Attr, FileType, Mode};

/// Those whose marks count: the owner of the upper's root, root, and who mounts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Makers {
    users: [u32; 3],
    groups: [u32; 3],
}

impl Makers {
    /// Finds them by the upper's root.
    pub(super) fn of(root: &Attr) -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Self {
            users: [root.uid, 0, uid.as_raw()],
            groups: [root.gid, 0, gid.as_raw()],
        }
    }

    /// Tells whether nobody else can set attributes of an object. In a sticky directory that takes its owner.
    pub(super) fn alone_mark(&self, object: &Attr) -> bool {
        let sticky = object.kind == FileType::Directory && object.mode.contains(Mode::STICKY);
        self.users.contains(&object.uid) && (sticky || !self.others_write(object))
    }

    /// Tells whether nobody else can have put `file` into `dir`, or made one of theirs of it.
    pub(super) fn alone_put(&self, dir: &Attr, file: &Attr) -> bool {
        self.alone_mark(dir) && self.users.contains(&file.uid)
    }

    fn others_write(&self, object: &Attr) -> bool {
        let mode = object.mode.bits();
        mode & 0o002 != 0 || (mode & 0o020 != 0 && !self.groups.contains(&object.gid))
    }
}

#[cfg(test)]
mod tests {
    use mica_host::{FdCache, HostFs, LayerAccess, open_layer};
    use mica_vfs::{Filesystem as _, NodeId};

    use super::*;

    fn object(kind: FileType, uid: u32, gid: u32, mode: u32) -> Attr {
        let dir = open_layer("/".as_ref(), LayerAccess::ReadOnly).unwrap();
        let fs = HostFs::new(dir, LayerAccess::ReadOnly, FdCache::new(1)).unwrap();
        Attr {
            kind,
            uid,
            gid,
            mode: Mode::new(mode),
            ..fs.get_attr(NodeId::ROOT).unwrap()
        }
    }

    #[test]
    fn what_others_can_write_is_not_made_by_the_owner_alone() {
        let dir = |uid, gid, mode| object(FileType::Directory, uid, gid, mode);
        let makers = Makers::of(&dir(1000, 1000, 0o755));
        for (mark, alone) in [
            (dir(1000, 1000, 0o755), true),
            (dir(0, 0, 0o755), true),
            (dir(1001, 1000, 0o755), false),
            (dir(1000, 1000, 0o775), true),
            (dir(1000, 50, 0o775), false),
            (dir(0, 0, 0o777), false),
            (dir(0, 0, 0o1777), true),
            (object(FileType::Regular, 0, 0, 0o1666), false),
        ] {
            assert_eq!(makers.alone_mark(&mark), alone, "{mark:?}");
        }
        let file = |uid| object(FileType::Regular, uid, 0, 0o644);
        assert!(makers.alone_put(&dir(0, 0, 0o1777), &file(1000)));
        assert!(!makers.alone_put(&dir(0, 0, 0o1777), &file(1001)));
        assert!(!makers.alone_put(&dir(0, 0, 0o777), &file(0)));
    }
}
