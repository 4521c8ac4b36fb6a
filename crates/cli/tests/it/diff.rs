//! `mica diff`: which changes it finds.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::do_run::Place;
use crate::ground::{can_mount, run};

/// Runs `script` in a new session, and returns what `mica diff` says of the files, with paths that are relative to them.
#[track_caller]
fn diff_after(place: &Place, script: &str, options: &[&str]) -> String {
    let done = run(&mut place.script(&[], script));
    assert_eq!(done.status, Some(0), "{done:?}");
    diff(place, options)
}

#[track_caller]
fn diff(place: &Place, options: &[&str]) -> String {
    let arguments: Vec<_> = ["diff", "1"].iter().chain(options).copied().collect();
    let shown = run(&mut place.mica(&arguments));
    assert_eq!(
        (shown.status, shown.stderr.as_str()),
        (Some(0), ""),
        "{shown:?}"
    );
    shown
        .stdout
        .replace(&format!("{}/", place.at("d").display()), "")
}

#[test]
fn each_kind_of_change_has_its_letter() {
    if !can_mount("each_kind_of_change_has_its_letter") {
        return;
    }
    let place = Place::new();
    let at = |path: &str| place.at("d").join(path);
    for dir in ["dir/sub", "other", "again", "empty"] {
        fs::create_dir_all(at(dir)).unwrap();
    }
    for path in [
        "dir/a",
        "dir/sub/b",
        "other/c",
        "again/x",
        "again/y",
        "one",
        "mode",
        "own",
        "type",
        "time",
        "same",
    ] {
        fs::write(at(path), path).unwrap();
    }
    symlink("before", at("link")).unwrap();
    let script = "echo x >> changed; rm gone; rm -r other; mv dir moved; echo y > moved/sub/b; rm moved/a; \
                  mv one two; touch new; mkdir newdir; touch newdir/f; rm -r again; mkdir again; echo z > again/x; \
                  chmod 600 mode; chown 5:6 own; rm type; mkdir type; touch -d @1 time; ln -sf after link; \
                  chmod 700 empty; mkfifo fifo; chmod 600 same; chmod 644 same; touch 'we ird'; touch t; rm t";
    let expected = "\
A  fifo
M  changed
D  gone
M  again/x
D  again/y
M  empty/  (mode 0755 -> 0700)
M  link
M  mode  (mode 0644 -> 0600)
R  dir/ -> moved/
D  moved/a
M  moved/sub/b
A  new
A  newdir/
A  newdir/f
D  other/
M  own  (owner 0:0 -> 5:6)
M  time  (time)
R  one -> two
T  type/  (file -> directory)
A  'we ird'
";
    let mut expected: Vec<_> = expected.lines().collect();
    let found = diff_after(&place, script, &[]);
    let found = found.replace(&format!("'{}/we", place.at("d").display()), "'we");
    let mut found: Vec<_> = found.lines().collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn a_directory_that_is_gone_is_one_change_unless_all_is_asked_for() {
    if !can_mount("a_directory_that_is_gone_is_one_change_unless_all_is_asked_for") {
        return;
    }
    let place = Place::new();
    fs::create_dir_all(place.at("d/dir/sub")).unwrap();
    fs::write(place.at("d/dir/sub/f"), "").unwrap();
    assert_eq!(diff_after(&place, "rm -r dir", &[]), "D  dir/\n");
    assert_eq!(
        diff(&place, &["--full"]),
        "D  dir/\nD  dir/sub/\nD  dir/sub/f\n"
    );
}

#[test]
fn directories_that_change_names_are_told_from_those_that_are_replaced() {
    if !can_mount("directories_that_change_names_are_told_from_those_that_are_replaced") {
        return;
    }
    let place = Place::new();
    for dir in ["a/x", "b", "c/d"] {
        fs::create_dir_all(place.at("d").join(dir)).unwrap();
        fs::write(place.at("d").join(dir).join("f"), dir).unwrap();
    }
    let script = "mv a t; mv b a; mv t b; mv b/x y; mv c/d c2; rm -r c; mkdir d; touch d/new";
    let expected =
        "R  b/ -> a/\nR  a/ -> b/\nD  c/\nR  c/d/ -> c2/\nA  d/\nA  d/new\nR  a/x/ -> y/\n";
    assert_eq!(diff_after(&place, script, &[]), expected);
}

#[test]
fn what_has_changed_and_is_as_it_was_is_no_change() {
    if !can_mount("what_has_changed_and_is_as_it_was_is_no_change") {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.at("d/dir")).unwrap();
    let script = "chmod 600 kept; chmod 644 kept; mv dir e; mv e dir; touch n; rm n";
    assert_eq!(diff_after(&place, script, &[]), "");
}

#[test]
fn extended_attributes_are_compared_and_marks_are_none() {
    if !can_mount("extended_attributes_are_compared_and_marks_are_none") {
        return;
    }
    let place = Place::new();
    let set = "python3 -c 'import os; os.setxattr(\"kept\", \"user.k\", b\"v\"); os.setxattr(\"sub\", \"user.k\", b\"v\")'";
    fs::create_dir(place.at("d/sub")).unwrap();
    let found = diff_after(&place, &format!("{set}; touch sub/f"), &[]);
    assert_eq!(
        found,
        "M  kept  (attributes)\nM  sub/  (attributes)\nA  sub/f\n"
    );
}

#[test]
fn paths_choose_what_is_shown() {
    if !can_mount("paths_choose_what_is_shown") {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.at("d/dir")).unwrap();
    let script = "echo x > changed; rm gone; touch dir/new; mv kept dir/moved";
    assert_eq!(diff_after(&place, script, &["gone"]), "D  gone\n");
    assert_eq!(
        diff(&place, &["./dir", "gone"]),
        "R  kept -> dir/moved\nA  dir/new\nD  gone\n"
    );
    let latest = run(&mut place.mica(&["diff", "./gone"]));
    assert!(latest.stdout.ends_with("/d/gone\n"), "{latest:?}");
}

#[test]
fn a_session_that_runs_or_is_none_is_refused() {
    if !can_mount("a_session_that_runs_or_is_none_is_refused") {
        return;
    }
    let place = Place::new();
    let missing = run(&mut place.mica(&["diff", "9"]));
    assert_eq!(missing.status, Some(1));
    assert!(
        missing.stderr.contains("there is no session `9`"),
        "{missing:?}"
    );
    let none = run(&mut place.mica(&["diff"]));
    assert_eq!(none.status, Some(2), "{none:?}");
}

#[test]
fn all_mounts_of_the_machine_are_compared() {
    if !can_mount("all_mounts_of_the_machine_are_compared") {
        return;
    }
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_mica");
    let script = format!(
        "mkdir t; mount -t tmpfs t t; mkdir t/d; echo 1 > t/f; echo 1 > t/g; \
         {program} do -- sh -c 'echo 2 > t/f; mv t/d t/e; mv t/g g'; {program} diff --name-only"
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", &script]);
    command
        .env("XDG_STATE_HOME", place.at("state"))
        .current_dir(place.at("d"));
    let done = run(&mut command);
    let below = format!("{}/", place.at("d").display());
    // A file from another filesystem is a new one.
    assert_eq!(
        done.stdout.replace(&below, ""),
        "g\nt/e\nt/f\nt/g\n",
        "{done:?}"
    );
}
