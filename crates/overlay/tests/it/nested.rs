//! OVL-130 to OVL-132: whiteouts of an overlay whose upper lies on this one.

use mica_overlay::{Config, XattrNamespace};
use mica_testkit::{Fault, Medium, Stack, check};
use mica_vfs::{Errno, FileType, Rdev, RenameFlags};

const WHITEOUT: &str = "trusted.overlay.overlay.whiteout";
const OPAQUE: &str = "trusted.overlay.overlay.opaque";

fn mknod(walk: mica_testkit::Walk<'_>, path: &str) -> Result<(), Errno> {
    walk.mknod(path, FileType::CharDevice, 0o600, Rdev::WHITEOUT)
}

/// The type of a name as a listing has it.
fn listed(mounted: &mica_testkit::Mounted, dir: &str, name: &str) -> Option<FileType> {
    use mica_vfs::{Cookie, Filesystem as _, Flow};
    let held = mounted.walk().hold(dir).unwrap();
    let mut found = None;
    mounted
        .overlay()
        .read_dir(held.node(), Cookie::START, &mut |entry| {
            if entry.name.as_bytes() == name.as_bytes() {
                found = entry.kind;
            }
            Flow::Continue
        })
        .unwrap();
    found
}

#[test]
fn ovl_130_a_device_0_0_is_stored_escaped_and_shown_as_one() {
    let stack = Stack::new()
        .upper("gone:whiteout")
        .lower("d/a='1' gone='1'");
    for medium in Medium::all() {
        let mut mounted = stack.mount(medium);
        for path in ["new", "gone", "d/new"] {
            mknod(mounted.walk(), path).unwrap();
            assert_eq!(mknod(mounted.walk(), path), Err(Errno::EXIST));
        }
        assert_eq!(mknod(mounted.walk(), "d/a"), Err(Errno::EXIST));
        for remounted in [false, true] {
            if remounted {
                mounted.remount();
            }
            let walk = mounted.walk();
            for (dir, name) in [("", "new"), ("", "gone"), ("d", "new")] {
                let path = if dir.is_empty() {
                    name.to_owned()
                } else {
                    format!("{dir}/{name}")
                };
                let attr = walk.stat(&path).unwrap();
                assert_eq!(
                    (attr.kind, attr.rdev),
                    (FileType::CharDevice, Rdev::WHITEOUT)
                );
                assert_eq!((attr.size, attr.mode.bits()), (0, 0o600));
                assert_eq!(listed(&mounted, dir, name), Some(FileType::CharDevice));
                // A device has none of these, whatever it is stored as.
                let set = walk.setxattr(&path, "user.k", b"v");
                assert_eq!(set, Err(Errno::PERM));
                assert_eq!(walk.getxattr(&path, "user.k"), Err(Errno::NODATA));
                assert_eq!(walk.read(&path), Err(Errno::INVAL));
                assert_eq!(walk.write_at(&path, 0, b"x"), Err(Errno::INVAL));
                assert_eq!(walk.truncate(&path, 1), Err(Errno::INVAL));
            }
            // What is there for others is not seen.
            for (path, name) in [("new", "whiteout"), ("d", "opaque")] {
                let name = format!("trusted.overlay.{name}");
                assert_eq!(walk.listxattr(path).unwrap(), [""; 0]);
                assert_eq!(walk.getxattr(path, &name), Err(Errno::NODATA));
                assert_eq!(walk.removexattr(path, &name), Err(Errno::NODATA));
            }
            let upper = mounted.walk_upper();
            let stored = upper.stat("d/new").unwrap();
            assert_eq!((stored.kind, stored.size), (FileType::Regular, 0));
            assert_eq!(upper.getxattr("d/new", WHITEOUT).as_deref(), Ok(&b"y"[..]));
            assert_eq!(upper.getxattr("d", OPAQUE).as_deref(), Ok(&b"x"[..]));
            assert_eq!(upper.getxattr("", OPAQUE).as_deref(), Ok(&b"x"[..]));
        }
        mounted.assert_shows_layers();
        mounted.finish();
    }
}

#[test]
fn ovl_130_a_file_that_is_given_the_attribute_stays_a_file() {
    let stack = Stack::new().upper("").lower("f=''");
    check(
        &stack,
        |w| {
            w.setxattr("f", "trusted.overlay.whiteout", b"y")?;
            w.create("g", 0o600)?;
            w.setxattr("g", "trusted.overlay.whiteout", b"y")?;
            Ok::<_, Errno>((w.stat("f")?.kind, w.stat("g")?.kind))
        },
        Ok::<_, Errno>((FileType::Regular, FileType::Regular)),
    );
}

#[test]
fn ovl_130_a_mark_of_the_nested_overlay_takes_the_place_of_ours() {
    let stack = Stack::new().upper("").lower("d/a='1' e/a='1'");
    for medium in Medium::all() {
        let mut mounted = stack.mount(medium);
        let mark = "trusted.overlay.opaque";
        mknod(mounted.walk(), "d/w").unwrap();
        mounted.walk().setxattr("e", mark, b"x").unwrap();
        mknod(mounted.walk(), "e/w").unwrap();
        mounted.remount();
        let walk = mounted.walk();
        assert_eq!(walk.getxattr("e", mark).as_deref(), Ok(&b"x"[..]));
        for value in [b"x", b"y"] {
            walk.setxattr("d", mark, value).unwrap();
            assert_eq!(walk.getxattr("d", mark).as_deref(), Ok(&value[..]));
            assert_eq!(walk.listxattr("d").unwrap(), [mark]);
        }
        walk.removexattr("d", mark).unwrap();
        // Once more, when nothing is remembered of the directory.
        mknod(mounted.walk(), "new").unwrap();
        mounted.remount();
        mknod(mounted.walk(), "newer").unwrap();
        mounted.remount();
        assert_eq!(mounted.walk().listxattr("").unwrap(), [""; 0]);
        assert_eq!(mounted.walk().listxattr("d").unwrap(), [""; 0]);
        assert_eq!(listed(&mounted, "d", "w"), Some(FileType::CharDevice));
        mounted.assert_shows_layers();
        mounted.finish();
    }
}

#[test]
fn ovl_130_a_nested_whiteout_can_be_linked_moved_and_removed() {
    let stack = Stack::new()
        .upper("one/ two/ three/f='1'")
        .lower("low/a='1'");
    for medium in Medium::all() {
        let mut mounted = stack.mount(medium);
        let walk = mounted.walk();
        mknod(walk, "one/x").unwrap();
        walk.link("one/x", "low/y").unwrap();
        walk.rename("one/x", "two/x").unwrap();
        walk.rename_with("two/x", "three/f", RenameFlags::EXCHANGE)
            .unwrap();
        walk.chmod("three/f", 0).unwrap();
        walk.rmdir("one").unwrap();
        mounted.remount();
        for (dir, name) in [("low", "y"), ("three", "f")] {
            assert_eq!(listed(&mounted, dir, name), Some(FileType::CharDevice));
            let attr = mounted.walk().stat(&format!("{dir}/{name}")).unwrap();
            assert_eq!(
                (attr.kind, attr.rdev),
                (FileType::CharDevice, Rdev::WHITEOUT)
            );
            assert_eq!((attr.nlink, attr.mode.bits()), (2, 0));
        }
        assert_eq!(listed(&mounted, "two", "x"), Some(FileType::Regular));
        mounted.walk().unlink("low/y").unwrap();
        assert_eq!(mounted.walk().ls("low").unwrap(), ["a"]);
        mounted.assert_shows_layers();
        mounted.finish();
    }
}

#[test]
fn ovl_130_a_nested_whiteout_of_a_lower_is_copied_up_as_one() {
    let lower = "d/[trusted.overlay.overlay.opaque=x,trusted.overlay.nested=x] \
                 d/w=''[trusted.overlay.overlay.whiteout=y,trusted.overlay.nested=x]@0000 d/f=''";
    for below in ["", "d/below='1'"] {
        let stack = Stack::new().upper("").lower(lower).lower(below);
        for medium in Medium::all() {
            let mut mounted = stack.mount(medium);
            assert_eq!(listed(&mounted, "d", "w"), Some(FileType::CharDevice));
            assert_eq!(listed(&mounted, "d", "f"), Some(FileType::Regular));
            let before = mounted.walk().stat("d/w").unwrap();
            mounted.walk().chown("d/w", 7, 7).unwrap();
            for remounted in [false, true] {
                if remounted {
                    mounted.remount();
                }
                let attr = mounted.walk().stat("d/w").unwrap();
                assert_eq!(
                    (attr.kind, attr.rdev),
                    (FileType::CharDevice, Rdev::WHITEOUT)
                );
                assert_eq!((attr.ino, attr.uid), (before.ino, 7));
                assert_eq!(listed(&mounted, "d", "w"), Some(FileType::CharDevice));
            }
            let upper = mounted.walk_upper();
            assert_eq!(upper.stat("d/w").unwrap().kind, FileType::Regular);
            assert_eq!(upper.getxattr("d/w", WHITEOUT).as_deref(), Ok(&b"y"[..]));
            assert_eq!(upper.getxattr("d", OPAQUE).as_deref(), Ok(&b"x"[..]));
            mounted.assert_shows_layers();
            mounted.finish();
        }
    }
}

#[test]
fn ovl_131_rename_whiteout_leaves_a_device() {
    let stack = Stack::new()
        .upper("u='u' ud/x='x' t='old'")
        .lower("l='l' t='below' ld/a='1'");
    for medium in Medium::all() {
        let mut mounted = stack.mount(medium);
        let walk = mounted.walk();
        let whiteout = |from, to| walk.rename_with(from, to, RenameFlags::WHITEOUT);
        whiteout("u", "t").unwrap();
        whiteout("l", "ld/new").unwrap();
        whiteout("ud", "moved").unwrap();
        assert_eq!(whiteout("none", "x"), Err(Errno::NOENT));
        let both = RenameFlags::WHITEOUT | RenameFlags::EXCHANGE;
        assert_eq!(walk.rename_with("t", "moved", both), Err(Errno::INVAL));
        let unless = RenameFlags::WHITEOUT | RenameFlags::NOREPLACE;
        assert_eq!(walk.rename_with("t", "moved", unless), Err(Errno::EXIST));
        for remounted in [false, true] {
            if remounted {
                mounted.remount();
            }
            let walk = mounted.walk();
            assert_eq!(walk.read_text("t").as_deref(), Ok("u"));
            assert_eq!(walk.read_text("ld/new").as_deref(), Ok("l"));
            assert_eq!(walk.ls("moved").unwrap(), ["x"]);
            for name in ["u", "l", "ud"] {
                let attr = walk.stat(name).unwrap();
                assert_eq!(
                    (attr.kind, attr.rdev),
                    (FileType::CharDevice, Rdev::WHITEOUT)
                );
                assert_eq!((attr.mode.bits(), attr.uid), (0, 0));
                assert_eq!(listed(&mounted, "", name), Some(FileType::CharDevice));
            }
        }
        mounted.assert_shows_layers();
        mounted.finish();
    }
}

#[test]
fn ovl_131_a_rename_whose_whiteout_fails_is_undone_or_leaves_none() {
    let stack = Stack::new().upper("u='u'").lower("l='l'");
    for medium in Medium::all() {
        for name in ["u", "l"] {
            let mut undone = 0;
            for nth in 1.. {
                let mut mounted = stack.mount(medium);
                let faults = mounted.with_faults();
                faults.arm(nth, Fault::Fail(Errno::IO));
                let renamed = mounted
                    .walk()
                    .rename_with(name, "new", RenameFlags::WHITEOUT);
                let struck = faults.struck();
                faults.heal();
                mounted.remount();
                let walk = mounted.walk();
                if renamed.is_err() {
                    undone += 1;
                    assert_eq!(walk.ls("").unwrap(), ["l", "u"], "fault {nth}");
                    assert_eq!(walk.read_text(name).as_deref(), Ok(name));
                } else {
                    assert_eq!(walk.read_text("new").as_deref(), Ok(name));
                    assert_eq!(walk.stat(name).unwrap().rdev, Rdev::WHITEOUT);
                }
                drop(faults);
                mounted.finish();
                if !struck {
                    break;
                }
            }
            assert!(undone > 3, "{undone} faults struck");
        }
    }
}

#[test]
fn ovl_132_attributes_are_escaped_at_every_depth() {
    let names = ["trusted.overlay.opaque", "trusted.overlay.overlay.origin"];
    let stack = Stack::new()
        .upper("")
        .lower("f='1'[trusted.overlay.overlay.overlay.deep=z]");
    for medium in Medium::all() {
        let mut mounted = stack.mount(medium);
        for name in names {
            mounted.walk().setxattr("f", name, b"v").unwrap();
        }
        mounted.remount();
        let mut shown = mounted.walk().listxattr("f").unwrap();
        shown.sort();
        let deep = "trusted.overlay.overlay.deep";
        assert_eq!(shown, [names[0], deep, names[1]]);
        for name in [names[0], names[1], deep] {
            let stored = name.replacen("overlay.", "overlay.overlay.", 1);
            let value = mounted.walk().getxattr("f", name).unwrap();
            assert_eq!(mounted.walk_upper().getxattr("f", &stored), Ok(value));
        }
        let long = format!("trusted.overlay.{}", "a".repeat(232));
        let walk = mounted.walk();
        assert_eq!(walk.setxattr("f", &long, b"v"), Err(Errno::OPNOTSUPP));
        assert_eq!(walk.getxattr("f", &long), Err(Errno::OPNOTSUPP));
        assert_eq!(walk.removexattr("f", &long), Err(Errno::OPNOTSUPP));
        walk.setxattr("f", &long[..247], b"v").unwrap();
        assert_eq!(walk.getxattr("f", &long[..247]).as_deref(), Ok(&b"v"[..]));
        mounted.finish();
    }
}

#[test]
fn ovl_130_userxattr_keeps_nested_whiteouts_in_the_user_namespace() {
    let config = Config {
        xattrs: XattrNamespace::User,
        ..Config::default()
    };
    let stack = Stack::new().upper("").lower("d/a='1'").config(config);
    for medium in Medium::all() {
        let mut mounted = stack.mount(medium);
        mknod(mounted.walk(), "d/w").unwrap();
        mounted.remount();
        assert_eq!(mounted.walk().listxattr("d").unwrap(), [""; 0]);
        let attr = mounted.walk().stat("d/w").unwrap();
        assert_eq!(
            (attr.kind, attr.rdev),
            (FileType::CharDevice, Rdev::WHITEOUT)
        );
        // A device has no `user.*`.
        assert_eq!(mounted.walk().listxattr("d/w").unwrap(), [""; 0]);
        let stored = mounted
            .walk_upper()
            .getxattr("d/w", "user.overlay.overlay.whiteout");
        assert_eq!(stored.as_deref(), Ok(&b"y"[..]));
        mounted.finish();
    }
}
