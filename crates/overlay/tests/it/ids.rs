//! OVL-73 to OVL-76: ids that are shown otherwise than stored, and what else of an object is not as its layer has it.

use mica_overlay::{Acls, Config, DirLinks, IdMap, IdRange, IdRanges, IdRules, Unmapped};
use mica_testkit::{Fault, Medium, Stack, Walk};
use mica_vfs::{Caller, Errno, FileType, Rdev};

const ACCESS: &str = "system.posix_acl_access";

fn ranges(stored: u32, shown: u32, len: u32) -> IdRules {
    let range = IdRange { stored, shown, len };
    IdRules {
        ranges: Some(IdRanges::new(vec![range]).unwrap()),
        ..IdRules::default()
    }
}

fn squash(uid: u32, gid: u32) -> IdMap {
    let to = |id| IdRules {
        squash: Some(id),
        ..IdRules::default()
    };
    IdMap {
        users: to(uid),
        groups: to(gid),
    }
}

/// Stored 0 to 99 are shown as 1000 to 1099, groups as 2000 to 2099.
fn mapped() -> IdMap {
    IdMap {
        users: ranges(0, 1000, 100),
        groups: ranges(0, 2000, 100),
    }
}

fn stack(ids: IdMap) -> Stack {
    let config = Config {
        ids,
        ..Config::default()
    };
    Stack::new()
        .upper("u='u'~7:8 w:whiteout md/")
        .lower("f='lower'@0640~3:4 w='1' md/a='1'~5:6 sg/@2775~9:10 l->t~500:600")
        .config(config)
}

fn owner(walk: Walk<'_>, path: &str) -> (u32, u32) {
    let attr = walk.stat(path).unwrap();
    (attr.uid, attr.gid)
}

/// An ACL with one named user and one named group.
fn acl(user: u32, group: u32) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    let none = u32::MAX;
    for (tag, id) in [
        (1u16, none),
        (2, user),
        (4, none),
        (8, group),
        (16, none),
        (32, none),
    ] {
        value.extend(tag.to_le_bytes());
        value.extend(6u16.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

#[test]
fn ovl_73_every_object_is_shown_as_the_squashed_ones_and_stored_as_its_makers() {
    for medium in Medium::all() {
        let mounted = stack(squash(50, 60)).mount(medium);
        let alice = Caller {
            uid: 41,
            gid: 42,
            umask: 0o022,
        };
        let walk = mounted.walk().by(alice);
        for path in ["", "u", "f", "md", "md/a", "l"] {
            assert_eq!(owner(walk, path), (50, 60), "{path}");
        }
        walk.create("new", 0o666).unwrap();
        walk.mkdir("dir").unwrap();
        walk.symlink("t", "link").unwrap();
        walk.mknod("fifo", FileType::Fifo, 0o600, Rdev::default())
            .unwrap();
        walk.create("w", 0o600).unwrap();
        for path in ["new", "dir", "link", "fifo", "w"] {
            assert_eq!(owner(walk, path), (50, 60), "{path}");
            assert_eq!(owner(mounted.walk_upper(), path), (41, 42), "{path}");
        }
        // Copy-up keeps what is stored, and so does a change that is asked for.
        walk.chmod("f", 0o600).unwrap();
        assert_eq!(owner(mounted.walk_upper(), "f"), (3, 4));
        walk.chown("f", 70, 71).unwrap();
        assert_eq!(owner(walk, "f"), (50, 60));
        assert_eq!(owner(mounted.walk_upper(), "f"), (70, 71));
        mounted.finish();
    }
}

#[test]
fn ovl_73_where_the_mounter_may_not_give_files_away_a_squash_lets_it_keep_them() {
    // Of each operation the changes of an owner fail, one after the other.
    type Operation = fn(Walk<'_>) -> Result<(), Errno>;
    let operations: [(&str, Operation); 3] = [
        ("copy-up", |w| w.write("f", b"new")),
        ("chown", |w| w.chown("u", 70, 71)),
        ("make", |w| {
            let bob = Caller {
                uid: 43,
                gid: 43,
                umask: 0,
            };
            w.by(bob).create("new", 0o600)
        }),
    ];
    for medium in Medium::all() {
        for (name, operate) in operations {
            let at = {
                let mut mounted = stack(squash(50, 60)).mount(medium);
                let faults = mounted.with_faults();
                operate(mounted.walk()).unwrap();
                let changes_owner = |step: &String| match name {
                    "make" => step.contains("create"),
                    _ => step.contains("set_attr"),
                };
                let at = faults.steps().iter().position(changes_owner);
                mounted.finish();
                at.unwrap() + 1
            };
            for ids in [squash(50, 60), IdMap::default()] {
                let squashed = ids != IdMap::default();
                let mut mounted = stack(ids).mount(medium);
                let faults = mounted.with_faults();
                faults.arm(at, Fault::Fail(Errno::PERM));
                let done = operate(mounted.walk());
                assert!(faults.struck(), "{name}");
                faults.heal();
                let expected = if squashed { Ok(()) } else { Err(Errno::PERM) };
                assert_eq!(done, expected, "{name}");
                mounted.finish();
            }
        }
    }
}

#[test]
fn ovl_73_what_has_no_known_owner_is_copied_up_where_a_squash_shows_another() {
    let unmapped = Unmapped {
        uid: Some(500),
        gid: Some(600),
    };
    for medium in Medium::all() {
        let config = Config {
            ids: squash(50, 60),
            unmapped,
            ..Config::default()
        };
        let mounted = stack(IdMap::default()).config(config).mount(medium);
        mounted.walk().chown("l", 1, 2).unwrap();
        assert_eq!(owner(mounted.walk_upper(), "l"), (1, 2));
        mounted.finish();
    }
}

#[test]
fn ovl_74_owners_are_mapped_when_shown_and_back_when_stored() {
    for medium in Medium::all() {
        let mounted = stack(mapped()).mount(medium);
        let alice = Caller {
            uid: 1041,
            gid: 2042,
            umask: 0,
        };
        let walk = mounted.walk().by(alice);
        assert_eq!(owner(walk, "f"), (1003, 2004));
        assert_eq!(owner(walk, "md/a"), (1005, 2006));
        walk.create("new", 0o600).unwrap();
        walk.mkdir("w").unwrap();
        walk.create("sg/new", 0o600).unwrap();
        assert_eq!(owner(walk, "new"), (1041, 2042));
        for path in ["new", "w"] {
            assert_eq!(owner(mounted.walk_upper(), path), (41, 42), "{path}");
        }
        // The group of a setgid directory is inherited as it is stored.
        assert_eq!(owner(walk, "sg/new"), (1041, 2010));
        assert_eq!(owner(mounted.walk_upper(), "sg/new"), (41, 10));
        walk.chmod("f", 0o600).unwrap();
        assert_eq!(owner(mounted.walk_upper(), "f"), (3, 4));
        walk.chown("f", 1000, 2099).unwrap();
        assert_eq!(owner(walk, "f"), (1000, 2099));
        assert_eq!(owner(mounted.walk_upper(), "f"), (0, 99));
        mounted.finish();
    }
}

#[test]
fn ovl_74_an_id_without_a_mapping_is_shown_and_stored_as_the_overflow_id() {
    for medium in Medium::all() {
        let mut ids = mapped();
        (ids.users.overflow, ids.groups.overflow) = (65_533, 65_532);
        let mounted = stack(ids).mount(medium);
        let walk = mounted.walk();
        assert_eq!(owner(walk, "l"), (65_533, 65_532));
        // Root itself has no mapping here.
        walk.create("new", 0o600).unwrap();
        walk.chown("u", 999, 2000).unwrap();
        assert_eq!(owner(walk, "new"), (65_533, 65_532));
        assert_eq!(owner(walk, "u"), (65_533, 2000));
        assert_eq!(owner(mounted.walk_upper(), "new"), (65_533, 65_532));
        assert_eq!(owner(mounted.walk_upper(), "u"), (65_533, 0));
        mounted.finish();
    }
}

#[test]
fn ovl_74_the_ids_in_acls_are_mapped_both_ways() {
    for medium in Medium::all() {
        let mut ids = mapped();
        ids.users.squash = Some(50);
        let mounted = stack(ids).mount(medium);
        let walk = mounted.walk();
        walk.setxattr("f", ACCESS, &acl(1011, 2012)).unwrap();
        assert_eq!(walk.getxattr("f", ACCESS), Ok(acl(1011, 2012)));
        let stored = mounted.walk_upper().getxattr("f", ACCESS);
        assert_eq!(stored, Ok(acl(11, 12)));
        let unmapped = walk.setxattr("f", ACCESS, &acl(11, 2012));
        assert_eq!(unmapped, Err(Errno::INVAL));
        mounted
            .walk_upper()
            .setxattr("u", ACCESS, &acl(11, 500))
            .unwrap();
        assert_eq!(walk.getxattr("u", ACCESS), Ok(acl(1011, 65_534)));
        // Of other attributes, and of ACLs without a mapping, nothing changes.
        walk.setxattr("u", "user.k", &acl(11, 12)).unwrap();
        let stored = mounted.walk_upper().getxattr("u", "user.k");
        assert_eq!(stored, Ok(acl(11, 12)));
        mounted.finish();
    }
}

#[test]
fn ovl_75_without_acls_none_is_seen_or_set_and_those_of_layers_stay() {
    let config = Config {
        acls: Acls::Off,
        ..Config::default()
    };
    for medium in Medium::all() {
        let mut mounted = stack(IdMap::default()).mount(medium);
        let default = "system.posix_acl_default";
        mounted.walk().setxattr("u", ACCESS, &acl(1, 2)).unwrap();
        mounted.walk().setxattr("md", default, &acl(1, 2)).unwrap();
        mounted.remount_with(config.clone());
        let walk = mounted.walk();
        for (path, name) in [("u", ACCESS), ("md", default)] {
            assert_eq!(walk.getxattr(path, name), Err(Errno::OPNOTSUPP));
            assert_eq!(walk.removexattr(path, name), Err(Errno::OPNOTSUPP));
            let set = walk.setxattr(path, name, &acl(3, 4));
            assert_eq!(set, Err(Errno::OPNOTSUPP));
            assert_eq!(walk.listxattr(path), Ok(Vec::new()));
            let stored = mounted.walk_upper().getxattr(path, name);
            assert_eq!(stored, Ok(acl(1, 2)));
        }
        mounted.finish();
    }
}

#[test]
fn ovl_76_with_static_nlink_every_directory_has_one_link() {
    let layers = || {
        Stack::new()
            .upper("u/a/ u/b/ f='1' g=>f")
            .lower("l/a/ l/b/")
    };
    for medium in Medium::all() {
        let counted = layers().mount(medium);
        assert!(counted.walk().stat("u").unwrap().nlink > 1);
        counted.finish();
        let mounted = layers()
            .config(Config {
                dir_links: DirLinks::One,
                ..Config::default()
            })
            .mount(medium);
        for dir in ["", "u", "u/a", "l", "l/b"] {
            assert_eq!(mounted.walk().stat(dir).unwrap().nlink, 1, "{dir}");
        }
        assert_eq!(mounted.walk().stat("f").unwrap().nlink, 2);
        mounted.finish();
    }
}
