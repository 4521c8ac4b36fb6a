//! OVL-111 to OVL-114: the index, `index=on`.

mod kernel;
mod setup;

use mica_overlay::{Config, Index, Metacopies};
use mica_testkit::{Medium, Mounted, Stack};
use mica_vfs::{Filesystem as _, Ino, RenameFlags};

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
