//! Who mounts, and who uses what is mounted.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::ground::{Ground, Outcome, can_mount, ok, run};

#[test]
fn other_users_see_the_mounts_of_root() {
    if !can_mount("other_users_see_the_mounts_of_root") {
        return;
    }
    let ground = Ground::new();
    fs::set_permissions(ground.root(), Permissions::from_mode(0o755)).unwrap();
    fs::write(ground.at("l/f"), "for all").unwrap();
    ground.mount(&[]);
    let mut cat = Command::new("cat");
    cat.arg(ground.at("m/f"));
    cat.uid(NOBODY);
    assert_eq!(run(&mut cat).stdout, "for all");
}

#[test]
fn the_mounter_keeps_its_umask_to_itself() {
    if !can_mount("the_mounter_keeps_its_umask_to_itself") {
        return;
    }
    let ground = Ground::new();
    let script = "umask 077; exec \"$0\" mount -o lowerdir=l,upperdir=u,workdir=w m";
    let mica = env!("CARGO_BIN_EXE_mica");
    let mut command = Command::new("sh");
    ground.here(command.args(["-c", script, mica]));
    assert_eq!(run(&mut command), ok());
    let touched = run(Command::new("sh")
        .arg("-c")
        .arg("umask 022; touch f; mkdir d")
        .current_dir(ground.at("m")));
    assert_eq!(touched.status, Some(0));
    assert_eq!(
        fs::metadata(ground.at("u/f")).unwrap().mode() & 0o7777,
        0o644
    );
    assert_eq!(
        fs::metadata(ground.at("u/d")).unwrap().mode() & 0o7777,
        0o755
    );
}

/// Runs `script` as an ordinary user, in a mount namespace where everyone may open /dev/fuse.
#[track_caller]
pub(crate) fn run_as_nobody(ground: &Ground, script: &str) -> Outcome {
    run_beside_root(ground, "true", script)
}

/// Runs `as_root`, then `script` as an ordinary user, in a mount namespace where everyone may open /dev/fuse.
#[track_caller]
pub(crate) fn run_beside_root(ground: &Ground, as_root: &str, script: &str) -> Outcome {
    fs::set_permissions(ground.root(), Permissions::from_mode(0o755)).unwrap();
    for name in ["l", "u", "w", "m"] {
        chown(ground.at(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    // The program under test may lie where only root gets to.
    ground.copy_program("mica");
    let prepare = format!(
        "mknod -m 666 fuse c 10 229 && mount --bind fuse /dev/fuse && {as_root} && \
         exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -ec \"$0\""
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", &prepare, script]);
    ground.shown(run(ground.here(&mut command)))
}

pub(crate) const NOBODY: u32 = 65534;

/// What the scripts below do in a mount.
const WORK: &str = "echo new > m/new; echo more >> m/f; rm m/gone; mkdir m/d; cat m/f";

/// Checks what [`WORK`] has left.
#[track_caller]
fn was_changed(ground: &Ground, outcome: &Outcome) {
    let expected = Outcome {
        status: Some(0),
        stdout: "lower\nmore\n".into(),
        stderr: String::new(),
    };
    assert_eq!(*outcome, expected);
    assert_eq!(
        fs::read_to_string(ground.at("u/f")).unwrap(),
        "lower\nmore\n"
    );
    assert_eq!(fs::read_to_string(ground.at("u/new")).unwrap(), "new\n");
    assert_eq!(fs::read_to_string(ground.at("l/f")).unwrap(), "lower\n");
    assert!(ground.at("l/gone").exists());
}

/// A lower that the scripts work on.
pub(crate) fn lower_of_nobody() -> Ground {
    let ground = Ground::alone();
    for name in ["f", "gone"] {
        fs::write(ground.at("l").join(name), "lower\n").unwrap();
        chown(ground.at("l").join(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    ground
}

#[test]
fn an_ordinary_user_mounts_by_fusermount3() {
    if !can_mount("an_ordinary_user_mounts_by_fusermount3") {
        return;
    }
    let ground = lower_of_nobody();
    let mount = "./mica mount -o lowerdir=l,upperdir=u,workdir=w,userxattr m";
    // Twice: the second mount finds the work directory of the first.
    let script = format!("{mount}; ./mica umount m; {mount}; {WORK}; ./mica umount m");
    let outcome = run_as_nobody(&ground, &script);
    was_changed(&ground, &outcome);
}

#[test]
fn a_user_namespace_mounts_by_itself() {
    if !can_mount("a_user_namespace_mounts_by_itself") {
        return;
    }
    let ground = lower_of_nobody();
    let mount = "./mica mount -o lowerdir=l,upperdir=u,workdir=w,userxattr m";
    let script = format!("unshare -Urm sh -ec '{mount}; {WORK}; ./mica umount m'");
    let outcome = run_as_nobody(&ground, &script);
    was_changed(&ground, &outcome);
}

#[test]
fn ovl_66_an_ordinary_user_can_take_the_mark_of_a_volatile_mount_away() {
    if !can_mount("ovl_66_an_ordinary_user_can_take_the_mark_of_a_volatile_mount_away") {
        return;
    }
    let ground = lower_of_nobody();
    let mount = "./mica mount -o lowerdir=l,upperdir=u,workdir=w,userxattr m";
    let script = format!(
        "{mount} -o volatile; ./mica umount m; {mount} 2>&1 | grep caused; \
         rm -r w/work/incompat/volatile; {mount}; {WORK}; ./mica umount m"
    );
    let outcome = run_as_nobody(&ground, &script);
    let refusal = "caused by: workdir `w` is marked with the incompatible feature `volatile`\n";
    let Some(rest) = outcome.stdout.strip_prefix(refusal) else {
        panic!("{outcome:?}");
    };
    let stdout = rest.to_owned();
    was_changed(&ground, &Outcome { stdout, ..outcome });
}
