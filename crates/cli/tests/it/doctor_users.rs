//! Cases of doctor that depend on who asks: in user namespaces, and as an ordinary user in front of /dev/fuse.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::doctor_rows::{Said, logged};
use crate::ground::{Ground, Outcome, can_mount, run};

/// Makes the test's directory one that ordinary users can use.
fn open_ground() -> Ground {
    let ground = Ground::alone();
    fs::create_dir(ground.at("l2")).unwrap();
    for (name, mode) in [("", 0o755), ("m", 0o777)] {
        fs::set_permissions(ground.at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    ground
}

/// Runs a script of bash, with `mica` for the program under test, after `before` in a mount namespace of its own.
fn script(ground: &Ground, before: &[&str], script: &str) -> Outcome {
    let program = format!("mica() {{ '{}' \"$@\"; }}\n", env!("CARGO_BIN_EXE_mica"));
    let mut command = Command::new(before[0]);
    command.args(&before[1..]);
    command.args(["bash", "-c", &format!("{program}{script}")]);
    run(ground.here(&mut command))
}

const NAMESPACE: &[&str] = &["unshare", "-Urm"];

/// What doctor and a mount of Mica say of the same options, in the same place.
struct Compared {
    kernel: Said,
    mica: Said,
    mount: Outcome,
}

/// Asks doctor, then mounts with Mica, both by `around` (`$@` is the command), and compares them.
#[track_caller]
fn compare(
    ground: &Ground,
    before: &[&str],
    prepare: &str,
    around: &str,
    options: &str,
) -> Compared {
    let program = env!("CARGO_BIN_EXE_mica");
    let asked = script(
        ground,
        before,
        &format!("{prepare}\nset -- '{program}' doctor --json -o '{options}'\n{around}"),
    );
    assert!(asked.stdout.starts_with('{'), "{asked:?}");
    let mount = script(
        ground,
        before,
        &format!(
            "{prepare}\nset -- '{program}' mount -o '{options}' m\n{around} || exit 1\nset -- '{program}' umount m\n{around}"
        ),
    );
    let compared = Compared {
        kernel: Said::read(&asked.stdout, "kernel"),
        mica: Said::read(&asked.stdout, "mica"),
        mount,
    };
    let refuses = compared.mica.verdict == "refuses";
    assert_eq!(
        refuses,
        compared.mount.status != Some(0),
        "{:?} {:?}",
        compared.mica,
        compared.mount
    );
    if refuses {
        let first = Said {
            verdict: String::new(),
            findings: compared.mica.findings.iter().take(1).cloned().collect(),
        };
        for words in first.words() {
            assert!(
                compared.mount.stderr.contains(&words),
                "{words}: {:?}",
                compared.mount
            );
        }
    }
    compared
}

/// Mounts the kernel's overlayfs in a user namespace, and returns what came of it and the kernel's log.
fn mount_in_namespace(ground: &Ground, options: &str, then: &str) -> (Outcome, String) {
    let mount = format!("mount -t overlay o -o '{options}' m && {{ {then}; }}");
    logged(|| script(ground, NAMESPACE, &mount))
}

#[track_caller]
fn case_in_namespace(row: &str, options: &str, then: &str, mounts: bool) -> Option<Compared> {
    if !can_mount(row) {
        return None;
    }
    let ground = open_ground();
    fs::create_dir(ground.at("c")).unwrap();
    fs::create_dir(ground.at("c/l")).unwrap();
    fs::set_permissions(ground.at("c"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(ground.at("l2/f"), "").unwrap();
    for name in ["c", "l2", "l2/f"] {
        std::os::unix::fs::chown(ground.at(name), Some(1000), Some(1000)).unwrap();
    }
    let compared = compare(&ground, NAMESPACE, "", "\"$@\"", options);
    assert!(compared.kernel.names(row), "{:?}", compared.kernel);
    let (mounted, log) = mount_in_namespace(&ground, options, then);
    assert_eq!(mounted.status == Some(0), mounts, "{mounted:?} {log}");
    let row = mica::doctor::ROWS
        .iter()
        .find(|known| known.id == row)
        .unwrap();
    assert!(log.contains(row.log), "{log}");
    let verdict = if mounts { "works-with-less" } else { "refuses" };
    assert_eq!(compared.kernel.verdict, verdict);
    Some(compared)
}

const OPTIONS: &str = "lowerdir=l,upperdir=u,workdir=w";

#[test]
fn trusted_redirects_in_a_user_namespace() {
    for option in ["redirect_dir=on", "metacopy=on"] {
        let options = format!("{OPTIONS},{option}");
        case_in_namespace("trusted-redirects", &options, "true", false);
    }
}

#[test]
fn trusted_xattrs_in_a_user_namespace() {
    let compared = case_in_namespace("trusted-xattrs", OPTIONS, "true", true);
    assert!(compared.is_none_or(|compared| compared.mica.names("trusted-xattrs")));
}

#[test]
fn an_index_in_a_user_namespace() {
    let options = format!("{OPTIONS},userxattr,index=on");
    case_in_namespace(
        "index-dropped",
        &options,
        "! grep -q index=on /proc/self/mountinfo",
        true,
    );
}

#[test]
fn an_owner_without_a_mapping() {
    let options = "lowerdir=l2:l,upperdir=u,workdir=w,userxattr";
    let then = "! LC_ALL=C mv m/f m/g 2>err; cat err >&2; grep -q 'too large' err";
    case_in_namespace("unmapped-ids", options, then, true);
}

#[test]
fn a_directory_that_may_not_be_searched() {
    let options = "lowerdir=l:c/l,upperdir=u,workdir=w,userxattr";
    let compared = case_in_namespace("closed", options, "true", false);
    assert!(compared.is_none_or(|compared| compared.mica.names("closed")));
}

#[test]
fn an_option_without_effect() {
    if !can_mount("an_option_without_effect") {
        return;
    }
    let options = format!("{OPTIONS},userxattr,dev");
    let compared = compare(&open_ground(), NAMESPACE, "", "\"$@\"", &options);
    assert!(compared.mica.names("no-effect"), "{:?}", compared.mica);
}

/// A /dev of its own with what `device` makes, and an ordinary user in front of it.
#[track_caller]
fn as_user(test: &str, device: &str, around: &str, more: &str) -> Option<Compared> {
    if !can_mount(test) {
        return None;
    }
    let ground = open_ground();
    let prepare = format!(
        "set -e; mount --make-rprivate /; mount -t tmpfs -o mode=755 t /dev; mknod -m 666 /dev/null c 1 3; {device}\n\
         mkdir -p bin; cp /usr/bin/fusermount3 bin/; chmod 755 bin/fusermount3\n\
         user() {{ setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"; }}"
    );
    let options = format!("lowerdir=l:l2,userxattr{more}");
    Some(compare(
        &ground,
        &["unshare", "-m"],
        &prepare,
        around,
        &options,
    ))
}

const DEVICE: &str = "mknod -m 666 /dev/fuse c 10 229";

#[track_caller]
fn names(compared: Option<Compared>, case: &str) {
    let Some(compared) = compared else { return };
    assert!(compared.mica.names(case), "{:?}", compared.mica);
}

#[test]
fn no_fuse_device() {
    names(as_user("no_fuse_device", "", "\"$@\"", ""), "fuse-missing");
}

#[test]
fn a_fuse_device_that_is_roots_alone() {
    let device = "mknod -m 600 /dev/fuse c 10 229";
    let compared = as_user(
        "a_fuse_device_that_is_roots_alone",
        device,
        "user \"$@\"",
        "",
    );
    names(compared, "fuse-closed");
}

#[test]
fn an_ordinary_user_may_not_mount_overlayfs_and_mounts_with_mica() {
    let test = "an_ordinary_user_may_not_mount_overlayfs_and_mounts_with_mica";
    let Some(compared) = as_user(test, DEVICE, "user \"$@\"", "") else {
        return;
    };
    assert!(
        compared.kernel.names("not-permitted"),
        "{:?}",
        compared.kernel
    );
    assert_eq!(compared.mica.verdict, "works", "{:?}", compared.mica);
    let ground = open_ground();
    let mut command = Command::new("setpriv");
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    command
        .args(user)
        .args(["mount", "-t", "overlay", "o", "-o", "lowerdir=l:l2", "m"]);
    assert_ne!(run(ground.here(&mut command)).status, Some(0));
}

#[test]
fn no_helper() {
    let compared = as_user("no_helper", DEVICE, "user env PATH=/nowhere \"$@\"", "");
    names(compared, "fusermount-missing");
}

#[test]
fn a_helper_without_rights() {
    for around in [
        "user env PATH=\"$PWD/bin:$PATH\" \"$@\"",
        "user --no-new-privs \"$@\"",
        "user unshare -Ur \"$@\"",
    ] {
        let compared = as_user("a_helper_without_rights", DEVICE, around, "");
        names(compared, "fusermount-powerless");
    }
}

#[test]
fn a_helper_that_may_not_let_others_in() {
    let test = "a_helper_that_may_not_let_others_in";
    let compared = as_user(test, DEVICE, "user \"$@\"", ",allow_other");
    names(compared, "user-allow-other");
    let compared = as_user(test, DEVICE, "user \"$@\"", ",allow_root");
    names(compared, "allow-root");
}

#[test]
fn few_open_files() {
    let limit = |files: u32| format!("ulimit -n {files}; \"$@\"");
    let compared = as_user("few_open_files", DEVICE, &limit(300), "");
    assert!(
        compared
            .as_ref()
            .is_none_or(|c| c.mica.verdict == "works-with-less")
    );
    names(compared, "open-files");
}

#[test]
fn an_option_that_mica_cannot_have() {
    if !can_mount("an_option_that_mica_cannot_have") {
        return;
    }
    let compared = compare(
        &open_ground(),
        &["unshare", "-m"],
        "",
        "\"$@\"",
        "lowerdir=l:l2,nfs_export=on",
    );
    assert!(compared.mica.names("option-refused"), "{:?}", compared.mica);
}

#[test]
fn a_mount_namespace_of_another_user_namespace() {
    if !can_mount("a_mount_namespace_of_another_user_namespace") {
        return;
    }
    let ground = open_ground();
    let options = "lowerdir=l:l2,userxattr";
    let before = ["unshare", "-Ur"];
    let compared = compare(&ground, &before, "", "\"$@\"", options);
    let found = &compared.kernel;
    assert!(found.names("other-user-namespace"), "{found:?}");
    let refused = script(
        &ground,
        &before,
        "LC_ALL=C mount -i -t overlay o -o lowerdir=l:l2 m",
    );
    assert_eq!(refused.status, Some(32), "{refused:?}");
    refused.assert_said("permission denied");
}
