//! `mica diff`: the forms in which it shows changes.

use std::fs;
use std::process::Command;

use crate::do_run::Place;
use crate::ground::{Outcome, can_mount, has_program, run};
use crate::terminal::Terminal;

/// A session in which a few things are changed.
fn changed(test: &str) -> Option<Place> {
    if !can_mount(test) {
        return None;
    }
    let place = Place::new();
    fs::write(place.at("d/binary"), b"a\0b").unwrap();
    fs::write(place.at("d/long"), "one\ntwo\nthree\n").unwrap();
    let script = "echo more >> changed; rm gone; mkdir dir; echo new > dir/new; printf 'a\\0c' > binary; chmod 755 long; \
                  mv kept dir/kept; ln -s to link; printf 'no newline' > tail";
    let done = run(&mut place.script(&[], script));
    assert_eq!(done.status, Some(0), "{done:?}");
    Some(place)
}

#[track_caller]
fn shown(place: &Place, options: &[&str]) -> String {
    let arguments: Vec<_> = ["diff", "1"].iter().chain(options).copied().collect();
    let Outcome { status, stdout, .. } = run(&mut place.mica(&arguments));
    assert_eq!(status, Some(0));
    stdout.replace(&format!("{}/", place.at("d").display()), "")
}

#[test]
fn names_alone_end_as_xargs_wants_them() {
    let Some(place) = changed("names_alone_end_as_xargs_wants_them") else {
        return;
    };
    let names = "binary\nchanged\ndir\ndir/kept\ndir/new\ngone\nlink\nlong\ntail\n";
    assert_eq!(shown(&place, &["--name-only"]), names);
    assert_eq!(
        shown(&place, &["--name-only", "-0"]),
        names.replace('\n', "\0")
    );
    let listed = shown(&place, &["-0", "./dir"]);
    assert_eq!(listed, "A\0dir\0R\0kept\0dir/kept\0A\0dir/new\0");
}

#[test]
fn a_patch_is_one_that_git_applies() {
    let test = "a_patch_is_one_that_git_applies";
    let Some(place) = changed(test) else {
        return;
    };
    if !has_program(test, "git") {
        return;
    }
    let all = run(&mut place.mica(&["diff", "1", "--patch"]));
    // git has no line for what is in a binary file, and directories are none of its business.
    let patch: String = all
        .stdout
        .split_inclusive("diff --git ")
        .filter(|part| !part.contains("Binary files"))
        .collect();
    fs::write(place.at("patch"), patch).unwrap();
    let at = format!("-p{}", place.at("d").components().count());
    let mut git = Command::new("git");
    git.args(["apply", &at, "../patch"])
        .current_dir(place.at("d"));
    let applied = run(git.env("GIT_CEILING_DIRECTORIES", place.at("")));
    assert_eq!(applied.status, Some(0), "{applied:?}\n{}", all.stdout);
    let read = |path: &str| fs::read_to_string(place.at("d").join(path)).unwrap();
    assert_eq!(read("changed"), "host\nmore\n");
    assert_eq!(
        (read("dir/new"), read("dir/kept")),
        ("new\n".into(), "host\n".into())
    );
    assert_eq!(read("tail"), "no newline");
    assert!(!place.at("d/gone").exists() && !place.at("d/kept").exists());
    assert_eq!(
        fs::read_link(place.at("d/link")).unwrap().to_str(),
        Some("to")
    );
}

#[test]
fn a_patch_names_what_it_cannot_say() {
    let Some(place) = changed("a_patch_names_what_it_cannot_say") else {
        return;
    };
    let patch = shown(&place, &["-p"]);
    for line in [
        "# A dir/",
        "rename from",
        "Binary files ",
        "old mode 100644",
        "new mode 100755",
        "+more",
    ] {
        assert!(
            patch.lines().any(|found| found.starts_with(line)),
            "{line}: {patch}"
        );
    }
}

#[test]
fn counts_of_lines_are_shown_with_bars() {
    let Some(place) = changed("counts_of_lines_are_shown_with_bars") else {
        return;
    };
    let stat = shown(&place, &["--stat"]);
    let line = |name: &str| {
        let line = stat
            .lines()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap();
        line.split_once(" | ").unwrap().1.trim().to_owned()
    };
    assert_eq!(line("changed"), "1 +");
    assert_eq!(line("gone"), "1 -");
    assert_eq!(line("binary"), "bytes 3 B -> 3 B");
    assert_eq!(line("long"), "mode 0644 -> 0755");
    assert_eq!(line("kept -> dir/kept"), "same content");
    let last = stat.lines().last().unwrap();
    assert_eq!(
        last,
        " 4 added, 4 modified, 1 deleted, 4 lines added, 1 lines removed"
    );
}

#[test]
fn programs_get_both_sides_of_each_change() {
    let test = "programs_get_both_sides_of_each_change";
    let Some(place) = changed(test) else {
        return;
    };
    if !has_program(test, "python3") {
        return;
    }
    fs::write(place.at("json"), shown(&place, &["--json"])).unwrap();
    let read = "import json; a = json.load(open('../json')); c = {x['path']: x for x in a['changes']}; \
                print(a['session'], a['lower'], a['added'], a['deleted'], a['unreadable']); \
                l = c['long']; print(l['kind'], l['differs'], l['old']['mode'], l['new']['mode'], l['new']['size']); \
                k = c['dir/kept']; print(k['kind'], k['from'], k['differs'], k['new']['type']); \
                print(c['gone']['new'], c['dir']['old'], c['dir']['new']['type'])";
    let mut python = Command::new("python3");
    let read = run(python.args(["-c", read]).current_dir(place.at("d")));
    let expected =
        "1 / 4 1 []\nmodified ['mode'] 0644 0755 14\nrenamed kept [] file\nNone None directory\n";
    assert_eq!(read.stdout, expected, "{read:?}");
}

#[test]
fn colours_are_for_terminals_or_who_asks_for_them() {
    let Some(place) = changed("colours_are_for_terminals_or_who_asks_for_them") else {
        return;
    };
    assert!(!shown(&place, &[]).contains('\x1b'));
    assert!(shown(&place, &["--color"]).contains("\x1b[32mA\x1b[m  "));
    assert!(shown(&place, &["-p", "--color=always"]).contains("\x1b[32m+more\x1b[m\n"));
    assert!(!shown(&place, &["--color=never"]).contains('\x1b'));
}

#[test]
fn a_pager_is_for_terminals_alone() {
    let test = "a_pager_is_for_terminals_alone";
    let Some(place) = changed(test) else {
        return;
    };
    let typed = |line: &str| Terminal::line(&place, line).ends().1;
    let paged = "unset NO_COLOR; export PAGER=\"sed 's/^/paged: /'\"; ";
    assert!(typed(&format!("{paged}$MICA diff 1")).contains("paged: \x1b[36mM\x1b[m"));
    assert!(!typed(&format!("{paged}NO_COLOR=1 $MICA diff 1")).contains("\x1b[36m"));
    assert!(!typed(&format!("{paged}$MICA diff 1 --no-pager")).contains("paged"));
    let mut plain = place.mica(&["diff", "1"]);
    assert!(
        !run(plain.env("PAGER", "sed s/^/paged/"))
            .stdout
            .contains("paged")
    );
}
