//! `mica do`: what becomes of a session when its command has ended, by `--ask`, `--commit-on-success`, `--memory` and `--rm`.

use std::fs;

use crate::do_live::Shell;
use crate::do_run::Place;
use crate::do_users::as_user;
use crate::ground::{can_mount, has_program, run};
use crate::terminal::Terminal;

const CHANGE: &str = "echo session > changed; rm gone; echo 12345 > new";
const COUNTS: &str = "1 added, 1 modified, 1 deleted, 14 B";
const QUESTION: &str = "[c/k/d/p] ";

fn kept(name: &str) -> String {
    format!("{COUNTS} - mica diff {name} \u{b7} mica commit {name} \u{b7} mica discard {name}\n")
}

/// Whether the files of `place` are as the script leaves them.
#[track_caller]
fn is_committed(place: &Place) -> bool {
    let text = fs::read_to_string(place.at("d/changed")).unwrap();
    let (gone, new) = (place.at("d/gone").exists(), place.at("d/new").exists());
    match (text.as_str(), gone, new) {
        ("session\n", false, true) => true,
        ("host\n", true, false) => false,
        other => panic!("in part: {other:?}"),
    }
}

fn sessions(place: &Place) -> String {
    run(&mut place.mica(&["sessions"])).stdout
}

#[test]
fn who_is_asked_may_commit_keep_discard_and_see_more() {
    let test = "who_is_asked_may_commit_keep_discard_and_see_more";
    if !can_mount(test) {
        return;
    }
    let place = Place::new();
    for memory in [&["--ask"][..], &["--ask", "--memory"]] {
        let mut asked = Terminal::start(&place, memory, &format!("{CHANGE}; exit 3"));
        let said = asked.waits(QUESTION);
        assert!(said.contains("D  ") && said.contains("d/gone"), "{said}");
        // Nobody waits for a session to end that is only asked about.
        let socket = place.at("state/mica/sessions/1/socket");
        assert!(!socket.exists(), "{socket:?}");
        asked.types("what\n");
        asked.waits(QUESTION);
        asked.types("p\n");
        let said = asked.waits(QUESTION);
        assert!(said.contains("+session"), "{said}");
        asked.types("d\n");
        let (status, said) = asked.ends();
        assert_eq!(status, Some(3), "{said}");
        assert!(said.ends_with(&format!("{COUNTS} - removed\n")), "{said}");
        assert_eq!(sessions(&place), "");

        let mut asked = Terminal::start(&place, memory, CHANGE);
        asked.waits(QUESTION);
        // ^C keeps it.
        asked.types("\u{3}");
        let (status, said) = asked.ends();
        assert_eq!(status, Some(0), "{said}");
        assert!(said.ends_with(&kept("1")), "{said}");
        let list = run(&mut place.mica(&["diff", "1", "--name-only"]));
        assert_eq!(list.stdout.lines().count(), 3, "{list:?}");
        assert!(!is_committed(&place));
        let gone = run(&mut place.mica(&["discard", "1"]));
        assert_eq!(gone.status, Some(0), "{gone:?}");
    }
    let mut asked = Terminal::start(&place, &["--ask"], CHANGE);
    asked.waits(QUESTION);
    asked.types("c\n");
    let (status, said) = asked.ends();
    assert_eq!(status, Some(0), "{said}");
    assert!(said.ends_with(&format!("{COUNTS} - committed\n")), "{said}");
    assert!(is_committed(&place));
    // Nothing to ask about.
    let (status, said) = Terminal::start(&place, &["--ask"], "true").ends();
    assert_eq!(status, Some(0), "{said}");
    assert!(said.ends_with(" - removed\n"), "{said}");
    assert_eq!(sessions(&place), "");
}

#[test]
fn what_cannot_be_committed_is_asked_about_again() {
    let test = "what_cannot_be_committed_is_asked_about_again";
    if !can_mount(test) {
        return;
    }
    let place = Place::new();
    let mut asked = Terminal::start(&place, &["--ask", "--memory"], CHANGE);
    asked.waits(QUESTION);
    fs::write(place.at("d/changed"), "theirs\n").unwrap();
    asked.types("c\n");
    let said = asked.waits(QUESTION);
    assert!(said.contains("d/changed`: was changed meanwhile"), "{said}");
    asked.types("k\n");
    let (status, said) = asked.ends();
    assert_eq!(status, Some(0), "{said}");
    assert!(said.ends_with(&kept("1")), "{said}");
    assert!(place.at("d/gone").exists());
    let ours = run(&mut place.mica(&["commit", "1", "--force", "-q"]));
    assert_eq!(
        (ours.status, ours.stderr.as_str()),
        (Some(0), ""),
        "{ours:?}"
    );
    assert!(is_committed(&place));
}

#[test]
fn options_that_make_no_sense_are_refused_before_anything_runs() {
    if !can_mount("options_that_make_no_sense_are_refused_before_anything_runs") {
        return;
    }
    let place = Place::new();
    let asked = run(&mut place.script(&["--ask"], "echo ran"));
    assert_eq!((asked.status, asked.stdout.as_str()), (Some(125), ""));
    asked.assert_said("`--ask` needs a terminal");
    for options in [
        &["--ask", "--rm"][..],
        &["--ask", "--commit-on-success"],
        &["--ask", "--ro"],
        &["--commit-on-success", "--ro"],
        &["--ignore", "[a"],
        &["--ignore", ""],
        &["--from", "1", "--lower", "/"],
    ] {
        let refused = run(&mut place.script(options, "echo ran"));
        assert_eq!(
            (refused.status, refused.stdout.as_str()),
            (Some(2), ""),
            "{options:?}: {refused:?}"
        );
    }
    assert_eq!(sessions(&place), "");
}

#[test]
fn a_command_that_succeeds_is_committed_and_no_other() {
    if !can_mount("a_command_that_succeeds_is_committed_and_no_other") {
        return;
    }
    for memory in [
        &["--commit-on-success"][..],
        &["--commit-on-success", "--memory"],
    ] {
        let place = Place::new();
        let failed = run(&mut place.script(memory, &format!("{CHANGE}; exit 3")));
        assert_eq!(failed.status, Some(3));
        assert_eq!(failed.stderr, kept("1"));
        assert!(!is_committed(&place));
        let list = run(&mut place.mica(&["diff", "1", "--name-only"])).stdout;
        assert_eq!(list.lines().count(), 3, "{list}");
        let removed =
            run(&mut place.script(&[memory, &["--rm"]].concat(), &format!("{CHANGE}; exit 3")));
        assert_eq!(removed.stderr, format!("{COUNTS} - removed\n"));
        let done = run(&mut place.script(memory, CHANGE));
        assert_eq!(
            (done.status, done.stderr),
            (Some(0), format!("{COUNTS} - committed\n"))
        );
        assert!(is_committed(&place));
        assert_eq!(run(&mut place.mica(&["discard", "1"])).status, Some(0));
        assert_eq!(sessions(&place), "");
    }
}

#[test]
fn a_conflict_keeps_the_session_and_is_told() {
    if !can_mount("a_conflict_keeps_the_session_and_is_told") {
        return;
    }
    for options in [
        &["--commit-on-success"][..],
        &["--commit-on-success", "--memory", "--rm"],
    ] {
        let place = Place::new();
        let mut shell = Shell::start(&place, options);
        assert_eq!(shell.say(CHANGE), "");
        fs::write(place.at("d/changed"), "theirs\n").unwrap();
        let (status, stderr) = shell.finish();
        assert_eq!(status, Some(125), "{stderr}");
        assert!(
            stderr.contains("d/changed`: was changed meanwhile\n"),
            "{stderr}"
        );
        assert!(stderr.ends_with(&kept("1")), "{stderr}");
        assert!(place.at("d/gone").exists());
        let forced = run(&mut place.mica(&["commit", "1", "--force"]));
        assert_eq!(forced.status, Some(0), "{forced:?}");
        assert!(is_committed(&place));
    }
}

#[test]
fn ignored_names_are_neither_told_nor_committed() {
    if !can_mount("ignored_names_are_neither_told_nor_committed") {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.at("d/cache")).unwrap();
    fs::write(place.at("d/cache/old"), "").unwrap();
    let cache = format!("{}/cache/**", place.at("d").display());
    let script = "mkdir src; touch src/a.c src/a.o b.o; echo x > cache/new; rm cache/old; echo session > changed; \
                  mkdir build; touch build/f";
    let options = [
        "--name", "n", "--ignore", "*.o", "--ignore", &cache, "--ignore", "build/",
    ];
    let done = run(&mut place.script(&options, script));
    done.assert_said("2 added, 1 modified, 0 deleted, 8 B - mica diff n");
    let list = run(&mut place.mica(&["diff", "n", "--name-only"])).stdout;
    let at = |name: &str| format!("{}\n", place.at("d").join(name).display());
    assert_eq!(list, ["changed", "src", "src/a.c"].map(at).concat());
    // They are remembered, more can be said, and one that was said before is not said again.
    let again = run(&mut place.script(&["--name", "n", "--ignore", "*.o"], "touch c.o"));
    again.assert_said("2 added, 1 modified");
    let json = fs::read_to_string(place.at("state/mica/sessions/n/session.json")).unwrap();
    assert_eq!(json.matches("*.o").count(), 1, "{json}");
    let less = run(&mut place.mica(&["diff", "n", "--name-only", "--ignore", "*.c"])).stdout;
    assert_eq!(less, ["changed", "src"].map(at).concat());
    let done = run(&mut place.mica(&["commit", "n", "--ignore", "changed"]));
    assert_eq!(done.status, Some(0), "{done:?}");
    assert!(place.at("d/src/a.c").exists());
    for name in ["src/a.o", "b.o", "c.o", "build", "cache/new"] {
        assert!(!place.at("d").join(name).exists(), "{name}");
    }
    assert!(place.at("d/cache/old").exists());
    assert_eq!(fs::read_to_string(place.at("d/changed")).unwrap(), "host\n");
    assert_eq!(sessions(&place), "");
}

#[test]
fn an_ordinary_user_commits_from_memory_on_success() {
    let test = "an_ordinary_user_commits_from_memory_on_success";
    if !can_mount(test) || !has_program(test, "newuidmap") {
        return;
    }
    let place = Place::new();
    let prepare = "echo daemon:100000:65536 > ../sub && mount --bind ../sub /etc/subuid && mount --bind ../sub /etc/subgid && \
                   chown 1 .";
    let script = format!(
        "../mica do --as-root --memory --commit-on-success --ignore own -- \
         sh -c '{CHANGE}; mkdir -m 700 own; echo x > own/f; chown -R 7 own' 2>&1; \
         ../mica do --memory --commit-on-success -- sh -c 'mkdir a; echo x > a/f; exit 4' 2>&1; ../mica sessions | wc -l"
    );
    let done = as_user(&place, prepare, &script);
    let end = "2 added, 0 modified, 0 deleted, 2 B - mica diff 1 \u{b7} mica commit 1 \u{b7} mica discard 1\n";
    let expected = format!("{COUNTS} - committed\n{end}1\n");
    assert_eq!(done.stdout, expected, "{done:?}");
    assert!(is_committed(&place));
    assert!(!place.at("d/own").exists() && !place.at("d/a").exists());
}
