//! `mica do` where there is less than on a machine: in chroots, in containers, and by root without rights.

use std::fs;
use std::process::Command;

use mica_testkit::skip;

use crate::do_run::Place;
use crate::do_users::as_user;
use crate::ground::{Outcome, can_mount, has_program, run};

/// Makes a root directory with the programs of this machine and with `mica`, and goes there. To be run in a mount namespace of its own.
const ROOT: &str = "mkdir ../r; cd ../r; mkdir -p usr etc proc dev sys tmp root run var/lib var/tmp state d; \
                    for l in bin lib lib64 sbin; do ln -s usr/$l $l; done; cp /etc/passwd /etc/group etc; cp $MICA mica; \
                    echo host > d/kept; echo host > d/gone; chmod 1777 tmp; ";

/// What fills it for a chroot.
const MOUNTS: &str = "mount --bind /usr usr; mount -t proc proc proc; mount --rbind /dev dev; mount --rbind /sys sys; ";

/// What is done in it.
const WORK: &str = "cd /d; export XDG_STATE_HOME=/state; \
                    /mica do -- sh -c \"ls /; echo session > kept; rm gone; mkdir new; cat kept; ls; pwd; test -e /proc/1/status && echo proc\" 2> /state/err; \
                    echo $?; grep -v warning: /state/err; /mica diff; cat kept; /mica commit 2> /dev/null; cat kept; ls";

const DONE: &str = "bin\nd\ndev\netc\nlib\nlib64\nmica\nproc\nroot\nrun\nsbin\nstate\nsys\ntmp\nusr\nvar\nsession\nkept\nnew\n/d\nproc\n0\n\
                    1 added, 1 modified, 1 deleted, 8 B - mica diff 1 \u{b7} mica commit 1 \u{b7} mica discard 1\n\
                    D  /d/gone\nM  /d/kept\nA  /d/new/\nhost\nsession\nkept\nnew\n";

/// Runs a script of root's in a mount namespace, among the files of `place`.
fn alone(place: &Place, script: &str) -> Outcome {
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", script]);
    command
        .env("MICA", env!("CARGO_BIN_EXE_mica"))
        .env("WORK", WORK)
        .env("LC_ALL", "C");
    run(command.current_dir(place.at("d")))
}

/// A time after that of all files, of which a session is then made.
const LATER: &str = "now=$(date +%s); until test $(date +%s) -gt $now; do sleep 0.02; done; ";

#[test]
fn root_has_a_session_in_a_chroot() {
    if !can_mount("root_has_a_session_in_a_chroot") {
        return;
    }
    let no_device = "mount --bind /dev/null /dev/fuse; mount -o remount,bind,nodev /dev/fuse; ";
    for device in ["", no_device] {
        let place = Place::new();
        let done = alone(
            &place,
            &format!("{device}{ROOT}{MOUNTS}{LATER}chroot . sh -c \"$WORK\""),
        );
        assert_eq!(done.stdout, DONE, "{device}: {done:?}");
    }
}

#[test]
fn a_chroot_that_gives_no_session_says_why() {
    if !can_mount("a_chroot_that_gives_no_session_says_why") {
        return;
    }
    let place = Place::new();
    let script = "chroot --userspec 1:1 . sh -c 'XDG_STATE_HOME=/tmp/s /mica do -- touch /d/new; echo $?'; umount -l proc; \
                  chroot . sh -c 'XDG_STATE_HOME=/state /mica do -- touch /d/new; echo $?'; ls d";
    let done = alone(&place, &format!("{ROOT}{MOUNTS}{script}"));
    assert_eq!(done.stdout, "125\n125\ngone\nkept\n", "{done:?}");
    let expected = "error: the kernel gives no user namespace: this is a chroot\n\
                    caused by: operation not permitted (EPERM)\n\
                    hint: run it as root, or outside: `mica do --lower DIR` has another tree as its root\n\
                    error: there is no /proc\n\
                    hint: mount it first: `mount -t proc proc /proc`\n";
    assert_eq!(done.stderr, expected);
}

#[test]
fn root_without_rights_is_root_of_a_user_namespace() {
    if !can_mount("root_without_rights_is_root_of_a_user_namespace") {
        return;
    }
    // The last of them may not give ids away, and has his own alone.
    for (caps, map) in [
        ("-sys_admin", "0 0 4294967295"),
        ("-sys_admin,-setuid,-setgid", "0 0 1"),
    ] {
        let place = Place::new();
        let script = format!(
            "mknod -m 666 ../fuse c 10 229; mount --bind ../fuse /dev/fuse; export XDG_STATE_HOME=$PWD/../state; {LATER} \
             exec setpriv --bounding-set {caps} --inh-caps {caps} sh -c '$MICA do -- sh -c \"id -u; echo session > kept; rm gone; \
             touch new; cat kept; cat /proc/self/uid_map | xargs\"; $MICA diff | wc -l; cat kept; $MICA commit 2>/dev/null; cat kept; ls'"
        );
        let done = alone(&place, &script);
        let expected = format!("0\nsession\n{map}\n3\nhost\nsession\nchanged\nkept\nnew\n");
        assert_eq!(done.stdout, expected, "{caps}: {done:?}");
    }
}

#[test]
fn root_without_any_right_is_told_which_it_needs() {
    if !can_mount("root_without_any_right_is_told_which_it_needs") {
        return;
    }
    let place = Place::new();
    let script = "export XDG_STATE_HOME=$PWD/../state; exec setpriv --bounding-set=-all --inh-caps=-all $MICA do -- touch new";
    let done = alone(&place, script);
    let expected = "error: the kernel gives no user namespace: root here has no `CAP_SETFCAP`\n\
                    caused by: operation not permitted (EPERM)\n\
                    hint: whoever runs this container permits it: `--cap-add setfcap`\n";
    assert_eq!((done.status, done.stderr.as_str()), (Some(125), expected));
}

#[test]
fn root_of_a_user_namespace_has_sessions_in_it() {
    if !can_mount("root_of_a_user_namespace_has_sessions_in_it") {
        return;
    }
    let place = Place::new();
    let script = "unshare -Urm sh -c '../mica do -- sh -c \"mkdir dir; echo x > changed; rm gone; mkdir gone; id -u\"; ../mica diff | wc -l; \
                  ../mica do --name 1 -- ls -A gone; ../mica discard 1; ../mica sessions'";
    let done = as_user(&place, "true", script);
    assert_eq!(done.stdout, "0\n3\n", "{done:?}");
}

/// Runs containers of podman on a root directory; `None`: it runs none here.
fn in_containers(test: &str, place: &Place, cases: &str) -> Option<Outcome> {
    // Version 1 of cgroups with a part of version 2 is too much for crun; limits cannot be raised by who may not.
    let begin = "umount /sys/fs/cgroup/unified 2> /dev/null || true; p=$PWD/..; ";
    let container = "c() { podman --root $p/g --runroot $p/rr --tmpdir $p/t --cgroup-manager=cgroupfs run --rm --net=host --cgroups=disabled \
                     --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 -v /usr:/usr:ro \"$@\"; }; \
                     trap 'umount -R $p/g/overlay 2> /dev/null' EXIT; ";
    let first = "c --rootfs $p/r true > /dev/null 2> $p/refusal || { cat $p/refusal; exit 77; }; ";
    let script = format!("{begin}{container}{ROOT}{first}{LATER}{cases}");
    let done = alone(place, &script);
    if done.status == Some(77) {
        skip(
            test,
            &format!("podman runs nothing here: {}", done.stdout.trim()),
        );
        return None;
    }
    Some(done)
}

#[test]
fn containers_have_sessions_with_what_they_are_given() {
    let test = "containers_have_sessions_with_what_they_are_given";
    if !can_mount(test) || !has_program(test, "podman") {
        return;
    }
    // May mount; has the device, and a /proc without masks; may mount, and has no device.
    for options in [
        "--device /dev/fuse --cap-add sys_admin",
        "--device /dev/fuse --security-opt unmask=ALL",
        "--cap-add sys_admin",
    ] {
        let place = Place::new();
        let cases = format!("c {options} --rootfs $p/r sh -c \"$WORK\"");
        let Some(done) = in_containers(test, &place, &cases) else {
            return;
        };
        assert_eq!(done.stdout, DONE, "{options}: {done:?}");
        assert!(fs::exists(place.at("r/d/new")).unwrap());
    }
}

#[test]
fn a_container_that_gives_no_session_says_why() {
    let test = "a_container_that_gives_no_session_says_why";
    if !can_mount(test) || !has_program(test, "podman") {
        return;
    }
    let place = Place::new();
    let cases = "for o in '--device /dev/fuse' ''; do c $o --rootfs $p/r sh -c 'XDG_STATE_HOME=/state /mica do -- touch /d/new; echo $?'; done; ls d";
    let Some(done) = in_containers(test, &place, cases) else {
        return;
    };
    assert_eq!(done.stdout, "125\n125\ngone\nkept\n", "{done:?}");
    let expected = "error: the kernel gives a user namespace no /proc, as parts of the one here are hidden by mounts\n\
                    caused by: operation not permitted (EPERM)\n\
                    hint: whoever runs this container unhides them: `--security-opt unmask=ALL` (podman), `--security-opt systempaths=unconfined` (docker)\n";
    assert_eq!(done.stderr.matches(expected).count(), 2, "{}", done.stderr);
}
