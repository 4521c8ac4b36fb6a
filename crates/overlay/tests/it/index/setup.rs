//! OVL-113 to OVL-115: whose an index is, what is wrong with its entries, and the uuid of the upper.

use mica_overlay::{Config, Index, Layer, Overlay, OwnUuid, SetupError};
use mica_testkit::{FaultLayer, Filesystems, Lacks, Medium, Mounted, Stack};
use mica_vfs::{Errno, Uuid};

use super::{LOWER, config, entries, texts, with_index};

#[test]
fn ovl_113_an_index_belongs_to_its_layers() {
    with_index(|mounted| {
        mounted.unmount();
        let again = |mounted: &Mounted| {
            let (upper, lowers) = (mounted.upper().cloned(), mounted.lowers().to_vec());
            Overlay::new(upper, lowers, config(Index::On)).map(drop)
        };
        assert_eq!(again(mounted), Ok(()));
        let root = mounted
            .walk_upper()
            .getxattr("", "trusted.overlay.origin")
            .unwrap();
        let set = |walk: mica_testkit::Walk<'_>, path: &str, name: &str, value: &[u8]| {
            walk.setxattr(path, &format!("trusted.overlay.{name}"), value)
                .unwrap();
        };
        let bound = mounted
            .walk_work()
            .getxattr("index", "trusted.overlay.upper")
            .unwrap();
        assert_eq!(
            (root[3], bound[3]),
            (0, 4),
            "the handle of an upper object is marked"
        );
        set(mounted.walk_upper(), "", "origin", &bound);
        assert!(matches!(again(mounted), Err(SetupError::OtherLower { .. })));
        set(mounted.walk_upper(), "", "origin", &root);
        set(mounted.walk_work(), "index", "upper", &root);
        assert!(matches!(again(mounted), Err(SetupError::OtherUpper { .. })));
        set(mounted.walk_work(), "index", "upper", &bound);
        mounted.walk_work().write("index/00fb", b"").unwrap();
        let name = "00fb".to_owned();
        assert_eq!(again(mounted), Err(SetupError::BadIndex { name }));
        mounted.walk_work().unlink("index/00fb").unwrap();
        mounted.walk_work().write("index/#1", b"").unwrap();
        assert_eq!(again(mounted), Ok(()));
        assert_eq!(entries(mounted), [""; 0], "a temporary is removed");
    });
}

#[test]
fn ovl_113_entries_that_nothing_leads_to_are_removed() {
    with_index(|mounted| {
        mounted.walk().write_at("a", 0, b"2").unwrap();
        mounted.unmount();
        // As after a stop between the whiteout of the last name and the removal of the entry.
        let entry = format!("index/{}", entries(mounted)[0]);
        mounted.walk_upper().unlink("a").unwrap();
        let work = mounted.walk_work();
        work.setxattr(&entry, "trusted.overlay.nlink", b"U-1")
            .unwrap();
        mounted.remount();
        assert_eq!(entries(mounted), [""; 0]);
        assert_eq!(texts(mounted, ["a", "b"]), ["1", "1"]);
    });
}

#[test]
fn ovl_114_a_bad_entry_is_eio_for_its_file() {
    with_index(|mounted| {
        mounted.walk().write_at("a", 0, b"2").unwrap();
        mounted.unmount();
        let entry = format!("index/{}", entries(mounted)[0]);
        let work = mounted.walk_work();
        let origin = work.getxattr(&entry, "trusted.overlay.origin").unwrap();
        work.unlink(&entry).unwrap();
        work.write(&entry, b"").unwrap();
        work.link(&entry, "spare").unwrap();
        work.setxattr(&entry, "trusted.overlay.origin", &origin)
            .unwrap();
        mounted.remount();
        assert_eq!(
            mounted.walk().stat("a").map(drop),
            Err(Errno::IO),
            "another file"
        );
        assert_eq!(texts(mounted, ["o", "b"]), ["other", ""]);
        mounted.walk_work().unlink("spare").unwrap();
        mounted.unmount();
        mounted.walk_work().unlink(&entry).unwrap();
        mounted.walk_work().mkdir(&entry).unwrap();
        mounted.remount();
        assert_eq!(
            mounted.walk().stat("b").map(drop),
            Err(Errno::IO),
            "another type"
        );
        mounted.walk_work().rmdir(&entry).unwrap();
    });
}

#[test]
fn ovl_113_an_index_needs_handles_and_uuids() {
    // Each lower lies on its own filesystem.
    let two = Stack::new().upper("").lower(LOWER).lower("e='2'");
    let two = two.mount(Medium::Memory);
    let (upper, lowers) = (two.upper().cloned(), two.lowers().to_vec());
    let lacking = |layer: &Layer, lacks| {
        let faults = FaultLayer::new(std::sync::Arc::clone(&layer.fs));
        faults.lack(lacks);
        let mut layer = layer.clone();
        layer.fs = std::sync::Arc::new(faults);
        layer
    };
    let refused = |lowers| Overlay::new(upper.clone(), lowers, config(Index::On)).map(drop);
    let nameless: Vec<_> = lowers.iter().map(|l| lacking(l, Lacks::UUID)).collect();
    let (label, other) = ("lower2".to_owned(), "lower1".to_owned());
    assert_eq!(
        refused(nameless.clone()),
        Err(SetupError::SameUuid { label, other })
    );
    // One that has none is told from those that have one.
    assert_eq!(refused(nameless[..1].to_vec()), Ok(()));
    let refused = refused(vec![lacking(&lowers[0], Lacks::HANDLES)]);
    assert!(
        matches!(refused, Err(SetupError::NoHandles { .. })),
        "{refused:?}"
    );
    two.finish();
}

#[test]
fn ovl_115_the_upper_of_a_new_overlay_gets_a_uuid() {
    let (one, other) = (Uuid([1; 16]), Uuid([2; 16]));
    for (uuid, marks, expected) in [
        (OwnUuid::IfNew(one), "", Some(one)),
        (OwnUuid::IfNew(one), "impure", None),
        (OwnUuid::Always(one), "impure", Some(one)),
        (OwnUuid::IfNew(one), "uuid", Some(other)),
        (OwnUuid::Always(one), "uuid", Some(other)),
        (OwnUuid::Never, "", None),
        (OwnUuid::Off, "", None),
    ] {
        for medium in Medium::all() {
            let stack = Stack::new().upper("").lower("a='1'");
            let mut mounted = stack.filesystems(Filesystems::One).mount(medium);
            let set = |name: &str, value: &[u8]| {
                let name = format!("trusted.overlay.{name}");
                mounted.walk_upper().setxattr("", &name, value).unwrap();
            };
            match marks {
                "impure" => set("impure", b"y"),
                "uuid" => set("uuid", &other.0),
                _ => {}
            }
            mounted.remount_with(Config {
                uuid,
                ..Config::default()
            });
            let found = mounted.walk_upper().getxattr("", "trusted.overlay.uuid");
            assert_eq!(
                found.ok(),
                expected.map(|uuid| uuid.0.to_vec()),
                "{uuid:?} {marks}"
            );
            mounted.walk().chmod("a", 0o600).unwrap();
            let origin = mounted
                .walk_upper()
                .getxattr("a", "trusted.overlay.origin")
                .unwrap();
            if uuid == OwnUuid::Off {
                assert_eq!(origin[5..21], [0; 16]);
            }
            mounted.remount();
            mounted.finish();
        }
    }
}
