//! `mica do` of ordinary users: what they may do is what the machine would let them do. The machine is asked: the same is done on it, by
//! the same user, in a tree with the same owners and modes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};

use crate::do_run::Place;
use crate::do_users::{DAEMON, as_user};
use crate::ground::{can_mount, has_program};

/// A group of the user besides his own, and one that he is not in.
const SHARED: u32 = 60;
const OTHER: u32 = 2;

/// Whose the objects are, and their modes.
const OWNERS: [(u32, u32); 5] = [
    (DAEMON, DAEMON),
    (OTHER, DAEMON),
    (OTHER, SHARED),
    (OTHER, OTHER),
    (0, 0),
];
const FILES: [u32; 9] = [
    0o644, 0o666, 0o600, 0o664, 0o640, 0o400, 0o711, 0o606, 0o4755,
];
const DIRECTORIES: [u32; 8] = [0o755, 0o1777, 0o775, 0o700, 0o711, 0o733, 0o555, 0o3775];

/// What is done with each file, in a directory of the user.
const TO_FILES: &str = "\
    read cat @\n\
    append echo x >> @\n\
    clear : > @\n\
    cut truncate -s 3 @\n\
    run ./@\n\
    test test -r @ && echo r; test -w @ && echo w; test -x @ && echo x\n\
    chmod chmod 700 @\n\
    chown chown 1:1 @\n\
    touch touch @\n\
    date touch -d 2001-01-01 @\n\
    link ln @ @.l\n\
    move mv @ @.m\n\
    over echo n > @.n; mv -f @.n @; cat @\n\
    remove rm -f @\n";

/// What is done with each directory. It holds `own` and `other`, a file of the user's and one of somebody else's.
const TO_DIRECTORIES: &str = "\
    list ls @\n\
    search cat @/own\n\
    make echo x > @/new\n\
    mkdir mkdir @/new\n\
    lose rm -f @/own\n\
    take rm -f @/other\n\
    empty rmdir @/empty\n\
    in echo n > @.n; mv @.n @/n\n\
    out mv @/own @.n\n\
    enter cd @\n\
    mode chmod 755 @\n\
    parent mkdir -p to; mv @ to/\n\
    replace echo n > @.n; mv -f @.n @/own\n\
    usurp echo n > @.n; mv -f @.n @/other\n";

/// What is done with those that were changed before: in a session they are copies.
const AFTERWARDS: &str = "\
    append chmod 600 @\n\
    append echo y >> @\n\
    append touch -d 2001-01-01 @\n\
    append test -w @\n\
    make chmod 700 @\n\
    make rm -f @/other\n\
    make rm -f @/new\n";

/// Says what came of each line of `name command`, for all objects in the directory of that name.
fn script(lines: &str) -> String {
    let mut script = String::from(
        "t() { said=$(sh -c \"$2\" 2>&1) && r=ok || r=failed; case $said in *': '*) said=${said##*: };; esac; echo \"$1 | $r $said\"; }\n",
    );
    for line in lines.lines() {
        let (name, command) = line.split_once(' ').unwrap();
        let command = command.replace('@', "$f");
        script += &format!("for f in {name}/*-*; do t \"{command}\" \"{command}\"; done\n");
    }
    script
}

/// Makes a tree of all objects for each of the names.
fn objects(place: &Place, tree: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let own = |path: &std::path::Path| chown(path, Some(DAEMON), Some(DAEMON)).unwrap();
    let all = |lines: &'static str| lines.lines().map(|line| line.split(' ').next().unwrap());
    let top = place.at(tree);
    fs::create_dir(&top).unwrap();
    own(&top);
    for (names, modes) in [(TO_FILES, &FILES[..]), (TO_DIRECTORIES, &DIRECTORIES)] {
        for name in all(names) {
            let dir = top.join(name);
            fs::create_dir(&dir).unwrap();
            own(&dir);
            for (uid, gid) in OWNERS {
                for &bits in modes {
                    let path = dir.join(format!("{uid}:{gid}-{bits:o}"));
                    if names == TO_FILES {
                        fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
                    } else {
                        fs::create_dir(&path).unwrap();
                        fs::write(path.join("own"), "own").unwrap();
                        fs::write(path.join("other"), "other").unwrap();
                        fs::create_dir(path.join("empty")).unwrap();
                        own(&path.join("own"));
                        chown(path.join("other"), Some(OTHER), Some(OTHER)).unwrap();
                        chown(path.join("empty"), Some(uid), Some(gid)).unwrap();
                    }
                    chown(&path, Some(uid), Some(gid)).unwrap();
                    mode(&path, bits);
                }
            }
        }
    }
}

/// Does all of it on the machine and in a session, and returns what differs: what was done, on the machine and in the session.
fn differences(prepare: &str) -> BTreeMap<String, (String, String)> {
    let place = Place::new();
    objects(&place, "host");
    objects(&place, "kept");
    let first = [script(TO_FILES), script(TO_DIRECTORIES)].concat();
    fs::write(place.at("first"), first).unwrap();
    fs::write(place.at("then"), script(AFTERWARDS)).unwrap();
    let groups = format!("exec setpriv --reuid 1 --regid 1 --groups 1,{SHARED}");
    let run = "cd ../host; for s in first then; do echo \"== $s\"; sh ../$s; done; echo ====; cd ../kept; \
               for s in first then; do echo \"== $s\"; ../mica do --name s -- sh ../$s 2>../said || cat ../said; done";
    let before = owners(&place, "kept");
    let done = as_user(
        &place,
        &format!("{prepare} && touch ../said && chmod 666 ../said && {groups} sh -c \"$0\""),
        run,
    );
    assert_eq!(owners(&place, "kept"), before, "the machine was changed");
    let (host, kept) = done.stdout.split_once("====\n").unwrap();
    let (host, kept): (Vec<_>, Vec<_>) = (host.lines().collect(), kept.lines().collect());
    assert_eq!(host.len(), kept.len(), "{done:?}");
    assert!(host.len() > 1000, "{done:?}");
    let pairs = host.iter().zip(&kept).filter(|(host, kept)| host != kept);
    pairs
        .map(|(host, kept)| {
            let split = |line: &str| {
                let (what, came) = line.split_once(" | ").unwrap();
                (what.to_owned(), came.to_owned())
            };
            let ((what, on_host), (_, in_session)) = (split(host), split(kept));
            (what, (on_host, in_session))
        })
        .collect()
}

/// Whose the objects of a tree are, and their modes and sizes.
fn owners(place: &Place, tree: &str) -> Vec<(String, u32, u32, u32, u64)> {
    let mut found = Vec::new();
    for dir in fs::read_dir(place.at(tree)).unwrap() {
        for entry in fs::read_dir(dir.unwrap().path()).unwrap() {
            let entry = entry.unwrap();
            let is = entry.metadata().unwrap();
            let path = entry.path().display().to_string();
            found.push((path, is.uid(), is.gid(), is.mode(), is.len()));
        }
    }
    found.sort();
    found
}

/// A file that cannot be read cannot be copied: it has no other name.
#[track_caller]
fn assert_as_on_the_machine(differences: &BTreeMap<String, (String, String)>) {
    for (what, (on_host, in_session)) in differences {
        let unreadable_moved = what.starts_with("mv move/")
            && on_host == "ok "
            && in_session == "failed Permission denied";
        assert!(
            unreadable_moved,
            "{what}: {on_host:?}, in a session {in_session:?}"
        );
    }
    assert!(!differences.is_empty());
}

#[test]
fn ovl_230_with_one_id_a_user_may_do_what_the_machine_lets_him_do() {
    let test = "ovl_230_with_one_id_a_user_may_do_what_the_machine_lets_him_do";
    if can_mount(test) && has_program(test, "setpriv") {
        let one =
            ": > ../sub && mount --bind ../sub /etc/subuid && mount --bind ../sub /etc/subgid";
        assert_as_on_the_machine(&differences(one));
    }
}

#[test]
fn ovl_230_with_a_range_of_ids_a_user_may_do_what_the_machine_lets_him_do() {
    let test = "ovl_230_with_a_range_of_ids_a_user_may_do_what_the_machine_lets_him_do";
    if can_mount(test) && has_program(test, "setpriv") && has_program(test, "newuidmap") {
        let range = "echo daemon:100000:65536 > ../sub && mount --bind ../sub /etc/subuid && mount --bind ../sub /etc/subgid";
        assert_as_on_the_machine(&differences(range));
    }
}

#[test]
fn ovl_233_what_a_user_may_not_read_can_be_replaced_and_removed() {
    if !can_mount("ovl_233_what_a_user_may_not_read_can_be_replaced_and_removed") {
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    for name in ["secret", "shut"] {
        fs::create_dir(place.at(&format!("d/{name}.d"))).unwrap();
        fs::write(place.at(&format!("d/{name}.d/f")), "s").unwrap();
        fs::write(place.at(&format!("d/{name}")), "s").unwrap();
        fs::set_permissions(
            place.at(&format!("d/{name}")),
            fs::Permissions::from_mode(0o600),
        )
        .unwrap();
        fs::set_permissions(
            place.at(&format!("d/{name}.d")),
            fs::Permissions::from_mode(0o700),
        )
        .unwrap();
    }
    let script = "for o in '' --as-root; do ../mica do --name s$o $o -- sh -c '\
                  cat secret; ls secret.d 2>/dev/null; echo $?; echo n > n; mv n secret && cat secret; rm -rf secret.d; rm -f shut; \
                  rm -rf shut.d && mkdir shut.d && ls -A shut.d; ls' 2>&1; ../mica diff s$o; ../mica discard s$o; done";
    let done = as_user(&place, "true", script);
    let inside = "cat: secret: Permission denied\n\
                  2\nn\nchanged\ngone\nkept\nsecret\nshut.d\n";
    assert_eq!(done.stdout.matches(inside).count(), 2, "{}", done.stdout);
    assert_eq!(done.stdout.matches("d/secret.d/\n").count(), 2, "{done:?}");
    assert_eq!(fs::read_to_string(place.at("d/shut.d/f")).unwrap(), "s");
}

#[test]
fn root_of_a_session_writes_everywhere_and_its_user_where_he_may() {
    if !can_mount("root_of_a_session_writes_everywhere_and_its_user_where_he_may") {
        return;
    }
    let place = Place::new();
    let script = "w='echo x > /etc/motd; echo x >> /etc/passwd; touch /usr/new; chmod 600 /etc/group; rm -f /etc/hostname; test -w /etc; echo $?'; \
                  ../mica do --rm -- sh -c \"$w\" 2>&1 | sed 's/.*: //'; ../mica do --rm --as-root -- sh -c \"$w\" 2>&1";
    let done = as_user(&place, "true", script);
    let expected = "Permission denied\nPermission denied\nPermission denied\nOperation not permitted\nPermission denied\n1\n\
                    0 added, 0 modified, 0 deleted, 0 B - removed\n0\n";
    assert!(done.stdout.starts_with(expected), "{}", done.stdout);
}

#[test]
fn what_is_mounted_in_the_view_of_a_user_needs_no_mountpoint_that_he_could_make() {
    let test = "what_is_mounted_in_the_view_of_a_user_needs_no_mountpoint_that_he_could_make";
    if !can_mount(test) {
        return;
    }
    let place = Place::new();
    let script = "../mica do --rm --tmpfs /new-here --bind .:/usr/new-here -- \
                  sh -c 'cat /usr/new-here/kept; mkdir /new-there 2>&1; touch /usr/new-here/x; echo > /usr/new 2>&1'";
    let done = as_user(&place, "true", script);
    assert!(
        done.stdout
            .starts_with("host\nmkdir: cannot create directory '/new-there': Permission denied\n"),
        "{done:?}"
    );
    assert!(place.at("d/x").exists());
}

#[test]
fn the_first_thing_that_a_user_does_may_be_a_change_of_the_root_directory() {
    let test = "the_first_thing_that_a_user_does_may_be_a_change_of_the_root_directory";
    if !can_mount(test) {
        return;
    }
    let place = Place::new();
    let one = ": > ../sub && mount --bind ../sub /etc/subuid && mount --bind ../sub /etc/subgid && mkdir -m 777 dev proc";
    let script = "../mica do --rm --lower . --bind /usr:/usr --bind /lib:/lib --bind /lib64:/lib64 -- /usr/bin/mkdir /new 2>/dev/null; echo $?";
    let done = as_user(&place, one, script);
    assert_eq!(done.stdout, "0\n", "{done:?}");
}
