//! What a server says: statistics, log messages, what was chosen.

use std::fs;

use rustix::process::Signal;

use crate::foreground::Foreground;
use crate::ground::{Ground, can_mount};

#[test]
fn statistics_are_written_on_demand_and_at_the_end() {
    if !can_mount("statistics_are_written_on_demand_and_at_the_end") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/f"), "12345").unwrap();
    let mut server = Foreground::start(&ground, &["--stats"]);
    fs::write(ground.at("m/f"), "x").unwrap();
    server.signal(Signal::USR1);
    let report = server.says("copied_bytes ");
    assert!(
        report.iter().any(|line| line == "copy_ups 1"),
        "{report:#?}"
    );
    assert!(
        report.iter().any(|line| line.starts_with("nodes ")),
        "{report:#?}"
    );
    assert!(
        report.iter().any(|line| line.starts_with("fds ")),
        "{report:#?}"
    );
    assert!(
        report
            .iter()
            .any(|line| line.starts_with("operation.lookup ")),
        "{report:#?}"
    );
    server.signal(Signal::TERM);
    server.says("copied_bytes ");
    assert_eq!(server.ends(), Some(0));
}

#[test]
fn a_background_server_writes_its_statistics_to_the_file() {
    if !can_mount("a_background_server_writes_its_statistics_to_the_file") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&["--stats=numbers"]);
    let server = ground.server();
    ground.unmount("m");
    server.ends();
    let numbers = fs::read_to_string(ground.at("numbers")).unwrap();
    assert!(numbers.contains("\ncopy_ups 0\n"), "{numbers}");
}

#[test]
fn the_log_goes_to_its_file() {
    if !can_mount("the_log_goes_to_its_file") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&["--log", "messages", "--log-level", "info"]);
    let server = ground.server();
    server.signal(Signal::TERM);
    server.ends();
    let log = fs::read_to_string(ground.at("messages")).unwrap();
    assert!(log.contains("unmounted"), "{log}");
}

#[test]
fn a_mount_can_say_what_was_chosen() {
    if !can_mount("a_mount_can_say_what_was_chosen") {
        return;
    }
    let ground = Ground::new();
    let said = ground.run(&[
        "mount",
        "-v",
        "-o",
        "lowerdir=l,upperdir=u,workdir=w,userxattr",
        "m",
    ]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), ""));
    for part in [
        "data path cached",
        "transport dev",
        "protocol 7.",
        "lower 1 `l`",
        "upper `u`",
    ] {
        assert!(
            said.stderr.contains(part),
            "{part} is not in:\n{}",
            said.stderr
        );
    }
}
