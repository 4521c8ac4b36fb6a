//! Mounts over what they are made of, and what a server holds.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ground::{Ground, can_mount, ok, run};

/// Returns all that a process keeps busy: open files, directories, its program and what it has mapped.
fn held_by(pid: i32) -> Vec<PathBuf> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let mut held: Vec<PathBuf> = ["cwd", "root", "exe"].map(|link| process.join(link)).into();
    for list in ["fd", "map_files"] {
        let entries = fs::read_dir(process.join(list)).unwrap();
        held.extend(entries.map(|entry| entry.unwrap().path()));
    }
    for task in fs::read_dir(process.join("task")).unwrap() {
        let task = task.unwrap().path();
        held.extend(["cwd", "root"].map(|link| task.join(link)));
    }
    held
}

/// Checks that the server of the mount at `mountpoint` holds nothing on it, so that nothing keeps the mount busy but its
/// users.
#[track_caller]
fn holds_nothing_of(pid: i32, mountpoint: &Path) {
    let dev = fs::metadata(mountpoint).unwrap().dev();
    let held = held_by(pid);
    assert!(held.len() > 10, "{held:?}");
    for link in held {
        // A descriptor may be closed meanwhile; what is left is looked at.
        let Ok(there) = fs::metadata(&link) else {
            continue;
        };
        assert_ne!(
            there.dev(),
            dev,
            "{} -> {:?}",
            link.display(),
            fs::read_link(&link)
        );
    }
}

/// Runs mica in the directory `dir` of the ground.
#[track_caller]
fn mica_in(ground: &Ground, program: &Path, dir: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    ground.here(&mut command).args(arguments);
    assert_eq!(run(command.current_dir(ground.at(dir))), ok());
}

#[test]
fn a_server_holds_nothing_on_its_mount() {
    if !can_mount("a_server_holds_nothing_on_its_mount") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/f"), "lower").unwrap();
    ground.mount(&[]);
    fs::write(ground.at("m/f"), "changed").unwrap();
    holds_nothing_of(ground.server().pid(), &ground.at("m"));
}

#[test]
fn a_server_may_be_started_in_the_directory_that_it_mounts_over() {
    if !can_mount("a_server_may_be_started_in_the_directory_that_it_mounts_over") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/f"), "lower").unwrap();
    // The program itself lies there, too, and the name of the mountpoint is relative.
    ground.copy_program("m/mica");
    let options = "lowerdir=../l,upperdir=../u,workdir=../w,userxattr";
    mica_in(
        &ground,
        &ground.at("m/mica"),
        "m",
        &["mount", "-o", options, "."],
    );
    let server = ground.server();
    holds_nothing_of(server.pid(), &ground.at("m"));
    assert_eq!(fs::read_to_string(ground.at("m/f")).unwrap(), "lower");
    assert_eq!(run(Command::new("umount").arg(ground.at("m"))), ok());
    server.ends();
}

#[test]
fn an_overlay_lies_over_its_lower_in_which_it_was_started() {
    if !can_mount("an_overlay_lies_over_its_lower_in_which_it_was_started") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/f"), "lower").unwrap();
    let options = "lowerdir=.,upperdir=../u,workdir=../w,userxattr";
    let program = Path::new(env!("CARGO_BIN_EXE_mica"));
    mica_in(&ground, program, "l", &["mount", "-o", options, "."]);
    let server = ground.server();
    holds_nothing_of(server.pid(), &ground.at("l"));
    fs::write(ground.at("l/f"), "changed").unwrap();
    assert_eq!(fs::read_to_string(ground.at("u/f")).unwrap(), "changed");
    ground.unmount("l");
    server.ends();
    assert_eq!(fs::read_to_string(ground.at("l/f")).unwrap(), "lower");
}

#[test]
fn an_overlay_lies_over_the_directory_that_holds_all_its_layers() {
    if !can_mount("an_overlay_lies_over_the_directory_that_holds_all_its_layers") {
        return;
    }
    let ground = Ground::new();
    for name in ["p/l", "p/u", "p/w"] {
        fs::create_dir_all(ground.at(name)).unwrap();
    }
    fs::write(ground.at("p/l/f"), "lower").unwrap();
    let options = "lowerdir=p/l,upperdir=p/u,workdir=p/w,userxattr";
    assert_eq!(ground.run(&["mount", "-o", options, "p"]), ok());
    let server = ground.server();
    holds_nothing_of(server.pid(), &ground.at("p"));
    fs::write(ground.at("p/f"), "changed").unwrap();
    fs::create_dir(ground.at("p/l")).unwrap();
    fs::remove_dir(ground.at("p/l")).unwrap();
    ground.unmount("p");
    server.ends();
    assert_eq!(fs::read_to_string(ground.at("p/u/f")).unwrap(), "changed");
    assert_eq!(fs::read_to_string(ground.at("p/l/f")).unwrap(), "lower");
}

#[test]
fn an_overlay_lies_over_its_upper() {
    if !can_mount("an_overlay_lies_over_its_upper") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/f"), "lower").unwrap();
    let options = "lowerdir=l,upperdir=u,workdir=w,userxattr";
    assert_eq!(ground.run(&["mount", "-o", options, "u"]), ok());
    let server = ground.server();
    fs::write(ground.at("u/f"), "changed").unwrap();
    assert_eq!(fs::read_to_string(ground.at("u/f")).unwrap(), "changed");
    ground.unmount("u");
    server.ends();
    assert_eq!(fs::read_to_string(ground.at("u/f")).unwrap(), "changed");
    assert_eq!(fs::read_to_string(ground.at("l/f")).unwrap(), "lower");
}
