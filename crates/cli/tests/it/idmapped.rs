//! Idmapped mounts of a mount of ours: mount_setattr(2) with `MOUNT_ATTR_IDMAP`, Linux 6.12 for FUSE.

use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mica_sys::idmap::set_idmap;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::ground::{Ground, can_mount, has_program, ok, skipped};

/// A user namespace in which `0..1000` are `10000..11000` outside: as the mapping of a mount, what is stored as 5 is
/// shown as 10005.
struct UserNamespace {
    keeper: Child,
}

impl UserNamespace {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["-U", "sh", "-c", "echo ready; read end"]);
        let mut keeper = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = keeper.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        for map in ["uid_map", "gid_map"] {
            let path = format!("/proc/{}/{map}", keeper.id());
            fs::write(path, "0 10000 1000").unwrap();
        }
        Self { keeper }
    }

    fn open(&self) -> File {
        File::open(format!("/proc/{}/ns/user", self.keeper.id())).unwrap()
    }
}

impl Drop for UserNamespace {
    fn drop(&mut self) {
        // Its `read` ends with the pipe.
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
    }
}

/// Clones the mount at `from` as an idmapped one at `to`.
fn idmap(from: &Path, to: &Path) -> Result<(), Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let clone: OwnedFd = open_tree(CWD, from, flags)?;
    set_idmap(clone.as_fd(), UserNamespace::new().open().as_fd())?;
    move_mount(
        &clone,
        c"",
        CWD,
        to,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

/// Mounts at `m`, and idmapped at `i`. `None`, and said so, where the kernel cannot.
fn idmapped(test: &str, more: &str) -> Option<Ground> {
    if !can_mount(test) || !has_program(test, "setpriv") {
        return None;
    }
    let ground = Ground::new();
    for path in [ground.root(), &ground.at("u")] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir(ground.at("i")).unwrap();
    fs::create_dir(ground.at("l/open")).unwrap();
    fs::set_permissions(ground.at("l/open"), Permissions::from_mode(0o777)).unwrap();
    for (name, id) in [("roots", 0), ("fives", 5), ("foreign", 5000)] {
        let path = ground.at("l").join(name);
        fs::write(&path, name).unwrap();
        chown(&path, Some(id), Some(id)).unwrap();
    }
    symlink("t", ground.at("l/link")).unwrap();
    lchown(ground.at("l/link"), Some(7), Some(7)).unwrap();
    let options = format!("lowerdir=l,upperdir=u,workdir=w,{more}");
    assert_eq!(ground.run(&["mount", "-o", &options, "m"]), ok());
    match idmap(&ground.at("m"), &ground.at("i")) {
        Err(Errno::INVAL) => {
            skipped(test, "the kernel does not idmap FUSE mounts (Linux 6.12)");
            None
        }
        done => {
            done.unwrap();
            Some(ground)
        }
    }
}

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.uid(), found.gid())
}

#[test]
fn ovl_78_an_idmapped_mount_shows_and_stores_mapped_owners() {
    let test = "ovl_78_an_idmapped_mount_shows_and_stores_mapped_owners";
    let Some(ground) = idmapped(test, "rw") else {
        return;
    };
    let (shown, stored) = (
        |n: &str| owner(&ground.at("i").join(n)),
        |n: &str| owner(&ground.at("u").join(n)),
    );
    assert_eq!(shown("roots"), (10_000, 10_000));
    assert_eq!(shown("fives"), (10_005, 10_005));
    assert_eq!(shown("link"), (10_007, 10_007));
    assert_eq!(shown("foreign"), (65_534, 65_534), "no mapping");
    assert_eq!(
        owner(&ground.at("m/fives")),
        (5, 5),
        "the other mount is as it was"
    );

    // Everything that makes an object.
    let script = "set -e; umask 022; touch open/f; mkdir open/d; ln -s t open/l; mkfifo open/p; \
        echo more >> fives; chmod 600 fives; mv fives open/moved; ln open/f open/f2";
    fs::set_permissions(ground.at("m"), Permissions::from_mode(0o777)).unwrap();
    assert_eq!(ground.as_user(10_005, 10_005, "i", script), ok());
    for name in ["open/f", "open/d", "open/l", "open/p", "open/moved"] {
        assert_eq!(shown(name), (10_005, 10_005), "{name}");
        assert_eq!(stored(name), (5, 5), "{name}");
        assert_eq!(owner(&ground.at("m").join(name)), (5, 5), "{name}");
    }
    assert_eq!(fs::read(ground.at("u/open/moved")).unwrap(), b"fivesmore\n");

    // Who owns nothing here may do nothing here: the ids that count are the mapped ones.
    let refused = ground.as_user(5, 5, "i", "chmod 644 open/f 2>/dev/null || echo refused");
    assert_eq!(refused.stdout, "refused\n");

    // chown goes the way back.
    chown(ground.at("i/open/f"), Some(10_009), Some(10_010)).unwrap();
    assert_eq!(
        (shown("open/f"), stored("open/f")),
        ((10_009, 10_010), (9, 10))
    );
    lchown(ground.at("i/open/l"), Some(10_001), None).unwrap();
    assert_eq!(stored("open/l"), (1, 5));
    // Without a mapping there is nothing to store: the kernel says so before the server is asked.
    let overflow = chown(ground.at("i/open/f"), Some(5), None).unwrap_err();
    assert_eq!(
        overflow.raw_os_error(),
        Some(Errno::OVERFLOW.raw_os_error())
    );
    let overflow = fs::write(ground.at("i/open/new"), "").unwrap_err();
    assert_eq!(
        overflow.raw_os_error(),
        Some(Errno::OVERFLOW.raw_os_error())
    );
    assert_eq!(stored("open/f"), (9, 10));
}

#[test]
fn ovl_78_the_mapping_of_the_mount_comes_on_top_of_that_of_the_options() {
    let test = "ovl_78_the_mapping_of_the_mount_comes_on_top_of_that_of_the_options";
    // Stored 5 is 105 to the mount, and 10105 in its idmapped clone.
    let map = "uidmapping=0:100:900,gidmapping=0:200:800";
    let Some(ground) = idmapped(test, map) else {
        return;
    };
    assert_eq!(owner(&ground.at("m/fives")), (105, 205));
    assert_eq!(owner(&ground.at("i/fives")), (10_105, 10_205));
    assert_eq!(ground.as_user(10_105, 10_205, "i", "touch open/f"), ok());
    assert_eq!(owner(&ground.at("i/open/f")), (10_105, 10_205));
    assert_eq!(owner(&ground.at("u/open/f")), (5, 5));
    chown(ground.at("i/open/f"), Some(10_109), Some(10_210)).unwrap();
    assert_eq!(owner(&ground.at("u/open/f")), (9, 10));
}
