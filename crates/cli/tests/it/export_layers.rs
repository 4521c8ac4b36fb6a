//! `mica export` and `mica import`: a layer is what the upper is, whoever unpacks it.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    FileExt as _, MetadataExt as _, PermissionsExt as _, chown, lchown, symlink,
};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use mica_testkit::{Detail, dump_host};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};

use crate::ground::{Ground, has_program, is_root, ok, run};
use crate::layers::sh;

/// An access ACL that lets user 33 do all.
fn acl() -> Vec<u8> {
    let entries = [
        (1_u16, 7_u16, u32::MAX),
        (2, 7, 33),
        (4, 5, u32::MAX),
        (16, 7, u32::MAX),
        (32, 5, u32::MAX),
    ];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

fn set(path: &Path, name: &str, value: &[u8]) {
    setxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// Fills a directory with what is not hard to archive but easy to forget.
pub(crate) fn furnish(dir: &Path) {
    let at = |path: &str| dir.join(path);
    fs::create_dir_all(at("etc/empty")).unwrap();
    fs::write(at("etc/motd"), "hello\n").unwrap();
    fs::hard_link(at("etc/motd"), at("etc/motd2")).unwrap();
    chown(at("etc/motd"), Some(5), Some(70_000_000)).unwrap();
    fs::set_permissions(at("etc/motd"), Permissions::from_mode(0o6751)).unwrap();
    set(&at("etc/motd"), "user.a=b%", b"\0\n=");
    set(&at("etc/motd"), "user.a%b", b"v");
    set(&at("etc/motd"), "user.empty", b"");
    set(&at("etc/motd"), "trusted.t", b"t");
    symlink("/etc/motd", at("link")).unwrap();
    lchown(at("link"), Some(1), Some(2)).unwrap();
    let long = "n".repeat(240);
    fs::create_dir_all(at(&long).join(&long)).unwrap();
    fs::write(at(&long).join(&long).join(&long), "deep").unwrap();
    symlink(long.repeat(3), at("longlink")).unwrap();
    let raw = dir.join(OsStr::from_bytes(b"raw\xff"));
    fs::write(raw, "raw").unwrap();
    let fifo = mknodat(
        CWD,
        at("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    );
    fifo.unwrap();
    for (name, kind, dev) in [
        ("null", FileType::CharacterDevice, makedev(1, 3)),
        ("disk", FileType::BlockDevice, makedev(259, 70_000)),
    ] {
        mknodat(CWD, at(name), kind, Mode::from_raw_mode(0o600), dev).unwrap();
    }
    let sparse = File::create(at("sparse")).unwrap();
    for offset in [1 << 20, 7 << 20, 40 << 20] {
        sparse.write_all_at(b"data", offset).unwrap();
    }
    sparse.set_len(64 << 20).unwrap();
    File::create(at("hole"))
        .unwrap()
        .set_len(5_000_001)
        .unwrap();
    fs::create_dir(at("acl")).unwrap();
    set(&at("acl"), "system.posix_acl_default", &acl());
    fs::write(at("acl/without"), "x").unwrap();
    rustix::fs::removexattr(at("acl/without"), "system.posix_acl_access").unwrap();
    fs::set_permissions(at("acl/without"), Permissions::from_mode(0o600)).unwrap();
    fs::write(at("acl/with"), "x").unwrap();
    let capability = [1_u32 | 0x0200_0000, 1 << 13, 0, 0, 0].map(u32::to_le_bytes);
    set(&at("acl/with"), "security.capability", &capability.concat());
    fs::set_permissions(at("acl"), Permissions::from_mode(0o1555)).unwrap();
    for (name, before) in [("etc/motd", 5), ("etc", -1_000_000_000), ("", 77)] {
        touch(&at(name), before);
    }
}

/// Sets a time that has nanoseconds, `seconds` before or after 1970.
fn touch(path: &Path, seconds: i64) {
    let nanos = Duration::new(seconds.unsigned_abs(), 123_456_789);
    let time = if seconds < 0 {
        SystemTime::UNIX_EPOCH - nanos
    } else {
        SystemTime::UNIX_EPOCH + nanos
    };
    let times = FileTimes::new().set_modified(time);
    File::open(path).unwrap().set_times(times).unwrap();
}

/// Makes what only an upper has.
fn mark(dir: &Path) {
    let at = |path: &str| dir.join(path);
    fs::create_dir(at("opaque")).unwrap();
    fs::write(at("opaque/new"), "new").unwrap();
    set(&at("opaque"), "trusted.overlay.opaque", b"y");
    for name in ["gone", "etc/gone-too"] {
        let mode = Mode::empty();
        mknodat(CWD, at(name), FileType::CharacterDevice, mode, 0).unwrap();
    }
    fs::create_dir(at("xattr")).unwrap();
    set(&at("xattr"), "trusted.overlay.opaque", b"x");
    fs::write(at("xattr/gone"), "").unwrap();
    set(&at("xattr/gone"), "trusted.overlay.whiteout", b"");
    set(
        &at("etc/motd"),
        "trusted.overlay.origin",
        b"\0\xfb\x1d\0\0junk",
    );
    set(&at("etc"), "trusted.overlay.impure", b"y");
    touch(&at("etc"), 5);
}

/// What the marks above are about.
fn below(dir: &Path) {
    let at = |path: &str| dir.join(path);
    for path in ["opaque/old", "etc/gone-too", "gone/f", "xattr/gone", "kept"] {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), "below").unwrap();
    }
}

#[test]
fn a_layer_comes_back_as_it_was_and_has_the_same_bytes_each_time() {
    if !is_root("a_layer_comes_back_as_it_was_and_has_the_same_bytes_each_time") {
        return;
    }
    let ground = Ground::new();
    furnish(&ground.at("u"));
    mark(&ground.at("u"));
    // An archive has one way to say it.
    fs::remove_file(ground.at("u/xattr/gone")).unwrap();
    let mode = Mode::empty();
    let gone = ground.at("u/xattr/gone");
    mknodat(CWD, &gone, FileType::CharacterDevice, mode, 0).unwrap();
    rustix::fs::removexattr(ground.at("u/xattr"), "trusted.overlay.opaque").unwrap();
    let _socket = UnixListener::bind(ground.at("u/socket")).unwrap();
    touch(&ground.at("u"), 77);
    for output in ["one.tar", "two.tar", "one.tar.zst", "one.tgz"] {
        let outcome = ground.run(&["export", "u", "-o", output]);
        assert_eq!(outcome.stderr, "note: `/socket`: a socket is left out\n");
        assert_eq!(outcome.status, Some(0));
    }
    let archive = fs::read(ground.at("one.tar")).unwrap();
    assert_eq!(archive, fs::read(ground.at("two.tar")).unwrap());
    for packed in ["one.tar.zst", "one.tgz"] {
        assert!(fs::metadata(ground.at(packed)).unwrap().len() < 4000);
    }
    for mark in ["overlay", "junk"] {
        let found = archive.windows(mark.len()).any(|at| at == mark.as_bytes());
        assert!(!found, "{mark}");
    }
    rustix::fs::removexattr(ground.at("u/etc/motd"), "trusted.overlay.origin").unwrap();
    rustix::fs::removexattr(ground.at("u/etc"), "trusted.overlay.impure").unwrap();
    fs::remove_file(ground.at("u/socket")).unwrap();
    let expected = dump_host(&ground.at("u"), Detail::LINKS).to_string();
    for (nth, packed) in ["one.tar", "one.tar.zst", "one.tgz"]
        .into_iter()
        .enumerate()
    {
        let new = format!("new{nth}");
        let outcome = ground.run(&["import", packed, &new, "--devices"]);
        assert_eq!(
            (outcome.status, &*outcome.stderr),
            (Some(0), ""),
            "{outcome:?}"
        );
        let imported = dump_host(&ground.at(&new), Detail::LINKS).to_string();
        assert_eq!(imported, expected);
        let again = ground.run(&["export", &new, "-o", "again.tar"]);
        assert_eq!(again, ok());
        // With all times.
        assert!(
            archive == fs::read(ground.at("again.tar")).unwrap(),
            "{packed}"
        );
        let blocks = fs::metadata(ground.at(&new).join("sparse"))
            .unwrap()
            .blocks();
        assert!(blocks < 1000, "{blocks}");
    }
}

#[test]
fn gnu_tar_unpacks_a_layer_to_the_same_tree() {
    if !is_root("gnu_tar_unpacks_a_layer_to_the_same_tree") {
        return;
    }
    let ground = Ground::new();
    furnish(&ground.at("u"));
    assert_eq!(ground.run(&["export", "u", "-o", "layer.tar"]), ok());
    let mut tar = Command::new("tar");
    tar.args([
        "-C",
        "m",
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
    ]);
    let unpacked = run(ground.here(tar.args(["-xpf", "layer.tar"])));
    assert_eq!(unpacked.status, Some(0), "{unpacked:?}");
    let detail = Detail::LINKS | Detail::MTIME;
    assert_eq!(
        dump_host(&ground.at("m"), detail).to_string(),
        dump_host(&ground.at("u"), detail).to_string()
    );
    let blocks = fs::metadata(ground.at("m/sparse")).unwrap().blocks();
    assert!(blocks < 1000, "{blocks}");
}

#[test]
fn umoci_unpacks_layers_to_what_the_kernel_shows_of_them() {
    let test = "umoci_unpacks_layers_to_what_the_kernel_shows_of_them";
    if !is_root(test) || !has_program(test, "umoci") {
        return;
    }
    let ground = Ground::new();
    below(&ground.at("l"));
    furnish(&ground.at("u"));
    mark(&ground.at("u"));
    // Go's library for archives cannot read the name of the one, and takes the other for none.
    for name in ["user.a=b%", "user.empty"] {
        rustix::fs::removexattr(ground.at("u/etc/motd"), name).unwrap();
    }
    assert_eq!(ground.run(&["export", "l", "-o", "l.tar"]), ok());
    assert_eq!(ground.run(&["export", "u", "-o", "u.tar"]), ok());
    let script = "mount -t overlay overlay -o ro,lowerdir=u:l m; umoci init --layout i; umoci new --image i:t; \
                  for l in l u; do umoci raw add-layer --image i:t $l.tar; done; umoci unpack --image i:t b";
    let unpacked = sh(&ground, script);
    assert_eq!(unpacked.status, Some(0), "{unpacked:?}");
    let detail = Detail::LINKS | Detail::MTIME;
    assert_eq!(
        dump_host(&ground.at("b/rootfs"), detail).to_string(),
        dump_host(&ground.at("m"), detail).to_string()
    );
    assert!(!ground.at("m/gone").exists() && !ground.at("m/opaque/old").exists());
}
