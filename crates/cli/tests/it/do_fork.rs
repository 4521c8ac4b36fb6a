//! `mica do --from`: a session that begins with what another one changed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::do_live::Shell;
use crate::do_run::Place;
use crate::do_users::as_user;
use crate::ground::{can_mount, has_program, run};

const END: &str = "mica diff";

#[test]
fn a_fork_has_what_the_session_changed_and_changes_nothing_of_it() {
    if !can_mount("a_fork_has_what_the_session_changed_and_changes_nothing_of_it") {
        return;
    }
    let place = Place::new();
    let script = "echo session > changed; rm gone; mkdir -p new/e; echo 1 > new/f; ln new/f new/e/again; \
                  truncate -s 16M new/sparse; chmod 2710 new/e; ln -s nowhere new/link; \
                  touch -d @1000 new/f; mv d2 moved";
    fs::create_dir_all(place.at("d/d2/below")).unwrap();
    let first = run(&mut place.script(&[], script));
    assert_eq!(first.status, Some(0), "{first:?}");
    let before = run(&mut place.mica(&["diff", "1", "--json"])).stdout;
    let look = "cat changed new/f; stat -c '%a %h %Y %b' new/e/again new/sparse; stat -c %a new/e; \
                readlink new/link; ls -d moved/below; \
                test -e gone || echo gone; rm -r new; echo fork > kept";
    let fork = run(&mut place.script(&["--from", "1"], look));
    let expected = "session\n1\n644 2 1000 8\n644 1";
    assert!(fork.stdout.starts_with(expected), "{fork:?}");
    assert!(
        fork.stdout.ends_with("2710\nnowhere\nmoved/below\ngone\n"),
        "{fork:?}"
    );
    fork.assert_said(&format!("{END} 2"));
    let after = run(&mut place.mica(&["diff", "1", "--json"])).stdout;
    assert_eq!(after, before);
    let names = run(&mut place.mica(&["diff", "2", "--name-only"])).stdout;
    let at = |name: &str| format!("{}\n", place.at("d").join(name).display());
    assert_eq!(names, ["changed", "gone", "kept", "moved"].map(at).concat());
}

/// Describes all that is in a directory.
fn described(dir: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let stat = fs::symlink_metadata(&path).unwrap();
        let mut names = vec![0; 4096];
        let length = rustix::fs::llistxattr(&path, &mut names[..]).unwrap();
        let mut names: Vec<_> = names[..length].split(|&byte| byte == 0).collect();
        names.sort_unstable();
        let values = names.iter().filter(|name| !name.is_empty()).map(|name| {
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(&path, *name, &mut value[..]).unwrap();
            (
                String::from_utf8_lossy(name).into_owned(),
                value[..length].to_vec(),
            )
        });
        let values: Vec<_> = values.collect();
        lines.push(format!(
            "{:?} {:o} {}:{} {} {} {} {}.{} {values:?}",
            path.file_name(),
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.nlink(),
            stat.size(),
            stat.rdev(),
            stat.mtime(),
            stat.mtime_nsec()
        ));
        if stat.is_dir() {
            described(&path, lines);
        }
    }
    lines.sort();
}

#[test]
fn the_upper_of_a_fork_is_that_of_the_session() {
    if !can_mount("the_upper_of_a_fork_is_that_of_the_session") {
        return;
    }
    let place = Place::new();
    fs::create_dir_all(place.at("d/d2/below")).unwrap();
    let (name, flags) = ("user.mine", rustix::fs::XattrFlags::empty());
    rustix::fs::setxattr(place.at("d/kept"), name, b"x", flags).unwrap();
    let script =
        "mv d2 moved; rm gone; chmod 600 kept; mkdir a; ln kept a/k; chown 5:6 a; touch -d @7 a";
    assert_eq!(run(&mut place.script(&[], script)).status, Some(0));
    let fork = run(&mut place.script(&["--from", "1", "--name", "two"], ":"));
    assert_eq!(fork.status, Some(0), "{fork:?}");
    let told = |session: &str| {
        let mut lines = Vec::new();
        let dir = place.at("state/mica/sessions").join(session).join("upper");
        described(&dir, &mut lines);
        lines
    };
    let text = told("1").join("\n");
    assert!(
        text.contains("trusted.overlay.redirect") && text.contains("user.mine"),
        "{text}"
    );
    assert_eq!(told("two"), told("1"));
    let log = |session: &str| {
        fs::read(
            place
                .at("state/mica/sessions")
                .join(session)
                .join("base.log"),
        )
        .unwrap()
    };
    assert_eq!(log("two"), log("1"));
}

#[test]
fn what_cannot_be_forked_is_refused_and_leaves_nothing() {
    if !can_mount("what_cannot_be_forked_is_refused_and_leaves_nothing") {
        return;
    }
    let place = Place::new();
    assert_eq!(run(&mut place.script(&[], "echo > new")).status, Some(0));
    assert_eq!(
        run(&mut place.script(&["--name", "n"], ":")).status,
        Some(0)
    );
    let missing = run(&mut place.script(&["--from", "9"], ":"));
    assert_eq!(missing.status, Some(125));
    missing.assert_said("there is no session `9`");
    let named = run(&mut place.script(&["--from", "1", "--name", "n"], ":"));
    assert_eq!(named.status, Some(125));
    named.assert_said("there is a session `n` already");
    let memory = run(&mut place.script(&["--from", "1", "--memory"], ":"));
    assert_eq!(memory.status, Some(2));
    fs::create_dir(place.at("state/mica/sessions/1/journal")).unwrap();
    let begun = run(&mut place.script(&["--from", "1"], ":"));
    assert_eq!(begun.status, Some(125));
    begun.assert_said("hint: finish or undo it: `mica commit 1`");
    fs::remove_dir(place.at("state/mica/sessions/1/journal")).unwrap();
    let mut runs = Shell::start(&place, &["--name", "n"]);
    assert_eq!(runs.say(""), "");
    let running = run(&mut place.script(&["--from", "n"], ":"));
    assert_eq!(running.status, Some(125));
    running.assert_said("hint: what runs in it has to end first");
    runs.end();
    let names = run(&mut place.mica(&["sessions"])).stdout;
    assert_eq!(names.lines().count(), 2, "{names}");
}

#[test]
fn a_fork_of_an_ordinary_user_has_objects_of_other_ids() {
    let test = "a_fork_of_an_ordinary_user_has_objects_of_other_ids";
    if !can_mount(test) || !has_program(test, "newuidmap") {
        return;
    }
    let place = Place::new();
    let prepare = "echo daemon:100000:65536 > ../sub && mount --bind ../sub /etc/subuid && mount --bind ../sub /etc/subgid";
    let script = "../mica do --as-root -- sh -c 'mkdir -m 700 own; echo x > own/f; chown -R 5:6 own; rm gone' 2>/dev/null; \
                  ../mica do --from 1 -- sh -c 'stat -c %u:%g:%a own own/f; cat own/f; test -e gone || echo gone' 2>&1; \
                  ../mica do --from 1 -- id -u 2>&1; \
                  ../mica discard 1; ../mica discard 2; ../mica discard 3; ../mica sessions";
    let done = as_user(&place, prepare, script);
    let end = |n: u8| {
        format!(
            "2 added, 0 modified, 1 deleted, 2 B - mica diff {n} \u{b7} mica commit {n} \u{b7} mica discard {n}\n"
        )
    };
    let expected = format!("5:6:700\n5:6:644\nx\ngone\n{}0\n{}", end(2), end(3));
    assert_eq!(done.stdout, expected, "{done:?}");
    assert_eq!(fs::metadata(place.at("d/gone")).unwrap().uid(), 1);
}
