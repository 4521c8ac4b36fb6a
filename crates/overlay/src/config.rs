//! What a mount may choose.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use mica_vfs::{Caller, Coherence};

use crate::acl::Acls;
use crate::durability::Durability;
use crate::ids::IdMap;
use crate::uuid::OwnUuid;
use crate::witness::Witness;

/// Where the overlay keeps its own extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XattrNamespace {
    /// `trusted.overlay.*`, which needs `CAP_SYS_ADMIN` in the initial user namespace.
    #[default]
    Trusted,
    /// `user.overlay.*`, the mount option `userxattr`.
    User,
}

impl XattrNamespace {
    /// Returns the prefix of the overlay's attribute names.
    #[must_use]
    pub const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.",
            Self::User => b"user.overlay.",
        }
    }

    /// Returns the full name of an attribute.
    pub(crate) fn name(self, suffix: &str) -> Vec<u8> {
        [self.prefix(), suffix.as_bytes()].concat()
    }
}

/// The ids that layers show for owners and groups whose true id is not known: in a user namespace those without a mapping
/// (OVL-72).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unmapped {
    /// Such an owner; `None` where every owner is known.
    pub uid: Option<u32>,
    /// Such a group.
    pub gid: Option<u32>,
}

/// What `st_nlink` of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DirLinks {
    /// What the upper or the one lower says; 1 for a merged directory (OVL-33).
    #[default]
    Counted,
    /// 1 for every directory, the mount option `static_nlink`.
    One,
}

/// What ties the names of changed lower files together when the mount is over, the mount option `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Index {
    /// Nothing: names that only a lower has show the old content at the next mount (OVL-32).
    #[default]
    Off,
    /// `work/index` (OVL-111). Without an upper there is nothing to tie.
    On,
}

/// What the mount option `xino` asked for. Numbers are unique over all layers in any case; `on` leaves a trace on disk (OVL-93).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Xino {
    /// `off` or `auto`.
    #[default]
    Off,
    /// `on`.
    On,
}

/// Whether metacopies are made and followed, the mount option `metacopy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Metacopies {
    /// Every copy-up copies the data, and a metacopy is refused (OVL-8).
    #[default]
    Off,
    /// A change of metadata alone copies no data (OVL-104).
    On,
}

/// Whether directories may be found under another name in the layers below, the mount option `redirect_dir`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Redirects {
    /// Redirects are followed, and written when a directory that a lower has a part in is renamed.
    #[default]
    On,
    /// Redirects are followed. Renaming such a directory is `EXDEV` (OVL-27).
    Follow,
    /// What a redirect leads to is refused (OVL-8), and none is written.
    NoFollow,
}

impl Redirects {
    /// Whether redirects are followed.
    pub(crate) const fn follow(self) -> bool {
        matches!(self, Self::On | Self::Follow)
    }

    /// Whether redirects are written.
    pub(crate) const fn write(self) -> bool {
        matches!(self, Self::On)
    }
}

/// Who decides what a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Permissions {
    /// The kernel, by the owners and modes that are shown.
    #[default]
    Shown,
    /// The overlay: all callers are this user, who may do what the layers would let him do (OVL-230).
    Of(LayerUser),
}

/// The user whose rights count, as the layers show ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerUser {
    /// His id.
    pub uid: u32,
    /// His group.
    pub gid: u32,
    /// What he may give another name.
    pub hard_links: HardLinks,
}

/// What an ordinary user may give another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HardLinks {
    /// Any file.
    #[default]
    All,
    /// His own files, and those that he may read and write and that give no rights: `fs.protected_hardlinks`.
    Protected,
}

/// What becomes of a directory whose names the layers do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unlisted {
    /// It can be neither removed nor replaced.
    #[default]
    Kept,
    /// It counts as empty (OVL-233).
    Removable,
    /// It is shown as empty, too (OVL-220).
    Empty,
}

/// The choices of one mount.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the overlay keeps its own extended attributes.
    pub xattrs: XattrNamespace,
    /// What ties the names of changed lower files together.
    pub index: Index,
    /// Whether the overlay has a UUID of its own.
    pub uuid: OwnUuid,
    /// What `xino` asked for.
    pub xino: Xino,
    /// Whether redirects of directories are written and followed.
    pub redirects: Redirects,
    /// Who makes whiteouts and temporary files: the mounter.
    pub mounter: Caller,
    /// When what is written is put on disk.
    pub durability: Durability,
    /// Owners and groups that are not known, and so cannot be given to a copy.
    pub unmapped: Unmapped,
    /// Key of the hash that orders directory listings. A server that takes a mount over must use the same key, or the
    /// cookies that readers hold mean nothing to it.
    pub cookie_key: (u64, u64),
    /// How owners are shown and stored.
    pub ids: IdMap,
    /// Whether others change the lowers while they are mounted (OVL-138). The layers must know of it, too.
    pub coherence: Coherence,
    /// Whether there are ACLs.
    pub acls: Acls,
    /// Who decides what a caller may do.
    pub permissions: Permissions,
    /// What becomes of a directory whose names the layers do not tell.
    pub unlisted: Unlisted,
    /// What the link count of a directory is.
    pub dir_links: DirLinks,
    /// Whether metacopies are made and followed. [`Metacopies::On`] takes [`Redirects::On`], whatever was chosen: a metacopy
    /// that is renamed has one.
    pub metacopies: Metacopies,
    /// How many objects without a name the upper keeps usable by itself, a directory of the host by an open descriptor
    /// for each. More of them are kept under names in the work directory (OVL-61).
    pub nameless_max: usize,
    /// Who is told of each lower object before it is copied up, hidden or moved.
    pub witness: Option<Arc<dyn Witness>>,
}

impl Config {
    /// Whether a new directory in a merged one is marked opaque, though nothing lies below: lowers that are changed between
    /// mounts do not show in it then (OVL-93, ovl_allow_offline_changes).
    pub(crate) const fn marks_new_directories(&self) -> bool {
        matches!(
            (self.redirects, self.index, self.xino),
            (Redirects::On, ..) | (_, Index::On, _) | (.., Xino::On)
        )
    }
}

/// [`Config::nameless_max`] where nothing says how many descriptors there are.
const NAMELESS_MAX: usize = 64;

impl Default for Config {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            xattrs: XattrNamespace::default(),
            index: Index::default(),
            uuid: OwnUuid::default(),
            xino: Xino::default(),
            redirects: Redirects::default(),
            mounter: Caller::ROOT,
            durability: Durability::default(),
            unmapped: Unmapped::default(),
            cookie_key: (random.hash_one(0), random.hash_one(1)),
            ids: IdMap::default(),
            coherence: Coherence::default(),
            acls: Acls::default(),
            permissions: Permissions::default(),
            unlisted: Unlisted::default(),
            dir_links: DirLinks::default(),
            metacopies: Metacopies::default(),
            nameless_max: NAMELESS_MAX,
            witness: None,
        }
    }
}
