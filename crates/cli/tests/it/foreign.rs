//! Uppers that other overlays have written, made by those overlays.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use crate::ground::{Ground, can_mount, ok, run, skipped};

/// Runs a script on a mount of fuse-overlayfs at `m`, and unmounts.
#[track_caller]
fn written_by_fuse_overlayfs(test: &str, more: &str, script: &str) -> Option<Ground> {
    if !can_mount(test) {
        return None;
    }
    if !Path::new("/usr/bin/fuse-overlayfs").exists() {
        skipped(test, "needs fuse-overlayfs");
        return None;
    }
    let ground = Ground::new();
    fs::create_dir(ground.at("l/d")).unwrap();
    for name in ["l/f", "l/d/g"] {
        fs::write(ground.at(name), "lower").unwrap();
    }
    let options = format!("lowerdir=l,upperdir=u,workdir=w{more}");
    let script = format!("fuse-overlayfs -o {options} m 2>&1 && {script} && umount m");
    let mut shell = Command::new("sh");
    assert_eq!(
        run(ground.here(shell.args(["-c", &script]))).status,
        Some(0)
    );
    Some(ground)
}

#[test]
fn whiteouts_and_opaque_directories_of_fuse_overlayfs_as_root_are_the_kernels() {
    let test = "whiteouts_and_opaque_directories_of_fuse_overlayfs_as_root_are_the_kernels";
    let change = "rm m/f && rm -r m/d && mkdir m/d";
    let Some(ground) = written_by_fuse_overlayfs(test, "", change) else {
        return;
    };
    let said = ground.run(&["mount", "-o", "lowerdir=l,upperdir=u,workdir=w", "m"]);
    assert_eq!(said.status, Some(0), "{}", said.stderr);
    assert!(!ground.at("m/f").exists());
    assert!(!ground.at("m/d/g").exists());
    // Beside the mark that both read it leaves one of its own.
    let stray = fs::exists(ground.at("m/d/.wh..wh..opq")).unwrap();
    assert_eq!(
        said.stderr.contains("is a mark of fuse-overlayfs"),
        stray,
        "{}",
        said.stderr
    );
}

#[test]
fn opaque_directories_of_fuse_overlayfs_are_refused_with_userxattr() {
    let test = "opaque_directories_of_fuse_overlayfs_are_refused_with_userxattr";
    let Some(ground) = written_by_fuse_overlayfs(test, "", "rm -r m/d && mkdir m/d") else {
        return;
    };
    let options = "lowerdir=l,upperdir=u,workdir=w,userxattr";
    let said = ground.run(&["mount", "-o", options, "m"]);
    assert_eq!(said.status, Some(1));
    said.assert_said("upperdir `u` was written by another overlay");
}

#[test]
fn owners_that_fuse_overlayfs_keeps_in_attributes_are_refused() {
    let test = "owners_that_fuse_overlayfs_keeps_in_attributes_are_refused";
    let change = "chmod 4700 m/f";
    let Some(ground) = written_by_fuse_overlayfs(test, ",xattr_permissions=2", change) else {
        return;
    };
    let said = ground.run(&["mount", "-o", "lowerdir=l,upperdir=u,workdir=w", "m"]);
    assert_eq!(said.status, Some(1));
    said.assert_said("override_stat`, and would be shown wrongly");
}

/// What another implementation could have left at `d`, or in it: an attribute, or the name of a file.
const FORGED: [&str; 7] = [
    "user.overlay.opaque",
    "user.overlay.redirect",
    "user.fuseoverlayfs.opaque",
    "user.fuseoverlayfs.override_stat",
    "user.containers.override_stat",
    "/.wh.f",
    "/.wh..wh..opq",
];

/// Makes one of them as user `uid`.
#[track_caller]
fn forge(dir: &Path, mark: &str, uid: u32) {
    let mark = mark.to_owned();
    let dir = dir.to_owned();
    let made = std::thread::spawn(move || {
        let _user = mica_sys::cred::BornAs::assume(uid, uid, 0o022).unwrap();
        match mark.strip_prefix('/') {
            Some(name) => drop(fs::File::create_new(dir.join(name)).unwrap()),
            None => {
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::setxattr(&dir, mark.as_str(), b"y", flags).unwrap();
            }
        }
    });
    made.join().unwrap();
}

#[test]
fn ovl_81_what_any_user_can_make_through_a_mount_keeps_nobody_from_its_upper() {
    let test = "ovl_81_what_any_user_can_make_through_a_mount_keeps_nobody_from_its_upper";
    if !can_mount(test) {
        return;
    }
    let options = ["mount", "-o", "lowerdir=l,upperdir=u,workdir=w", "m"];
    for (owner, mode) in [(1000, 0o755), (0, 0o777)] {
        for mark in FORGED {
            let ground = Ground::new();
            fs::set_permissions(ground.root(), fs::Permissions::from_mode(0o755)).unwrap();
            fs::create_dir(ground.at("l/d")).unwrap();
            fs::write(ground.at("l/d/f"), "lower").unwrap();
            std::os::unix::fs::chown(ground.at("l/d"), Some(owner), None).unwrap();
            fs::set_permissions(ground.at("l/d"), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(ground.run(&options), ok());
            forge(&ground.at("m/d"), mark, 1000);
            ground.unmount("m");
            let said = ground.run(&options);
            assert_eq!(said.status, Some(0), "{mark}: {}", said.stderr);
            let doubted = said
                .stderr
                .contains("may have been written by another overlay");
            assert!(doubted, "{mark}: {}", said.stderr);
            assert!(ground.at("m/d/f").exists(), "{mark}");
            ground.unmount("m");
        }
    }
}

#[test]
fn ovl_81_where_there_are_marks_of_this_mount_those_of_the_other_namespace_are_data() {
    let test = "ovl_81_where_there_are_marks_of_this_mount_those_of_the_other_namespace_are_data";
    if !can_mount(test) {
        return;
    }
    let ground = Ground::new();
    let options = ["mount", "-o", "lowerdir=l,upperdir=u,workdir=w", "m"];
    fs::create_dir(ground.at("l/d")).unwrap();
    assert_eq!(ground.run(&options), ok());
    // This copies `d` up, and the root is marked impure.
    forge(&ground.at("m/d"), "user.overlay.opaque", 0);
    ground.unmount("m");
    let said = ground.run(&options);
    assert_eq!(said.status, Some(0), "{}", said.stderr);
    said.assert_said("may have been written");
}

#[test]
fn ovl_81_what_only_the_owner_of_an_upper_can_have_made_is_refused() {
    let test = "ovl_81_what_only_the_owner_of_an_upper_can_have_made_is_refused";
    if !can_mount(test) {
        return;
    }
    for owner in [0, 1000] {
        for mark in FORGED {
            let ground = Ground::new();
            fs::set_permissions(ground.root(), fs::Permissions::from_mode(0o755)).unwrap();
            fs::create_dir(ground.at("l/d")).unwrap();
            fs::create_dir(ground.at("u/d")).unwrap();
            fs::write(ground.at("l/d/f"), "lower").unwrap();
            for dir in ["u", "u/d"] {
                std::os::unix::fs::chown(ground.at(dir), Some(owner), Some(owner)).unwrap();
            }
            forge(&ground.at("u/d"), mark, owner);
            let said = ground.run(&["mount", "-o", "lowerdir=l,upperdir=u,workdir=w", "m"]);
            assert_eq!(said.status, Some(1), "{mark}: {}", said.stderr);
            let cause = "upperdir `u` was written by another overlay";
            assert!(said.stderr.contains(cause), "{mark}: {}", said.stderr);
        }
    }
}

#[test]
fn an_index_of_the_kernel_is_refused_if_it_ties_names() {
    if !can_mount("an_index_of_the_kernel_is_refused_if_it_ties_names") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/a"), "old").unwrap();
    fs::hard_link(ground.at("l/a"), ground.at("l/b")).unwrap();
    fs::write(ground.at("l/single"), "").unwrap();
    let mount =
        "mount -i -t overlay -o lowerdir=$PWD/l,upperdir=$PWD/u,workdir=$PWD/w,index=on o m";
    let options = "lowerdir=l,upperdir=u,workdir=w";
    for (change, refused) in [
        ("echo new > m/single", false),
        ("echo new > m/a && cat m/b", true),
    ] {
        let mut shell = Command::new("sh");
        let script = format!("{mount} && {change} && umount m");
        assert_eq!(
            run(ground.here(shell.args(["-c", &script]))).status,
            Some(0)
        );
        let said = ground.run(&["mount", "-o", options, "m"]);
        if refused {
            let cause = "workdir `w` was used with `index=on`: names of changed files would show their old content";
            said.assert_said(cause);
        } else {
            assert_eq!(said.status, Some(0), "{}", said.stderr);
            ground.unmount("m");
        }
    }
}

#[test]
fn ovl_111_index_on_keeps_names_together_whoever_mounts() {
    if !can_mount("ovl_111_index_on_keeps_names_together_whoever_mounts") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/a"), "0").unwrap();
    for name in ["b", "c", "d"] {
        fs::hard_link(ground.at("l/a"), ground.at("l").join(name)).unwrap();
    }
    let number = fs::metadata(ground.at("l/a")).unwrap().ino();
    let options = "lowerdir=l,upperdir=u,workdir=w,index=on";
    let kernel =
        "mount -i -t overlay -o lowerdir=$PWD/l,upperdir=$PWD/u,workdir=$PWD/w,index=on o m";
    let by_kernel = |change: &str| {
        let mut shell = Command::new("sh");
        let script = format!("{kernel} && {change}; umount m");
        run(ground.here(shell.args(["-c", &script])))
    };
    let shown = || {
        ["a", "b", "c", "d"].map(|name| {
            let path = ground.at("m").join(name);
            let stat = fs::metadata(&path).unwrap();
            (fs::read_to_string(&path).unwrap(), stat.ino(), stat.nlink())
        })
    };
    for (turn, name) in ["a", "c", "b"].into_iter().enumerate() {
        assert_eq!(ground.run(&["mount", "-o", options, "m"]), ok());
        fs::write(ground.at("m").join(name), format!("mica {turn}")).unwrap();
        let expected = [(); 4].map(|()| (format!("mica {turn}"), number, 4));
        assert_eq!(shown(), expected);
        ground.unmount("m");
        let said =
            by_kernel("stat -c '%i %h' m/a m/b m/c m/d; cat m/a m/b m/c m/d; echo kernel > m/d");
        let line = format!("{number} 4\n");
        let expected = line.repeat(4) + &format!("mica {turn}").repeat(4);
        assert_eq!(said.stdout, expected, "{}", said.stderr);
        assert_eq!(ground.run(&["mount", "-o", options, "m"]), ok());
        let expected = [(); 4].map(|()| ("kernel\n".to_owned(), number, 4));
        assert_eq!(shown(), expected);
        ground.unmount("m");
    }
}

#[test]
fn an_upper_goes_from_mica_to_the_kernel_and_back() {
    if !can_mount("an_upper_goes_from_mica_to_the_kernel_and_back") {
        return;
    }
    let ground = Ground::new();
    for name in ["f", "g", "h"] {
        fs::write(ground.at("l").join(name), "lower").unwrap();
    }
    let options = "lowerdir=l,upperdir=u,workdir=w";
    let kernel = "mount -i -t overlay -o lowerdir=$PWD/l,upperdir=$PWD/u,workdir=$PWD/w o m && rm m/g && umount m";
    assert_eq!(ground.run(&["mount", "-o", options, "m"]), ok());
    fs::remove_file(ground.at("m/f")).unwrap();
    ground.unmount("m");
    let mut shell = Command::new("sh");
    assert_eq!(run(ground.here(shell.args(["-c", kernel]))).status, Some(0));
    assert_eq!(ground.run(&["mount", "-o", options, "m"]).status, Some(0));
    let names = fs::read_dir(ground.at("m")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["h"]);
}

#[test]
fn ovl_81_a_name_like_a_whiteouts_is_a_file_and_logged_once() {
    if !can_mount("ovl_81_a_name_like_a_whiteouts_is_a_file_and_logged_once") {
        return;
    }
    let ground = Ground::new();
    for dir in ["l/a/b", "l/a/c", "u/a/b", "u/a/c"] {
        fs::create_dir_all(ground.at(dir)).unwrap();
    }
    for file in ["l/a/b/f", "u/a/b/.wh.f", "u/a/c/.wh.g"] {
        fs::write(ground.at(file), "").unwrap();
    }
    ground.mount(&["--log", "messages"]);
    let names = |dir: &str| {
        let entries = fs::read_dir(ground.at(dir)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("m/a/b"), [".wh.f", "f"]);
    assert_eq!(names("m/a/c"), [".wh.g"]);
    let server = ground.server();
    ground.unmount("m");
    server.ends();
    let log = fs::read_to_string(ground.at("messages")).unwrap();
    assert_eq!(log.matches("like that of a whiteout").count(), 1, "{log}");
    assert!(log.contains(".wh.f"), "{log}");
}
