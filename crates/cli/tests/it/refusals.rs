//! What cannot be mounted, and the words in which it is said.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::ground::{Ground, Outcome, can_mount, is_root, ok, run, skipped};

/// Tries to mount with `options` at `m`, in the background and in the foreground, and checks what is said.
#[track_caller]
fn refused(ground: &Ground, options: &str, stderr: &str) {
    refused_at(ground, options, "m", stderr);
}

#[track_caller]
fn refused_at(ground: &Ground, options: &str, mountpoint: &str, stderr: &str) {
    let expected = Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: stderr.into(),
    };
    assert_eq!(ground.run(&["mount", "-o", options, mountpoint]), expected);
    assert_eq!(
        ground.run(&["mount", "-f", "-o", options, mountpoint]),
        expected
    );
    assert_eq!(ground.mounted("m"), None);
}

#[test]
fn a_missing_layer() {
    refused(
        &Ground::new(),
        "lowerdir=l:gone,userxattr",
        "error: cannot mount at `m`\n\
         caused by: lowerdir `gone` does not exist\n\
         hint: see how far the path leads with `namei gone`; a `:` or `,` that belongs to a path is written `\\:` or `\\,`\n",
    );
}

#[test]
fn an_unreadable_layer() {
    if !is_root("an_unreadable_layer") {
        return;
    }
    let ground = Ground::new();
    fs::set_permissions(ground.root(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(ground.at("l"), fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = ground.mica(&["mount", "-f", "-o", "lowerdir=l,userxattr", "m"]);
    command.uid(65534).gid(65534);
    let expected = Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: "error: cannot mount at `m`\n\
                 caused by:\n  \
                   1: lowerdir `l` cannot be opened\n  \
                   2: permission denied (EACCES)\n\
                 hint: see whose permission is missing with `namei -l l`\n"
            .into(),
    };
    assert_eq!(run(&mut command), expected);
}

#[test]
fn a_layer_that_is_a_file() {
    let ground = Ground::new();
    fs::write(ground.at("f"), "").unwrap();
    refused(
        &ground,
        "lowerdir=l:f,userxattr",
        "error: cannot mount at `m`\n\
         caused by: lowerdir `f` is not a directory\n\
         hint: a layer is a directory; see what this is with `ls -ld f`\n",
    );
}

#[test]
fn a_workdir_on_another_filesystem() {
    let ground = Ground::new();
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    let work = other.path().to_str().unwrap();
    refused(
        &ground,
        &format!("lowerdir=l,upperdir=u,workdir={work},userxattr"),
        &format!(
            "error: cannot mount at `m`\n\
             caused by: workdir `{work}` and upperdir `u` are on different filesystems\n\
             hint: changes are published by rename, which cannot cross mounts; try `mkdir u.work`, then `-o workdir=u.work`\n"
        ),
    );
}

#[test]
fn a_workdir_on_another_mount_of_the_filesystem() {
    if !can_mount("a_workdir_on_another_mount_of_the_filesystem") {
        return;
    }
    let ground = Ground::new();
    rustix::mount::mount_bind(ground.at("w"), ground.at("w")).unwrap();
    refused(
        &ground,
        "lowerdir=l,upperdir=u,workdir=w,userxattr",
        "error: cannot mount at `m`\n\
         caused by: workdir `w` and upperdir `u` are on different mounts of one filesystem\n\
         hint: changes are published by rename, which cannot cross mounts; try `mkdir u.work`, then `-o workdir=u.work`\n",
    );
}

#[test]
fn a_workdir_nested_with_upper() {
    let ground = Ground::new();
    fs::create_dir(ground.at("u/w")).unwrap();
    refused(
        &ground,
        "lowerdir=l,upperdir=u,workdir=u/w,userxattr",
        "error: cannot mount at `m`\n\
         caused by: workdir `u/w` is inside upperdir `u`\n\
         hint: try `mkdir u.work`, then `-o workdir=u.work`\n",
    );
    refused(
        &ground,
        "lowerdir=l,upperdir=u/w,workdir=u,userxattr",
        "error: cannot mount at `m`\n\
         caused by: upperdir `u/w` is inside workdir `u`\n\
         hint: try `mkdir u/w.work`, then `-o workdir=u/w.work`\n",
    );
}

#[test]
fn an_upper_on_a_read_only_mount() {
    if !can_mount("an_upper_on_a_read_only_mount") {
        return;
    }
    let ground = Ground::new();
    let rw = ground.at("rw");
    fs::create_dir_all(rw.join("u")).unwrap();
    fs::create_dir(rw.join("w")).unwrap();
    rustix::mount::mount_bind(&rw, &rw).unwrap();
    rustix::mount::mount_remount(
        &rw,
        rustix::mount::MountFlags::BIND | rustix::mount::MountFlags::RDONLY,
        c"",
    )
    .unwrap();
    refused(
        &ground,
        "lowerdir=l,upperdir=rw/u,workdir=rw/w,userxattr",
        "error: cannot mount at `m`\n\
         caused by: upperdir `rw/u` is on a read-only filesystem\n\
         hint: choose an upperdir and a workdir on a writable filesystem (`findmnt -O rw` lists them), or leave both out for a read-only mount\n",
    );
}

#[test]
fn an_upper_without_extended_attributes() {
    if !can_mount("an_upper_without_extended_attributes") {
        return;
    }
    let ground = Ground::new();
    fs::create_dir(ground.at("r")).unwrap();
    rustix::mount::mount(
        "r",
        ground.at("r"),
        "ramfs",
        rustix::mount::MountFlags::empty(),
        None,
    )
    .unwrap();
    for name in ["r/u", "r/w"] {
        fs::create_dir(ground.at(name)).unwrap();
    }
    refused(
        &ground,
        "lowerdir=l,upperdir=r/u,workdir=r/w",
        "error: cannot mount at `m`\n\
         caused by: the filesystem of upperdir `r/u` does not keep `trusted.overlay.*` attributes\n\
         hint: choose an upperdir and a workdir on another filesystem; `findmnt -T r/u` shows this one\n",
    );
}

/// Makes an ext4 whose directories tell no types of their entries, and mounts it at `e`.
#[track_caller]
fn mount_without_d_type(ground: &Ground) {
    let script = "truncate -s 8M img && mkfs.ext4 -q -O ^filetype,^has_journal img && mkdir e && \
                  mount -o loop img e && mkdir e/u e/w";
    let mut shell = Command::new("sh");
    assert_eq!(run(ground.here(shell.args(["-ec", script]))), ok());
}

#[test]
fn an_upper_without_d_type() {
    let test = "an_upper_without_d_type";
    if !can_mount(test) {
        return;
    }
    if !std::path::Path::new("/dev/loop-control").exists() {
        skipped(test, "needs loop devices");
        return;
    }
    let ground = Ground::new();
    mount_without_d_type(&ground);
    refused(
        &ground,
        "lowerdir=l,upperdir=e/u,workdir=e/w",
        "error: cannot mount at `m`\n\
         caused by: the filesystem of upperdir `e/u` lists names without their types (no `d_type`)\n\
         hint: choose an upperdir and a workdir on another filesystem (xfs needs `mkfs.xfs -n ftype=1`); `findmnt -T e/u` shows this one\n",
    );
    // As a lower it will do.
    fs::write(ground.at("e/u/f"), "").unwrap();
    let options = "lowerdir=e/u,upperdir=u,workdir=w";
    assert_eq!(ground.run(&["mount", "-o", options, "m"]), ok());
    assert_eq!(fs::read_dir(ground.at("m")).unwrap().count(), 1);
    ground.unmount("m");
}

/// The kernel's overlay keeps whiteouts for itself, as a network filesystem may keep devices out.
#[test]
fn ovl_84_an_upper_that_takes_no_whiteouts() {
    if !can_mount("ovl_84_an_upper_that_takes_no_whiteouts") {
        return;
    }
    let ground = Ground::new();
    for name in ["m2", "u/u", "u/w"] {
        fs::create_dir(ground.at(name)).unwrap();
    }
    let data = "lowerdir=l,upperdir=u,workdir=w";
    let at = ground.at("m2");
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "overlay", "overlay", "-o", data])
        .arg(&at);
    assert_eq!(run(ground.here(&mut mount)), ok());
    refused(
        &ground,
        "lowerdir=l,upperdir=m2/u,workdir=m2/w",
        "error: cannot mount at `m`\n\
         caused by: the filesystem of upperdir `m2/u` takes no whiteouts (character devices 0:0)\n\
         hint: choose an upperdir and a workdir on another filesystem; `findmnt -T m2/u` shows this one\n",
    );
    rustix::mount::unmount(&at, rustix::mount::UnmountFlags::empty()).unwrap();
}

#[test]
fn trusted_attributes_without_privilege() {
    let ground = Ground::new();
    fs::set_permissions(ground.root(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = ground.mica(&["mount", "-o", "lowerdir=l", "m"]);
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let expected = Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: "error: cannot mount at `m`\n\
                 caused by: the `trusted.overlay.*` attributes of the layers need CAP_SYS_ADMIN in the initial user namespace\n\
                 hint: add `-o userxattr`, which keeps them as `user.overlay.*`, or run as root\n"
            .into(),
    };
    assert_eq!(run(&mut command), expected);
}

#[test]
fn a_missing_mountpoint() {
    refused_at(
        &Ground::new(),
        "lowerdir=l,userxattr",
        "nowhere",
        "error: cannot mount at `nowhere`\n\
         caused by: the mountpoint does not exist\n\
         hint: make it with `mkdir -p nowhere`\n",
    );
}

#[test]
fn a_mountpoint_that_is_a_file() {
    let ground = Ground::new();
    fs::write(ground.at("f"), "").unwrap();
    refused_at(
        &ground,
        "lowerdir=l,userxattr",
        "f",
        "error: cannot mount at `f`\n\
         caused by: the mountpoint is not a directory\n\
         hint: an overlay is mounted on a directory; see what this is with `ls -ld f`\n",
    );
}

#[test]
fn no_dev_fuse() {
    if !can_mount("no_dev_fuse") {
        return;
    }
    let ground = Ground::alone();
    // A /dev of its own, in a mount namespace of its own, which ends with the command.
    let script = "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec \"$0\" \"$@\"";
    for foreground in [&[][..], &["-f"]] {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_mica")]);
        command
            .args(["mount", "-o", "lowerdir=l,userxattr", "m"])
            .args(foreground);
        let expected = Outcome {
            status: Some(1),
            stdout: String::new(),
            stderr: "error: cannot mount at `m`\n\
                     caused by: `/dev/fuse` does not exist\n\
                     hint: run `modprobe fuse`; in a container, add `--device /dev/fuse`\n"
                .into(),
        };
        assert_eq!(run(ground.here(&mut command)), expected);
    }
}

#[test]
fn an_upper_that_may_not_be_written_to() {
    if !is_root("an_upper_that_may_not_be_written_to") {
        return;
    }
    let ground = Ground::new();
    fs::set_permissions(ground.root(), fs::Permissions::from_mode(0o755)).unwrap();
    let options = "lowerdir=l,upperdir=u,workdir=w,userxattr";
    let mut command = ground.mica(&["mount", "-o", options, "m"]);
    command.uid(65534).gid(65534);
    let expected = Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: "error: cannot mount at `m`\n\
                 caused by:\n  \
                   1: upperdir `u` cannot be written to\n  \
                   2: permission denied (EACCES)\n\
                 hint: see who may write there with `namei -l u`\n"
            .into(),
    };
    assert_eq!(run(&mut command), expected);
}

#[test]
fn an_ordinary_user_without_fusermount3() {
    if !can_mount("an_ordinary_user_without_fusermount3") {
        return;
    }
    let ground = Ground::new();
    fs::set_permissions(ground.root(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = ground.mica(&["mount", "-o", "lowerdir=l,userxattr", "m"]);
    command.uid(65534).gid(65534).env("PATH", ground.at("l"));
    let said = run(&mut command);
    let cause = "not permitted to mount, and neither `fusermount3` nor `fusermount` is installed";
    said.assert_said(cause);
    let hint =
        "hint: run as root, in a user namespace (`unshare -rm`), or `apt-get install fuse3`\n";
    assert!(said.stderr.ends_with(hint), "{}", said.stderr);
}

#[test]
fn the_mount_of_another_user_is_not_unmounted() {
    if !can_mount("the_mount_of_another_user_is_not_unmounted") {
        return;
    }
    let ground = Ground::new();
    fs::set_permissions(ground.root(), fs::Permissions::from_mode(0o755)).unwrap();
    ground.mount(&[]);
    let umount = || {
        let mut command = ground.mica(&["umount", "m"]);
        command.uid(65534).gid(65534);
        command
    };
    let said = run(&mut umount());
    said.assert_said("caused by: `fusermount3` refuses: ");
    let hint = "hint: see who mounted it with `findmnt m`\n";
    assert!(said.stderr.ends_with(hint), "{}", said.stderr);
    let expected = Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: "error: cannot unmount `m`\n\
                 caused by:\n  \
                   1: `fusermount3`, which unmounts for ordinary users, cannot be run\n  \
                   2: no such file or directory (ENOENT)\n\
                 hint: install it (`apt-get install fuse3`), or unmount as root\n"
            .into(),
    };
    assert_eq!(run(umount().env("PATH", ground.at("l"))), expected);
    assert!(ground.mounted("m").is_some());
}

#[test]
fn a_log_that_cannot_be_written() {
    let ground = Ground::new();
    let expected = Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: "error: cannot write to `no/log`\n\
                 caused by: no such file or directory (ENOENT)\n"
            .into(),
    };
    let mount = [
        "mount",
        "-o",
        "lowerdir=l,userxattr",
        "--log",
        "no/log",
        "m",
    ];
    assert_eq!(ground.run(&mount), expected);
}
