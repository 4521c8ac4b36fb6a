//! Whose things are shown to be, and who may then do what (OVL-73 to OVL-77).

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::process::Command;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::fuse_overlayfs::listed;
use crate::ground::{Ground, Outcome, can_mount, has_program, ok, run};
use crate::users::run_as_nobody;

/// A ground that others may enter.
fn open_ground() -> Ground {
    let ground = Ground::new();
    for path in [ground.root(), &ground.at("u")] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    ground
}

/// Mounts `l`, `u` and `w` with more options.
#[track_caller]
fn mount(ground: &Ground, more: &str) {
    let options = format!("lowerdir=l,upperdir=u,workdir=w,{more}");
    assert_eq!(ground.run(&["mount", "-o", &options, "m"]), ok());
}

#[test]
fn ovl_73_who_has_the_squashed_id_may_do_what_an_owner_may() {
    let test = "ovl_73_who_has_the_squashed_id_may_do_what_an_owner_may";
    if !can_mount(test) || !has_program(test, "setpriv") {
        return;
    }
    let ground = open_ground();
    fs::write(ground.at("l/secret"), "secret").unwrap();
    fs::set_permissions(ground.at("l/secret"), Permissions::from_mode(0o600)).unwrap();
    mount(&ground, "squash_to_uid=1000,squash_to_gid=1000");
    let script = "cat secret && chmod 640 secret && echo more >> secret";
    let others = ground.as_user(1001, 1001, "m", script);
    assert_eq!((others.status, others.stdout.as_str()), (Some(1), ""));
    let owner = ground.as_user(1000, 1000, "m", script);
    assert_eq!((owner.status, owner.stdout.as_str()), (Some(0), "secret"));
    let stored = fs::metadata(ground.at("u/secret")).unwrap();
    assert_eq!((stored.uid(), stored.mode() & 0o7777), (0, 0o640));
    // Only root may give files away, squashed or not.
    let chown = ground.as_user(1000, 1000, "m", "chown 1001 secret");
    assert_eq!(chown.status, Some(1));
}

#[test]
fn ovl_73_an_ordinary_user_copies_up_what_belongs_to_others() {
    let test = "ovl_73_an_ordinary_user_copies_up_what_belongs_to_others";
    if !can_mount(test) {
        return;
    }
    let ground = Ground::alone();
    fs::write(ground.at("l/roots"), "lower\n").unwrap();
    let mount = "./mica mount -o lowerdir=l,upperdir=u,workdir=w,userxattr";
    let write = "stat -c %u:%g m/roots; echo more >> m/roots; cat m/roots";
    let script =
        format!("{mount},squash_to_uid=65534,squash_to_gid=65534 m; {write}; ./mica umount m");
    let done = run_as_nobody(&ground, &script);
    let expected = Outcome {
        status: Some(0),
        stdout: "65534:65534\nlower\nmore\n".into(),
        stderr: String::new(),
    };
    assert_eq!(done, expected);
    let stored = fs::metadata(ground.at("u/roots")).unwrap();
    assert_eq!((stored.uid(), stored.gid()), (65_534, 65_534));
}

/// A default ACL that gives everybody everything: owner, group and others rwx.
const OPEN_TO_ALL: &[u8] = b"\x02\0\0\0\
    \x01\0\x07\0\xff\xff\xff\xff\x04\0\x07\0\xff\xff\xff\xff\x20\0\x07\0\xff\xff\xff\xff";

#[test]
fn ovl_75_with_noacl_the_umask_counts_and_acls_are_not_supported() {
    let test = "ovl_75_with_noacl_the_umask_counts_and_acls_are_not_supported";
    if !can_mount(test) {
        return;
    }
    let name = "system.posix_acl_default";
    for (options, mode) in [
        ("rw", 0o666),
        ("noacl", 0o640),
        ("xattr_permissions=2", 0o640),
    ] {
        let ground = open_ground();
        fs::create_dir(ground.at("u/d")).unwrap();
        let set = rustix::fs::setxattr(ground.at("u/d"), name, OPEN_TO_ALL, XattrFlags::empty());
        if set == Err(Errno::OPNOTSUPP) {
            return crate::ground::skipped(test, "the filesystem has no ACLs");
        }
        mount(&ground, options);
        let mut touch = Command::new("sh");
        let touch = touch.args(["-ec", "umask 027; touch d/f; mkdir d/s"]);
        assert_eq!(run(touch.current_dir(ground.at("m"))), ok());
        let shown = |name: &str| fs::metadata(ground.at("m/d").join(name)).unwrap().mode() & 0o7777;
        assert_eq!(shown("f"), mode, "{options}");
        let mut value = [0; 64];
        let got = rustix::fs::getxattr(ground.at("m/d"), name, &mut value[..]);
        if options == "rw" {
            assert_eq!(got, Ok(OPEN_TO_ALL.len()));
            continue;
        }
        assert_eq!(got, Err(Errno::OPNOTSUPP), "{options}");
        let set = rustix::fs::setxattr(ground.at("m/d"), name, OPEN_TO_ALL, XattrFlags::empty());
        assert_eq!(set, Err(Errno::OPNOTSUPP), "{options}");
        assert_eq!(
            rustix::fs::listxattr(ground.at("m/d"), &mut value[..]),
            Ok(0)
        );
        let stored = rustix::fs::getxattr(ground.at("u/d"), name, &mut value[..]);
        assert_eq!(stored, Ok(OPEN_TO_ALL.len()), "what the layer has stays");
    }
}

#[test]
fn ovl_76_with_static_nlink_stat_says_one_link_of_every_directory() {
    if !can_mount("ovl_76_with_static_nlink_stat_says_one_link_of_every_directory") {
        return;
    }
    let ground = open_ground();
    fs::create_dir_all(ground.at("l/d/sub")).unwrap();
    fs::create_dir_all(ground.at("u/e/sub")).unwrap();
    mount(&ground, "static_nlink");
    fs::create_dir(ground.at("m/e/new")).unwrap();
    for name in ["", "d", "e", "e/new"] {
        assert_eq!(
            fs::metadata(ground.at("m").join(name)).unwrap().nlink(),
            1,
            "{name}"
        );
    }
}

#[test]
fn ovl_77_owners_are_recorded_where_they_cannot_be_given() {
    let test = "ovl_77_owners_are_recorded_where_they_cannot_be_given";
    if !can_mount(test) || !has_program(test, "setpriv") {
        return;
    }
    let script = "
        umask 022
        chown 5:6 file; chmod 4750 file
        echo x > new; chown 1000:1000 new
        mkdir -m 2775 dir; chown 1:2 dir; chmod 2775 dir; touch dir/inherits
        rm gone; mkdir gone; touch gone/f
        ln new new2; mv new2 dir/moved; ln -s t link
    ";
    for (options, name) in [
        (
            "xattr_permissions=1",
            "security.fuseoverlayfs.override_stat",
        ),
        // The marks alone would not need CAP_SYS_ADMIN.
        (
            "xattr_permissions=1,userxattr",
            "security.fuseoverlayfs.override_stat",
        ),
        ("xattr_permissions=2", "user.fuseoverlayfs.override_stat"),
    ] {
        let ground = open_ground();
        for (file, owner) in [("file", 3), ("gone", 3), ("other", 70_000)] {
            fs::write(ground.at("l").join(file), "lower").unwrap();
            chown(ground.at("l").join(file), Some(owner), Some(owner)).unwrap();
        }
        mount(&ground, options);
        let done = run(Command::new("sh")
            .args(["-ec", script])
            .current_dir(ground.at("m")));
        assert_eq!(done, ok(), "{options}");
        let others = ground.as_user(1000, 1000, "m", "echo y >> new; cat file; cat new");
        assert_eq!(others.stdout, "x\ny\n", "the kernel checks what is shown");
        let expected = "dir 1:2 2775 d\ndir/inherits 0:2 644 f\ndir/moved 1000:1000 644 f\nfile 5:6 4750 f\n\
            gone 0:0 755 d\ngone/f 0:0 644 f\nlink 0:0 777 l\nnew 1000:1000 644 f\nother 70000:70000 644 f\n";
        assert_eq!(listed(&ground.at("m")), expected, "{options}");
        let mut value = vec![0; 64];
        let len = rustix::fs::lgetxattr(ground.at("u/file"), name, &mut value[..]).unwrap();
        value.truncate(len);
        assert_eq!(value, b"5:6:4750");
        let owned = fs::read_dir(ground.at("u"))
            .unwrap()
            .map(|e| e.unwrap().metadata().unwrap());
        assert!(
            owned
                .into_iter()
                .all(|m| m.uid() == 0 && m.mode() & 0o7000 == 0)
        );
        let seen = rustix::fs::listxattr(ground.at("m/file"), &mut value[..]);
        assert_eq!(seen, Ok(0), "the attribute is hidden");
        // After a remount all is the same, also where the upper is a lower of another stack.
        ground.unmount("m");
        mount(&ground, options);
        assert_eq!(listed(&ground.at("m")), expected, "{options}");
        ground.unmount("m");
        let lowers = format!("lowerdir=u:l,xattr_permissions=2,{options}");
        assert_eq!(ground.run(&["mount", "-o", &lowers, "m"]), ok());
        assert_eq!(listed(&ground.at("m")), expected, "{options}");
    }
}

#[test]
fn ovl_77_the_root_of_a_new_upper_is_like_that_of_the_recorded_lower() {
    if !can_mount("ovl_77_the_root_of_a_new_upper_is_like_that_of_the_recorded_lower") {
        return;
    }
    let ground = open_ground();
    let name = "user.containers.override_stat";
    rustix::fs::setxattr(ground.at("l"), name, b"11:12:0751:dir", XattrFlags::empty()).unwrap();
    mount(&ground, "xattr_permissions=2");
    let root = fs::metadata(ground.at("m")).unwrap();
    assert_eq!(
        (root.uid(), root.gid(), root.mode() & 0o7777),
        (11, 12, 0o751)
    );
}

#[test]
fn ovl_77_the_attribute_of_root_is_refused_to_users_with_the_way_out() {
    if !can_mount("ovl_77_the_attribute_of_root_is_refused_to_users_with_the_way_out") {
        return;
    }
    let ground = Ground::alone();
    let script = "./mica mount -o lowerdir=l,upperdir=u,workdir=w,userxattr,xattr_permissions=1 m";
    let refused = run_as_nobody(&ground, script);
    assert_eq!(
        refused.stderr,
        "error: cannot mount at `m`\ncaused by:\n  1: upperdir `u` does not keep owners as `security.fuseoverlayfs.override_stat`\n  \
         2: operation not permitted (EPERM)\n\
         hint: only root can set that attribute; write `-o xattr_permissions=2` for the one of ordinary users\n"
    );
    assert_eq!(refused.status, Some(1));
}

#[test]
fn verbose_says_whose_things_are() {
    if !can_mount("verbose_says_whose_things_are") {
        return;
    }
    for (options, lines) in [
        (
            "squash_to_root,gidmapping=0:5:1:1:9:2",
            &["uids shown as 0", "gids shown as 0, stored by 0:5:1 1:9:2"][..],
        ),
        ("uidmapping=0:1000:1", &["uids mapped 0:1000:1"]),
        (
            "noacl,static_nlink",
            &["no ACLs", "link count of directories 1"],
        ),
        (
            "xattr_permissions=2",
            &["owners kept as user.fuseoverlayfs.override_stat", "no ACLs"],
        ),
    ] {
        let ground = open_ground();
        let all = format!("lowerdir=l,upperdir=u,workdir=w,{options}");
        let said = ground.run(&["mount", "-v", "-o", &all, "m"]).stderr;
        for line in lines {
            assert!(
                said.lines().any(|said| said == *line),
                "{line} not in {said}"
            );
        }
        let negotiated = said
            .lines()
            .find(|line| line.starts_with("negotiated"))
            .unwrap();
        let acls = !said.contains("no ACLs");
        for flag in ["POSIX_ACL", "DONT_MASK"] {
            assert_eq!(
                negotiated.split(' ').any(|f| f == flag),
                acls,
                "{flag} with {options}"
            );
        }
    }
}
