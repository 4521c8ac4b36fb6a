//! Mounts of ordinary users that others are to see, and what a user may not ask for.

use std::fs;

use crate::ground::{Outcome, can_mount};
use crate::users::{lower_of_nobody, run_beside_root};

const OPTIONS: &str = "lowerdir=l,upperdir=u,workdir=w,userxattr";

/// Puts `conf` in the place of /etc/fuse.conf, in this mount namespace alone.
const CONF: &str = "touch /etc/fuse.conf && mount --bind conf /etc/fuse.conf";

fn refused(stderr: &str) -> Outcome {
    Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: stderr.into(),
    }
}

#[test]
fn allow_other_needs_the_permission_of_the_administrator() {
    if !can_mount("allow_other_needs_the_permission_of_the_administrator") {
        return;
    }
    let ground = lower_of_nobody();
    fs::write(ground.at("conf"), "# nothing\n").unwrap();
    let mount = format!("./mica mount -o {OPTIONS},allow_other m");
    let said = run_beside_root(&ground, CONF, &mount);
    assert_eq!(said.status, Some(1), "{said:?}");
    said.assert_said("only allowed if 'user_allow_other' is set in /etc/fuse.conf");
    assert!(
        said.stderr.ends_with("hint: have the administrator run `echo user_allow_other >> /etc/fuse.conf`, or leave `allow_other` out\n"),
        "{}",
        said.stderr
    );
}

#[test]
fn allow_other_lets_other_users_in_where_it_is_permitted() {
    if !can_mount("allow_other_lets_other_users_in_where_it_is_permitted") {
        return;
    }
    // Another user, who waits for the mount and reads; the mounter waits for them.
    let other = format!(
        "{CONF} && mkfifo -m 666 ready seen && \
         {{ setpriv --reuid 1 --regid 1 --clear-groups sh -c 'cat ready >/dev/null; cat m/f; echo >seen' & }}"
    );
    for (option, visible) in [(",allow_other", true), ("", false)] {
        let ground = lower_of_nobody();
        fs::write(ground.at("conf"), "user_allow_other\n").unwrap();
        let script = format!(
            "./mica mount -o {OPTIONS}{option} m; echo > ready; cat seen > /dev/null; ./mica umount m"
        );
        let said = run_beside_root(&ground, &other, &script);
        assert_eq!(said.status, Some(0), "{said:?}");
        assert_eq!(said.stdout == "lower\n", visible, "{said:?}");
        assert_eq!(
            said.stderr.contains("Permission denied"),
            !visible,
            "{said:?}"
        );
    }
}

#[test]
fn dev_and_suid_are_refused_by_name_to_an_ordinary_user() {
    if !can_mount("dev_and_suid_are_refused_by_name_to_an_ordinary_user") {
        return;
    }
    for (option, contrary) in [("dev", "nodev"), ("suid", "nosuid")] {
        let ground = lower_of_nobody();
        let mount = format!("./mica mount -o {OPTIONS},{option} m");
        let expected = refused(&format!(
            "error: cannot mount at `m`\n\
             caused by: mount option `{option}` would have no effect: `fusermount3` mounts with `{contrary}`\n\
             hint: leave `{option}` out, or mount as root outside of user namespaces\n"
        ));
        assert_eq!(run_beside_root(&ground, "true", &mount), expected);
    }
}

#[test]
fn dev_is_refused_in_a_user_namespace_and_suid_works_there() {
    if !can_mount("dev_is_refused_in_a_user_namespace_and_suid_works_there") {
        return;
    }
    let ground = lower_of_nobody();
    let mount = format!("unshare -Urm ./mica mount -o {OPTIONS},dev m");
    let expected = refused(
        "error: cannot mount at `m`\n\
         caused by: mount option `dev` would have no effect: the kernel opens no devices on what a user namespace has mounted\n\
         hint: leave `dev` out, or mount as root outside of user namespaces\n",
    );
    assert_eq!(run_beside_root(&ground, "true", &mount), expected);
    drop(ground);
    let ground = lower_of_nobody();
    let script = format!(
        "unshare -Urm sh -ec './mica mount -o {OPTIONS},suid m; grep -c \" $PWD/m .*nosuid\" /proc/mounts || ./mica umount m'"
    );
    let said = run_beside_root(&ground, "true", &script);
    assert_eq!(
        (said.status, said.stdout.as_str()),
        (Some(0), "0\n"),
        "{said:?}"
    );
}

#[test]
fn paths_that_lead_nowhere_and_nobody_to_ask_are_warned_of() {
    if !can_mount("paths_that_lead_nowhere_and_nobody_to_ask_are_warned_of") {
        return;
    }
    let ground = lower_of_nobody();
    for name in ["k", "kw"] {
        fs::create_dir(ground.at(name)).unwrap();
    }
    let kernel = "mount -i -t overlay -o lowerdir=l,upperdir=u,workdir=kw o k";
    let script = format!("./mica mount -o {OPTIONS} m; ./mica umount m");
    let said = run_beside_root(&ground, kernel, &script);
    let warning = "warning: upperdir `u` may be in use by the kernel's overlay at `$/k`, whose paths cannot be followed\n\
                   hint: `umount $/k` ends it\n";
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), warning));
}
