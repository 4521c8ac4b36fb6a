//! From a path to a layer, and what its filesystem can do.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use mica_host::{FdCache, HostFs, LayerAccess, OpenLayerError, open_layer};
use mica_vfs::{Errno, Filesystem, NodeId};

use crate::ground::{Ground, find, is_root, list, skip};

#[test]
fn a_refusal_names_the_path_and_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (file, missing) = (dir.path().join("f"), dir.path().join("no"));
    std::fs::write(&file, b"").unwrap();
    for access in [LayerAccess::ReadOnly, LayerAccess::ReadWrite] {
        let refused = open_layer(&missing, access).unwrap_err();
        assert_eq!(
            refused,
            OpenLayerError::NotFound {
                path: missing.clone()
            }
        );
        assert!(
            refused.to_string().contains("no` does not exist"),
            "{refused}"
        );
        let refused = open_layer(&file, access).unwrap_err();
        assert_eq!(
            refused,
            OpenLayerError::NotADirectory { path: file.clone() }
        );
    }
    let looping = dir.path().join("loop");
    symlink("loop", &looping).unwrap();
    let refused = open_layer(&looping, LayerAccess::ReadOnly).unwrap_err();
    let errno = Errno::LOOP;
    assert_eq!(
        refused,
        OpenLayerError::Failed {
            path: looping,
            errno
        }
    );
}

#[test]
fn links_in_the_users_own_path_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("real")).unwrap();
    std::fs::write(dir.path().join("real/f"), b"").unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    for access in [LayerAccess::ReadOnly, LayerAccess::ReadWrite] {
        let root = open_layer(&dir.path().join("link"), access).unwrap();
        let fs = HostFs::new(root, access, FdCache::new(8)).unwrap();
        assert_eq!(list(&fs, NodeId::ROOT), ["f"]);
    }
}

/// A tmpfs that is unmounted when dropped.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(at: &'a Path) -> Self {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "none"])
            .arg(at)
            .status();
        assert!(mounted.unwrap().success());
        Self(at)
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0).status();
        assert!(unmounted.unwrap().success());
    }
}

#[test]
fn a_read_only_layer_does_not_see_what_is_mounted_in_it_or_over_it() {
    const TEST: &str = "a_read_only_layer_does_not_see_what_is_mounted_in_it_or_over_it";
    if !is_root() {
        return skip(TEST, "it needs root");
    }
    let dir = tempfile::tempdir().unwrap();
    let (layer, sub) = (dir.path().join("layer"), dir.path().join("layer/sub"));
    std::fs::create_dir_all(&sub).unwrap();
    std::fs::write(sub.join("below"), b"").unwrap();
    let _inside = Tmpfs::mount(&sub);
    std::fs::write(sub.join("mounted"), b"").unwrap();
    let root = open_layer(&layer, LayerAccess::ReadOnly).unwrap();
    let fs = HostFs::new(root, LayerAccess::ReadOnly, FdCache::new(8)).unwrap();
    let _over = Tmpfs::mount(&layer);
    assert_eq!(list(&fs, NodeId::ROOT), ["sub"]);
    let sub = find(&fs, "sub").unwrap().node;
    assert_eq!(list(&fs, sub), ["below"]);
}

#[test]
fn the_host_itself_refuses_to_change_a_read_only_layer() {
    const TEST: &str = "the_host_itself_refuses_to_change_a_read_only_layer";
    if !is_root() {
        return skip(TEST, "it needs root");
    }
    let dir = tempfile::tempdir().unwrap();
    let root = open_layer(dir.path(), LayerAccess::ReadOnly).unwrap();
    let made = rustix::fs::mkdirat(&root, "x", rustix::fs::Mode::RWXU);
    assert_eq!(made, Err(Errno::ROFS));
    std::fs::create_dir(dir.path().join("x")).unwrap();
}

#[test]
fn a_layer_is_a_directory() {
    let file = tempfile::tempfile().unwrap();
    let refused = HostFs::new(file.into(), LayerAccess::ReadOnly, FdCache::new(8));
    assert_eq!(refused.err(), Some(Errno::NOTDIR));
}

#[test]
fn probing_leaves_nothing_behind() {
    let ground = Ground::new();
    let work = ground.mkdir("work");
    ground.empty_cache();
    let start = ground.fds.open();
    let prefix: &[u8] = if is_root() {
        b"trusted.overlay."
    } else {
        b"user.overlay."
    };
    let features = ground.fs.probe(work, prefix).unwrap();
    assert!(list(&ground.fs, work).is_empty());
    ground.empty_cache();
    assert_eq!((ground.fds.open(), ground.fs.nodes()), (start, 2));
    let kind = ground.fs.stat_fs().unwrap().kind;
    // What ext4 and tmpfs are known to have.
    if is_root() && matches!(kind, 0xef53 | 0x0102_1994) {
        assert!(
            features.d_type && features.xattr && features.tmpfile && features.whiteout,
            "{features:?}"
        );
        assert!(
            features.rename_whiteout && features.rename_exchange,
            "{features:?}"
        );
    }
    let unknown = ground.fs.probe(work, b"nonsense.").unwrap();
    assert!(!unknown.xattr);
}

#[test]
fn the_uuid_is_that_of_the_filesystem() {
    let (one, two) = (Ground::new(), Ground::new());
    assert_eq!(one.fs.uuid(), two.fs.uuid());
}
