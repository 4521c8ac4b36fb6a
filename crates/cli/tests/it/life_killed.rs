//! A server that is killed: nobody hangs, and the next mount goes on from what there is.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use rustix::io::Errno;

use crate::ground::{Ground, LIMIT, Server, can_mount, ok, run};

/// Starts a command that needs an answer of the server, which is stopped; returns when it waits for that.
#[track_caller]
fn blocked(ground: &Ground, script: &str) -> (Child, Server) {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {script}")]);
    let child = ground
        .here(&mut shell)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let server = Server::watch(rustix::process::Pid::from_child(&child));
    let channel = format!("/proc/{}/wchan", child.id());
    let deadline = Instant::now() + LIMIT;
    while !fs::read_to_string(&channel)
        .unwrap()
        .contains("request_wait")
    {
        let late = server.has_ended() || Instant::now() > deadline;
        assert!(!late, "{script} does not wait for the server");
        thread::yield_now();
    }
    (child, server)
}

fn error_of<T: std::fmt::Debug>(result: io::Result<T>) -> Option<Errno> {
    Errno::from_io_error(&result.unwrap_err())
}

#[test]
fn who_waits_for_a_server_that_is_killed_gets_an_error() {
    if !can_mount("who_waits_for_a_server_that_is_killed_gets_an_error") {
        return;
    }
    let ground = Ground::new();
    for name in ["f", "g"] {
        fs::write(ground.at("l").join(name), "lower").unwrap();
    }
    ground.mount(&[]);
    // No file of the mount may be open here: each program that is started would close its copy, and wait for the server
    // while the kernel holds locks of its start that all readers of /proc want.
    let server = ground.server();
    server.stops();
    let callers = [
        blocked(&ground, "cat m/g"),
        blocked(&ground, "ls m"),
        blocked(&ground, "touch m/a/new"),
        blocked(&ground, "mkdir m/b/new"),
        blocked(&ground, "rm m/c/new"),
    ];
    server.dies();
    for (caller, watched) in callers {
        // Whoever hung would be in state D, and not end.
        watched.ends();
        let output = caller.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let known = ["connection abort", "not connected"]
            .iter()
            .any(|e| said.contains(e));
        assert!(known && !output.status.success(), "{said}");
    }
    for result in [
        fs::metadata(ground.at("m")).map(drop),
        fs::read_dir(ground.at("m")).map(drop),
        fs::write(ground.at("m/new"), ""),
        fs::remove_file(ground.at("m/g")),
    ] {
        assert_eq!(error_of(result), Some(Errno::NOTCONN));
    }
    ground.unmount("m");
    assert_eq!(ground.mounted("m"), None);
}

#[test]
fn the_umount_of_the_system_removes_what_a_killed_server_left() {
    if !can_mount("the_umount_of_the_system_removes_what_a_killed_server_left") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&[]);
    let server = ground.server();
    server.dies();
    assert_eq!(run(Command::new("umount").arg(ground.at("m"))), ok());
    assert_eq!(ground.mounted("m"), None);
    assert!(fs::read_dir(ground.at("m")).unwrap().next().is_none());
}

#[test]
fn a_mount_after_a_killed_server_works_at_once_and_says_what_was_left() {
    if !can_mount("a_mount_after_a_killed_server_works_at_once_and_says_what_was_left") {
        return;
    }
    let ground = Ground::new();
    for name in ["f", "g"] {
        fs::write(ground.at("l").join(name), "lower").unwrap();
    }
    ground.mount(&[]);
    fs::write(ground.at("m/f"), "changed").unwrap();
    // The whiteout that others are links to stays in the work directory.
    fs::remove_file(ground.at("m/g")).unwrap();
    let server = ground.server();
    server.dies();
    fs::write(ground.at("w/work/#ff"), "half").unwrap();
    ground.unmount("m");
    let options = "lowerdir=l,upperdir=u,workdir=w,userxattr";
    let said = ground.run(&["mount", "-o", options, "m"]);
    assert_eq!(said.status, Some(0), "{}", said.stderr);
    assert_eq!(
        said.stderr,
        "mica: recovered `w`: removed 1 unfinished object of a mount that ended without unmounting\n"
    );
    assert_eq!(fs::read_to_string(ground.at("m/f")).unwrap(), "changed");
    assert!(!Path::new(&ground.at("m/g")).exists());
    ground.unmount("m");
    // A mount that was unmounted leaves nothing to say.
    ground.mount(&[]);
}
