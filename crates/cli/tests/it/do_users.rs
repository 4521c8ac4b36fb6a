//! `mica do` of ordinary users, where everyone may open /dev/fuse.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

use crate::do_run::Place;
use crate::ground::{Outcome, can_mount, has_program, run};

/// Any user that is in /etc/passwd everywhere.
pub(crate) const DAEMON: u32 = 1;

/// Runs `script` as an ordinary user among the files of `place`, after `as_root`, in a mount namespace of their own.
#[track_caller]
pub(crate) fn as_user(place: &Place, as_root: &str, script: &str) -> Outcome {
    fs::set_permissions(place.at(""), Permissions::from_mode(0o755)).unwrap();
    for name in ["d", "d/changed", "d/gone"] {
        chown(place.at(name), Some(DAEMON), Some(DAEMON)).unwrap();
    }
    fs::create_dir(place.at("state")).unwrap();
    chown(place.at("state"), Some(DAEMON), Some(DAEMON)).unwrap();
    // The program under test may lie where only root gets to.
    fs::copy(env!("CARGO_BIN_EXE_mica"), place.at("mica")).unwrap();
    let prepare = format!(
        "mknod -m 666 ../fuse c 10 229 && mount --bind ../fuse /dev/fuse && {as_root} && \
         exec setpriv --reuid 1 --regid 1 --clear-groups sh -c \"$0\""
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", &prepare, script]);
    command
        .env("XDG_STATE_HOME", place.at("state"))
        .env("LC_ALL", "C");
    run(command.current_dir(place.at("d")))
}

#[test]
fn an_ordinary_user_has_a_session_with_one_id() {
    if !can_mount("an_ordinary_user_has_a_session_with_one_id") {
        return;
    }
    let place = Place::new();
    let script = "../mica do -- sh -c 'id -u; echo s > changed; rm gone; touch new; cat kept changed; stat -c %u /etc kept; \
                  cat /etc/shadow 2>&1; grep NoNew /proc/self/status' 2>&1; \
                  ../mica do --as-root --name r -- sh -c 'id -u; stat -c %u kept; echo x > /etc/motd; cat /etc/motd' 2>&1; \
                  ../mica discard 1; ../mica discard r; ../mica sessions";
    let done = as_user(&place, "true", script);
    let expected = "1\nhost\ns\n1\n1\ncat: /etc/shadow: Permission denied\nNoNewPrivs:\t1\n\
                    1 added, 1 modified, 1 deleted, 2 B - mica diff 1 \u{b7} mica commit 1 \u{b7} mica discard 1\n\
                    0\n0\nx\n\
                    0 added, 1 modified, 0 deleted, 2 B - mica diff r \u{b7} mica commit r \u{b7} mica discard r\n";
    assert_eq!(done.stdout, expected, "{done:?}");
    assert_eq!(fs::read_to_string(place.at("d/changed")).unwrap(), "host\n");
}

#[test]
fn a_range_of_ids_gives_a_session_other_users() {
    let test = "a_range_of_ids_gives_a_session_other_users";
    if !can_mount(test) || !has_program(test, "newuidmap") {
        return;
    }
    let place = Place::new();
    let prepare = "echo daemon:100000:65536 > ../sub && mount --bind ../sub /etc/subuid && mount --bind ../sub /etc/subgid";
    let script = "../mica do --as-root -- sh -c 'stat -c %u . kept; echo x > new; chown 5:6 new; stat -c %u:%g new; \
                  mkdir -m 700 own; touch own/f; chown -R 7 own; chown 8 kept; stat -c %u kept /etc/motd' 2>&1; \
                  ../mica do -- sh -c 'id -u; stat -c %u . kept' 2>&1; \
                  ../mica discard 1; ../mica discard 2; ../mica sessions";
    let done = as_user(&place, prepare, script);
    let expected = "0\n0\n5:6\n8\n0\n\
                    3 added, 1 modified, 0 deleted, 7 B - mica diff 1 \u{b7} mica commit 1 \u{b7} mica discard 1\n\
                    1\n1\n0\n\
                    0 added, 0 modified, 0 deleted, 0 B - mica diff 2 \u{b7} mica commit 2 \u{b7} mica discard 2\n";
    assert_eq!(done.stdout, expected, "{done:?}");
}

/// Runs `script` as root of a user namespace of root's, whose limits on namespaces are its own, and as an ordinary user in that.
fn where_namespaces_are_limited(place: &Place, device: &str, limit: u32, script: &str) -> Outcome {
    let inner = format!(
        "echo {limit} > /proc/sys/user/max_user_namespaces\n\
         exec setpriv --reuid 1 --regid 1 --clear-groups sh -c \"$0\""
    );
    // The limits of a namespace are its own: nothing of the machine's is changed.
    let outer = format!(
        "mkfifo ../go; unshare -U sh -c 'read go < ../go; exec sh -ec \"$1\" \"$0\"' '{script}' '{inner}' & \
         until test $(readlink /proc/$!/ns/user) != $(readlink /proc/$$/ns/user); do sleep 0.01; done; \
         echo 0 0 65536 > /proc/$!/uid_map; echo 0 0 65536 > /proc/$!/gid_map; echo > ../go; wait $!"
    );
    as_user(place, &format!("{device} && {{ {outer}; }}"), "true")
}

#[test]
fn without_user_namespaces_nothing_is_run_and_the_cause_is_said() {
    if !can_mount("without_user_namespaces_nothing_is_run_and_the_cause_is_said") {
        return;
    }
    for device in ["true", "chmod 600 ../fuse"] {
        let place = Place::new();
        let before = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap();
        let script = "../mica do -- touch new; echo $?; ../mica sessions; ls";
        let done = where_namespaces_are_limited(&place, device, 0, script);
        assert_eq!(done.stdout, "125\nchanged\ngone\nkept\n", "{done:?}");
        let expected = "error: the kernel gives no user namespace: `user.max_user_namespaces` is 0\n\
                        caused by: no space left on device (ENOSPC)\n\
                        hint: an administrator permits them by `sysctl -w user.max_user_namespaces=10000`\n";
        assert_eq!(done.stderr, expected);
        let after = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap();
        assert_eq!(after, before);
        // That command is what helps.
        let place = Place::new();
        let done = where_namespaces_are_limited(&place, device, 10_000, script);
        assert!(done.stdout.starts_with("0\n1 "), "{done:?}");
    }
}

#[test]
fn an_empty_file_that_the_user_may_not_read_can_be_locked_and_written_by_root_of_his_session() {
    let test =
        "an_empty_file_that_the_user_may_not_read_can_be_locked_and_written_by_root_of_his_session";
    if !can_mount(test) || !has_program(test, "newuidmap") {
        return;
    }
    let place = Place::new();
    // As the lock of dpkg is.
    let prepare = "echo daemon:100000:65536 > ../sub && mount --bind ../sub /etc/subuid && mount --bind ../sub /etc/subgid && \
                   touch lock && chmod 640 lock";
    let script = "../mica do --as-root -- sh -c 'exec 3<> lock; echo held >&3; cat lock; cat kept' 2>&1 | sed '/mica diff/d'";
    let done = as_user(&place, prepare, script);
    assert_eq!(done.stdout, "held\nhost\n", "{done:?}");
    assert_eq!(fs::read_to_string(place.at("d/lock")).unwrap(), "");
}
