//! The same options, the same operations: what fuse-overlayfs shows and leaves on disk, and what Mica does.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use crate::ground::{Ground, can_mount, has_program, ok, run};

/// What is done in the mount, as root and as another user.
const OPERATIONS: &str = "
    echo more >> file
    chmod 600 chmodded
    chown 1001:1002 chowned
    chgrp 110003 grouped
    mkdir dir/new
    touch dir/new/f
    ln -s target dir/link
    mkfifo dir/fifo
    ln linked dir/linked2
    rm removed
    mv moved dir/moved
    chown -h 1003:1004 symlink
    setpriv --reuid 1000 --regid 1005 --clear-groups touch open/mine
    setpriv --reuid 1000 --regid 1005 --clear-groups mkdir open/mydir
    setpriv --reuid 110002 --regid 110009 --clear-groups touch open/theirs
";

/// Options of both.
const OPTIONS: [&str; 8] = [
    "squash_to_root",
    "squash_to_uid=1000",
    "squash_to_gid=1005",
    "squash_to_uid=1000,squash_to_gid=1005",
    "squash_to_root,squash_to_uid=1000",
    "uidmapping=0:1000:1:1:110000:65536,gidmapping=0:1000:1:1:110000:65536",
    "uidmapping=0:0:500:1000:1000:10,gidmapping=0:0:70000",
    "uidmapping=0:1000:1:1:110000:65536,squash_to_gid=77",
];

fn lay_out(lower: &Path) {
    let files = [
        ("file", 0, 0, 0o644),
        ("chmodded", 1, 2, 0o666),
        ("chowned", 2, 3, 0o4755),
        ("grouped", 1, 1, 0o640),
        ("linked", 1000, 1000, 0o600),
        ("removed", 1, 1, 0o600),
        ("moved", 12, 13, 0o604),
        ("foreign", 70_000, 70_001, 0o604),
    ];
    for (name, uid, gid, mode) in files {
        let path = lower.join(name);
        fs::write(&path, name).unwrap();
        chown(&path, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    // None is setgid: fuse-overlayfs loses that bit of a directory that it copies up.
    let dirs = [("dir", 0, 1, 0o755), ("open", 1, 1, 0o777)];
    for (name, uid, gid, mode) in dirs {
        let path = lower.join(name);
        fs::DirBuilder::new().mode(0o755).create(&path).unwrap();
        chown(&path, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::symlink("target", lower.join("symlink")).unwrap();
    std::os::unix::fs::lchown(lower.join("symlink"), Some(7), Some(8)).unwrap();
}

/// Lists names with owner, mode and type; not the marks that only fuse-overlayfs makes.
pub(crate) fn listed(at: &Path) -> String {
    let stat = "find . ! -name . ! -name '.wh.*' -printf '%P %U:%G %m %y\\n' | sort";
    let found = run(Command::new("sh").args(["-ec", stat]).current_dir(at));
    assert_eq!(found.stderr, "");
    found.stdout
}

/// What one implementation showed after all operations, what they said, and what it left in the upper.
fn outcome(options: &str, mount: impl Fn(&Ground, &str)) -> [String; 3] {
    let ground = Ground::new();
    fs::set_permissions(ground.root(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(ground.at("u"), fs::Permissions::from_mode(0o755)).unwrap();
    lay_out(&ground.at("l"));
    let all = format!("lowerdir=l,upperdir=u,workdir=w,{options}");
    mount(&ground, &all);
    let mut said = String::new();
    for operation in OPERATIONS.lines().map(str::trim).filter(|o| !o.is_empty()) {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask 022; {operation}")]);
        let done = run(command.current_dir(ground.at("m")));
        said += &format!("{operation}: {:?} {}\n", done.status, done.stderr);
    }
    let shown = listed(&ground.at("m"));
    assert_eq!(run(Command::new("umount").arg(ground.at("m"))), ok());
    [said, shown, listed(&ground.at("u"))]
}

#[test]
fn ovl_73_ovl_74_owners_are_shown_and_stored_as_by_fuse_overlayfs() {
    let test = "ovl_73_ovl_74_owners_are_shown_and_stored_as_by_fuse_overlayfs";
    if !can_mount(test) || !has_program(test, "fuse-overlayfs") || !has_program(test, "setpriv") {
        return;
    }
    for options in OPTIONS {
        let ours = outcome(options, |ground, all| {
            assert_eq!(ground.run(&["mount", "-o", all, "m"]), ok());
        });
        let theirs = outcome(options, |ground, all| {
            let mut command = Command::new("fuse-overlayfs");
            let mounted = run(ground.here(command.args(["-o", all, "m"])));
            assert_eq!(mounted.status, Some(0), "{}", mounted.stderr);
        });
        for (what, (ours, theirs)) in ["said", "shown", "stored"]
            .iter()
            .zip(ours.iter().zip(&theirs))
        {
            assert_eq!(ours, theirs, "{what} with {options}");
        }
    }
}

#[test]
fn ovl_77_fuse_overlayfs_shows_what_mica_recorded_and_the_other_way_round() {
    let test = "ovl_77_fuse_overlayfs_shows_what_mica_recorded_and_the_other_way_round";
    if !can_mount(test) || !has_program(test, "fuse-overlayfs") || !has_program(test, "setpriv") {
        return;
    }
    let work = "
        umask 027
        echo data > made; echo old > old; mkdir -m 777 open
        setpriv --reuid 1000 --regid 1005 --clear-groups touch open/mine
        chown 1234:5678 made; chmod 4711 made
        chown 7:8 old; chmod 601 old
    ";
    for options in ["xattr_permissions=1", "xattr_permissions=2"] {
        let ground = Ground::new();
        fs::set_permissions(ground.root(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(ground.at("u"), fs::Permissions::from_mode(0o755)).unwrap();
        let all = format!("lowerdir=l,upperdir=u,workdir=w,{options}");
        let mica = |ground: &Ground| {
            // What fuse-overlayfs marks opaque by files it warns of.
            let mounted = ground.run(&["mount", "-o", &all, "m"]);
            assert_eq!(mounted.status, Some(0), "{}", mounted.stderr);
        };
        let fuse_overlayfs = |ground: &Ground| {
            let mut command = Command::new("fuse-overlayfs");
            let mounted = run(ground.here(command.args(["-o", &all, "m"])));
            assert_eq!(mounted.status, Some(0), "{}", mounted.stderr);
        };
        let umount = |ground: &Ground| {
            assert_eq!(run(Command::new("umount").arg(ground.at("m"))), ok());
        };
        let mounts: [&dyn Fn(&Ground); 2] = [&mica, &fuse_overlayfs];
        for (first, second) in [(0, 1), (1, 0)] {
            // All is made through the mount: fuse-overlayfs 1.10 lists nothing where one object has no record.
            mounts[first](&ground);
            let mut command = Command::new("sh");
            let done = run(command.args(["-ec", work]).current_dir(ground.at("m")));
            assert_eq!(done, ok());
            let shown = listed(&ground.at("m"));
            umount(&ground);
            mounts[second](&ground);
            assert_eq!(shown, listed(&ground.at("m")), "{options} {first} {second}");
            umount(&ground);
            // What fuse-overlayfs 1.10 records of a chmod and of a new file is not what was asked for.
            if first == 0 {
                let expected = "made 1234:5678 4711 f\nold 7:8 601 f\nopen 0:0 777 d\nopen/mine 1000:1005 640 f\n";
                assert_eq!(shown, expected, "{options}");
            }
            // Nothing was given away.
            let real = fs::metadata(ground.at("u/made")).unwrap();
            assert_eq!((real.uid(), real.mode() & 0o7000), (0, 0));
            fs::remove_dir_all(ground.at("u/open")).unwrap();
            fs::remove_file(ground.at("u/made")).unwrap();
            fs::remove_file(ground.at("u/old")).unwrap();
        }
    }
}
