//! The view of a session over all the mounts of a machine.

use std::process::Command;

use crate::do_run::Place;
use crate::ground::{Outcome, can_mount, run};

/// Runs `prepare` in a mount namespace, then `script` in a session.
#[track_caller]
fn with_mounts(place: &Place, prepare: &str, script: &str) -> Outcome {
    let line = place.script(&["--rm"], script);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", &format!("{prepare}; exec \"$@\""), "sh"]);
    command.arg(line.get_program()).args(line.get_args());
    command
        .env("XDG_STATE_HOME", place.at("state"))
        .current_dir(place.at("d"));
    run(&mut command)
}

#[test]
fn mounts_are_one_filesystem() {
    if !can_mount("mounts_are_one_filesystem") {
        return;
    }
    let place = Place::new();
    let prepare = "mkdir t u; mount -t tmpfs t t; mount -t tmpfs u u; mkdir t/d u/d; \
                   echo t > t/d/f; echo u > u/d/f";
    // The same names, and on fresh tmpfs the same numbers.
    let script = "cat t/d/f u/d/f; mv t/d t/e; mv t/e/f u/g; ln kept u/h; cat u/g u/h; \
                  stat -c %d . t u u/d/f | sort -u | wc -l; \
                  stat -c %i . t u u/d u/d/f kept | sort | uniq -d";
    let done = with_mounts(&place, prepare, script);
    assert_eq!(done.stdout, "t\nu\nt\nhost\n1\n", "{done:?}");
    assert_eq!(done.status, Some(0));
}

#[test]
fn a_listing_tells_the_numbers_of_mountpoints() {
    if !can_mount("a_listing_tells_the_numbers_of_mountpoints") {
        return;
    }
    let place = Place::new();
    let prepare = "mkdir t; mount -t tmpfs t t; touch file; mount --bind kept file; touch t/f";
    // Listed numbers on the left, those of the objects on the right.
    let script = "for d in . t; do find $d -maxdepth 1 -mindepth 1 -printf '%f\\n' | while read n; do \
                  l=$(python3 -c 'import os,sys; print([e.inode() for e in os.scandir(sys.argv[1]) if e.name==sys.argv[2]][0])' $d $n); \
                  test $l = $(stat -c %i $d/$n) || echo $n differs; done; done; cat file";
    let done = with_mounts(&place, prepare, script);
    assert_eq!(done.stdout, "host\n", "{done:?}");
}

#[test]
fn a_directory_that_is_bound_twice_is_two() {
    if !can_mount("a_directory_that_is_bound_twice_is_two") {
        return;
    }
    let place = Place::new();
    let prepare = "mkdir a b a/s; echo 1 > a/s/f; mount --bind a b";
    let script = "cat a/s/f b/s/f; echo 2 > b/s/f; cat a/s/f b/s/f; cd a/s; pwd -P | grep -o 'a/s$'; ls ../../b/s; pwd -P | grep -o 'a/s$'";
    let done = with_mounts(&place, prepare, script);
    assert_eq!(done.stdout, "1\n1\n1\n2\na/s\nf\na/s\n", "{done:?}");
}

#[test]
fn what_a_kernel_makes_up_is_not_in_the_view() {
    if !can_mount("what_a_kernel_makes_up_is_not_in_the_view") {
        return;
    }
    let place = Place::new();
    let prepare = "mkdir p s c; mount -t proc p p; mount --rbind /sys s; mount --bind /dev c";
    let done = with_mounts(&place, prepare, "ls -A p s c; rm -rf p/x; echo end");
    assert_eq!(done.stdout, "c:\n\np:\n\ns:\nend\n", "{done:?}");
}

#[test]
fn marks_of_other_overlays_are_attributes_like_any_other() {
    if !can_mount("marks_of_other_overlays_are_attributes_like_any_other") {
        return;
    }
    let place = Place::new();
    let mark = |path: &str, name: &str, value: &[u8]| {
        let flags = rustix::fs::XattrFlags::empty();
        let name = format!("trusted.overlay.{name}");
        rustix::fs::setxattr(place.at("d").join(path), &*name, value, flags).unwrap();
    };
    std::fs::create_dir(place.at("d/dir")).unwrap();
    std::fs::write(place.at("d/empty"), "").unwrap();
    mark("kept", "metacopy", b"");
    mark("kept", "redirect", b"/no/such");
    mark("empty", "whiteout", b"y");
    mark("dir", "opaque", b"x");
    mark("dir", "redirect", b"elsewhere");
    let script = "cat kept; ls; chmod 600 kept; touch dir/new; cat kept; mv dir dir2; ls dir2";
    let done = run(&mut place.script(&[], script));
    assert_eq!(
        done.stdout, "host\nchanged\ndir\nempty\ngone\nkept\nhost\nnew\n",
        "{done:?}"
    );
    // As an overlay below this one has them.
    let mut value = [0; 9];
    let name = "trusted.overlay.overlay.redirect";
    let copied = rustix::fs::getxattr(place.upper("1").join("kept"), name, &mut value);
    assert_eq!(copied, Ok(8));
}

#[test]
fn the_sessions_do_not_exist_inside() {
    if !can_mount("the_sessions_do_not_exist_inside") {
        return;
    }
    let place = Place::new();
    let script = "ls -A ../state/mica; ls ../state/mica/sessions 2>&1 | grep -o 'No such.*'; \
                  mkdir ../state/mica/sessions && ls -A ../state/mica/sessions; ls ../state/mica";
    let done = run(place.script(&["--rm"], script).env("LC_ALL", "C"));
    assert_eq!(
        done.stdout, "No such file or directory\nsessions\n",
        "{done:?}"
    );
}

#[test]
fn a_session_works_on_another_tree() {
    if !can_mount("a_session_works_on_another_tree") {
        return;
    }
    let place = Place::new();
    // The programs of this machine, by a mount below the tree.
    let prepare = "mkdir tree tree/bin tree/proc tree/dev; echo x > tree/f; mount --rbind / tree/bin; \
                   for l in lib lib64 usr; do ln -s bin/$l tree/$l; done";
    let lower = place.at("d/tree");
    let script = "pwd; ls /; echo y > /f; echo $(</f)";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", &format!("{prepare}; exec \"$@\""), "sh"]);
    command
        .args([env!("CARGO_BIN_EXE_mica"), "do", "--rm", "--lower"])
        .arg(&lower);
    command.args([
        "--",
        "/bin/bin/bash",
        "-c",
        &format!("PATH=/bin/bin; {script}"),
    ]);
    command
        .env("XDG_STATE_HOME", place.at("state"))
        .current_dir(place.at("d"));
    let done = run(&mut command);
    assert_eq!(
        done.stdout, "/\nbin\ndev\nf\nlib\nlib64\nproc\nusr\ny\n",
        "{done:?}"
    );
    assert_eq!(std::fs::read_to_string(lower.join("f")).unwrap(), "x\n");
}
