//! `index=`, `xino=` and `uuid=`: by what files are found again.

use mica_overlay::{Index, OwnUuid, Xino};

use super::kernel::Chosen;

/// Whether the overlay has a UUID of its own, and file handles that of their filesystem: what `uuid=` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverlayUuid {
    /// `auto`: an overlay that is new gets one; one that has none goes without.
    #[default]
    Auto,
    /// `on`: it gets one if it has none.
    On,
    /// `null`: it is left alone.
    Null,
    /// `off`: neither it nor the handles have one, so that all layers may be moved to another filesystem together.
    Off,
}

impl OverlayUuid {
    /// Says what it means for an overlay that would get the UUID `fresh`.
    #[must_use]
    pub const fn with(self, fresh: mica_vfs::Uuid) -> OwnUuid {
        match self {
            Self::Auto => OwnUuid::IfNew(fresh),
            Self::On => OwnUuid::Always(fresh),
            Self::Null => OwnUuid::Never,
            Self::Off => OwnUuid::Off,
        }
    }
}

/// Returns what `index=`, `xino=` and `uuid=` ask for.
pub(super) fn of(chosen: &Chosen) -> (Index, Xino, OverlayUuid) {
    let index = match chosen.value("index") {
        Some("on") => Index::On,
        _ => Index::Off,
    };
    let uuid = match chosen.value("uuid") {
        Some("on") => OverlayUuid::On,
        Some("null") => OverlayUuid::Null,
        Some("off") => OverlayUuid::Off,
        _ => OverlayUuid::Auto,
    };
    let xino = match chosen.value("xino") {
        Some("on") => Xino::On,
        _ => Xino::Off,
    };
    (index, xino, uuid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MountSpec;

    #[test]
    fn index_xino_and_uuid_choose_what_is_kept_on_disk() {
        use OverlayUuid::{Auto, Null, Off, On};
        for (options, index, uuid) in [
            ("ro", Index::Off, Auto),
            ("index=on", Index::On, Auto),
            ("index=on,index=off,uuid=on", Index::Off, On),
            ("uuid=null", Index::Off, Null),
            ("uuid=off,index=on", Index::On, Off),
        ] {
            let spec = MountSpec::parse([&format!("lowerdir=l,{options}")]).unwrap();
            let found = (spec.stack.index, spec.stack.uuid);
            assert_eq!(found, (index, uuid), "{options}");
            assert_eq!(spec.notes, [], "{options}");
        }
        for (value, xino) in [("on", Xino::On), ("auto", Xino::Off), ("off", Xino::Off)] {
            let spec = MountSpec::parse([&format!("lowerdir=l,xino={value}")]).unwrap();
            assert_eq!(spec.stack.xino, xino, "{value}");
        }
        let fresh = mica_vfs::Uuid([7; 16]);
        assert_eq!(Auto.with(fresh), OwnUuid::IfNew(fresh));
        assert_eq!(On.with(fresh), OwnUuid::Always(fresh));
        assert_eq!(Null.with(fresh), OwnUuid::Never);
        assert_eq!(Off.with(fresh), OwnUuid::Off);
    }
}
