//! OVL-20 to OVL-29: what a change does to the layers.

use mica_overlay::{Config, Redirects};
use mica_testkit::{Detail, Medium, Mounted, Stack, Walk, check};
use mica_vfs::{
    Access, Caller, Errno, FallocateMode, FileType, Filesystem, KillPriv, Mode, Rdev, RenameFlags,
    SeekFrom, SetAttr, Time,
};

/// What the upper has at `path`, as one word.
fn upper_has(mounted: &Mounted, path: &str) -> &'static str {
    match mounted.walk_upper().stat(path) {
        Err(Errno::NOENT) => "nothing",
        Err(_) => "an error",
        Ok(attr) if attr.kind == FileType::CharDevice && attr.rdev == Rdev::WHITEOUT => "whiteout",
        Ok(attr) if attr.kind == FileType::Directory => "directory",
        Ok(_) => "file",
    }
}

/// Mounts the stack over each medium, runs `operate`, and checks what all tests check.
fn on_each(stack: &Stack, operate: impl Fn(&Mounted)) {
    for medium in Medium::all() {
        let mounted = stack.mount(medium);
        operate(&mounted);
        mounted.assert_shows_layers();
        let work = mounted.walk_work().ls("work").unwrap();
        assert!(
            work.len() <= 1,
            "the work directory holds more than the shared whiteout: {work:?}"
        );
        mounted.finish();
    }
}

#[test]
fn ovl_20_reading_copies_nothing_up_and_the_first_write_does() {
    on_each(&Stack::new().upper("").lower("d/a='one'"), |mounted| {
        let (fs, walk) = (&**mounted.overlay(), mounted.walk());
        let held = walk.hold("d/a").unwrap();
        assert!(fs.host_file(held.node(), Access::Read).is_ok());
        assert_eq!(walk.read_text("d/a").as_deref(), Ok("one"));
        assert_eq!(upper_has(mounted, "d"), "nothing");
        fs.write(held.node(), 3, b" two", KillPriv::Keep).unwrap();
        assert_eq!(walk.read_text("d/a").as_deref(), Ok("one two"));
        assert_eq!(
            mounted.walk_upper().read_text("d/a").as_deref(),
            Ok("one two")
        );
        // The node that a reader had is the one that shows the change.
        assert_eq!(walk.hold("d/a").unwrap().node(), held.node());
    });
}

#[test]
fn ovl_21_truncation_copies_only_what_stays() {
    on_each(
        &Stack::new().upper("").lower("a=hole(64M) b='12345'"),
        |mounted| {
            let walk = mounted.walk();
            walk.truncate("a", 0).unwrap();
            walk.truncate("b", 3).unwrap();
            assert_eq!(walk.read_text("b").as_deref(), Ok("123"));
            assert_eq!(mounted.overlay().stats().copied_bytes, 3);
        },
    );
}

#[test]
fn ovl_22_a_copy_keeps_everything() {
    let lower = "d/@0751~10:20!1000 d/f='data'@4755~1:2!123456789[user.k=v,trusted.t=u] \
                 d/l->target d/p:fifo@0611 d/c:char(1,3)@0622~3:4 d/s:socket d/h=hole(1M)!77";
    on_each(&Stack::new().upper("").lower(lower), |mounted| {
        let detail = Detail::all().difference(Detail::CTIME | Detail::ATIME | Detail::RAW);
        let before = mounted.dump(detail);
        let walk = mounted.walk();
        for path in ["d/f", "d/l", "d/p", "d/c", "d/s", "d/h"] {
            // An owner that is not changed is a change that changes nothing, but the upper has to take it.
            walk.set_attr(
                path,
                &SetAttr {
                    uid: None,
                    mtime: None,
                    ..SetAttr::default()
                },
            )
            .unwrap();
            assert_ne!(upper_has(mounted, path), "nothing", "{path}");
        }
        let after = mounted.dump(detail);
        assert_eq!(before.diff(&after), None);
    });
}

#[test]
fn ovl_22_holes_stay_holes() {
    on_each(&Stack::new().upper("").lower("big=hole(256M)"), |mounted| {
        let walk = mounted.walk();
        walk.write_at("big", 128 << 20, b"data").unwrap();
        let attr = walk.stat("big").unwrap();
        assert_eq!(attr.size, 256 << 20);
        assert!(attr.blocks < 1024, "{} blocks", attr.blocks);
        let held = walk.hold("big").unwrap();
        let data = mounted
            .overlay()
            .seek(held.node(), SeekFrom::Data(0))
            .unwrap();
        assert!(data <= 128 << 20 && data > 127 << 20);
    });
}

#[test]
fn ovl_22_the_parents_times_stay() {
    on_each(
        &Stack::new().upper("").lower("d/!1000 d/a='1' d/b='1'"),
        |mounted| {
            let walk = mounted.walk();
            walk.write("d/a", b"2").unwrap();
            walk.chmod("d/b", 0o600).unwrap();
            assert_eq!(
                walk.stat("d").unwrap().mtime,
                Time {
                    secs: 1000,
                    nanos: 0
                }
            );
        },
    );
}

#[test]
fn ovl_23_removing_a_lower_file_copies_nothing() {
    on_each(
        &Stack::new().upper("").lower("d/a='1' d/b='1'"),
        |mounted| {
            let walk = mounted.walk();
            walk.unlink("d/a").unwrap();
            assert_eq!(walk.ls("d").unwrap(), ["b"]);
            assert_eq!(upper_has(mounted, "d/a"), "whiteout");
            assert_eq!(mounted.overlay().stats().copied_bytes, 0);
            assert_eq!(walk.unlink("d/a"), Err(Errno::NOENT));
        },
    );
}

#[test]
fn ovl_23_a_copied_file_gives_way_to_a_whiteout_and_a_new_one_to_nothing() {
    on_each(&Stack::new().upper("new='u'").lower("old='1'"), |mounted| {
        let walk = mounted.walk();
        walk.write("old", b"2").unwrap();
        walk.unlink("old").unwrap();
        walk.unlink("new").unwrap();
        assert_eq!(
            (upper_has(mounted, "old"), upper_has(mounted, "new")),
            ("whiteout", "nothing")
        );
    });
}

#[test]
fn ovl_23_a_removed_file_lives_while_it_is_held() {
    on_each(
        &Stack::new()
            .upper("u='upper'")
            .lower("l='lower' w='written'"),
        |mounted| {
            let (fs, walk) = (&**mounted.overlay(), mounted.walk());
            for path in ["u", "l", "w"] {
                let held = walk.hold(path).unwrap();
                walk.unlink(path).unwrap();
                assert_eq!(fs.get_attr(held.node()).unwrap().nlink, 0, "{path}");
                let mut data = [0; 16];
                assert!(fs.read(held.node(), 0, &mut data).unwrap() > 4);
                if path != "l" {
                    fs.write(held.node(), 0, b"after", KillPriv::Keep).unwrap();
                    fs.read(held.node(), 0, &mut data).unwrap();
                    assert_eq!(&data[..5], b"after");
                }
                assert!(!walk.exists(path));
            }
        },
    );
}

#[test]
fn ovl_24_new_objects_take_the_place_of_whiteouts() {
    let upper = "f:whiteout d:whiteout l:whiteout p:whiteout h:whiteout a='u'";
    let stack = Stack::new()
        .upper(upper)
        .lower("f='1' d/x='1' l='1' p='1' h='1'");
    on_each(&stack, |mounted| {
        let walk = mounted.walk();
        walk.create("f", 0o640).unwrap();
        walk.mkdir("d").unwrap();
        walk.symlink("to", "l").unwrap();
        walk.mknod("p", FileType::Fifo, 0o600, Rdev::default())
            .unwrap();
        walk.link("a", "h").unwrap();
        assert_eq!(walk.ls("d").unwrap(), Vec::<String>::new());
        assert_eq!(walk.stat("f").unwrap().mode, Mode::new(0o640));
        assert_eq!(walk.stat("h").unwrap().nlink, 2);
        assert_eq!(walk.create("f", 0o600), Err(Errno::EXIST));
        assert_eq!(walk.mkdir("d"), Err(Errno::EXIST));
    });
}

#[test]
fn ovl_24_an_object_is_born_with_its_callers_identity() {
    let caller = Caller {
        uid: 1234,
        gid: 2345,
        umask: 0o027,
    };
    let stack = Stack::new()
        .upper("plain/ gone:whiteout sgid/@2775~0:77 sgid/gone:whiteout sgid/dgone:whiteout")
        .lower("gone='1' sgid/gone='1' sgid/dgone/x='1' x='1'");
    on_each(&stack, |mounted| {
        let walk = mounted.walk().by(caller);
        let born = |path: &str| {
            let attr = mounted.walk().stat(path).unwrap();
            (attr.uid, attr.gid, attr.mode.bits())
        };
        for (path, owner) in [
            ("plain/f", (1234, 2345, 0o640)),
            ("gone", (1234, 2345, 0o640)),
            ("sgid/f", (1234, 77, 0o640)),
            ("sgid/gone", (1234, 77, 0o640)),
        ] {
            walk.create(path, 0o666).unwrap();
            assert_eq!(born(path), owner, "{path}");
        }
        for (path, owner) in [
            ("sgid/d", (1234, 77, 0o2750)),
            ("sgid/dgone", (1234, 77, 0o2750)),
        ] {
            walk.mkdir_mode(path, 0o777).unwrap();
            assert_eq!(born(path), owner, "{path}");
        }
        walk.symlink("t", "plain/l").unwrap();
        assert_eq!(born("plain/l").0, 1234);
    });
}

/// A default ACL as the kernel stores it: owner rwx, user 1000 rwx, group r-x, mask rwx, others nothing.
fn default_acl() -> Vec<u8> {
    let entry = |tag: u16, perm: u16, id: u32| {
        let mut bytes = tag.to_le_bytes().to_vec();
        bytes.extend(perm.to_le_bytes());
        bytes.extend(id.to_le_bytes());
        bytes
    };
    let nobody = u32::MAX;
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in [
        (0x01, 7, nobody),
        (0x02, 7, 1000),
        (0x04, 5, nobody),
        (0x10, 7, nobody),
        (0x20, 0, nobody),
    ] {
        acl.extend(entry(tag, perm, id));
    }
    acl
}

#[test]
fn ovl_24_a_default_acl_is_inherited_over_a_whiteout_as_anywhere() {
    let stack = Stack::new()
        .upper("d/f:whiteout d/sub:whiteout")
        .lower("d/f='1' d/sub/x='1'");
    on_each(&stack, |mounted| {
        let caller = Caller {
            uid: 5,
            gid: 6,
            umask: 0o077,
        };
        let (root, walk) = (mounted.walk(), mounted.walk().by(caller));
        root.setxattr("d", "system.posix_acl_default", &default_acl())
            .unwrap();
        walk.create("d/plain", 0o664).unwrap();
        walk.create("d/f", 0o664).unwrap();
        walk.mkdir_mode("d/plain.d", 0o775).unwrap();
        walk.mkdir_mode("d/sub", 0o775).unwrap();
        for (over, plain) in [("d/f", "d/plain"), ("d/sub", "d/plain.d")] {
            let shown = |path: &str| {
                let attr = root.stat(path).unwrap();
                let acl = |kind: &str| root.getxattr(path, &format!("system.posix_acl_{kind}"));
                (attr.mode, attr.uid, attr.gid, acl("access"), acl("default"))
            };
            assert_eq!(shown(over), shown(plain), "{over}");
            assert!(shown(over).3.is_ok(), "{over} has no ACL");
        }
    });
}

#[test]
fn ovl_22_a_file_capability_is_copied_up_and_ends_with_a_write() {
    let capability = "\u{1}\\0\\0\u{2}\\0\u{4}\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0";
    let lower = format!("f='program'@0755~7:8[security.capability='{capability}']");
    on_each(&Stack::new().upper("").lower(lower.as_str()), |mounted| {
        let walk = mounted.walk();
        let before = walk.getxattr("f", "security.capability").unwrap();
        assert_eq!(before.len(), 20);
        walk.chmod("f", 0o750).unwrap();
        let copied = mounted.walk_upper().getxattr("f", "security.capability");
        assert_eq!(copied, Ok(before));
        walk.write_at("f", 0, b"changed").unwrap();
        let after = walk.getxattr("f", "security.capability");
        assert_eq!(after, Err(Errno::NODATA));
    });
}

#[test]
fn ovl_25_an_empty_merged_directory_can_be_removed_and_made_again() {
    on_each(
        &Stack::new().upper("").lower("d/a='1' d/b='1' e/"),
        |mounted| {
            let walk = mounted.walk();
            assert_eq!(walk.rmdir("d"), Err(Errno::NOTEMPTY));
            walk.unlink("d/a").unwrap();
            walk.unlink("d/b").unwrap();
            walk.rmdir("d").unwrap();
            walk.rmdir("e").unwrap();
            assert_eq!(
                (upper_has(mounted, "d"), upper_has(mounted, "e")),
                ("whiteout", "whiteout")
            );
            walk.mkdir("d").unwrap();
            assert_eq!(walk.ls("d").unwrap(), Vec::<String>::new());
            walk.rmdir("d").unwrap();
            assert_eq!(upper_has(mounted, "d"), "whiteout");
        },
    );
}

#[test]
fn ovl_25_a_directory_of_whiteouts_is_replaced_by_another() {
    on_each(
        &Stack::new().upper("new/x='u'").lower("old/a='1'"),
        |mounted| {
            let walk = mounted.walk();
            assert_eq!(walk.rename("new", "old"), Err(Errno::NOTEMPTY));
            walk.unlink("old/a").unwrap();
            walk.rename("new", "old").unwrap();
            assert_eq!(walk.ls("old").unwrap(), ["x"]);
            assert!(!walk.exists("new"));
        },
    );
}

#[test]
fn ovl_26_a_renamed_lower_file_leaves_a_whiteout() {
    let stack = Stack::new()
        .upper("u='u' w:whiteout")
        .lower("a='a' b='b' c='c' w='w'");
    on_each(&stack, |mounted| {
        let walk = mounted.walk();
        walk.rename("a", "x").unwrap();
        walk.rename("b", "c").unwrap();
        walk.rename("x", "w").unwrap();
        walk.rename("u", "v").unwrap();
        assert_eq!(walk.ls("").unwrap(), ["c", "v", "w"]);
        assert_eq!(walk.read_text("c").as_deref(), Ok("b"));
        assert_eq!(walk.read_text("w").as_deref(), Ok("a"));
        assert_eq!(
            (upper_has(mounted, "a"), upper_has(mounted, "b")),
            ("whiteout", "whiteout")
        );
        assert_eq!(
            (upper_has(mounted, "x"), upper_has(mounted, "u")),
            ("nothing", "nothing")
        );
    });
}

#[test]
fn ovl_26_files_can_be_exchanged() {
    on_each(
        &Stack::new().upper("u='u' d/x='u'").lower("a='a'"),
        |mounted| {
            let walk = mounted.walk();
            walk.rename_with("a", "u", RenameFlags::EXCHANGE).unwrap();
            walk.rename_with("u", "d", RenameFlags::EXCHANGE).unwrap();
            assert_eq!(walk.read_text("a").as_deref(), Ok("u"));
            assert_eq!(walk.read_text("d").as_deref(), Ok("a"));
            assert_eq!(walk.ls("u").unwrap(), ["x"]);
            let missing = walk.rename_with("a", "none", RenameFlags::EXCHANGE);
            assert_eq!(missing, Err(Errno::NOENT));
        },
    );
}

#[test]
fn ovl_26_noreplace_sees_lower_names() {
    let stack = Stack::new().upper("u='u'").lower("a='a'");
    let noreplace =
        |to: &'static str| move |w: Walk<'_>| w.rename_with("u", to, RenameFlags::NOREPLACE);
    check(&stack, noreplace("a"), Err::<(), _>(Errno::EXIST));
    check(&stack, noreplace("b"), Ok::<(), Errno>(()));
}

#[test]
fn ovl_27_without_redirects_a_directory_that_a_lower_has_is_exdev() {
    for redirects in [Redirects::Follow, Redirects::NoFollow] {
        let config = Config {
            redirects,
            ..Config::default()
        };
        let stack = Stack::new().upper("m/ new/").lower("m/x='1' l/");
        exdev(&stack.config(config));
    }
}

fn exdev(stack: &Stack) {
    for from in ["m", "l"] {
        check(
            stack,
            move |w: Walk<'_>| w.rename(from, "elsewhere"),
            Err::<(), _>(Errno::XDEV),
        );
    }
    check(
        stack,
        |w| w.rename_with("new", "l", RenameFlags::EXCHANGE),
        Err::<(), _>(Errno::XDEV),
    );
    check(stack, |w| w.rename("new", "elsewhere"), Ok::<(), Errno>(()));
}

#[test]
fn ovl_28_a_moved_directory_shows_nothing_of_its_new_place() {
    on_each(
        &Stack::new()
            .upper("new/x='u' gone:whiteout")
            .lower("gone/a='1' m/gone/b='1'"),
        |mounted| {
            let walk = mounted.walk();
            walk.rename("new", "gone").unwrap();
            assert_eq!(walk.ls("gone").unwrap(), ["x"]);
            walk.remove_all("m/gone").unwrap();
            walk.rename("gone", "m/gone").unwrap();
            assert_eq!(walk.ls("m/gone").unwrap(), ["x"]);
            assert!(!walk.exists("gone"));
            walk.mkdir("m/gone/deep").unwrap();
            assert_eq!(walk.rename("m", "m/gone/deep/m"), Err(Errno::INVAL));
        },
    );
}

#[test]
fn ovl_29_links_are_one_file() {
    on_each(&Stack::new().upper("").lower("a='1'"), |mounted| {
        let walk = mounted.walk();
        walk.link("a", "b").unwrap();
        walk.write_at("b", 0, b"2").unwrap();
        assert_eq!(walk.read_text("a").as_deref(), Ok("2"));
        assert_eq!(walk.stat("a").unwrap().nlink, 2);
        assert_eq!(walk.stat("a").unwrap().ino, walk.stat("b").unwrap().ino);
        walk.unlink("a").unwrap();
        assert_eq!(walk.read_text("b").as_deref(), Ok("2"));
    });
}

#[test]
fn ovl_29_a_file_without_a_name_can_be_given_one() {
    on_each(
        &Stack::new().upper("w:whiteout").lower("d/a='1' w='1'"),
        |mounted| {
            let (fs, walk) = (&**mounted.overlay(), mounted.walk());
            let dir = walk.hold("d").unwrap();
            let file = fs
                .tmpfile(&Caller::ROOT, dir.node(), Mode::new(0o600))
                .unwrap();
            fs.write(file.node, 0, b"nameless", KillPriv::Keep).unwrap();
            for name in [&b"named"[..], b"w"] {
                let at = if name == b"w" {
                    walk.hold("").unwrap()
                } else {
                    walk.hold("d").unwrap()
                };
                let name = mica_vfs::FileName::new(name).unwrap();
                let named = fs.link(file.node, at.node(), name).unwrap();
                assert_eq!(named.node, file.node);
                fs.forget(named.node, 1);
            }
            fs.forget(file.node, 1);
            assert_eq!(walk.read_text("d/named").as_deref(), Ok("nameless"));
            assert_eq!(walk.read_text("w").as_deref(), Ok("nameless"));
        },
    );
}

#[test]
fn data_operations_copy_up_and_act_on_the_upper() {
    on_each(
        &Stack::new().upper("").lower("a='0123456789' b='abc' c=''"),
        |mounted| {
            let (fs, walk) = (&**mounted.overlay(), mounted.walk());
            let [a, b, c] = ["a", "b", "c"].map(|path| walk.hold(path).unwrap());
            let punch = FallocateMode::PUNCH_HOLE | FallocateMode::KEEP_SIZE;
            fs.fallocate(a.node(), punch, 2, 3).unwrap();
            assert_eq!(walk.read("a").unwrap(), b"01\0\0\x0056789");
            fs.fallocate(b.node(), FallocateMode::empty(), 0, 10)
                .unwrap();
            assert_eq!(walk.read("b").unwrap(), b"abc\0\0\0\0\0\0\0");
            assert_eq!(fs.copy_range(a.node(), 5, c.node(), 0, 3), Ok(3));
            assert_eq!(walk.read("c").unwrap(), b"567");
        },
    );
}

#[test]
fn ovl_43_setuid_goes_with_a_write_of_who_may_not_keep_it() {
    on_each(
        &Stack::new().upper("").lower("a='1'@6755 b='1'@6755"),
        |mounted| {
            let (fs, walk) = (&**mounted.overlay(), mounted.walk());
            let a = walk.hold("a").unwrap();
            fs.write(a.node(), 0, b"2", KillPriv::Keep).unwrap();
            assert_eq!(walk.stat("a").unwrap().mode, Mode::new(0o6755));
            fs.write(a.node(), 0, b"2", KillPriv::Clear).unwrap();
            assert_eq!(walk.stat("a").unwrap().mode, Mode::new(0o755));
            walk.chown("b", 5, 6).unwrap();
            assert_eq!(walk.stat("b").unwrap().mode, Mode::new(0o755));
        },
    );
}
