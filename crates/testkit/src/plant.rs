//! Faults that are planted in an overlay, to see whether the oracle finds them.
//!
//! A planted fault is a layer, or the overlay itself, that lies: it drops a mark, forgets a bit, answers what was true before.
//! The engine stays as it is, so a fault cannot be left behind in it.

mod fs;

use std::sync::Arc;

use mica_vfs::Filesystem;

/// Where a fault sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// Between the overlay and its upper.
    Upper,
    /// Between the overlay and each of its lowers.
    Lower,
    /// Between the front and the overlay.
    Front,
}

macro_rules! plants {
    ($($variant:ident $name:literal $seat:ident $about:literal)*) => {
        /// A fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Plant {
            $(#[doc = $about] $variant,)*
        }

        impl Plant {
            /// All faults.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Returns the name by which it is asked for.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns where it sits.
            #[must_use]
            pub const fn seat(self) -> Seat {
                match self { $(Self::$variant => Seat::$seat,)* }
            }

            /// Says what is wrong.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }
        }
    };
}

plants! {
    OpaqueLost "opaque-lost" Upper "A directory is not marked opaque."
    OpaqueWrong "opaque-wrong" Upper "`opaque` is `x` instead of `y`."
    OriginLost "origin-lost" Upper "A copy does not note its origin."
    ImpureLost "impure-lost" Upper "A directory is not marked impure."
    RedirectLost "redirect-lost" Upper "A directory that moves does not note from where."
    RedirectWrong "redirect-wrong" Upper "It notes a name that is too long by one byte."
    MetacopyKept "metacopy-kept" Upper "The mark of a file without data stays when the data comes."
    LinksWrong "links-wrong" Upper "The union's link count is off by one on disk."
    XattrLost "xattr-lost" Upper "A user's attribute is not set."
    CapabilityLost "capability-lost" Upper "A file capability is not set."
    AclLost "acl-lost" Upper "An access ACL is not set."
    ProtectionLost "protection-lost" Upper "What is immutable or append-only is not marked so."
    WhiteoutMissed "whiteout-missed" Upper "A rename leaves no whiteout."
    ExchangeMissed "exchange-missed" Upper "An exchange of two names is a plain rename."
    ModeLost "mode-lost" Upper "A copy loses setuid, setgid and sticky."
    OwnerLost "owner-lost" Upper "A copy loses its group."
    TimeLost "time-lost" Upper "A copy loses its modification time."
    DataShort "data-short" Upper "A copy lacks its last byte."
    DataWrong "data-wrong" Upper "A copy has another first byte."
    DeviceWrong "device-wrong" Upper "A new device has another minor number."
    PunchMissed "punch-missed" Upper "A hole is not punched."
    UnlinkMissed "unlink-missed" Upper "Removing a name of the upper does nothing."
    LowerXattrsMissed "lower-xattrs-missed" Lower "A lower object shows no attributes' names."
    LowerListingShort "lower-listing-short" Lower "The last name of a lower directory is missing."
    LowerLinksWrong "lower-links-wrong" Lower "A lower file has one link more."
    SizeStale "size-stale" Front "After a truncation the size is the one of before."
    WriteShort "write-short" Front "A write of two bytes and more loses the last."
    StoreLost "store-lost" Front "A page that was stored into is not written."
    ListedInoWrong "listed-ino-wrong" Front "A listing has another number for files."
    ListedKindWrong "listed-kind-wrong" Front "A listing calls FIFOs regular files."
    ListingResumesLate "listing-resumes-late" Front "A listing that is read in parts skips a name."
    LinksOff "links-off" Front "A file that gets a name has one link less."
    InoMoves "ino-moves" Front "The number changes with a change of the mode."
    NotEmptyWrong "not-empty-wrong" Front "Removing a directory that is not empty is EEXIST."
    PrivilegesKept "privileges-kept" Front "A write leaves setuid."
    CreateMissed "create-missed" Front "An attribute that must be new replaces an old one."
    TargetShort "target-short" Front "A symbolic link's target lacks its last byte."
}

impl Plant {
    /// Finds a fault by its name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|plant| plant.name() == name)
    }

    /// Puts the fault before `fs` if that is its seat.
    #[must_use]
    pub fn in_front_of(self, fs: Arc<dyn Filesystem>, seat: Seat) -> Arc<dyn Filesystem> {
        if self.seat() == seat {
            Arc::new(Planted {
                inner: fs,
                plant: self,
            })
        } else {
            fs
        }
    }
}

/// A filesystem with a fault.
#[derive(Debug)]
struct Planted {
    inner: Arc<dyn Filesystem>,
    plant: Plant,
}
