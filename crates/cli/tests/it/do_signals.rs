//! `mica do`: signals, and who ends with whom.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::do_run::Place;
use crate::ground::{can_mount, run};

/// Starts a script that says `ready`.
fn ready(place: &Place, script: &str) -> (Child, BufReader<ChildStdout>) {
    let mut command = place.script(&["--rm"], script);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, stdout)
}

#[test]
fn signals_are_passed_on() {
    if !can_mount("signals_are_passed_on") {
        return;
    }
    let place = Place::new();
    for (signal, name) in [
        (Signal::INT, "INT"),
        (Signal::TERM, "TERM"),
        (Signal::HUP, "HUP"),
        (Signal::USR1, "USR1"),
        (Signal::WINCH, "WINCH"),
    ] {
        // A wait that is interrupted runs the trap at once.
        let script = format!("trap 'exit 9' {name}; echo ready; sleep 1000 & wait");
        let (mut child, _) = ready(&place, &script);
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(9), "{name}");
    }
}

#[test]
fn a_signal_that_is_not_caught_ends_the_command() {
    if !can_mount("a_signal_that_is_not_caught_ends_the_command") {
        return;
    }
    let place = Place::new();
    let (mut child, _) = ready(&place, "echo ready; exec sleep 1000");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn what_a_command_leaves_running_is_ended() {
    if !can_mount("what_a_command_leaves_running_is_ended") {
        return;
    }
    let place = Place::new();
    // Each holds the pipe that is read to its end here.
    let done = run(&mut place.script(&["--rm"], "sleep 1000 & setsid sleep 1000 & echo end"));
    assert_eq!(
        (done.status, done.stdout.as_str()),
        (Some(0), "end\n"),
        "{done:?}"
    );
}

#[test]
fn a_killed_front_takes_all_with_it() {
    if !can_mount("a_killed_front_takes_all_with_it") {
        return;
    }
    let place = Place::new();
    let (mut child, mut stdout) = ready(&place, "setsid sleep 1000 & echo ready; sleep 1000");
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn orphans_are_reaped() {
    if !can_mount("orphans_are_reaped") {
        return;
    }
    let place = Place::new();
    let script = "for i in 1 2 3; do (true &); done; \
                  while grep -l 'State:.Z' /proc/[0-9]*/status 2>/dev/null; do :; done; \
                  echo end";
    let done = run(&mut place.script(&["--rm"], script));
    assert_eq!(done.stdout.lines().last(), Some("end"), "{done:?}");
}
