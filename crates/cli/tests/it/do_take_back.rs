//! `mica discard NAME PATH…`: a part of what a session changed is as the machine has it.

use std::fs;

use crate::do_run::Place;
use crate::do_users::as_user;
use crate::ground::{can_mount, has_program, run};

#[test]
fn what_is_discarded_by_path_is_as_before_and_the_rest_stays() {
    if !can_mount("what_is_discarded_by_path_is_as_before_and_the_rest_stays") {
        return;
    }
    let place = Place::new();
    fs::create_dir_all(place.at("d/dir/below")).unwrap();
    fs::create_dir_all(place.at("d/old/below")).unwrap();
    fs::write(place.at("d/dir/f"), "host\n").unwrap();
    let script = "echo session > changed; rm gone; chmod 700 dir; rm dir/f; touch dir/below/new; mkdir a; touch a/f; mv old moved; \
                  touch moved/below/f";
    assert_eq!(
        run(&mut place.script(&["--name", "n"], script)).status,
        Some(0)
    );
    let discard = |paths: &[&str]| {
        let mut line = vec!["discard", "n"];
        line.extend(paths);
        run(&mut place.mica(&line))
    };
    // What belongs together is not torn apart, and nothing is changed then.
    for paths in [&["gone", "moved"][..], &["gone", "old"], &["a/f", "gone"]] {
        let half = discard(paths);
        assert_eq!(half.status, Some(1), "{paths:?}");
        half.assert_said("hint: name both paths, or neither");
    }
    assert_eq!(
        discard(&["gone", "./dir", "nothing", "kept/none"]).stderr,
        ""
    );
    assert_eq!(discard(&["moved", "old"]).stderr, "");
    let list = run(&mut place.mica(&["diff", "n", "--name-only"])).stdout;
    let at = |name: &str| format!("{}\n", place.at("d").join(name).display());
    assert_eq!(list, ["a", "a/f", "changed"].map(at).concat());
    let look = "cat gone dir/f changed; stat -c %a dir; ls dir/below old; ls -d moved";
    let again = run(&mut place.script(&["--name", "n"], look));
    assert_eq!(
        again.stdout,
        "host\nhost\nsession\n755\ndir/below:\n\nold:\nbelow\n"
    );
    assert_eq!(discard(&["/"]).stderr, "");
    assert_eq!(run(&mut place.mica(&["diff", "n"])).stdout, "");
    let last = run(&mut place.script(&["--name", "n"], "cat changed; ls -d a"));
    assert_eq!(last.stdout, "host\n");
}

#[test]
fn an_ordinary_user_discards_what_belongs_to_other_ids() {
    let test = "an_ordinary_user_discards_what_belongs_to_other_ids";
    if !can_mount(test) || !has_program(test, "newuidmap") {
        return;
    }
    let place = Place::new();
    let prepare = "echo daemon:100000:65536 > ../sub && mount --bind ../sub /etc/subuid && mount --bind ../sub /etc/subgid";
    let script = "../mica do --as-root -- sh -c 'mkdir -m 700 own; echo x > own/f; chown -R 7 own; rm gone' 2>/dev/null; \
                  ../mica discard 1 own; ../mica diff 1 --name-only --no-pager";
    let done = as_user(&place, prepare, script);
    assert_eq!(
        done.stdout,
        format!("{}\n", place.at("d/gone").display()),
        "{done:?}"
    );
}
