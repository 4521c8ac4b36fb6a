//! `mica commit` of directories that a session moved from one filesystem of the machine to another: what comes of it is what
//! mv(1) makes of them.

use std::process::Command;

use crate::commit::DUMP;
use crate::do_run::Place;
use crate::do_users::as_user;
use crate::ground::{Outcome, can_mount, has_program, run};

/// Makes a tree in the directory `$1`, of which `one` and `two` are filesystems of their own.
const MAKE: &str = r#"make() { mkdir -p $1/one $1/two; test $(id -u) != 0 || for m in one two; do mount -t tmpfs $m $1/$m; done
    ( cd $1; mkdir -p one/d/sub/deep one/d/out one/d/own one/plain/x/y one/n one/l one/s two/e/f two/in two/cover two/s two/op
    for f in one/d/a one/d/b one/d/gone one/d/sub/c one/d/sub/deep/f one/d/out/f one/d/own/f one/plain/x/y/f one/n/f one/l/1 \
        one/s/1 two/e/f/1 two/in/f two/cover/x two/s/2 two/op/x one/outside one/mode; do printf "line\n$f\n" > $f; done
    ln one/d/a one/d/sub/a2; ln one/d/b one/d/b2; ln one/l/1 one/l/2; ln one/l/1 one/l1; ln -s ../a one/d/sub/link
    ln one/outside one/l/outside; ln one/mode one/l/mode; truncate -s 1M one/d/holes; echo end >> one/d/holes; mkfifo one/d/fifo
    chmod 2751 one/d/sub; chmod 600 one/d/b; chmod 4711 one/plain/x/y/f; mkdir -m 555 one/plain/ro
    find . -user $(id -u) -exec touch -h -d @1000000 {} + ); }"#;

/// Moves directories there and back, changes what is in them, and takes out of them and puts into them.
const CHANGE: &str = r#"echo more >> one/d/sub/c; echo new > one/d/sub/n; rm one/d/gone; mv one/d/out one/out; mv one/d two/d
    mv two/d/own two/d/sub/own; mv two/in two/d/in; mv two/e one/plain/x/e; echo 2 > two/d/sub/deep/f; chmod 711 two/d/sub/deep
    ln two/d/sub/n two/d/n2; echo again >> two/d/b; mkdir -p two/new/er; mv one/plain two/new/er/plain; touch two/new/er/plain/own
    mv one/n two/n; rm two/n/f; mkdir one/d; echo other > one/d/a; rm -r two/cover; echo more >> one/l/1; echo more >> one/outside
    chmod 640 one/l/mode; mv one/l two/cover; mv one/s t; mv two/s one/s; mv t two/s; rm -r two/op; mkdir two/op
    mv one/out two/op/out; touch two/op/out/last; touch -d @5 two/d/sub/a2; mv two/d/sub/deep one/d/deep; echo 3 >> one/d/deep/f
    rm two/d/fifo; mkdir two/d/fifo"#;

/// Makes trees A and B, changes A, and B in a session; then prints how they differ.
fn both_ways(place: &Place, mica: &str, options: &str, (make, change): (&str, &str)) -> String {
    std::fs::write(place.at("dump"), DUMP).unwrap();
    std::fs::write(place.at("change"), change).unwrap();
    format!(
        "{MAKE}; make A; make B; for t in A B; do (cd $t; {make}); done; \
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

#[track_caller]
fn is_same(done: &Outcome) {
    let (listed, rest) = done
        .stdout
        .split_once("changes committed")
        .unwrap_or_default();
    assert!(listed.contains("copy"), "{done:?}");
    assert_eq!(rest, " - session 1 has ended\nsame\n", "{done:?}");
}

#[test]
fn a_directory_that_was_moved_to_another_filesystem_is_copied_and_removed() {
    let test = "a_directory_that_was_moved_to_another_filesystem_is_copied_and_removed";
    if !can_mount(test) || !has_program(test, "python3") || !has_program(test, "setfacl") {
        return;
    }
    let place = Place::new();
    let make = "chown 5:6 one/d/a; chown -h 7 one/d/sub/link; mknod one/d/null c 1 3; setfacl -m u:8:rwx,d:u:9:x one/d/sub one/plain; \
                python3 -c \"import os; os.setxattr(\\\"one/plain/x\\\", \\\"user.k\\\", b\\\"v\\\"); \
                os.setxattr(\\\"one/d/a\\\", \\\"trusted.k\\\", b\\\"v\\\")\"; find . -exec touch -h -d @1000000 {} +";
    let change = format!(
        "{CHANGE}; mv two/new/er/plain/ro ro; chown 8:8 two/d/sub/c; chmod 6755 two/d/sub/c"
    );
    is_same(&in_namespace(
        &place,
        &both_ways(&place, env!("CARGO_BIN_EXE_mica"), "", (make, &change)),
    ));
}

/// Makes the filesystems of a user.
const MOUNTS: &str = "for m in A/one A/two B/one B/two; do mkdir -p $m; mount -t tmpfs -o uid=1,gid=1,mode=755 m $m; done; chown 1:1 A B";

#[test]
fn a_user_moves_directories_to_another_filesystem() {
    let test = "a_user_moves_directories_to_another_filesystem";
    if !can_mount(test) || !has_program(test, "python3") || !has_program(test, "newuidmap") {
        return;
    }
    for (ids, options) in [
        (": ", ""),
        (": ", "--as-root"),
        ("echo daemon:100000:65536", ""),
        ("echo daemon:100000:65536", "--as-root"),
    ] {
        let place = Place::new();
        // What is somebody else's: its copy is the user's, without setuid, as mv(1) has it.
        let prepare = format!(
            "{ids} > ../sub; mount --bind ../sub /etc/subuid; mount --bind ../sub /etc/subgid; {MOUNTS}; \
             for t in A B; do mkdir -p $t/one/d; echo root > $t/one/d/roots; cp $t/one/d/roots $t/one/d/setuid; \
             chmod 6755 $t/one/d/setuid; mkdir $t/one/d/sticky; chmod 3777 $t/one/d/sticky; touch -d @1000000 $t/one/d/*; chown 1:1 $t/one/d; done"
        );
        let script = both_ways(&place, "../../mica", options, ("true", CHANGE));
        is_same(&as_user(&place, &prepare, &format!("set -e; {script}")));
    }
}

#[test]
fn what_a_user_may_not_read_is_not_copied_and_nothing_is_committed() {
    let test = "what_a_user_may_not_read_is_not_copied_and_nothing_is_committed";
    if !can_mount(test) {
        return;
    }
    let place = Place::new();
    let prepare = format!(
        "{MOUNTS}; cd B; mkdir -p one/d/sub one/e; touch one/d/sub/f one/d/secret; chmod 600 one/d/secret; chown 1:1 one/d one/d/sub one/e"
    );
    let script = "../../mica do --as-root -- sh -c 'mv one/d two/d; mv one/e two/e' 2>/dev/null; ../../mica commit; echo $?; find . | sort; \
                  ../../mica commit 1 ./one/e ./two/e; echo $?; ls one two";
    let done = as_user(&place, &prepare, script);
    let expected = "1\n.\n./one\n./one/d\n./one/d/secret\n./one/d/sub\n./one/d/sub/f\n./one/e\n./two\n0\none:\nd\n\ntwo:\ne\n";
    assert_eq!(done.stdout, expected, "{done:?}");
    done.assert_said("one/d/secret`: permission denied (EACCES)");
}

/// Moves `one/d` to `two/d` in a session, does `meanwhile`, and commits; `state` is printed before and after.
fn moved(place: &Place, size: &str, meanwhile: &str, commit: &str) -> Outcome {
    let mica = env!("CARGO_BIN_EXE_mica");
    in_namespace(
        place,
        &format!(
            "mkdir -p one two; mount -t tmpfs one one; mount -t tmpfs -o size={size} two two; mkdir -p one/d/sub one/e; head -c 300k /dev/urandom > one/d/a; \
             echo b > one/d/sub/b; {mica} do -- sh -ec 'mv one/d two/d; mv one/e two/e; echo s > changed; touch two/d/n' 2>/dev/null; {meanwhile}\n\
             state() {{ find . -printf '%P %y %m %T@ %n\\n' | sort; find . -type f | sort | xargs sha1sum; }}; state > ../before; \
             {{ {mica} commit 1 {commit} || echo status $?; }} 2>&1; state > ../after; cmp -s ../before ../after && echo same; ls one two two/d || true; cat changed"
        ),
    )
}

#[test]
fn what_others_did_in_a_directory_that_is_copied_is_a_conflict() {
    let test = "what_others_did_in_a_directory_that_is_copied_is_a_conflict";
    if !can_mount(test) {
        return;
    }
    for (meanwhile, told) in [
        (
            "echo other > one/d/sub/b",
            "one/d/sub/b` below was changed meanwhile",
        ),
        ("touch one/d/sub/new", "one/d/sub"),
        ("rm one/d/sub/b", "one/d/sub` below was changed meanwhile"),
        ("chmod 700 one/d", "one/d`: has other permissions"),
        (
            "chmod 700 one/d/sub",
            "one/d/sub` below was changed meanwhile",
        ),
        ("mv one/d one/x", "one/d`: is gone"),
        ("mv one/d x; mkdir one/d", "one/d`: is another object now"),
        ("mkdir two/d", "two/d`: did not exist"),
        ("mount -t tmpfs m one/d/sub", "something is mounted at"),
    ] {
        let place = Place::new();
        let done = moved(&place, "8m", meanwhile, "");
        assert!(done.stdout.contains(told), "{meanwhile}: {done:?}");
        assert!(
            done.stdout.contains("status 1\nsame\n"),
            "{meanwhile}: {done:?}"
        );
    }
    // The session's side is taken with what others did below.
    let place = Place::new();
    let forced = moved(
        &place,
        "8m",
        "echo other > one/d/sub/b; touch one/d/new two/d",
        "--force; cat two/d/sub/b",
    );
    let expected = "4 changes committed - session 1 has ended\nother\none:\n\ntwo:\nd\ne\n\ntwo/d:\na\nn\nnew\nsub\ns\n";
    assert_eq!(forced.stdout, expected, "{forced:?}");
    // But for what is mounted there.
    let place = Place::new();
    let mounted = moved(&place, "8m", "mount -t tmpfs m one/d/sub", "--force");
    assert!(mounted.stdout.contains("status 1\nsame\n"), "{mounted:?}");
    assert!(
        mounted
            .stdout
            .contains("one/d/sub`: device or resource busy"),
        "{mounted:?}"
    );
}

#[test]
fn a_directory_that_does_not_fit_on_the_other_filesystem_stays_where_it_is() {
    let test = "a_directory_that_does_not_fit_on_the_other_filesystem_stays_where_it_is";
    if !can_mount(test) {
        return;
    }
    let place = Place::new();
    let done = moved(&place, "200k", "true", "");
    assert!(done.stdout.contains("no space left"), "{done:?}");
    assert!(done.stdout.contains("status 1\n"), "{done:?}");
    assert!(
        done.stdout.contains("one:\nd\ne\n\ntwo:\nhost\n"),
        "{done:?}"
    );
    assert!(!place.at("state/mica/sessions/1/journal").exists());
}

#[test]
fn half_of_a_move_to_another_filesystem_is_not_committed() {
    let test = "half_of_a_move_to_another_filesystem_is_not_committed";
    if !can_mount(test) {
        return;
    }
    for half in ["./one/d", "./two/d", "./two/d/n", "./one"] {
        let place = Place::new();
        let done = moved(&place, "8m", "true", half);
        assert!(done.stdout.contains("belongs to"), "{half}: {done:?}");
        assert!(done.stdout.contains("status 1\nsame\n"), "{half}: {done:?}");
    }
    let place = Place::new();
    let mica = env!("CARGO_BIN_EXE_mica");
    let both = format!(
        "./one/d ./two/d; {mica} diff | sed \"s,$PWD/,,g\"; {mica} commit -n | sed \"s,$PWD/,,g\""
    );
    let done = moved(&place, "8m", "true", &both);
    let expected = "2 changes committed - mica diff 1\nM  changed\nR  one/e/ -> two/e/\nreplace    changed\ncopy       two/e\n\
                    one:\ne\n\ntwo:\nd\n\ntwo/d:\na\nn\nsub\nhost\n";
    assert_eq!(done.stdout, expected, "{done:?}");
}

#[test]
fn what_is_left_to_the_machine_in_a_directory_that_is_copied_is_as_the_machine_has_it() {
    let test = "what_is_left_to_the_machine_in_a_directory_that_is_copied_is_as_the_machine_has_it";
    if !can_mount(test) {
        return;
    }
    let place = Place::new();
    let mica = env!("CARGO_BIN_EXE_mica");
    let script = format!(
        "mkdir one two; mount -t tmpfs one one; mount -t tmpfs two two; mkdir -p one/d/sub; for f in a sub/b sub/c x.o y.o; do echo host > one/d/$f; done; \
         {mica} do --ignore '*.o' -- sh -ec 'mv one/d two/d; cd two/d; echo s > a; rm sub/b sub/c x.o; echo s > y.o; echo s > z.o' 2>/dev/null; \
         echo other > one/d/a; echo other > one/d/sub/b; {mica} commit --ours two/d --theirs one/d/a --theirs one/d/sub/b 2>&1; find one two | sort; \
         cd two/d; cat a sub/b x.o y.o"
    );
    let done = in_namespace(&place, &script);
    let expected = "2 changes committed - session 1 has ended\none\ntwo\ntwo/d\ntwo/d/a\ntwo/d/sub\ntwo/d/sub/b\ntwo/d/x.o\ntwo/d/y.o\n\
                    other\nother\nhost\nhost\n";
    assert_eq!(done.stdout, expected, "{done:?}");
}

/// Moves files of several names from `n` to `m`, which are filesystems of their own: it is as with mv(1), but that what has
/// a name in both is two files then.
#[track_caller]
fn links(test: &str, make: &str, change: &str, look: &str, expected: &str) {
    if !can_mount(test) {
        return;
    }
    let place = Place::new();
    let mica = env!("CARGO_BIN_EXE_mica");
    let script = format!(
        "mkdir n m; mount -t tmpfs n n; mount -t tmpfs m m; mkdir -p n/x/sub n/out; {make}; {mica} do -- sh -ec '{change}' 2>/dev/null; \
         {mica} commit >&2; {look}"
    );
    let done = in_namespace(&place, &script);
    assert_eq!(done.stdout, expected, "{make}; {change}: {done:?}");
}

#[test]
fn a_name_that_was_replaced_is_no_name_of_the_file_that_was_changed_by_another() {
    let test = "a_name_that_was_replaced_is_no_name_of_the_file_that_was_changed_by_another";
    for (changed, replaced) in [("a", "b"), ("b", "a")] {
        let make = |at: &str| format!("echo host > n/{at}; ln n/{at} n/x/{replaced}");
        let replace = format!("echo other > new; mv new n/x/{replaced}");
        links(
            test,
            &make(&format!("x/{changed}")),
            &format!("echo more >> n/x/{changed}; {replace}; mv n/x m/x"),
            &format!("cat m/x/{changed} m/x/{replaced}; stat -c %h m/x/[ab]"),
            "host\nmore\nother\n1\n1\n",
        );
        links(
            test,
            &make(&format!("x/{changed}")),
            &format!(
                "echo more >> n/x/{changed}; rm n/x/{replaced}; ln -s to n/x/{replaced}; mv n/x m/x"
            ),
            &format!("cat m/x/{changed}; readlink m/x/{replaced}"),
            "host\nmore\nto\n",
        );
        links(
            test,
            &make(&format!("out/{changed}")),
            &format!("echo more >> n/out/{changed}; {replace}; mv n/x m/x"),
            &format!("cat n/out/{changed} m/x/{replaced}"),
            "host\nmore\nother\n",
        );
    }
}

#[test]
fn a_new_name_of_a_file_that_was_changed_by_another_is_one_of_it() {
    let test = "a_new_name_of_a_file_that_was_changed_by_another_is_one_of_it";
    links(
        test,
        "echo host > n/x/d; ln n/x/d n/x/b",
        "echo more >> n/x/d; ln n/x/d n/x/c; mv n/x m/x",
        "cat m/x/b m/x/c m/x/d; stat -c %h m/x/[bcd]",
        "host\nmore\nhost\nmore\nhost\nmore\n3\n3\n3\n",
    );
}

#[test]
fn a_name_in_a_directory_that_went_elsewhere_from_one_that_is_copied_has_the_changed_data() {
    let test =
        "a_name_in_a_directory_that_went_elsewhere_from_one_that_is_copied_has_the_changed_data";
    let make = "echo host > n/x/f; ln n/x/f n/x/sub/g";
    links(
        test,
        make,
        "echo more >> n/x/f; mv n/x/sub n/sub; mv n/x m/x",
        "cat m/x/f n/sub/g",
        "host\nmore\nhost\nmore\n",
    );
    // Copied, too, but elsewhere: it is counted once, and there is another name.
    links(
        test,
        &format!("{make}; ln n/x/f n/out/h"),
        "echo more >> n/x/f; mv n/x/sub m/sub; mv n/x m/x",
        "cat m/x/f m/sub/g n/out/h",
        "host\nmore\nhost\nmore\nhost\nmore\n",
    );
}

#[test]
fn names_of_a_changed_file_on_two_filesystems_stay_one_file_on_each() {
    let test = "names_of_a_changed_file_on_two_filesystems_stay_one_file_on_each";
    links(
        test,
        "echo host > n/out/f; ln n/out/f n/x/g",
        "echo more >> n/x/g; touch n/out/f; ln n/out/f n/out/h; ln n/out/f n/x/g2; mv n/x m/x",
        "cat n/out/f n/out/h m/x/g m/x/g2; stat -c %h n/out/* m/x/g*",
        "host\nmore\nhost\nmore\nhost\nmore\nhost\nmore\n2\n2\n2\n2\n",
    );
}

#[test]
fn the_copy_of_a_setuid_file_of_somebody_else_is_none_of_the_user() {
    let test = "the_copy_of_a_setuid_file_of_somebody_else_is_none_of_the_user";
    if !can_mount(test) || !has_program(test, "newuidmap") {
        return;
    }
    for ids in [": ", "echo daemon:100000:65536"] {
        let place = Place::new();
        let prepare = format!(
            "{ids} > ../sub; mount --bind ../sub /etc/subuid; mount --bind ../sub /etc/subgid; cp /bin/true there; chmod 6755 there; chown 1:1 ."
        );
        let script = "../mica do -- mv there here; ../mica commit 2>&1; stat -c '%a %u %n' *here; cmp here /bin/true";
        let done = as_user(&place, &prepare, script);
        let (_, found) = done.stdout.split_once("has ended\n").unwrap_or_default();
        assert_eq!(found, "755 1 here\n", "{done:?}");
    }
}

#[test]
fn what_is_made_has_the_acls_of_the_session_and_not_of_the_directory_that_it_comes_to() {
    let test = "what_is_made_has_the_acls_of_the_session_and_not_of_the_directory_that_it_comes_to";
    if !has_program(test, "setfacl") {
        return;
    }
    links(
        test,
        "setfacl -d -m u:9:rwx m; mkdir m/kept; echo a > n/x/sub/f; echo b > n/x/g; setfacl -m u:8:r n/x/g",
        "mv n/x m/x; echo own > m/own; mkdir m/dir; echo in > m/dir/f; setfacl -b m/dir/f; setfacl -b -k m/own",
        "for f in m/x m/x/sub m/x/sub/f m/x/g m/own m/dir m/dir/f; do echo $f; getfacl -ncE $f | grep ::*[89]: || true; done",
        "m/x\nm/x/sub\nm/x/sub/f\nm/x/g\nuser:8:r--\nm/own\nm/dir\nuser:9:rwx\ndefault:user:9:rwx\nm/dir/f\n",
    );
}
