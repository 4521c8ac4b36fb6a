//! OVL-106: the data comes with its first change.

use mica_overlay::Config;
use mica_testkit::{Detail, Fault, Medium, Walk, assert_same};
use mica_vfs::{Errno, FallocateMode, Filesystem as _, KillPriv, Mode, SetAttr};

use super::{LOWER, Operate, TIME, in_upper, on, stack};

#[test]
fn ovl_106_the_first_change_of_data_copies_it_and_ends_the_metacopy() {
    let allocate: Operate = |w| {
        let held = w.hold("d/f")?;
        w.fs().fallocate(held.node(), FallocateMode::empty(), 0, 20)
    };
    let cases: [(&str, Operate, &str); 5] = [
        ("write", |w| w.write_at("d/f", 2, b"ab"), "01ab456789"),
        ("truncate", |w| w.truncate("d/f", 3), "012"),
        ("truncate to nothing", |w| w.truncate("d/f", 0), ""),
        ("extend", |w| w.truncate("d/f", 12), "0123456789\0\0"),
        ("allocate", allocate, "0123456789\0\0\0\0\0\0\0\0\0\0"),
    ];
    for (what, change, content) in cases {
        for medium in Medium::all() {
            let mut mounted = stack("", LOWER).mount(medium);
            mounted.walk().chmod("d/f", 0o751).unwrap();
            let ino = mounted.walk().stat("d/f").unwrap().ino;
            change(mounted.walk()).unwrap();
            assert_eq!(in_upper(&mounted, "d/f"), Some(false), "{what}");
            assert_eq!(mounted.overlay().stats().copy_ups, 2, "{what}");
            for _ in 0..2 {
                let walk = mounted.walk();
                assert_eq!(walk.read_text("d/f").as_deref(), Ok(content), "{what}");
                assert_eq!(walk.stat("d/f").unwrap().ino, ino, "{what}");
                assert_eq!(walk.getxattr("d/f", "user.k").as_deref(), Ok(&b"v"[..]));
                mounted.assert_shows_layers();
                mounted.remount();
            }
            mounted.finish();
        }
    }
}

#[test]
fn ovl_106_a_file_is_cut_when_it_is_whole() {
    for size in [0, 3, 20] {
        let mut mounted = stack("", LOWER).mount(Medium::Memory);
        mounted.walk().chmod("d/f", 0o751).unwrap();
        let faults = mounted.with_faults();
        mounted.remount_with(on());
        faults.reset();
        mounted.walk().truncate("d/f", size).unwrap();
        assert_eq!(mounted.overlay().stats().copied_bytes, 10);
        let steps = faults.steps();
        let at = |name: &str| steps.iter().rposition(|step| step.starts_with(name));
        assert!(at("remove_xattr") < at("set_attr"), "{steps:?}");
        mounted.finish();
    }
}

#[test]
fn ovl_106_times_mode_and_capability_stay_when_the_data_comes() {
    let capability = b"\x01\0\0\x02\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    for medium in Medium::all() {
        let mounted = stack("", LOWER).mount(medium);
        let walk = mounted.walk();
        walk.chmod("d/f", 0o4751).unwrap();
        walk.setxattr("d/f", "security.capability", capability)
            .unwrap();
        walk.utimens("d/f", TIME, TIME).unwrap();
        let before = mounted.dump(Detail::MTIME | Detail::ATIME);
        // An empty write changes nothing, but it is a change of data.
        let held = walk.hold("d/f").unwrap();
        walk.fs()
            .write(held.node(), 0, b"", KillPriv::Keep)
            .unwrap();
        assert_eq!(in_upper(&mounted, "d/f"), Some(false));
        let after = mounted.dump(Detail::MTIME | Detail::ATIME);
        assert_same(&before, &after, "before and after the data came");
        drop(held);
        mounted.finish();
    }
}

#[test]
fn ovl_106_a_late_copy_that_fails_leaves_the_metacopy_as_it_was() {
    let detail = Detail::NLINK | Detail::MTIME;
    let changes: [Operate; 2] = [|w| w.write_at("d/f", 0, b"ab"), |w| w.truncate("d/f", 4)];
    for medium in Medium::all() {
        for change in changes {
            let mut mounted = stack("", LOWER).mount(medium);
            mounted.walk().chmod("d/f", 0o4751).unwrap();
            let faults = mounted.with_faults();
            change(mounted.walk()).unwrap();
            let steps = faults.changes();
            mounted.finish();
            for nth in 1..=steps {
                let mut mounted = stack("", LOWER).mount(medium);
                mounted.walk().chmod("d/f", 0o4751).unwrap();
                let blocks = mounted.walk_upper().stat("d/f").unwrap().blocks;
                let before = mounted.dump(detail);
                let faults = mounted.with_faults();
                faults.arm(nth, Fault::Fail(Errno::NOSPC));
                if change(mounted.walk()) == Ok(()) {
                    mounted.finish();
                    continue;
                }
                let what = format!("ENOSPC at step {nth} over {medium:?}");
                assert_same(&before, &mounted.dump(detail), &what);
                if in_upper(&mounted, "d/f") == Some(true) {
                    let left = mounted.walk_upper().stat("d/f").unwrap().blocks;
                    assert_eq!(left, blocks, "{what}: the space is not free again");
                }
                mounted.remount();
                assert_same(&before, &mounted.dump(detail), &what);
                change(mounted.walk()).unwrap();
                mounted.finish();
            }
        }
    }
}

#[test]
fn ovl_106_two_writers_of_one_metacopy_copy_its_data_once() {
    let lower = format!("f='{}'", "x".repeat(100_000));
    for medium in Medium::all() {
        let mounted = stack("", &lower).mount(medium);
        let walk = mounted.walk();
        walk.chmod("f", 0o600).unwrap();
        let held = walk.hold("f").unwrap();
        let overlay = &**mounted.overlay();
        std::thread::scope(|scope| {
            for at in 0..8 {
                let node = held.node();
                scope.spawn(move || {
                    overlay.write(node, at * 10, b"ab", KillPriv::Keep).unwrap();
                    let mut data = [0; 2];
                    overlay.read(node, at * 10, &mut data).unwrap();
                    assert_eq!(&data, b"ab", "a write was lost");
                });
            }
        });
        assert_eq!(overlay.stats().copied_bytes, 100_000);
        let mut expected = vec![b'x'; 100_000];
        (0..8).for_each(|at| expected[at * 10..at * 10 + 2].copy_from_slice(b"ab"));
        assert!(walk.read("f").unwrap() == expected);
        drop(held);
        mounted.finish();
    }
}

#[test]
fn ovl_106_the_data_is_on_disk_before_the_mark_goes() {
    use mica_overlay::Durability::{Auto, Strict, Volatile};
    let write: Operate = |w| w.write_at("d/f", 0, b"ab");
    let cut: Operate = |w| w.truncate("d/f", 0);
    let chmod: Operate = |w| w.chmod("d/empty", 0o600);
    let mark = "remove_xattr";
    for (durability, operate, expected) in [
        (Auto, write, &["fsync", mark][..]),
        (Strict, write, &["fsync", mark]),
        (Volatile, write, &[mark]),
        (Auto, cut, &["fsync", mark]),
        (Strict, cut, &["fsync", mark]),
        (Auto, chmod, &["rename"]),
        (Strict, chmod, &["fsync", "rename"]),
    ] {
        for medium in Medium::all() {
            let mut mounted = stack("", LOWER).mount(medium);
            mounted.walk().chmod("d/f", 0o600).unwrap();
            let faults = mounted.with_faults();
            mounted.remount_with(Config { durability, ..on() });
            faults.reset();
            operate(mounted.walk()).unwrap();
            let steps = faults.steps();
            let known = |step: &String| {
                let names = ["fsync", "rename", mark];
                names.into_iter().find(|known| step.starts_with(known))
            };
            let found: Vec<_> = steps.iter().filter_map(known).collect();
            assert_eq!(found, expected, "{durability:?} over {medium:?}");
            mounted.finish();
        }
    }
}

#[test]
fn ovl_106_metadata_data_and_names_of_one_file_change_at_the_same_time() {
    let lower = format!("f='{}' k/", "x".repeat(100_000));
    for medium in Medium::all() {
        for _ in 0..10 {
            let mut mounted = stack("k/", &lower).mount(medium);
            let held = mounted.walk().hold("f").unwrap();
            let overlay = &**mounted.overlay();
            let walk = Walk::new(overlay);
            std::thread::scope(|scope| {
                for at in 0..8 {
                    let node = held.node();
                    scope.spawn(move || overlay.write(node, at * 10, b"ab", KillPriv::Keep));
                    scope.spawn(move || {
                        let change = SetAttr {
                            mode: Some(Mode::new(0o600)),
                            ..SetAttr::default()
                        };
                        overlay.set_attr(node, &change)
                    });
                }
                scope.spawn(move || {
                    walk.rename("f", "k/g").unwrap();
                    walk.link("k/g", "h").unwrap();
                });
                scope.spawn(move || walk.link("k", "no").unwrap_err());
            });
            assert_eq!(overlay.stats().copy_ups, 1);
            drop(held);
            let mut expected = vec![b'x'; 100_000];
            (0..8).for_each(|at| expected[at * 10..at * 10 + 2].copy_from_slice(b"ab"));
            for _ in 0..2 {
                let walk = mounted.walk();
                assert!(walk.read("k/g").unwrap() == expected, "over {medium:?}");
                assert!(walk.read("h").unwrap() == expected, "over {medium:?}");
                assert_eq!(walk.stat("h").unwrap().mode.bits(), 0o600);
                assert!(!walk.exists("f"));
                mounted.remount();
            }
            mounted.finish();
        }
    }
}
