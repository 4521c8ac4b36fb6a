//! What a newcomer runs first, and where: as root and as an ordinary user, with and without what systems may lack.

use std::process::Command;

use crate::do_kernel::{Caller, Fuse, run_as};
use crate::do_run::Place;
use crate::ground::{can_mount, has_program, run};

/// All names below a directory, and what is in a file: what the machine must keep.
const LOOK: &str = "look() { ls -lR /usr/share/doc | md5sum; md5sum /etc/motd; stat -c '%i %Y %Z' /usr/share/doc /etc/motd; }; ";

#[test]
fn cargo_run_runs_mica() {
    let mut command = Command::new(env!("CARGO"));
    command.args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    let known = run(command.current_dir(env!("CARGO_MANIFEST_DIR")));
    // With two programs in the workspace cargo wants to be told which, and by one package alone.
    let runs: Vec<_> = known.stdout.matches("\"default_run\":\"").collect();
    assert_eq!(runs.len(), 1, "{known:?}");
    assert!(
        known.stdout.contains("\"default_run\":\"mica\""),
        "{known:?}"
    );
}

#[test]
fn the_first_command_of_the_readme_leaves_the_machine_as_it_is() {
    if !can_mount("the_first_command_of_the_readme_leaves_the_machine_as_it_is") {
        return;
    }
    let range = "echo daemon:100000:65536 > ../sub; mount --bind ../sub /etc/subuid; mount --bind ../sub /etc/subgid;";
    // Without FUSE an ordinary user cannot change what is root's.
    for (who, prepare) in [
        ((Caller::Root, Fuse::Open), ""),
        ((Caller::Root, Fuse::Closed), ""),
        ((Caller::User, Fuse::Open), ""),
        ((Caller::User, Fuse::Open), range),
    ] {
        let place = Place::new();
        // The machine's own may lack one of them.
        let machine = "test -e /etc/motd || exit 1;";
        let script = format!(
            "{LOOK} look > ../before; mica do --as-root -- sh -c 'rm -rf /usr/share/doc && echo hi > /etc/motd && cat /etc/motd && ls -d /usr/share/doc' 2>&1 | \
             grep -v ^warning; mica diff; mica discard 1; mica sessions; look > ../after; cmp ../before ../after && echo same"
        );
        let done = run_as(
            &place,
            who,
            &format!("touch ../before ../after; chmod 666 ../before ../after; {machine} {prepare}"),
            &script,
        );
        let expected = "hi\nls: cannot access '/usr/share/doc': No such file or directory\n\
                        0 added, 1 modified, 1 deleted, 3 B - mica diff 1 \u{b7} mica commit 1 \u{b7} mica discard 1\n\
                        M  /etc/motd\nD  /usr/share/doc/\nsame\n";
        assert_eq!(done.stdout, expected, "{who:?} {prepare}: {done:?}");
    }
}

#[test]
fn an_ordinary_user_needs_neither_fuse3_nor_uidmap() {
    let test = "an_ordinary_user_needs_neither_fuse3_nor_uidmap";
    if !can_mount(test) || !has_program(test, "newuidmap") {
        return;
    }
    let ranges = "echo daemon:100000:65536 > ../sub; mount --bind ../sub /etc/subuid; mount --bind ../sub /etc/subgid;";
    let lacking = "for p in newuidmap newgidmap fusermount3 fusermount; do \
                   for d in /bin /usr/bin /usr/local/bin; do test ! -e $d/$p || mount --bind /dev/null $d/$p; done; done;";
    for (fuse, prepare, ids) in [
        (Fuse::Open, ranges.to_owned(), 3),
        (Fuse::Closed, ranges.to_owned(), 3),
        (Fuse::Open, format!("{ranges}{lacking}"), 1),
        (Fuse::Closed, format!("{ranges}{lacking}"), 1),
    ] {
        let place = Place::new();
        let script = "mica do -- sh -ec 'id -u; wc -l < /proc/self/uid_map; echo session > changed; rm gone; mkdir new; touch new/f'; mica diff; \
                      mica commit; cat changed; ls . new; mica sessions";
        let done = run_as(&place, (Caller::User, fuse), &prepare, script);
        let at = place.at("d");
        let expected = format!(
            "1\n{ids}\nM  {0}/changed\nD  {0}/gone\nA  {0}/new/\nA  {0}/new/f\nsession\n.:\nchanged\nkept\nnew\n\nnew:\nf\n",
            at.display()
        );
        assert_eq!(done.stdout, expected, "{fuse:?} {ids}: {done:?}");
        assert_eq!(
            done.stderr.contains("warning:"),
            fuse == Fuse::Closed,
            "{done:?}"
        );
    }
}
