//! OVL-50 to OVL-54: the life of a stack.

use std::sync::Arc;

use mica_overlay::{Config, Layer, Overlay, SetupError};
use mica_testkit::{Medium, Stack, Walk, check};
use mica_vfs::{Errno, FileType, Filesystem, KillPriv, Rdev, SyncScope};

#[test]
fn ovl_50_leftovers_in_the_work_directory_are_removed() {
    for medium in Medium::all() {
        let mut mounted = Stack::new().upper("").lower("a='1'").mount(medium);
        mounted.unmount();
        let work = mounted.walk_work();
        work.mkdir("work/#12").unwrap();
        work.mkdir("work/#12/deep").unwrap();
        work.write("work/#12/deep/file", b"left").unwrap();
        work.write("work/#13", b"left").unwrap();
        // The kernel leaves the whiteout that it links to whenever it unmounts.
        let (kind, rdev) = (FileType::CharDevice, Rdev::WHITEOUT);
        work.mknod("work/#14", kind, 0, rdev).unwrap();
        mounted.remount();
        assert_eq!(mounted.overlay().recovered(), 2);
        assert_eq!(
            mounted.walk_work().ls("work").unwrap(),
            Vec::<String>::new()
        );
        mounted.remount();
        assert_eq!(mounted.overlay().recovered(), 0);
        mounted.finish();
    }
}

#[test]
fn ovl_50_a_mount_leaves_an_empty_work_directory() {
    for medium in Medium::all() {
        let mut mounted = Stack::new().upper("").lower("a='1' b='1'").mount(medium);
        mounted.walk().unlink("a").unwrap();
        mounted.walk().write("b", b"2").unwrap();
        mounted.unmount();
        assert_eq!(
            mounted.walk_work().ls("work").unwrap(),
            Vec::<String>::new()
        );
        mounted.finish();
    }
}

#[test]
fn ovl_50_nothing_is_inherited_from_the_work_directory() {
    for medium in Medium::all() {
        let mut mounted = Stack::new()
            .upper("w:whiteout wd:whiteout")
            .lower("a='1'@0644 w='1' wd/x='1' d/")
            .mount(medium);
        mounted.unmount();
        // u::rwx, u:777:rwx, g::rwx, m::rwx, o::r-x
        let acl = [
            2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 9, 3, 0, 0, 4, 0, 7, 0, 255,
            255, 255, 255, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255, 255,
        ];
        let work = mounted.walk_work();
        work.remove_all("work").unwrap();
        work.chown("", 0, 1234).unwrap();
        work.chmod("", 0o2775).unwrap();
        work.setxattr("", "system.posix_acl_default", &acl).unwrap();
        mounted.remount();
        let walk = mounted.walk();
        walk.chmod("a", 0o640).unwrap();
        walk.chmod("d", 0o750).unwrap();
        walk.create("w", 0o640).unwrap();
        walk.mkdir_mode("wd", 0o750).unwrap();
        for path in ["a", "d", "w", "wd"] {
            let attr = walk.stat(path).unwrap();
            let mode = if path.starts_with('d') || path == "wd" {
                0o750
            } else {
                0o640
            };
            assert_eq!(
                (attr.gid, attr.mode.bits()),
                (0, mode),
                "{path} over {medium:?}"
            );
            assert_eq!(
                walk.listxattr(path).unwrap(),
                Vec::<String>::new(),
                "{path}"
            );
        }
        mounted.finish();
    }
}

#[test]
fn ovl_51_an_incompatible_work_directory_is_refused() {
    for medium in Medium::all() {
        let mut mounted = Stack::new().upper("").lower("a='1'").mount(medium);
        mounted.unmount();
        mounted.walk_work().mkdir("work/incompat").unwrap();
        mounted.walk_work().mkdir("work/incompat/volatile").unwrap();
        let upper = mounted.upper().cloned();
        let refused = Overlay::new(upper, mounted.lowers().to_vec(), Config::default());
        let feature = "volatile".to_owned();
        assert_eq!(refused.err(), Some(SetupError::Incompatible { feature }));
        assert!(mounted.walk_work().exists("work/incompat/volatile"));
        mounted.finish();
    }
}

#[test]
fn ovl_52_without_an_upper_every_change_is_erofs() {
    let stack = Stack::new().lower("a='1' d/").lower("b='2'");
    let rofs = Err::<(), _>(Errno::ROFS);
    check(&stack, |w| w.write_at("a", 0, b"x"), rofs);
    check(&stack, |w| w.create("new", 0o600), rofs);
    check(&stack, |w| w.mkdir("new"), rofs);
    check(&stack, |w| w.unlink("a"), rofs);
    check(&stack, |w| w.rmdir("d"), rofs);
    check(&stack, |w| w.rename("a", "c"), rofs);
    check(&stack, |w| w.link("a", "c"), rofs);
    check(&stack, |w| w.chmod("b", 0o600), rofs);
    check(&stack, |w| w.setxattr("a", "user.k", b"v"), rofs);
    check(&stack, |w| w.unlink("none"), Err::<(), _>(Errno::NOENT));
}

#[test]
fn ovl_53_sync_reaches_the_upper_and_needs_nothing_of_a_lower() {
    for medium in Medium::all() {
        let mounted = Stack::new()
            .upper("d/u='u'")
            .lower("d/a='1' l/")
            .mount(medium);
        let (fs, walk) = (mounted.overlay(), mounted.walk());
        for path in ["d/u", "d/a", "d", "l", ""] {
            let held = walk.hold(path).unwrap();
            for scope in [SyncScope::Data, SyncScope::All] {
                assert_eq!(fs.fsync(held.node(), scope), Ok(()), "{path}");
            }
        }
        mounted.finish();
    }
}

#[test]
fn ovl_54_reading_leaves_the_lowers_times() {
    // `check` dumps every lower before and after, times and all.
    let stack = Stack::new().upper("").lower("a='1'!1000 d/!1000 l->t");
    let read = |w: Walk<'_>| {
        (
            w.read_text("a"),
            w.ls("d").map(|names| names.len()),
            w.readlink("l"),
        )
    };
    check(
        &stack,
        read,
        (Ok("1".to_owned()), Ok(0), Ok("t".to_owned())),
    );
}

#[test]
fn a_stack_without_lowers_and_one_with_too_many_are_refused() {
    let refused = Overlay::new(None, Vec::new(), Config::default()).err();
    assert_eq!(refused, Some(SetupError::NoLower));
    let mounted = Stack::new().lower("a='1'").mount(Medium::Memory);
    let lowers = vec![mounted.lowers()[0].clone(); 501];
    let refused = Overlay::new(None, lowers, Config::default()).err();
    assert_eq!(
        refused,
        Some(SetupError::TooManyLayers {
            count: 501,
            max: 500
        })
    );
    mounted.finish();
}

#[test]
fn an_overlay_is_a_layer_of_another() {
    let inner = Stack::new()
        .upper("")
        .lower("d/a='1' b='1'")
        .mount(Medium::Memory);
    inner.walk().write("d/new", b"inner").unwrap();
    let fs: Arc<dyn Filesystem> = Arc::<Overlay>::clone(inner.overlay());
    let lower = Layer {
        fs,
        root: mica_vfs::NodeId::ROOT,
        label: "inner".to_owned(),
    };
    let outer = Stack::new().upper("").lower("").mount(Medium::Memory);
    let stacked = Overlay::new(outer.upper().cloned(), vec![lower], Config::default()).unwrap();
    let walk = Walk::new(&stacked);
    assert_eq!(walk.ls("d").unwrap(), ["a", "new"]);
    let held = walk.hold("d/new").unwrap();
    stacked
        .write(held.node(), 0, b"outer", KillPriv::Keep)
        .unwrap();
    drop(held);
    walk.unlink("b").unwrap();
    assert_eq!(walk.ls("").unwrap(), ["d"]);
    assert_eq!(inner.walk().read_text("d/new").as_deref(), Ok("inner"));
    assert!(inner.walk().exists("b"));
    drop(stacked);
    outer.finish();
    inner.finish();
}

#[test]
fn nodes_end_when_nobody_refers_to_them() {
    for medium in Medium::all() {
        let mounted = Stack::new()
            .upper("")
            .lower("d/e/f='1' g='1'")
            .mount(medium);
        let walk = mounted.walk();
        let f = walk.hold("d/e/f").unwrap();
        walk.write("d/e/f", b"2").unwrap();
        walk.rename("d/e/f", "moved").unwrap();
        walk.unlink("g").unwrap();
        assert!(mounted.overlay().stats().nodes > 1);
        drop(f);
        walk.unlink("moved").unwrap();
        assert_eq!(mounted.overlay().stats().nodes, 1);
        mounted.finish();
    }
}
