//! The line at the end of `mica do`: it counts what `mica diff` lists.

use std::fs;

use crate::do_run::Place;
use crate::do_users::as_user;
use crate::ground::{can_mount, has_program, run};

/// Changes of all kinds, some of which are none in the end.
const SCRIPT: &str = "echo session > changed; rm gone; mv d2 moved; mkdir new; echo 12 > new/f; ln new/f new/again; \
                      touch kept; chmod 600 kept; rm -r d3; mkdir d3; echo 3 > d3/f; ln -s x d4; \
                      echo host > d5; cat d5 > d6; rm d6; touch -r ../d/d2 d5 2>/dev/null; chmod 700 /";

fn fill(place: &Place) {
    fs::create_dir_all(place.at("d/d2/below")).unwrap();
    fs::create_dir_all(place.at("d/d3")).unwrap();
    for name in ["d3/f", "d3/g", "d5"] {
        fs::write(place.at("d").join(name), "host\n").unwrap();
    }
}

/// The counts at the end of what a command said, and those of the JSON of its diff.
fn both(line: &str, json: &str) -> (String, String) {
    let number = |key: &str| {
        let text = json.split(&format!("\"{key}\":")).nth(1).unwrap();
        text.split([',', '}']).next().unwrap().to_owned()
    };
    let [added, modified, deleted, bytes] = ["added", "modified", "deleted", "bytes"].map(number);
    let json = format!("{added} added, {modified} modified, {deleted} deleted, {bytes} B");
    let line = line.split(" - ").next().unwrap();
    (line.to_owned(), json)
}

#[test]
fn the_line_at_the_end_counts_what_diff_lists() {
    if !can_mount("the_line_at_the_end_counts_what_diff_lists") {
        return;
    }
    let place = Place::new();
    fill(&place);
    let done = run(&mut place.script(&[], SCRIPT));
    let json = run(&mut place.mica(&["diff", "1", "--json"])).stdout;
    let (line, diff) = both(&done.stderr, &json);
    assert_eq!(line, diff, "{json}");
    assert!(!line.starts_with("0 added"), "{line}");
    let list = run(&mut place.mica(&["diff", "1"])).stdout;
    assert!(list.lines().any(|line| line.starts_with('R')), "{list}");
}

#[test]
fn a_session_in_which_only_the_root_changed_is_changed() {
    if !can_mount("a_session_in_which_only_the_root_changed_is_changed") {
        return;
    }
    let place = Place::new();
    let done = run(&mut place.script(&[], "chmod 700 /"));
    done.assert_said("0 added, 1 modified, 0 deleted, 0 B");
}

#[test]
fn a_users_line_counts_what_diff_lists() {
    let test = "a_users_line_counts_what_diff_lists";
    if !can_mount(test) || !has_program(test, "newuidmap") {
        return;
    }
    let place = Place::new();
    fill(&place);
    let prepare = "echo daemon:100000:65536 > ../sub && mount --bind ../sub /etc/subuid && mount --bind ../sub /etc/subgid";
    let script = format!(
        "../mica do --as-root -- sh -c '{SCRIPT}; mkdir -m 700 own; echo x > own/f; chown -R 7 own'; ../mica diff 1 --json"
    );
    let done = as_user(&place, prepare, &script);
    let (line, diff) = both(&done.stderr, &done.stdout);
    assert_eq!(line, diff, "{done:?}");
    assert!(!line.contains("not readable"), "{line}");
}
