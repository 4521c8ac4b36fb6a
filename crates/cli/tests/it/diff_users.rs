//! `mica diff` of ordinary users' sessions: whose an object is, and what belongs to ids that are theirs inside alone.

use crate::do_run::Place;
use crate::do_users::as_user;
use crate::ground::{can_mount, has_program};

#[test]
fn a_session_with_one_id_has_no_changes_of_owners() {
    if !can_mount("a_session_with_one_id_has_no_changes_of_owners") {
        return;
    }
    let place = Place::new();
    // What belongs to root is copied as the user's.
    let script = "../mica do --as-root -- sh -c 'echo s > changed; rm gone; touch new; chmod 600 kept; mkdir -m 0 closed; \
                  touch closed/in' 2>/dev/null; ../mica diff --name-only; ../mica diff | grep -c owner";
    let done = as_user(&place, "true", script);
    let names = ["changed", "closed", "closed/in", "gone", "kept", "new"];
    let mut expected = String::new();
    for name in names {
        expected.push_str(&format!("{}\n", place.at("d").join(name).display()));
    }
    assert_eq!(done.stdout, format!("{expected}0\n"), "{done:?}");
    assert_eq!(done.stderr, "");
}

#[test]
fn what_belongs_to_ids_of_a_range_is_read() {
    let test = "what_belongs_to_ids_of_a_range_is_read";
    if !can_mount(test) || !has_program(test, "newuidmap") {
        return;
    }
    let place = Place::new();
    let prepare = "echo daemon:100000:65536 > ../sub && mount --bind ../sub /etc/subuid && mount --bind ../sub /etc/subgid";
    let script = "../mica do --as-root -- sh -c 'mkdir -m 700 own; echo x > own/f; chown -R 7 own; chown 8 changed; \
                  echo y >> kept' 2>/dev/null; cd /; ../mica diff 2>&1";
    let script = script.replace("cd /; ../mica", "../mica");
    let done = as_user(&place, prepare, &script);
    let below = format!("{}/", place.at("d").display());
    // A file of root's that was changed still is root's.
    let expected = "M  changed  (owner 0:0 -> 8:0)\nM  kept\nA  own/\nA  own/f\n";
    assert_eq!(done.stdout.replace(&below, ""), expected, "{done:?}");
}
