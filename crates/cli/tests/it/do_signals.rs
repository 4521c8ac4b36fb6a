//! `mica do`: signals, and who ends with whom.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};

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

/// Returns what the descriptors of a process lead to that are none of the standard three.
fn descriptors(process: &str) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let numbers = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let others = numbers.filter(|number| number.len() > 1 || !"012".contains(number.as_str()));
    let paths = others.filter_map(|n| fs::read_link(format!("/proc/{process}/fd/{n}")).ok());
    paths
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

#[test]
fn the_stage_has_nothing_of_its_front_but_what_a_program_would_have() {
    if !can_mount("the_stage_has_nothing_of_its_front_but_what_a_program_would_have") {
        return;
    }
    let place = Place::new();
    let (mut child, _) = ready(&place, "echo ready; exec sleep 1000");
    let front = child.id().to_string();
    let found = run(Command::new("pgrep").args(["-P", &front])).stdout;
    let stage = found.trim();
    let set = |process: &str, name: &str| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    };
    let bit = |signal: Signal| 1_u64 << (signal.as_raw() - 1);
    // Rust tells of an overflow of the stack by two, and glibc has two to itself.
    let libraries = bit(Signal::SEGV) | bit(Signal::BUS) | 0b11 << 31;
    assert_ne!(set(&front, "SigCgt:") & !libraries, 0);
    assert_eq!(set(stage, "SigCgt:") & !libraries, 0);
    assert_eq!(set(stage, "SigBlk:"), 0);
    let session = |process: &str| fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    assert!(session(stage).contains(&format!(" {stage} {stage} ")));
    let (own, fronts) = (descriptors(stage), descriptors(&front));
    let is_end = |path: &&String| path.starts_with("pipe:") || path.starts_with("socket:");
    let ends: Vec<_> = fronts.iter().filter(is_end).collect();
    assert!(ends.len() > 1, "{fronts:?}");
    assert!(
        !ends.iter().any(|end| own.contains(end)),
        "{own:?} {fronts:?}"
    );
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
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
