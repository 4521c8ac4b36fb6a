//! `mica commit`: what comes of it is what comes of the same commands without a session.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::commit_conflicts::Case;
use crate::do_run::Place;
use crate::do_users::{DAEMON, as_user};
use crate::ground::{can_mount, has_program, run};

/// Makes a tree in the directory `$1`.
const MAKE: &str = r#"make() { mkdir -p $1; ( cd $1; mkdir -p dir/sub other op rt x/y/z s1 s2 calm/a calm/b again over
    for f in dir/a dir/sub/b other/c op/x op/y one two mode own bin sp rt/q x/y/z/f h1 s1/1 s2/2 again/f over/f; do printf "line\n$f\n" > $f; done
    ln h1 h2; ln -s target lnk; head -c 3000 /dev/zero > bin; truncate -s 1M holes; find . -exec touch -h -d @1000000 {} + ); }"#;

/// Changes it in many ways, none of which needs to be root.
const CHANGE: &str = r#"echo x >> two; chmod 600 mode; rm -r other; mv dir moved; echo y > moved/sub/b; mv one one2; touch new
    mkdir nd; echo hi > nd/f; ln nd/f nd/g; rm -r op; mkdir op; echo z > op/new; echo line > op/x; ln -sf t2 lnk; rm sp; mkdir sp
    echo 1 >> bin; touch "we ird"; cp -a rt rt2; mkdir n2; mv x/y n2/y2; mv n2/y2/z z3; rm z3/f; touch z3/n; echo more >> h1
    ln two two-b; truncate -s 1M sparse; echo end >> holes; mkfifo ff; mkdir -m 555 ro; chmod 4755 rt2/q; mv s1 t; mv s2 s1; mv t s2
    touch -d @5 rt/q; chmod 711 rt; touch calm/a/f; rm calm/a/f; touch -d @7 calm/b
    mv again once; mkdir again; echo own > again/f; mv over under; echo file > over"#;

/// Prints what is in the directory `$1`: types, modes, owners, names, links, blocks, attributes, contents, and times of long ago.
pub(crate) const DUMP: &str = r#"import os, sys, stat
root, first = sys.argv[1], {}
for d, ds, fs in sorted(os.walk(root)):
    for n in sorted(ds + fs):
        p = os.path.join(d, n); s = os.lstat(p); r = os.path.relpath(p, root); c = ''
        if stat.S_ISREG(s.st_mode): c = (open(p, 'rb').read().strip(b'\0')[:80], s.st_blocks // 64)
        if stat.S_ISLNK(s.st_mode): c = os.readlink(p)
        x = {k: os.getxattr(p, k, follow_symlinks=False) for k in os.listxattr(p, follow_symlinks=False)}
        g = '' if stat.S_ISDIR(s.st_mode) else first.setdefault((s.st_dev, s.st_ino), r)
        t = int(s.st_mtime) if s.st_mtime < 2e6 else 'new'
        print(r, oct(s.st_mode), s.st_uid, s.st_gid, s.st_nlink, g, c, x, t)"#;

/// Makes trees A and B, changes A, and B in a session of `options`; then prints how they differ.
fn both_ways(place: &Place, mica: &str, options: &str, more: &str) -> String {
    fs::write(place.at("change"), format!("{CHANGE}; {more}")).unwrap();
    fs::write(place.at("dump"), DUMP).unwrap();
    format!(
        "{MAKE}; make A; make B; (cd A; sh -e ../../change); cd B; {mica} do {options} -- sh -e ../../change 2>/dev/null; \
         {mica} commit 2>&1 | sed 's/^[0-9]* //'; cd ..; python3 ../dump A > a; python3 ../dump B > b; diff a b && \
         test $(wc -l < a) -gt 30 && echo same"
    )
}

const SAME: &str = "changes committed - session 1 has ended\nsame\n";

#[test]
fn a_commit_is_as_if_there_had_been_no_session() {
    let test = "a_commit_is_as_if_there_had_been_no_session";
    if !can_mount(test) || !has_program(test, "python3") {
        return;
    }
    let place = Place::new();
    let more = "chown 5:6 own; chown -h 7 lnk; mknod dev c 1 3; chown 8:8 rt2/q; chmod 6755 rt2/q; \
                python3 -c 'import os; os.setxattr(\"mode\", \"user.k\", b\"v\")'";
    let script = both_ways(&place, env!("CARGO_BIN_EXE_mica"), "", more);
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", &script])
        .env("XDG_STATE_HOME", place.at("state"));
    let done = run(command.current_dir(place.at("d")));
    assert_eq!(done.stdout, SAME, "{done:?}");
}

#[test]
fn a_commit_of_an_ordinary_user_is_as_if_there_had_been_no_session() {
    let test = "a_commit_of_an_ordinary_user_is_as_if_there_had_been_no_session";
    if !can_mount(test) || !has_program(test, "python3") {
        return;
    }
    for options in ["", "--as-root"] {
        let place = Place::new();
        let done = as_user(
            &place,
            "true",
            &both_ways(&place, "../../mica", options, "true"),
        );
        assert_eq!(done.stdout, SAME, "{options}: {done:?}");
    }
}

#[test]
fn a_commit_with_a_range_of_ids_is_as_if_there_had_been_no_session() {
    let test = "a_commit_with_a_range_of_ids_is_as_if_there_had_been_no_session";
    if !can_mount(test) || !has_program(test, "newuidmap") || !has_program(test, "python3") {
        return;
    }
    let prepare = "echo daemon:100000:65536 > ../sub && mount --bind ../sub /etc/subuid && mount --bind ../sub /etc/subgid";
    for options in ["", "--as-root"] {
        let place = Place::new();
        let done = as_user(
            &place,
            prepare,
            &both_ways(&place, "../../mica", options, "true"),
        );
        assert_eq!(done.stdout, SAME, "{options}: {done:?}");
    }
    // What was given to ids that are the user's in a namespace alone is theirs outside.
    let place = Place::new();
    let script = "../mica do --as-root -- sh -c 'mkdir -m 700 own; echo x > own/f; chown -R 7 own' 2>/dev/null; ../mica commit";
    let done = as_user(&place, prepare, script);
    assert_eq!(done.status, Some(0), "{done:?}");
    let owner = |path: &str| fs::metadata(place.at(path)).unwrap().uid();
    assert_eq!((owner("d/own"), owner("d/own/f")), (100_006, 100_006));
}

#[test]
fn what_a_user_may_not_write_is_listed_and_nothing_is_committed() {
    let test = "what_a_user_may_not_write_is_listed_and_nothing_is_committed";
    if !can_mount(test) {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.at("d/roots")).unwrap();
    fs::write(place.at("d/roots/f"), "").unwrap();
    let script = "../mica do --as-root -- sh -c 'echo s > changed; echo s > kept; echo s > roots/f; touch roots/new; rm /etc/motd; \
                  chmod 700 roots' 2>/dev/null; ../mica commit; echo $?; cat changed; ../mica commit 1 ./changed; cat changed";
    let done = as_user(&place, "touch /etc/motd", script);
    assert_eq!(done.stdout, "1\nhost\ns\n", "{done:?}");
    for path in ["roots/f", "roots/new", "roots", "/etc/motd"] {
        let told = format!("{path}`: permission denied (EACCES)");
        let other = format!("{path}`: operation not permitted (EPERM)");
        assert!(
            done.stderr.contains(&told) || done.stderr.contains(&other),
            "{path}: {done:?}"
        );
    }
}

#[test]
fn a_file_of_others_that_a_user_may_write_to_stays_theirs() {
    let test = "a_file_of_others_that_a_user_may_write_to_stays_theirs";
    if !can_mount(test) {
        return;
    }
    let one = ": > ../sub";
    let range = "echo daemon:100000:65536 > ../sub";
    for ids in [one, range] {
        let place = Place::new();
        let script = "../mica do -- sh -c 'echo session > kept; mv other moved; mkdir n; mv third n/; echo x >> n/third' 2>/dev/null; \
                      ../mica commit 2>/dev/null; cat kept moved n/third; stat -c %u:%g:%a kept moved n/third";
        let prepare = format!(
            "{ids} && mount --bind ../sub /etc/subuid && mount --bind ../sub /etc/subgid && \
             for f in kept other third; do echo $f > $f; chown 2:2 $f; chmod 666 $f; done"
        );
        let done = as_user(&place, &prepare, script);
        // Of a new name it cannot be: nobody gives away what is his.
        let expected = "session\nother\nthird\nx\n2:2:666\n1:1:666\n1:1:666\n";
        assert_eq!(done.stdout, expected, "{ids}: {done:?}");
    }
}

#[test]
fn root_commits_a_session_of_another_user_only_after_a_look() {
    let test = "root_commits_a_session_of_another_user_only_after_a_look";
    if !can_mount(test) {
        return;
    }
    let place = Place::new();
    let session =
        "../mica do -- sh -c 'echo s > changed; cp /bin/true tool; chmod 4755 tool' 2>/dev/null";
    let made = as_user(&place, "true", &format!("{session}; {session}"));
    assert_eq!(made.status, Some(0), "{made:?}");
    let refused = run(&mut place.mica(&["commit", "1"]));
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("tool`: setuid"), "{refused:?}");
    assert!(refused.stderr.contains("--as-owner"), "{refused:?}");
    assert!(!place.at("d/tool").exists());
    // What a journal says is done, and this one is the user's.
    let journal = place.at("state/mica/sessions/1/journal");
    fs::create_dir(&journal).unwrap();
    std::os::unix::fs::chown(&journal, Some(DAEMON), None).unwrap();
    let planted = run(&mut place.mica(&["commit", "1", "--yes"]));
    assert_eq!(planted.status, Some(1), "{planted:?}");
    assert!(planted.stderr.contains("is another user's"), "{planted:?}");
    fs::remove_dir(&journal).unwrap();
    let done = run(&mut place.mica(&["commit", "1", "--yes"]));
    assert_eq!(done.status, Some(0), "{done:?}");
    let tool = fs::metadata(place.at("d/tool")).unwrap();
    assert_eq!((tool.uid(), tool.mode() & 0o7777), (DAEMON, 0o4755));
    fs::remove_file(place.at("d/tool")).unwrap();
    let done = run(&mut place.mica(&["commit", "2", "--as-owner", "--force"]));
    assert_eq!(done.status, Some(0), "{done:?}");
    assert_eq!(fs::metadata(place.at("d/tool")).unwrap().uid(), DAEMON);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_changes_nothing() {
    let test = "a_dry_run_says_what_would_be_done_and_changes_nothing";
    let script = "echo s > changed; rm gone; touch new; mv dir moved; chmod 600 kept; echo s > linked; rm type; mkdir type";
    let Some(case) = Case::new(
        test,
        "mkdir dir; touch dir/f linked type; ln linked partner",
        script,
    ) else {
        return;
    };
    let before = case.state();
    let done = case.commit(&["-n"]);
    let shown = done
        .stdout
        .replace(&format!("{}/", case.place.at("d").display()), "");
    let mut lines: Vec<_> = shown.lines().collect();
    lines.sort_unstable();
    let expected = [
        "attributes kept",
        "make       new",
        "remove     gone",
        "rename     moved",
        "replace    changed",
        "replace    type",
        "write      linked",
    ];
    assert_eq!(lines, expected, "{done:?}");
    assert_eq!(case.state(), before);
    assert_eq!(case.commit(&[]).status, Some(0));
}

#[test]
fn a_session_without_changes_ends() {
    let test = "a_session_without_changes_ends";
    let Some(case) = Case::new(test, "", "true") else {
        return;
    };
    let before = case.state();
    let done = case.commit(&["1"]);
    assert_eq!(
        (done.status, done.stderr.as_str()),
        (Some(0), "0 changes committed - session 1 has ended\n")
    );
    assert_eq!(case.state(), before);
    assert_eq!(case.commit(&["1"]).status, Some(1));
}

#[test]
fn a_commit_works_on_another_tree() {
    let test = "a_commit_works_on_another_tree";
    if !can_mount(test) {
        return;
    }
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_mica");
    let script = format!(
        "mkdir -p tree/bin tree/e tree/proc tree/dev; touch tree/e/f; mount --rbind / tree/bin; for l in lib lib64 usr; do ln -s bin/$l tree/$l; done; \
         {program} do --lower tree -- /bin/bin/sh -c 'PATH=/bin/bin; echo y > /e/f; mkdir /e/n' 2>/dev/null; \
         {program} diff; {program} commit; cat tree/e/f; ls tree/e"
    );
    let mut command = std::process::Command::new("unshare");
    command
        .args(["-m", "sh", "-ec", &script])
        .env("XDG_STATE_HOME", place.at("state"));
    let done = run(command.current_dir(place.at("d")));
    assert_eq!(done.stdout, "M  /e/f\nA  /e/n/\ny\nf\nn\n", "{done:?}");
}

#[test]
fn a_commit_waits_for_another_one_on_the_same_tree() {
    let test = "a_commit_waits_for_another_one_on_the_same_tree";
    if !can_mount(test) || !has_program(test, "flock") {
        return;
    }
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_mica");
    // The other one is who holds the lock of the tree.
    let script = format!(
        "mkdir -p tree/bin tree/e tree/proc tree/dev; mount --rbind / tree/bin; for l in lib lib64 usr; do ln -s bin/$l tree/$l; done; \
         {program} do --lower tree -- /bin/bin/sh -c 'echo y > /e/f' 2>/dev/null; \
         flock tree timeout 1 {program} commit 2>/dev/null || echo $?; ls tree/e; {program} commit 2>/dev/null; ls tree/e"
    );
    let mut command = std::process::Command::new("unshare");
    command
        .args(["-m", "sh", "-ec", &script])
        .env("XDG_STATE_HOME", place.at("state"));
    let done = run(command.current_dir(place.at("d")));
    assert_eq!(done.stdout, "124\nf\n", "{done:?}");
}
