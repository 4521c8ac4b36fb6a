//! OVL-50: what a mount that ended without unmounting left is removed, and said.

use std::fs;

use crate::ground::{Ground, Outcome, can_mount, ok};

/// Mounts, kills the server, and removes the mount that it left.
fn killed() -> Ground {
    let ground = Ground::new();
    ground.mount(&[]);
    let server = ground.server();
    server.dies();
    ground.unmount("m");
    ground
}

const SAID: &str =
    "mica: recovered `w`: removed 2 unfinished objects of a mount that ended without unmounting\n";

#[test]
fn ovl_50_what_a_killed_mount_left_is_removed_and_said_once() {
    if !can_mount("ovl_50_what_a_killed_mount_left_is_removed_and_said_once") {
        return;
    }
    let ground = killed();
    // A copy that was half made, and a directory that was about to be exchanged.
    fs::write(ground.at("w/work/#3"), "half").unwrap();
    fs::create_dir_all(ground.at("w/work/#4/inside")).unwrap();
    let options = "lowerdir=l,upperdir=u,workdir=w,userxattr";
    let mount = ["mount", "--log", "messages", "-o", options, "m"];
    let said = Outcome {
        stderr: SAID.into(),
        ..ok()
    };
    assert_eq!(ground.run(&mount), said);
    assert_eq!(fs::read_dir(ground.at("w/work")).unwrap().count(), 0);
    let log = fs::read_to_string(ground.at("messages")).unwrap();
    assert!(
        log.contains("recovered `w`: removed 2 unfinished objects"),
        "{log}"
    );
    ground.unmount("m");
    // A mount that ended as it should leaves nothing to say.
    ground.mount(&[]);
}

#[test]
fn ovl_50_a_killed_mount_that_was_doing_nothing_is_not_worth_a_word() {
    if !can_mount("ovl_50_a_killed_mount_that_was_doing_nothing_is_not_worth_a_word") {
        return;
    }
    let ground = Ground::new();
    for name in ["l/a", "l/b"] {
        fs::write(ground.at(name), "lower").unwrap();
    }
    ground.mount(&[]);
    // The whiteout that others are links to stays in the work directory.
    fs::remove_file(ground.at("m/a")).unwrap();
    fs::write(ground.at("m/b"), "changed").unwrap();
    let server = ground.server();
    server.dies();
    ground.unmount("m");
    assert_eq!(fs::read_dir(ground.at("w/work")).unwrap().count(), 1);
    ground.mount(&[]);
    assert!(!ground.at("m/a").exists());
    assert_eq!(fs::read_to_string(ground.at("m/b")).unwrap(), "changed");
}

#[test]
fn the_scratch_files_of_a_killed_probe_are_removed_and_nothing_else() {
    if !can_mount("the_scratch_files_of_a_killed_probe_are_removed_and_nothing_else") {
        return;
    }
    let ground = Ground::new();
    for name in ["#probe-123-0-a", "#probe-123-0-b", "mine", "#probably-mine"] {
        fs::write(ground.at("w").join(name), "").unwrap();
    }
    ground.mount(&[]);
    ground.unmount("m");
    let names = fs::read_dir(ground.at("w")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["#probably-mine", "mine", "work"]);
}
