//! `mica commit` of directories that a session moved from one filesystem of the machine to another: what comes of it is what
//! mv(1) makes of them.

use std::process::Command;

use crate::commit::DUMP;
use crate::do_run::Place;
use crate::ground::{Outcome, can_mount, has_program, run};

/// Makes a tree in the directory `$1`, of which `one` and `two` are filesystems of their own.
const MAKE: &str = r#"make() { mkdir -p $1/one $1/two; mount -t tmpfs one $1/one; mount -t tmpfs two $1/two
    ( cd $1; mkdir -p one/d/sub/deep one/d/out one/d/own one/plain/x/y one/n one/l one/s two/e/f two/in two/cover two/s two/op
    for f in one/d/a one/d/b one/d/gone one/d/sub/c one/d/sub/deep/f one/d/out/f one/d/own/f one/plain/x/y/f one/n/f one/l/1 \
        one/s/1 two/e/f/1 two/in/f two/cover/x two/s/2 two/op/x one/outside one/mode; do printf "line\n$f\n" > $f; done
    ln one/d/a one/d/sub/a2; ln one/d/b one/d/b2; ln one/l/1 one/l/2; ln one/l/1 one/l1; ln -s ../a one/d/sub/link
    ln one/outside one/l/outside; ln one/mode one/l/mode; truncate -s 1M one/d/holes; echo end >> one/d/holes; mkfifo one/d/fifo
    chmod 2751 one/d/sub; chmod 600 one/d/b; chmod 4711 one/plain/x/y/f; mkdir -m 555 one/plain/ro
    find . -exec touch -h -d @1000000 {} + ); }"#;

/// Moves directories there and back, changes what is in them, and takes out of them and puts into them.
const CHANGE: &str = r#"echo more >> one/d/sub/c; echo new > one/d/sub/n; rm one/d/gone; mv one/d/out one/out; mv one/d two/d
    mv two/d/own two/d/sub/own; mv two/in two/d/in; mv two/e one/plain/x/e; echo 2 > two/d/sub/deep/f; chmod 711 two/d/sub/deep
    ln two/d/sub/n two/d/n2; echo again >> two/d/b; mkdir -p two/new/er; mv one/plain two/new/er/plain; touch two/new/er/plain/own
    mv one/n two/n; rm two/n/f; mkdir one/d; echo other > one/d/a; rm -r two/cover; echo more >> one/l/1; echo more >> one/outside
    chmod 640 one/l/mode; mv one/l two/cover; mv one/s t; mv two/s one/s; mv t two/s; rm -r two/op; mkdir two/op
    mv one/out two/op/out; touch two/op/out/last; touch -d @5 two/d/sub/a2; mv two/d/sub/deep one/d/deep; echo 3 >> one/d/deep/f
    rm two/d/fifo; mkdir two/d/fifo; mv two/new/er/plain/ro ro"#;

/// Makes trees A and B, changes A, and B in a session; then prints how they differ.
fn both_ways(mica: &str, options: &str, (make, change): (&str, &str)) -> String {
    format!(
        "{MAKE}; make A; make B; for t in A B; do (cd $t; {make}); done; printf '%s' '{change}' > ../change; \
         (cd A; sh -e ../../change); cd B; {mica} do {options} -- sh -e ../../change 2>/dev/null; {mica} commit -n | cut -c1-7 | sort -u; \
         {mica} commit 2>&1 | sed 's/^[0-9]* //'; cd ..; python3 ../dump A > a; python3 ../dump B > b; diff a b && \
         test $(wc -l < a) -gt 30 && echo same; find . -name '.mica*'"
    )
}

fn in_namespace(place: &Place, script: &str) -> Outcome {
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-ec", script])
        .env("XDG_STATE_HOME", place.at("state"));
    run(command.current_dir(place.at("d")))
}

#[test]
fn a_directory_that_was_moved_to_another_filesystem_is_copied_and_removed() {
    let test = "a_directory_that_was_moved_to_another_filesystem_is_copied_and_removed";
    if !can_mount(test) || !has_program(test, "python3") || !has_program(test, "setfacl") {
        return;
    }
    let place = Place::new();
    std::fs::write(place.at("dump"), DUMP).unwrap();
    let make = "chown 5:6 one/d/a; chown -h 7 one/d/sub/link; mknod one/d/null c 1 3; setfacl -m u:8:rwx,d:u:9:x one/d/sub one/plain; \
                python3 -c \"import os; os.setxattr(\\\"one/plain/x\\\", \\\"user.k\\\", b\\\"v\\\"); \
                os.setxattr(\\\"one/d/a\\\", \\\"trusted.k\\\", b\\\"v\\\")\"; find . -exec touch -h -d @1000000 {} +";
    let script = both_ways(env!("CARGO_BIN_EXE_mica"), "", (make, CHANGE));
    let done = in_namespace(&place, &script);
    let (listed, rest) = done
        .stdout
        .split_once("changes committed")
        .unwrap_or_default();
    assert!(listed.contains("copy"), "{done:?}");
    assert_eq!(rest, " - session 1 has ended\nsame\n", "{done:?}");
}
