//! OVL-32, OVL-110: lower files with several names are one file while they are mounted.

use mica_testkit::{Medium, Mounted, Stack};
use mica_vfs::{Errno, FileType, Filesystem as _, Ino, KillPriv, RenameFlags};

fn ino(mounted: &Mounted, path: &str) -> Ino {
    mounted.walk().stat(path).unwrap().ino
}

/// Returns what each name holds; `-` for one that does not exist.
fn texts<const N: usize>(mounted: &Mounted, names: [&str; N]) -> [String; N] {
    names.map(|name| mounted.walk().read_text(name).unwrap_or("-".into()))
}

/// Does `act` to a stack with three names of one lower file over every kind of layer.
fn with_names(act: impl Fn(&mut Mounted)) {
    for medium in Medium::all() {
        let stack = Stack::new().upper("").lower("a='1' b=>a d/c=>a o='other'");
        let mut mounted = stack.mount(medium);
        act(&mut mounted);
        mounted.finish();
    }
}

#[test]
fn ovl_32_names_of_a_lower_file_are_one_file_until_the_mount_ends() {
    with_names(|mounted| {
        let before = ["a", "b", "d/c"].map(|name| ino(mounted, name));
        assert_eq!(before, [before[0]; 3]);
        mounted.walk().write_at("a", 0, b"2").unwrap();
        // Nothing is referenced any more: the names were forgotten.
        assert_eq!(texts(mounted, ["a", "b", "d/c"]), ["2"; 3]);
        assert_eq!(["a", "b", "d/c"].map(|name| ino(mounted, name)), before);
        mounted.walk().write_at("d/c", 0, b"3").unwrap();
        assert_eq!(texts(mounted, ["a", "b", "d/c"]), ["3"; 3]);
        assert_eq!(mounted.overlay().stats().copy_ups, 2, "the file, and `d`");
        assert_eq!(
            ["a", "b", "d/c"].map(|name| mounted.walk().stat(name).unwrap().nlink),
            [3; 3]
        );
        mounted.remount();
        // `b` was read, but the file was not changed by it.
        assert_eq!(texts(mounted, ["a", "b", "d/c"]), ["3", "1", "3"]);
        assert_ne!(ino(mounted, "a"), before[0]);
        assert_eq!(ino(mounted, "a"), ino(mounted, "d/c"));
        assert_eq!(ino(mounted, "b"), before[1]);
        assert_eq!(mounted.walk().stat("a").unwrap().nlink, 2);
    });
}

#[test]
fn ovl_110_every_name_that_is_known_when_a_file_changes_keeps_the_change() {
    with_names(|mounted| {
        let walk = mounted.walk();
        let (a, b) = (walk.hold("a").unwrap(), walk.hold("b").unwrap());
        assert_eq!(a.node(), b.node());
        mounted
            .overlay()
            .write(a.node(), 0, b"2", KillPriv::Keep)
            .unwrap();
        drop((a, b));
        let upper = mounted.walk_upper();
        assert_eq!(upper.stat("a").unwrap().ino, upper.stat("b").unwrap().ino);
        assert!(upper.getxattr("a", "trusted.overlay.origin").is_err());
        assert_eq!(upper.stat("d").map(drop), Err(Errno::NOENT));
        mounted.remount();
        assert_eq!(texts(mounted, ["a", "b", "d/c"]), ["2", "2", "1"]);
    });
}

#[test]
fn ovl_110_a_name_that_becomes_known_later_keeps_the_next_change() {
    with_names(|mounted| {
        let walk = mounted.walk();
        walk.chmod("a", 0o600).unwrap();
        let c = walk.hold("d/c").unwrap();
        assert_eq!(mounted.walk_upper().stat("d").map(drop), Err(Errno::NOENT));
        walk.truncate("a", 0).unwrap();
        drop(c);
        mounted.remount();
        assert_eq!(texts(mounted, ["a", "b", "d/c"]), ["", "1", ""]);
    });
}

#[test]
fn ovl_32_removing_a_name_leaves_the_others_what_the_file_is() {
    with_names(|mounted| {
        let nlink = |name: &str| mounted.walk().stat(name).unwrap().nlink;
        mounted.walk().write_at("a", 0, b"2").unwrap();
        mounted.walk().unlink("a").unwrap();
        assert_eq!(texts(mounted, ["a", "b", "d/c"]), ["-", "2", "2"]);
        assert_eq!(nlink("b"), 2);
        mounted.walk().link("b", "n").unwrap();
        assert_eq!((nlink("n"), nlink("d/c")), (3, 3));
        for name in ["n", "b", "d/c"] {
            assert_eq!(texts(mounted, [name]), ["2"]);
            mounted.walk().unlink(name).unwrap();
        }
        assert_eq!(texts(mounted, ["a", "b", "d/c"]), ["-"; 3]);
        let stats = mounted.overlay().stats();
        assert_eq!(
            (stats.nodes, stats.linked),
            (1, 0),
            "nothing is left to keep"
        );
        mounted.remount();
        assert_eq!(texts(mounted, ["a", "b", "d/c"]), ["-"; 3]);
    });
}

#[test]
fn ovl_32_removing_names_copies_nothing_and_counts() {
    with_names(|mounted| {
        let walk = mounted.walk();
        let held = walk.hold("a").unwrap();
        let nlink = || mounted.overlay().get_attr(held.node()).unwrap().nlink;
        for (left, name) in [(2, "b"), (1, "a"), (0, "d/c")] {
            walk.unlink(name).unwrap();
            assert_eq!(nlink(), left);
        }
        assert_eq!(mounted.overlay().stats().copied_bytes, 0);
        // Nobody can reach it by a name; who has it open can change it (OVL-64).
        mounted
            .overlay()
            .write(held.node(), 0, b"2", KillPriv::Keep)
            .unwrap();
        assert_eq!(nlink(), 0);
        drop(held);
        assert_eq!(mounted.overlay().stats().nodes, 1);
        assert_eq!(texts(mounted, ["a", "b", "d/c"]), ["-"; 3]);
    });
}

#[test]
fn ovl_64_a_file_changed_when_its_known_name_is_gone_shows_so_under_the_others() {
    with_names(|mounted| {
        let walk = mounted.walk();
        let held = walk.hold("a").unwrap();
        walk.unlink("a").unwrap();
        mounted
            .overlay()
            .write(held.node(), 0, b"2", KillPriv::Keep)
            .unwrap();
        let node = held.node();
        drop(held);
        assert_eq!(texts(mounted, ["a", "b", "d/c"]), ["-", "2", "2"]);
        assert_eq!(walk.hold("b").unwrap().node(), node);
        walk.write_at("b", 0, b"3").unwrap();
        assert_eq!(texts(mounted, ["b", "d/c"]), ["3", "3"]);
        mounted.remount();
        assert_eq!(texts(mounted, ["a", "b", "d/c"]), ["-", "3", "1"]);
    });
}

#[test]
fn ovl_32_rename_moves_one_name_and_over_another_of_the_same_file_does_nothing() {
    with_names(|mounted| {
        let walk = mounted.walk();
        walk.rename("a", "b").unwrap();
        assert_eq!(texts(mounted, ["a", "b"]), ["1", "1"]);
        walk.rename("a", "n").unwrap();
        assert_eq!(walk.stat("n").unwrap().nlink, 3);
        walk.write_at("b", 0, b"2").unwrap();
        assert_eq!(texts(mounted, ["a", "n", "b", "d/c"]), ["-", "2", "2", "2"]);
        // Over one of the names: that one is gone.
        walk.rename("o", "d/c").unwrap();
        assert_eq!(walk.stat("n").unwrap().nlink, 2);
        // In exchange for one.
        walk.rename_with("d/c", "b", RenameFlags::EXCHANGE).unwrap();
        assert_eq!(texts(mounted, ["b", "d/c", "n"]), ["other", "2", "2"]);
        mounted.remount();
        assert_eq!(
            texts(mounted, ["a", "b", "d/c", "n"]),
            ["-", "other", "2", "2"]
        );
    });
}

#[test]
fn ovl_32_a_rename_over_the_name_that_alone_is_in_the_upper_keeps_the_file() {
    with_names(|mounted| {
        let walk = mounted.walk();
        walk.write_at("a", 0, b"2").unwrap();
        walk.rename("o", "a").unwrap();
        assert_eq!(texts(mounted, ["a", "b", "d/c"]), ["other", "2", "2"]);
        assert_eq!(walk.stat("b").unwrap().nlink, 2);
        walk.link("b", "n").unwrap();
        mounted.remount();
        assert_eq!(texts(mounted, ["a", "b", "n"]), ["other", "2", "2"]);
    });
}

#[test]
fn ovl_11_a_listing_has_the_number_of_every_name() {
    with_names(|mounted| {
        let number = ino(mounted, "a");
        mounted.walk().chmod("a", 0o600).unwrap();
        let listed = |plus: bool| {
            let (fs, walk, mut found) = (mounted.overlay(), mounted.walk(), Vec::new());
            let root = walk.hold("").unwrap();
            let mut sink = |name: &mica_vfs::DirEntry<'_>| {
                let known = ["a", "b"]
                    .iter()
                    .any(|n| name.name.as_bytes() == n.as_bytes());
                found.extend(known.then_some(name.ino));
                mica_vfs::Flow::Continue
            };
            let from = mica_vfs::Cookie::START;
            if plus {
                fs.read_dir_plus(root.node(), from, &mut |entry, node| {
                    fs.forget(node.unwrap().node, 1);
                    sink(&entry)
                })
            } else {
                fs.read_dir(root.node(), from, &mut |entry| sink(&entry))
            }
            .unwrap();
            found
        };
        for plus in [false, true, false] {
            assert_eq!(listed(plus), [number; 2]);
        }
        mounted.walk().unlink("a").unwrap();
        assert_eq!(listed(true), [number]);
    });
}

#[test]
fn ovl_32_links_of_other_types_hold_too() {
    for medium in Medium::all() {
        let stack = Stack::new().upper("").lower("p:fifo q=>p l->t m=>l");
        let mut mounted = stack.mount(medium);
        let walk = mounted.walk();
        assert_eq!(walk.stat("q").unwrap().kind, FileType::Fifo);
        walk.chmod("p", 0o600).unwrap();
        walk.chown("l", 3, 4).unwrap();
        let (q, m) = (walk.stat("q").unwrap(), walk.stat("m").unwrap());
        assert_eq!((q.mode.bits(), m.uid, m.gid), (0o600, 3, 4));
        mounted.remount();
        assert_eq!(mounted.walk().stat("m").unwrap().uid, 0);
        mounted.finish();
    }
}

#[test]
fn ovl_32_one_copy_up_by_all_names_at_once() {
    let names: Vec<_> = (0..8).map(|n| format!("n{n}")).collect();
    let links: String = names.iter().map(|name| format!(" {name}=>a")).collect();
    for medium in Medium::all() {
        let mut mounted = Stack::new()
            .upper("")
            .lower(format!("a='1'{links}").as_str())
            .mount(medium);
        std::thread::scope(|scope| {
            for (at, name) in (0..).zip(&names) {
                let mounted = &mounted;
                scope.spawn(move || {
                    let walk = mounted.walk();
                    walk.write_at(name, at, b"x").unwrap();
                    walk.rename(name, &format!("r{at}")).unwrap();
                    walk.unlink(&format!("r{at}")).unwrap();
                });
            }
        });
        assert_eq!(mounted.overlay().stats().copy_ups, 1);
        assert_eq!(texts(&mounted, ["a"]), ["x".repeat(8)]);
        assert_eq!(mounted.walk().stat("a").unwrap().nlink, 1);
        mounted.remount();
        assert_eq!(mounted.walk().ls("").unwrap(), ["a"]);
        mounted.finish();
    }
}
