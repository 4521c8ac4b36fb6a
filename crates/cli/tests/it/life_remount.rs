//! Changing a mount that is there: remount, read-only and back.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;

use crate::ground::{Ground, can_mount, ok, run};

/// Remounts `m` as mount(8) does without a helper.
#[track_caller]
fn remount(ground: &Ground, options: &str) {
    let mut mount = Command::new("mount");
    mount.args(["-i", "-o", options]).arg(ground.at("m"));
    assert_eq!(run(&mut mount), ok());
}

#[test]
fn a_mount_becomes_read_only_and_writable_again() {
    if !can_mount("a_mount_becomes_read_only_and_writable_again") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/f"), "lower").unwrap();
    ground.mount(&[]);
    fs::write(ground.at("m/new"), "1").unwrap();
    remount(&ground, "remount,ro");
    assert!(ground.mounted("m").unwrap()[3].starts_with("ro,"));
    for name in ["m/f", "m/new", "m/newer"] {
        let refused = fs::write(ground.at(name), "2").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem, "{name}");
    }
    let refused = fs::remove_file(ground.at("m/f")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(fs::read_to_string(ground.at("m/new")).unwrap(), "1");
    remount(&ground, "remount,rw");
    fs::write(ground.at("m/f"), "3").unwrap();
    assert_eq!(fs::read_to_string(ground.at("u/f")).unwrap(), "3");
    ground.unmount("m");
}

#[test]
fn an_open_file_for_writing_keeps_a_mount_from_becoming_read_only() {
    if !can_mount("an_open_file_for_writing_keeps_a_mount_from_becoming_read_only") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&[]);
    let file = fs::File::create(ground.at("m/f")).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-i", "-o", "remount,ro"]).arg(ground.at("m"));
    let refused = run(&mut mount);
    refused.assert_said("busy");
    drop(file);
    remount(&ground, "remount,ro");
}

#[test]
fn a_mount_that_was_read_only_becomes_writable_if_there_is_an_upper() {
    if !can_mount("a_mount_that_was_read_only_becomes_writable_if_there_is_an_upper") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&["-o", "ro"]);
    remount(&ground, "remount,rw");
    fs::write(ground.at("m/f"), "new").unwrap();
    ground.unmount("m");
    assert_eq!(ground.run(&["mount", "-o", "lowerdir=l", "m"]), ok());
    remount(&ground, "remount,rw");
    let refused = fs::write(ground.at("m/f"), "x").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
}
