//! The ways to a mount that are not root's: each runs a test of this program again in another place.

use std::process::Command;

use crate::mounted::skip;

/// Tests that need nothing but a mount.
const AGAIN: [&str; 3] = [
    "connection::a_mount_answers_when_mount_returns",
    "connection::unmounting_ends_the_server_and_lets_go_of_the_filesystem",
    "data::truncation_by_open_really_truncates",
];

/// Runs [`AGAIN`] by `command`, which gets the program and its arguments as its last ones.
fn run_again(test: &str, command: &mut Command) {
    if !rustix::process::geteuid().is_root() {
        return skip(test, "needs root, to make the place");
    }
    let program = std::env::current_exe().unwrap();
    let output = command
        .arg(program)
        .args(AGAIN)
        .args(["--exact", "--nocapture"])
        .output();
    let Ok(output) = output else {
        return skip(test, "unshare is not installed");
    };
    let said = String::from_utf8_lossy(&[output.stderr, output.stdout].concat()).into_owned();
    if let Some(reason) = said
        .lines()
        .find(|line| line.contains("SKIPPED") || line.contains("unshare: "))
    {
        return skip(test, reason);
    }
    assert!(output.status.success(), "{said}");
    assert!(said.contains("3 passed"), "{said}");
}

#[test]
fn a_user_namespace_mounts_by_itself() {
    let mut command = Command::new("unshare");
    let command = command.args(["--user", "--map-root-user", "--mount"]);
    run_again("a_user_namespace_mounts_by_itself", command);
}

/// `/dev/fuse` is 0600 on some machines: a namespace of mounts gets one for everybody.
#[test]
fn an_ordinary_user_mounts_by_the_helper() {
    let place = tempfile::tempdir().unwrap();
    let script = r#"
        place=$1 program=$2
        shift 2
        mount -t tmpfs none "$place" && mknod -m 666 "$place/fuse" c 10 229 || exit 1
        mount --bind "$place/fuse" /dev/fuse && cp "$program" "$place/it" || exit 1
        chmod 755 "$place" "$place/it"
        exec setpriv --reuid 65534 --regid 65534 --clear-groups "$place/it" "$@""#;
    let mut command = Command::new("unshare");
    let command = command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(place.path());
    run_again("an_ordinary_user_mounts_by_the_helper", command);
}
