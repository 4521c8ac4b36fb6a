//! `remount`: other flags for a mount that is there.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use crate::ground::{Ground, Outcome, can_mount, ok, run};

/// Returns the flags of the mount at `m`.
fn flags(ground: &Ground) -> Vec<String> {
    let fields = ground.mounted("m").unwrap();
    fields[3].split(',').map(str::to_owned).collect()
}

#[track_caller]
fn refused(ground: &Ground, options: &str, stderr: &str) {
    let expected = Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: stderr.into(),
    };
    assert_eq!(ground.run(&["mount", "-o", options, "m"]), expected);
}

#[test]
fn a_remount_changes_the_flags_that_it_names() {
    if !can_mount("a_remount_changes_the_flags_that_it_names") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&["-o", "nosuid,noexec"]);
    let server = ground.server().pid();
    let remount = |options| assert_eq!(ground.run(&["mount", "-o", options, "m"]), ok());
    let has = |flag: &str| flags(&ground).iter().any(|shown| shown == flag);
    remount("remount,ro,exec");
    assert!(has("ro") && has("nosuid") && !has("noexec"));
    let refused = fs::write(ground.at("m/f"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    remount("remount,rw,noatime");
    assert!(has("rw") && has("noatime") && has("nosuid"));
    fs::write(ground.at("m/f"), "x").unwrap();
    remount("remount,strictatime,nodiratime");
    assert!(!has("noatime") && !has("relatime") && has("nodiratime"));
    remount("remount,relatime,diratime,nosymfollow");
    assert!(has("relatime") && !has("nodiratime") && has("nosymfollow"));
    remount("remount");
    assert!(has("relatime") && has("nosymfollow") && has("nosuid"));
    assert_eq!(ground.server().pid(), server, "no new server");
}

#[test]
fn what_was_mounted_read_only_becomes_writable() {
    if !can_mount("what_was_mounted_read_only_becomes_writable") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&["-o", "ro"]);
    assert_eq!(ground.run(&["mount", "-o", "remount,rw", "m"]), ok());
    fs::write(ground.at("m/f"), "x").unwrap();
}

#[test]
fn what_has_no_upper_stays_read_only() {
    if !can_mount("what_has_no_upper_stays_read_only") {
        return;
    }
    let ground = Ground::new();
    assert_eq!(ground.run(&["mount", "-o", "lowerdir=l", "m"]), ok());
    refused(
        &ground,
        "remount,rw",
        "error: cannot remount `m`\n\
         caused by: what is mounted there cannot be written to: it has no upperdir, or was mounted read-only as a whole\n\
         hint: unmount it, and mount it with `-o upperdir=DIR,workdir=DIR`\n",
    );
    assert_eq!(ground.run(&["mount", "-o", "remount,ro,noexec", "m"]), ok());
}

#[test]
fn a_file_that_is_written_to_keeps_the_mount_writable() {
    if !can_mount("a_file_that_is_written_to_keeps_the_mount_writable") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&[]);
    let file = File::create(ground.at("m/f")).unwrap();
    refused(
        &ground,
        "remount,ro",
        "error: cannot remount `m`\n\
         caused by: a file in it is open for writing\n\
         hint: `fuser -vm m` lists who uses it\n",
    );
    drop(file);
    assert_eq!(ground.run(&["mount", "-o", "remount,ro", "m"]), ok());
}

#[test]
fn only_a_mount_of_mica_is_remounted() {
    if !can_mount("only_a_mount_of_mica_is_remounted") {
        return;
    }
    let ground = Ground::new();
    refused(
        &ground,
        "remount,ro",
        "error: cannot remount `m`\n\
         caused by: nothing is mounted there\n\
         hint: `findmnt -t fuse.mica` lists the mounts of Mica\n",
    );
    rustix::mount::mount_bind(ground.at("l"), ground.at("m")).unwrap();
    let kind = ground.mounted("m").unwrap()[2].clone();
    refused(
        &ground,
        "remount,ro",
        &format!(
            "error: cannot remount `m`\n\
             caused by: the mount there is not of Mica, but of type `{kind}`\n\
             hint: change it with `mount -i -o remount,bind,ro m` or its like\n"
        ),
    );
}

#[test]
fn who_may_not_mount_may_not_remount() {
    if !can_mount("who_may_not_mount_may_not_remount") {
        return;
    }
    let ground = Ground::new();
    fs::set_permissions(ground.root(), fs::Permissions::from_mode(0o755)).unwrap();
    ground.mount(&[]);
    let mut remount = ground.mica(&["mount", "-o", "remount,ro", "m"]);
    remount.uid(65534).gid(65534);
    let expected = Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: "error: cannot remount `m`\n\
                 caused by:\n  \
                   1: only who may mount may change a mount\n  \
                   2: operation not permitted (EPERM)\n\
                 hint: run it as root\n"
            .into(),
    };
    assert_eq!(run(&mut remount), expected);
}

#[test]
fn an_option_that_no_remount_changes_is_wrong_usage() {
    let ground = Ground::new();
    let expected = Outcome {
        status: Some(2),
        stdout: String::new(),
        stderr: "error: mount option `lowerdir` cannot be changed by a remount\n\
                 hint: a remount sets or clears ro, nodev, nosuid, noexec, nosymfollow and those of access times; for the rest, unmount and mount anew\n"
            .into(),
    };
    assert_eq!(
        ground.run(&["mount", "-o", "remount,ro,lowerdir=l", "m"]),
        expected
    );
}
