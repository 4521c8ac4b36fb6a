//! The life of a mount, from `mica mount` to the end of its server.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::foreground::Foreground;
use crate::ground::{Ground, Outcome, can_mount, mica, ok, run};

#[test]
fn a_mount_answers_when_the_command_returns() {
    if !can_mount("a_mount_answers_when_the_command_returns") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/f"), "lower").unwrap();
    ground.mount(&[]);
    assert_eq!(fs::read_to_string(ground.at("m/f")).unwrap(), "lower");
    fs::write(ground.at("m/f"), "changed").unwrap();
    assert_eq!(fs::read_to_string(ground.at("l/f")).unwrap(), "lower");
    assert_eq!(fs::read_to_string(ground.at("u/f")).unwrap(), "changed");
}

#[test]
fn umount_ends_the_server() {
    if !can_mount("umount_ends_the_server") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&[]);
    let server = ground.server();
    assert!(!server.has_ended());
    ground.unmount("m");
    server.ends();
    assert_eq!(ground.mounted("m"), None);
}

#[test]
fn the_umount_of_the_system_ends_the_server() {
    if !can_mount("the_umount_of_the_system_ends_the_server") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&[]);
    let server = ground.server();
    assert_eq!(run(Command::new("umount").arg(ground.at("m"))), ok());
    server.ends();
}

#[test]
fn the_same_layers_can_be_mounted_again_at_once() {
    if !can_mount("the_same_layers_can_be_mounted_again_at_once") {
        return;
    }
    let ground = Ground::new();
    for n in 0..5 {
        ground.mount(&[]);
        fs::write(ground.at("m/f"), n.to_string()).unwrap();
        ground.unmount("m");
    }
    assert_eq!(fs::read_to_string(ground.at("u/f")).unwrap(), "4");
}

#[test]
fn a_signal_unmounts() {
    if !can_mount("a_signal_unmounts") {
        return;
    }
    for signal in [Signal::TERM, Signal::INT] {
        let ground = Ground::new();
        ground.mount(&[]);
        let server = ground.server();
        server.signal(signal);
        server.ends();
        assert_eq!(ground.mounted("m"), None);
    }
}

#[test]
fn a_busy_mount_is_served_until_its_last_user_is_gone() {
    if !can_mount("a_busy_mount_is_served_until_its_last_user_is_gone") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/f"), "still here").unwrap();
    // A log message says when the signal was handled.
    let mut server = Foreground::start(&ground, &["--log-level", "info"]);
    let file = fs::File::open(ground.at("m/f")).unwrap();
    server.signal(Signal::TERM);
    server.says("detached");
    assert_eq!(ground.mounted("m"), None);
    assert_eq!(std::io::read_to_string(&file).unwrap(), "still here");
    drop(file);
    assert_eq!(server.ends(), Some(0));
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    if !can_mount("a_second_signal_ends_the_server_at_once") {
        return;
    }
    let ground = Ground::new();
    let mut server = Foreground::start(&ground, &["--log-level", "info"]);
    let dir = fs::File::open(ground.at("m")).unwrap();
    server.signal(Signal::TERM);
    server.says("detached");
    server.signal(Signal::TERM);
    assert_eq!(server.ends(), None);
    drop(dir);
}

#[test]
fn a_busy_mount_is_named_and_can_be_detached() {
    if !can_mount("a_busy_mount_is_named_and_can_be_detached") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&[]);
    let server = ground.server();
    let dir = fs::File::open(ground.at("m")).unwrap();
    let refused = Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: "error: cannot unmount `m`\n\
                 caused by: it is in use\n\
                 hint: `fuser -vm m` lists who uses it; `mica umount --lazy m` detaches it all the same\n"
            .into(),
    };
    assert_eq!(ground.run(&["umount", "m"]), refused);
    assert_eq!(ground.run(&["umount", "-l", "m"]), ok());
    assert_eq!(ground.mounted("m"), None);
    assert!(!server.has_ended());
    drop(dir);
    server.ends();
}

#[test]
fn the_background_server_holds_nothing_of_its_caller() {
    if !can_mount("the_background_server_holds_nothing_of_its_caller") {
        return;
    }
    let ground = Ground::new();
    // `run` reads both streams to their end, so it returns only if the server has closed them.
    ground.mount(&[]);
    let server = ground.server();
    let process = format!("/proc/{}", server.pid());
    for fd in ["0", "1", "2"] {
        let target = fs::read_link(format!("{process}/fd/{fd}")).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"), "fd {fd}");
    }
    assert_eq!(
        fs::read_link(format!("{process}/cwd")).unwrap().to_str(),
        Some("/")
    );
    let stat = fs::read_to_string(format!("{process}/stat")).unwrap();
    let session = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .nth(3)
        .unwrap();
    assert_eq!(session, server.pid().to_string());
}

#[test]
fn one_workdir_serves_one_mount() {
    if !can_mount("one_workdir_serves_one_mount") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&[]);
    fs::create_dir(ground.at("m2")).unwrap();
    let second = ground.run(&[
        "mount",
        "-o",
        "lowerdir=l,upperdir=u,workdir=w,userxattr",
        "m2",
    ]);
    let refused = Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: "error: cannot mount at `m2`\n\
                 caused by: upperdir `u` is in use by the mount of Mica at `$/m`\n\
                 hint: `mica umount $/m` ends it; or give this mount an upperdir and a workdir of its own\n"
            .into(),
    };
    assert_eq!(second, refused);
    assert_eq!(ground.mounted("m2"), None);
}

#[test]
fn only_a_mount_of_mica_is_unmounted() {
    let ground = Ground::new();
    let refused = |stderr: &str| Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: stderr.into(),
    };
    assert_eq!(
        ground.run(&["umount", "m"]),
        refused(
            "error: cannot unmount `m`\n\
             caused by: nothing is mounted there\n\
             hint: `findmnt -t fuse.mica` lists the mounts of Mica\n"
        )
    );
    assert_eq!(
        ground.run(&["umount", "nowhere"]),
        refused(
            "error: cannot unmount `nowhere`\n\
             caused by:\n  \
               1: `nowhere` cannot be reached\n  \
               2: no such file or directory (ENOENT)\n\
             hint: `findmnt -t fuse.mica` lists the mounts of Mica\n"
        )
    );
    assert_eq!(
        run(&mut mica(&["umount", "/proc"])),
        refused(
            "error: cannot unmount `/proc`\n\
             caused by: the mount there is not of Mica, but of type `proc`\n\
             hint: unmount it with `umount /proc`\n"
        )
    );
}

#[test]
fn an_overlay_can_lie_over_its_own_lower() {
    if !can_mount("an_overlay_can_lie_over_its_own_lower") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("m/f"), "lower").unwrap();
    let options = "lowerdir=m,upperdir=u,workdir=w,userxattr";
    assert_eq!(ground.run(&["mount", "-o", options, "m"]), ok());
    fs::write(ground.at("m/f"), "changed").unwrap();
    ground.unmount("m");
    assert_eq!(fs::read_to_string(ground.at("m/f")).unwrap(), "lower");
    assert_eq!(fs::read_to_string(ground.at("u/f")).unwrap(), "changed");
}

#[test]
fn what_a_killed_server_leaves_is_named_and_can_be_removed() {
    if !can_mount("what_a_killed_server_leaves_is_named_and_can_be_removed") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&[]);
    let server = ground.server();
    server.dies();
    let refused = Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: "error: cannot mount at `m`\n\
                 caused by:\n  \
                   1: the mountpoint cannot be reached\n  \
                   2: transport endpoint is not connected (ENOTCONN)\n\
                 hint: a FUSE server that is gone left its mount here; remove it with `fusermount3 -u m`\n"
            .into(),
    };
    assert_eq!(
        ground.run(&["mount", "-o", "lowerdir=l,userxattr", "m"]),
        refused
    );
    ground.unmount("m");
    ground.mount(&[]);
}
