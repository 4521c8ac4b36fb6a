//! OVL-111 to OVL-114: the index, `index=on`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use mica_overlay::{
    Config, Index, Layer, Metacopies, Overlay, OwnUuid, Redirects, SetupError, Xino,
};
use mica_testkit::{Detail, FaultLayer, Filesystems, Lacks, Medium, Mounted, Object, Stack, dump};
use mica_vfs::{Errno, Filesystem as _, Ino, RenameFlags, Uuid};

use crate::kernel::is_possible;

const LOWER: &str = "a='1' b=>a d/c=>a d/e/x=>a o='other' s='single'";

fn config(index: Index) -> Config {
    Config {
        index,
        ..Config::default()
    }
}

fn stack() -> Stack {
    let stack = Stack::new().upper("").lower(LOWER);
    stack.config(config(Index::On))
}

fn with_index(act: impl Fn(&mut Mounted)) {
    for medium in Medium::all() {
        let mut mounted = stack().mount(medium);
        act(&mut mounted);
        mounted.finish();
    }
}

fn ino(mounted: &Mounted, path: &str) -> Ino {
    mounted.walk().stat(path).unwrap().ino
}

fn nlink(mounted: &Mounted, path: &str) -> u32 {
    mounted.walk().stat(path).unwrap().nlink
}

fn texts<const N: usize>(mounted: &Mounted, names: [&str; N]) -> [String; N] {
    names.map(|name| mounted.walk().read_text(name).unwrap_or("-".into()))
}

fn entries(mounted: &Mounted) -> Vec<String> {
    mounted.walk_work().ls("index").unwrap()
}

fn mark(mounted: &Mounted, path: &str, name: &str) -> String {
    let value = mounted
        .walk_upper()
        .getxattr(path, &format!("trusted.overlay.{name}"));
    String::from_utf8_lossy(&value.unwrap_or_default()).into_owned()
}

#[test]
fn ovl_111_names_stay_together_from_mount_to_mount() {
    with_index(|mounted| {
        let before = ino(mounted, "a");
        mounted.walk().write_at("a", 0, b"2").unwrap();
        assert_eq!(entries(mounted).len(), 1);
        for _ in 0..2 {
            assert_eq!(texts(mounted, ["a", "b", "d/c", "d/e/x"]), ["2"; 4]);
            for name in ["d/c", "b", "a"] {
                assert_eq!((ino(mounted, name), nlink(mounted, name)), (before, 4));
            }
            let upper = mounted.walk_upper();
            assert_eq!(
                upper.ls("").unwrap(),
                ["a"],
                "the name that was used, alone"
            );
            assert_eq!(upper.stat("a").unwrap().nlink, 2);
            mounted.remount();
        }
        mounted.walk().write_at("d/c", 0, b"3").unwrap();
        mounted.remount();
        assert_eq!(texts(mounted, ["a", "b", "d/c"]), ["3"; 3]);
        assert_eq!(mounted.walk_upper().stat("d/c").unwrap().nlink, 3);
        assert_eq!(mark(mounted, "a", "nlink"), "U+1");
        assert_eq!(mounted.overlay().stats().copy_ups, 0);
    });
}

#[test]
fn ovl_112_the_link_count_follows_every_change_of_names() {
    with_index(|mounted| {
        let both = |mounted: &mut Mounted, path: &str, links: u32| {
            assert_eq!(nlink(mounted, path), links);
            mounted.remount();
            assert_eq!(nlink(mounted, path), links, "after a remount");
        };
        mounted.walk().unlink("d/c").unwrap();
        both(mounted, "a", 3);
        mounted.walk().link("a", "n").unwrap();
        both(mounted, "b", 4);
        mounted.walk().rename("a", "z").unwrap();
        both(mounted, "z", 4);
        mounted.walk().rename("o", "b").unwrap();
        both(mounted, "n", 3);
        mounted
            .walk()
            .rename_with("s", "n", RenameFlags::EXCHANGE)
            .unwrap();
        both(mounted, "s", 3);
        let walk = mounted.walk();
        assert_eq!(
            texts(mounted, ["a", "b", "d/c", "n", "s"]),
            ["-", "other", "-", "single", "1"]
        );
        walk.unlink("z").unwrap();
        walk.unlink("s").unwrap();
        both(mounted, "d/e/x", 1);
        assert_eq!(entries(mounted).len(), 1);
        mounted.walk().unlink("d/e/x").unwrap();
        assert_eq!(entries(mounted), [""; 0], "nothing is called by it");
        assert_eq!(mounted.overlay().stats().nodes, 1);
        mounted.remount();
        assert_eq!(texts(mounted, ["a", "d/e/x", "z"]), ["-"; 3]);
    });
}

#[test]
fn ovl_112_the_link_count_is_right_when_many_change_it_at_once() {
    const WORKERS: u32 = 4;
    with_index(|mounted| {
        for round in 0..40 {
            let all = &*mounted;
            let start = std::sync::Barrier::new(WORKERS as usize);
            std::thread::scope(|scope| {
                for worker in 0..WORKERS {
                    let (start, name) = (&start, format!("new-{worker}"));
                    scope.spawn(move || {
                        start.wait();
                        if round % 2 == 0 {
                            all.walk().link("a", &name).unwrap();
                        } else {
                            all.walk().unlink(&name).unwrap();
                        }
                    });
                }
            });
            let links = if round % 2 == 0 { 4 + WORKERS } else { 4 };
            assert_eq!(nlink(mounted, "a"), links, "round {round}");
            mounted.remount();
            assert_eq!(nlink(mounted, "a"), links, "round {round}, after a remount");
        }
    });
}

#[test]
fn ovl_112_an_orphan_in_the_work_directory_is_no_name() {
    let orphaning = Config {
        nameless_max: 0,
        ..config(Index::On)
    };
    for medium in Medium::all() {
        let mut mounted = stack().config(orphaning.clone()).mount(medium);
        let held = mounted.walk().hold("b").unwrap();
        mounted.walk().unlink("b").unwrap();
        mounted.walk().unlink("a").unwrap();
        drop(held);
        assert_eq!(nlink(&mounted, "d/c"), 2);
        mounted.remount();
        assert_eq!(nlink(&mounted, "d/c"), 2, "after a remount");
        mounted.finish();
    }
}

#[test]
fn ovl_111_who_has_it_open_keeps_a_file_whose_last_name_went() {
    with_index(|mounted| {
        let walk = mounted.walk();
        let held = walk.hold("b").unwrap();
        for name in ["a", "b", "d/c", "d/e/x"] {
            walk.unlink(name).unwrap();
        }
        let fs = mounted.overlay();
        mica_vfs::Filesystem::write(&**fs, held.node(), 0, b"2", mica_vfs::KillPriv::Keep).unwrap();
        assert_eq!(
            mica_vfs::Filesystem::get_attr(&**fs, held.node())
                .unwrap()
                .nlink,
            0
        );
        assert_eq!(entries(mounted), [""; 0]);
        drop(held);
        assert_eq!(mounted.overlay().stats().nodes, 1);
    });
}

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

/// What one side does to the mount at a path.
type Deed = (&'static str, fn(&Path));

const DEEDS: &[Deed] = &[
    ("look", |m| {
        assert_eq!(fs::read_dir(m.join("d")).unwrap().count(), 2)
    }),
    ("write to a", |m| fs::write(m.join("a"), "22").unwrap()),
    ("chmod d/c", |m| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(m.join("d/c"), mode).unwrap();
    }),
    ("unlink b", |m| fs::remove_file(m.join("b")).unwrap()),
    ("link", |m| fs::hard_link(m.join("a"), m.join("n")).unwrap()),
    ("rename", |m| {
        fs::rename(m.join("a"), m.join("d/z")).unwrap()
    }),
    ("rename over", |m| {
        fs::rename(m.join("o"), m.join("n")).unwrap()
    }),
    ("unlink two", |m| {
        fs::remove_file(m.join("d/c")).unwrap();
        fs::remove_file(m.join("d/z")).unwrap();
    }),
    ("unlink the last", |m| {
        fs::remove_file(m.join("d/e/x")).unwrap()
    }),
];

/// Leaves the handle in an `origin` out: those of two runs differ, their lengths and places do not.
fn without_handle(object: &mut Object) {
    if let Some(origin) = object.xattrs.get_mut("trusted.overlay.origin") {
        *origin = format!("{} bytes", origin.len()).into_bytes();
    }
}

/// What an upper and its index hold, with the numbers of this filesystem left out.
fn on_disk(mounted: &Mounted) -> Vec<String> {
    let mut upper = mounted.dump_upper(Detail::NLINK | Detail::LINKS);
    for (path, object) in &mut upper.0 {
        without_handle(object);
        // Each overlay has its own; and the kernel marks merged directories when it looks them up.
        object.xattrs.remove("trusted.overlay.uuid");
        if path.is_empty() {
            object.xattrs.remove("trusted.overlay.impure");
        }
        // All whiteouts of a mount are one inode.
        if object.rdev.is_some() {
            (object.nlink, object.same_as) = (None, None);
        }
    }
    let index = dump(
        &*mounted.upper().unwrap().layer.fs,
        mounted.upper().unwrap().work,
        Detail::NLINK,
    );
    let entries = index
        .0
        .into_iter()
        .filter(|(path, _)| path.starts_with("index/") && !path.contains('#'));
    let entries = entries.map(|(path, mut object)| {
        without_handle(&mut object);
        // An entry is called by the handle.
        format!("index/{} digits {object}", path.len() - "index/".len())
    });
    let upper = upper.0.iter();
    let upper = upper.map(|(path, object)| format!("/{path} {object}"));
    upper.chain(entries).collect()
}

fn shown(mounted: &Mounted, root: &Path) -> Vec<String> {
    let names = ["a", "b", "n", "d/c", "d/e/x", "d/z"];
    let of = |name: &&str| {
        let stat = fs::metadata(root.join(name)).ok()?;
        let text = fs::read_to_string(root.join(name)).unwrap();
        Some(format!("{name} {} {} {text:?}", stat.ino(), stat.nlink()))
    };
    let _ = mounted;
    names.iter().filter_map(of).collect()
}

/// Does to the overlay what `deed` does to a path: the overlay is no mount, so the words are walked.
fn walked(mounted: &Mounted, deed: &str) {
    let walk = mounted.walk();
    match deed {
        "look" => drop(walk.ls("d").unwrap()),
        "write to a" => {
            walk.truncate("a", 0).unwrap();
            walk.write_at("a", 0, b"22").unwrap();
        }
        "chmod d/c" => walk.chmod("d/c", 0o600).unwrap(),
        "unlink b" => walk.unlink("b").unwrap(),
        "link" => walk.link("a", "n").unwrap(),
        "rename" => walk.rename("a", "d/z").unwrap(),
        "rename over" => walk.rename("o", "n").unwrap(),
        "unlink two" => {
            walk.unlink("d/c").unwrap();
            walk.unlink("d/z").unwrap();
        }
        "unlink the last" => walk.unlink("d/e/x").unwrap(),
        other => panic!("{other}"),
    }
}

fn shown_by_mica(mounted: &Mounted) -> Vec<String> {
    let names = ["a", "b", "n", "d/c", "d/e/x", "d/z"];
    let of = |name: &&str| {
        let attr = mounted.walk().stat(name).ok()?;
        let text = mounted.walk().read_text(name).unwrap();
        Some(format!("{name} {} {} {text:?}", attr.ino.0, attr.nlink))
    };
    names.iter().filter_map(of).collect()
}

/// Runs all deeds, each by the kernel or by Mica, with a new mount for each; returns what stood on disk after each.
fn run(test: &str, by_kernel: impl Fn(usize) -> bool) -> Option<Vec<Vec<String>>> {
    if !is_possible(test) {
        return None;
    }
    let mut mounted = stack().mount(Medium::Host);
    let mut states = Vec::new();
    for (at, (name, deed)) in DEEDS.iter().enumerate() {
        mounted.unmount();
        if by_kernel(at) {
            let kernel = mounted.mount_by_kernel().unwrap();
            deed(&kernel.path());
        } else {
            mounted.remount();
            walked(&mounted, name);
            mounted.unmount();
        }
        let kernel = mounted.mount_by_kernel().unwrap();
        let by_kernel = shown(&mounted, &kernel.path());
        drop(kernel);
        mounted.remount();
        assert_eq!(by_kernel, shown_by_mica(&mounted), "after {name}");
        mounted.unmount();
        states.push(on_disk(&mounted));
    }
    mounted.remount();
    mounted.finish();
    Some(states)
}

#[test]
fn ovl_111_ovl_112_an_index_is_what_the_kernel_makes_and_each_goes_on_with_the_others() {
    let test = "ovl_111_ovl_112_an_index_is_what_the_kernel_makes_and_each_goes_on_with_the_others";
    let Some(kernel) = run(test, |_| true) else {
        return;
    };
    for (who, turns) in [
        ("Mica", &(|_| false) as &dyn Fn(usize) -> bool),
        ("both in turn", &|at| at % 2 == 0),
        ("both, the other way round", &|at| at % 2 == 1),
    ] {
        let found = run(test, turns).unwrap();
        for (at, (expected, found)) in kernel.iter().zip(&found).enumerate() {
            assert_eq!(expected, found, "{who}, after {}", DEEDS[at].0);
        }
    }
}

#[test]
fn ovl_93_whoever_relies_on_its_lowers_marks_new_directories() {
    let plain = Config {
        redirects: Redirects::NoFollow,
        ..Config::default()
    };
    let index = Config {
        index: Index::On,
        ..plain.clone()
    };
    for (asked, expected) in [
        (plain.clone(), Err(Errno::NODATA)),
        (index, Ok(b"y".to_vec())),
        (
            Config {
                xino: Xino::On,
                ..plain.clone()
            },
            Ok(b"y".to_vec()),
        ),
        (
            Config {
                metacopies: Metacopies::On,
                ..plain
            },
            Ok(b"y".to_vec()),
        ),
    ] {
        for medium in Medium::all() {
            let stack = Stack::new()
                .upper("")
                .lower("d/f='1'")
                .config(asked.clone());
            let mounted = stack.mount(medium);
            mounted.walk().mkdir("d/new").unwrap();
            mounted.walk().mkdir("d/new/inner").unwrap();
            let mark = |path| {
                mounted
                    .walk_upper()
                    .getxattr(path, "trusted.overlay.opaque")
            };
            assert_eq!(mark("d/new"), expected);
            assert_eq!(mark("d/new/inner"), Err(Errno::NODATA));
            mounted.finish();
        }
    }
}

#[test]
fn ovl_111_the_upper_gets_the_name_that_was_looked_up_last() {
    with_index(|mounted| {
        let walk = mounted.walk();
        let has = || ["a", "b", "d/c"].map(|name| mounted.walk_upper().exists(name));
        walk.stat("a").unwrap();
        walk.chmod("b", 0o600).unwrap();
        assert_eq!(has(), [false, true, false]);
        // Known by two names, and changed by the one that is there.
        walk.stat("a").unwrap();
        walk.chmod("b", 0o640).unwrap();
        assert_eq!(has(), [false, true, false]);
        walk.setxattr("a", "user.k", b"v").unwrap();
        assert_eq!(has(), [false, true, false]);
        walk.chmod("a", 0o600).unwrap();
        assert_eq!(has(), [true, true, false]);
        for (name, again) in [("a", false), ("o", true)] {
            let held = walk.hold(name).unwrap();
            assert_eq!(mounted.overlay().keeps_name(held.node()), again, "{name}");
        }
    });
}

#[test]
fn ovl_111_the_data_of_a_metacopy_is_copied_by_the_name_that_was_looked_up_last() {
    for medium in Medium::all() {
        let config = Config {
            metacopies: Metacopies::On,
            ..config(Index::On)
        };
        for (last, expected) in [("a", [true, false]), ("d/c", [true, true])] {
            let mounted = stack().config(config.clone()).mount(medium);
            let walk = mounted.walk();
            // The kernel knows it, so that its node stays.
            let held = walk.hold("a").unwrap();
            walk.chmod("a", 0o600).unwrap();
            walk.stat("d/c").unwrap();
            walk.write(last, b"2").unwrap();
            let has = ["a", "d"].map(|name| mounted.walk_upper().exists(name));
            assert_eq!(has, expected, "{last}");
            assert_eq!(texts(&mounted, ["a", "d/c"]), ["2", "2"]);
            drop(held);
            mounted.finish();
        }
    }
}
