//! OVL-230 to OVL-233: where the overlay decides what its one user may do.

use mica_overlay::{Config, HardLinks, LayerUser, Permissions, Unlisted};
use mica_testkit::{Medium, Mounted, Stack, Walk};
use mica_vfs::{Errno, Filesystem as _, Rights, SetAttr, SetTime, Through, Time};

const USER: u32 = 7;
const OWNER: &str = "trusted.overlay.owner";
const DENIED: Result<(), Errno> = Err(Errno::ACCESS);
const NOT_OWNED: Result<(), Errno> = Err(Errno::PERM);

fn config() -> Config {
    Config {
        permissions: Permissions::Of(LayerUser {
            uid: USER,
            gid: USER,
            hard_links: HardLinks::Protected,
        }),
        unlisted: Unlisted::Removable,
        ..Config::default()
    }
}

/// Mounts `upper`, whose objects `of_others` have the mark, over `lower`.
fn mounted(medium: Medium, (upper, lower): (&str, &str), of_others: &[(&str, &str)]) -> Mounted {
    let stack = Stack::new().upper(upper).lower(lower).config(config());
    let mut mounted = stack.mount(medium);
    mounted.unmount();
    for (path, mark) in of_others {
        let marked = mounted.walk_upper().setxattr(path, OWNER, mark.as_bytes());
        marked.unwrap();
    }
    mounted.remount();
    mounted
}

/// Asks for each right by itself.
fn rights(mounted: &Mounted, path: &str) -> Rights {
    let held = mounted.walk().hold(path).unwrap();
    let may = |right: &Rights| match mounted.overlay().access(held.node(), *right) {
        Ok(()) => true,
        Err(errno) => {
            assert_eq!(errno, Errno::ACCESS);
            false
        }
    };
    Rights::all().iter().filter(may).collect()
}

fn times(walk: Walk<'_>, path: &str, time: SetTime) -> Result<(), Errno> {
    let change = SetAttr {
        atime: Some(time),
        mtime: Some(time),
        ..SetAttr::default()
    };
    walk.set_attr(path, &change).map(drop)
}

#[test]
fn ovl_230_the_users_own_objects_are_his_as_their_mode_says() {
    let tree = "f='data'~7:7 d/~7:7 d/in='in'~7:7";
    for medium in Medium::all() {
        for layers in [(tree, ""), ("", tree)] {
            let mounted = mounted(medium, layers, &[]);
            let walk = mounted.walk();
            for (mode, has) in [(0o077, 0), (0o100, 1), (0o200, 2), (0o455, 4), (0o744, 7)] {
                walk.chmod("f", mode).unwrap();
                let has = Rights::from_bits_truncate(has);
                assert_eq!(rights(&mounted, "f"), has, "{mode:o} {medium:?}");
            }
            walk.chmod("f", 0o400).unwrap();
            assert_eq!(walk.setxattr("f", "user.a", b"x"), DENIED);
            assert_eq!(walk.truncate("f", 1), DENIED);
            let through = SetAttr {
                size: Some(1),
                through: Through::OpenFile,
                ..SetAttr::default()
            };
            walk.set_attr("f", &through).unwrap();
            walk.chmod("d", 0o400).unwrap();
            assert_eq!(walk.stat("d/in").map(drop), DENIED);
            assert_eq!(walk.ls("d").unwrap(), ["in"]);
            walk.chmod("d", 0o500).unwrap();
            walk.stat("d/in").unwrap();
            assert_eq!(walk.create("d/new", 0o600), DENIED);
            assert_eq!(walk.mkdir("d/new"), DENIED);
            assert_eq!(walk.unlink("d/in"), DENIED);
            assert_eq!(walk.rename("d/in", "in"), DENIED);
            assert_eq!(walk.rename("f", "d/in"), DENIED);
            assert_eq!(walk.link("f", "d/f"), DENIED);
            assert_eq!(walk.tmpfile("d", 0o600).map(drop), DENIED);
            walk.chmod("d", 0o300).unwrap();
            walk.unlink("d/in").unwrap();
            // Nobody gives away what is his.
            assert_eq!(walk.chown("f", 8, USER), NOT_OWNED);
            assert_eq!(walk.chown("f", USER, 8), NOT_OWNED);
            walk.chown("f", USER, USER).unwrap();
            mounted.finish();
        }
    }
}

#[test]
fn ovl_230_what_is_anothers_is_changed_within_the_rights_on_it_and_owned_by_nobody_here() {
    let upper = "r='r' w='w' none='n' open/f='f' open/mine='m'~7:7 own/~7:7 own/f='f'~7:7 own/d/";
    let marks = [
        ("r", "0:0:4"),
        ("w", "65534:65534:6"),
        ("none", "0:0:0"),
        ("open", "0:0:7"),
        ("open/f", "0:0:7"),
        ("own/f", "0:0:0"),
        ("own/d", "0:0:5"),
    ];
    for medium in Medium::all() {
        let mut mounted = mounted(medium, (upper, "low/"), &marks);
        assert_eq!(rights(&mounted, "none"), Rights::empty());
        assert_eq!(rights(&mounted, "w"), Rights::READ | Rights::WRITE);
        let walk = mounted.walk();
        let at = SetTime::At(Time { secs: 1, nanos: 0 });
        for path in ["r", "w", "none", "open"] {
            assert_eq!(walk.chmod(path, 0o700), NOT_OWNED, "{path}");
            assert_eq!(walk.chown(path, USER, USER), NOT_OWNED, "{path}");
            assert_eq!(times(walk, path, at), NOT_OWNED, "{path}");
        }
        assert_eq!(times(walk, "r", SetTime::Now), DENIED);
        times(walk, "w", SetTime::Now).unwrap();
        assert_eq!(walk.truncate("r", 0), DENIED);
        walk.truncate("w", 0).unwrap();
        assert_eq!(walk.setxattr("r", "user.a", b"x"), DENIED);
        walk.setxattr("w", "user.a", b"x").unwrap();
        assert_eq!(walk.getxattr("none", "user.a").map(drop), DENIED);
        // The directory says what becomes of names in it.
        walk.unlink("own/f").unwrap();
        assert_eq!(walk.create("own/d/new", 0o600), DENIED);
        // It gets another parent.
        assert_eq!(walk.rename("own/d", "open/d"), DENIED);
        walk.rename("own/d", "own/e").unwrap();
        walk.unlink("open/f").unwrap();
        walk.create("open/new", 0o600).unwrap();
        // A copy stays another's at the next mount, and through changes of it.
        mounted.remount();
        assert_eq!(rights(&mounted, "w"), Rights::READ | Rights::WRITE);
        assert_eq!(mounted.walk().chmod("w", 0o700), NOT_OWNED);
        mounted.finish();
    }
}

#[test]
fn ovl_230_in_a_sticky_directory_of_another_only_what_is_ones_own_goes() {
    let upper = "tmp/mine='m'~7:7 tmp/theirs='t'~7:7 tmp/new='n'~7:7";
    let marks = [("tmp", "0:0:7"), ("tmp/theirs", "0:0:7")];
    for medium in Medium::all() {
        let mut mounted = mounted(medium, (upper, ""), &marks);
        mounted.unmount();
        mounted.walk_upper().chmod("tmp", 0o1777).unwrap();
        mounted.remount();
        let walk = mounted.walk();
        assert_eq!(walk.unlink("tmp/theirs"), NOT_OWNED);
        assert_eq!(walk.rename("tmp/theirs", "tmp/x"), NOT_OWNED);
        assert_eq!(walk.rename("tmp/new", "tmp/theirs"), NOT_OWNED);
        assert_eq!(walk.setxattr("tmp", "user.a", b"x"), NOT_OWNED);
        walk.rename("tmp/new", "tmp/mine").unwrap();
        walk.unlink("tmp/mine").unwrap();
        mounted.finish();
    }
}

#[test]
fn ovl_231_a_copy_of_what_is_anothers_says_so_and_nobody_sees_it() {
    // As root, and in memory, the layers let everything be done.
    let lower = "d/theirs='t' d/mine='m'~7:7";
    for medium in Medium::all() {
        let mounted = mounted(medium, ("", lower), &[]);
        let walk = mounted.walk();
        walk.setxattr("d/theirs", "user.a", b"x").unwrap();
        walk.setxattr("d/mine", "user.a", b"x").unwrap();
        let mut own: Vec<_> = walk.listxattr("d/theirs").unwrap();
        own.retain(|name| name.contains("overlay"));
        assert_eq!(own, Vec::<String>::new());
        assert_eq!(walk.chmod("d/theirs", 0o600), NOT_OWNED);
        walk.chmod("d/mine", 0o600).unwrap();
        let upper = mounted.walk_upper();
        for (path, mark) in [("d", Ok(b"0:0:".to_vec())), ("d/mine", Err(Errno::NODATA))] {
            let found = upper.getxattr(path, OWNER);
            assert_eq!(found.map(|value| value[..4].to_vec()), mark, "{path}");
        }
        let value = upper.getxattr("d/theirs", OWNER).unwrap();
        assert!(value.starts_with(b"0:0:"), "{value:?}");
        mounted.finish();
    }
}

#[test]
fn ovl_231_a_senseless_mark_lets_nobody_do_anything() {
    for medium in Medium::all() {
        let mounted = mounted(medium, ("f='f'~7:7", ""), &[("f", "root")]);
        assert_eq!(rights(&mounted, "f"), Rights::empty());
        assert_eq!(mounted.walk().chmod("f", 0o600), NOT_OWNED);
        mounted.finish();
    }
}

#[test]
fn ovl_232_another_name_is_for_what_is_ones_own_or_harmless() {
    let upper = "mine='m'~7:7 rw='w'~7:7 ro='r'~7:7 suid='s'~7:7";
    let marks = [("rw", "0:0:6"), ("ro", "0:0:4"), ("suid", "0:0:7")];
    for medium in Medium::all() {
        let mut mounted = mounted(medium, (upper, ""), &marks);
        mounted.unmount();
        mounted.walk_upper().chmod("suid", 0o4777).unwrap();
        mounted.remount();
        let walk = mounted.walk();
        walk.link("mine", "a").unwrap();
        walk.link("rw", "b").unwrap();
        assert_eq!(walk.link("ro", "c"), NOT_OWNED);
        assert_eq!(walk.link("suid", "d"), NOT_OWNED);
        mounted.finish();
    }
}
