//! How objects are born: atomically, with their caller's ids and umask.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::process::Command;

use mica_vfs::{Caller, Errno, FileType, Filesystem, KillPriv, Mode, NodeId, Rdev};

use crate::ground::{Ground, is_root, list, me, name, skip};

const MODE: Mode = Mode::new(0o666);

#[test]
fn a_created_file_is_open_for_both_and_its_mode_is_masked() {
    let ground = Ground::new();
    let caller = Caller {
        umask: 0o027,
        ..me()
    };
    let born = ground
        .fs
        .create(&caller, NodeId::ROOT, name("f"), MODE)
        .unwrap();
    assert_eq!(born.attr.mode, Mode::new(0o640));
    assert_eq!(ground.fs.write(born.node, 0, b"abc", KillPriv::Keep), Ok(3));
    assert_eq!(ground.read(born.node).unwrap(), b"abc");
    assert_eq!(std::fs::read(ground.path("f")).unwrap(), b"abc");
    let again = ground.fs.create(&caller, NodeId::ROOT, name("f"), MODE);
    assert_eq!(again.err(), Some(Errno::EXIST));
}

#[test]
fn directories_symlinks_fifos_and_sockets_are_made() {
    let ground = Ground::new();
    let (fs, root) = (&ground.fs, NodeId::ROOT);
    let dir = fs.mkdir(&me(), root, name("d"), Mode::new(0o1777)).unwrap();
    assert_eq!(
        (dir.attr.kind, dir.attr.mode),
        (FileType::Directory, Mode::new(0o1755))
    );
    let link = fs.symlink(&me(), root, name("l"), b"/no/such\xff").unwrap();
    assert_eq!(fs.read_link(link.node).unwrap(), b"/no/such\xff");
    for (kind, file) in [
        (FileType::Fifo, "p"),
        (FileType::Socket, "s"),
        (FileType::Regular, "r"),
    ] {
        let made = fs
            .mknod(&me(), root, name(file), kind, MODE, Rdev::default())
            .unwrap();
        assert_eq!((made.attr.kind, made.attr.mode), (kind, Mode::new(0o644)));
    }
    assert!(
        std::fs::metadata(ground.path("p"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    for kind in [FileType::Directory, FileType::Symlink] {
        let refused = fs.mknod(&me(), root, name("x"), kind, MODE, Rdev::default());
        assert_eq!(refused.err(), Some(Errno::INVAL));
    }
    assert_eq!(
        fs.mkdir(&me(), root, name("p"), MODE).err(),
        Some(Errno::EXIST)
    );
    assert_eq!(list(fs, root), ["d", "l", "p", "r", "s"]);
}

#[test]
fn whiteouts_and_other_devices_are_made() {
    if !is_root() {
        return skip("whiteouts_and_other_devices_are_made", "it needs CAP_MKNOD");
    }
    let ground = Ground::new();
    for (file, rdev) in [("w", Rdev::WHITEOUT), ("n", Rdev { major: 1, minor: 3 })] {
        let kind = FileType::CharDevice;
        let made = ground
            .fs
            .mknod(&me(), NodeId::ROOT, name(file), kind, MODE, rdev)
            .unwrap();
        assert_eq!((made.attr.kind, made.attr.rdev), (kind, rdev));
        assert_eq!(
            ground.fs.read(made.node, 0, &mut [0]),
            Err(Errno::INVAL),
            "never opened"
        );
    }
}

#[test]
fn a_birth_as_somebody_else_is_theirs() {
    if !is_root() {
        return skip("a_birth_as_somebody_else_is_theirs", "it needs root");
    }
    let ground = Ground::new();
    let (fs, root) = (&ground.fs, NodeId::ROOT);
    let caller = Caller {
        uid: 1234,
        gid: 4321,
        umask: 0o077,
    };
    let born = [
        fs.create(&caller, root, name("f"), MODE),
        fs.mkdir(&caller, root, name("d"), Mode::new(0o777)),
        fs.mknod(
            &caller,
            root,
            name("p"),
            FileType::Fifo,
            MODE,
            Rdev::default(),
        ),
        fs.symlink(&caller, root, name("l"), b"t"),
        fs.tmpfile(&caller, root, MODE),
    ];
    for entry in born {
        let attr = entry.unwrap().attr;
        assert_eq!((attr.uid, attr.gid), (1234, 4321), "{:?}", attr.kind);
        let group_and_others = attr.kind != FileType::Symlink && attr.mode.bits() & 0o77 != 0;
        assert!(!group_and_others, "{attr:?}");
    }
    // The directory belongs to root and may not be written to by others: the mounter's capabilities decided.
    let mode = std::fs::metadata(ground.path("")).unwrap().mode();
    assert_eq!(mode & 0o022, 0);
    let mine = fs.create(&me(), root, name("mine"), MODE).unwrap().attr;
    assert_eq!((mine.uid, mine.gid), (me().uid, me().gid));
}

#[test]
fn a_setgid_directory_gives_its_group() {
    if !is_root() {
        return skip("a_setgid_directory_gives_its_group", "it needs root");
    }
    let ground = Ground::new();
    let dir = ground.mkdir("d");
    std::os::unix::fs::chown(ground.path("d"), None, Some(77)).unwrap();
    std::fs::set_permissions(ground.path("d"), PermissionsExt::from_mode(0o2777)).unwrap();
    let caller = Caller {
        uid: 1234,
        gid: 4321,
        umask: 0o022,
    };
    let file = ground
        .fs
        .create(&caller, dir, name("f"), MODE)
        .unwrap()
        .attr;
    assert_eq!(
        (file.uid, file.gid, file.mode),
        (1234, 77, Mode::new(0o644))
    );
    let sub = ground
        .fs
        .mkdir(&caller, dir, name("s"), Mode::new(0o777))
        .unwrap()
        .attr;
    assert_eq!((sub.uid, sub.gid, sub.mode), (1234, 77, Mode::new(0o2755)));
}

#[test]
fn a_default_acl_takes_the_place_of_the_umask() {
    const TEST: &str = "a_default_acl_takes_the_place_of_the_umask";
    let ground = Ground::new();
    let dir = ground.mkdir("d");
    let set = Command::new("setfacl")
        .args(["-d", "-m", "u::rwx,g::rwx,o::rx,u:99:rwx"])
        .arg(ground.path("d"))
        .status();
    if !set.is_ok_and(|status| status.success()) {
        return skip(TEST, "it needs setfacl and a filesystem with ACLs");
    }
    let caller = Caller {
        umask: 0o077,
        ..me()
    };
    let file = ground.fs.create(&caller, dir, name("f"), MODE).unwrap();
    assert_eq!(file.attr.mode, Mode::new(0o664), "mode and ACL, no umask");
    let acl = crate::ground::xattr_name("system.posix_acl_access");
    assert!(ground.fs.get_xattr(file.node, acl, &mut []).unwrap() > 0);
    let sub = ground
        .fs
        .mkdir(&caller, dir, name("s"), Mode::new(0o777))
        .unwrap();
    assert_eq!(sub.attr.mode, Mode::new(0o775));
    let inherited = crate::ground::xattr_name("system.posix_acl_default");
    assert!(ground.fs.get_xattr(sub.node, inherited, &mut []).unwrap() > 0);
}

#[test]
fn a_birth_in_what_is_no_directory_fails() {
    let ground = Ground::new();
    let file = ground.file("f", b"");
    let made = ground.fs.create(&me(), file, name("x"), MODE);
    assert_eq!(made.err(), Some(Errno::NOTDIR));
    assert_eq!(ground.fs.lookup(file, name("x")).err(), Some(Errno::NOTDIR));
}
