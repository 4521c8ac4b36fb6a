//! `mica do`: sessions that several commands use at once, and the list of sessions.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::do_live::Shell;
use crate::do_run::Place;
use crate::ground::{can_mount, run, until};

const LINE: &str = "0 added, 0 modified, 0 deleted, 0 B";

#[test]
fn two_commands_share_a_session_and_it_ends_with_the_last() {
    if !can_mount("two_commands_share_a_session_and_it_ends_with_the_last") {
        return;
    }
    let place = Place::new();
    let mut first = Shell::start(&place, &["--name", "n"]);
    assert_eq!(first.say("echo 1 > new; hostname > host"), "");
    let mut second = Shell::start(&place, &["--name", "n"]);
    // The same files and namespaces, at once.
    let same = "cat new; readlink /proc/self/ns/mnt /proc/self/ns/pid /proc/self/ns/ipc /proc/self/ns/uts /proc/self/root";
    assert_eq!(first.say(same), second.say(same));
    second.say("echo 2 > new; umask 0; touch mode");
    assert_eq!(
        first.say("cat new; kill -0 $PPID && stat -c %a mode"),
        "2\n666"
    );
    let list = run(&mut place.mica(&["sessions", "--json"]));
    assert!(list.stdout.contains("\"running\":true"), "{list:?}");
    assert_eq!(run(&mut place.mica(&["discard", "n"])).status, Some(1));
    let line = "3 added, 0 modified, 0 deleted";
    let said = first.end();
    assert!(said.starts_with(line), "{said}");
    // The other one goes on, after who made the session run has gone.
    assert_eq!(
        second.say("cat new; sleep 0.01; echo 3 > new; cat new"),
        "2\n3"
    );
    assert!(second.end().starts_with(line));
    assert_eq!(run(&mut place.mica(&["discard", "n"])).status, Some(0));
}

#[test]
fn what_a_command_leaves_running_ends_with_it_where_others_go_on() {
    if !can_mount("what_a_command_leaves_running_ends_with_it_where_others_go_on") {
        return;
    }
    let place = Place::new();
    let mut first = Shell::start(&place, &["--name", "n", "--rm"]);
    assert_eq!(first.say(""), "");
    let second = run(&mut place.script(
        &["--name", "n", "--rm"],
        "sleep 1000 & sleep 1000 & echo $!; exit 3",
    ));
    assert_eq!(second.status, Some(3), "{second:?}");
    assert_eq!(
        second.stderr,
        format!("{LINE} - in use, and kept \u{b7} mica discard n\n")
    );
    let left = format!("kill -0 {} 2>/dev/null || echo gone", second.stdout.trim());
    until(|| first.say(&left) == "gone");
    // A front that is killed takes its command along, and no other.
    let mut third = Shell::start(&place, &["--name", "n"]);
    let pid = third.say("echo $$");
    kill_process(Pid::from_child(third.child()), Signal::KILL).unwrap();
    third.child().wait().unwrap();
    let left = format!("kill -0 {pid} 2>/dev/null || echo gone");
    until(|| first.say(&left) == "gone");
    assert_eq!(first.end(), format!("{LINE} - removed\n"));
    assert_eq!(run(&mut place.mica(&["sessions"])).stdout, "");
}

#[test]
fn who_joins_brings_directory_environment_and_streams() {
    if !can_mount("who_joins_brings_directory_environment_and_streams") {
        return;
    }
    let place = Place::new();
    let mut first = Shell::start(&place, &["--name", "n", "--rm"]);
    assert_eq!(first.say(""), "");
    fs::create_dir(place.at("d/sub")).unwrap();
    let mut second = place.script(
        &["--name", "n"],
        "pwd; echo $PWD; echo $MICA_TEST_WORD; test -z \"$HOME\" && echo error >&2; kill -USR1 $$",
    );
    second
        .current_dir(place.at("d/sub"))
        .env("MICA_TEST_WORD", "x".repeat(100_000))
        .env_remove("HOME");
    let second = run(&mut second);
    let sub = place.at("d/sub");
    let sub = sub.display();
    assert_eq!(
        second.stdout,
        format!("{sub}\n{sub}\n{}\n", "x".repeat(100_000))
    );
    assert!(second.stderr.starts_with("error\n0 added"), "{second:?}");
    assert_eq!(second.status, Some(128 + 10));
    for (options, status) in [
        (vec!["-C", "/no/such"], 125),
        (vec!["--lower", "/usr"], 125),
    ] {
        let mut line = vec!["--name", "n"];
        line.extend(&options);
        let refused = run(&mut place.script(&line, "true"));
        assert_eq!(refused.status, Some(status), "{refused:?}");
    }
    let missing = run(&mut place.mica(&["do", "--name", "n", "--", "no-such-program"]));
    assert_eq!(missing.status, Some(127), "{missing:?}");
    first.end();
}

#[test]
fn a_shell_goes_into_a_session_that_runs_and_into_one_that_does_not() {
    if !can_mount("a_shell_goes_into_a_session_that_runs_and_into_one_that_does_not") {
        return;
    }
    let place = Place::new();
    let shell = |name: &str| {
        let mut command = place.mica(&["shell", name]);
        // What a user's shell would be.
        fs::write(place.at("shell"), "#!/bin/sh\ncat new\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(place.at("shell"), mode).unwrap();
        command.env("SHELL", place.at("shell"));
        run(&mut command)
    };
    assert_eq!(shell("n").status, Some(125));
    let mut first = Shell::start(&place, &["--name", "n"]);
    first.say("echo 1 > new");
    assert_eq!(shell("n").stdout, "1\n");
    first.end();
    assert_eq!(shell("n").stdout, "1\n");
}

#[test]
fn nobody_joins_a_session_in_memory() {
    if !can_mount("nobody_joins_a_session_in_memory") {
        return;
    }
    let place = Place::new();
    let mut first = Shell::start(&place, &["--memory"]);
    first.say("echo 1 > new");
    let joined = run(&mut place.mica(&["shell", "1"]));
    assert_eq!(joined.status, Some(125), "{joined:?}");
    joined.assert_said("session `1` keeps its changes in memory, for who began it alone");
    first.end();
    assert!(!place.at("d/new").exists());
}

#[test]
fn sessions_that_begin_at_once_become_one() {
    if !can_mount("sessions_that_begin_at_once_become_one") {
        return;
    }
    let place = Place::new();
    for round in 0..5 {
        let children: Vec<_> = (0..4)
            .map(|n| {
                let mut command = place.script(&["--name", "n"], &format!("touch {round}.{n}"));
                command
                    .stderr(std::process::Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
    }
    let done = run(&mut place.script(&["--name", "n"], "ls | wc -l"));
    assert_eq!(done.stdout, "23\n", "{done:?}");
}

#[test]
fn prune_removes_what_was_not_used_for_the_time() {
    if !can_mount("prune_removes_what_was_not_used_for_the_time") {
        return;
    }
    let place = Place::new();
    let mut first = Shell::start(&place, &["--name", "running"]);
    assert_eq!(first.say(""), "");
    for name in ["old", "fresh"] {
        assert_eq!(
            run(&mut place.script(&["--name", name], "true")).status,
            Some(0)
        );
    }
    let hour = Duration::from_secs(3600);
    for name in ["old", "running"] {
        let path = place
            .at("state/mica/sessions")
            .join(name)
            .join("session.json");
        let file = fs::File::options().write(true).open(path).unwrap();
        let before = std::time::SystemTime::now() - 2 * hour;
        file.set_modified(before).unwrap();
    }
    let pruned = run(&mut place.mica(&["sessions", "prune", "--older-than", "1h"]));
    assert_eq!((pruned.status, pruned.stdout.as_str()), (Some(0), "old\n"));
    first.end();
    let all = run(&mut place.mica(&["sessions", "prune", "--older-than", "0s"]));
    assert_eq!(all.stdout, "fresh\nrunning\n", "{all:?}");
    let refused = run(&mut place.mica(&["sessions", "prune", "--older-than", "1y"]));
    assert_eq!(refused.status, Some(2), "{refused:?}");
}
