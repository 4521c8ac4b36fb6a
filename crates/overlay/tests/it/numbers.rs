//! OVL-30 to OVL-34: inode numbers and link counts.

use std::sync::{Arc, Mutex};

use mica_testkit::{Filesystems, Medium, Mounted, Stack};
use mica_vfs::{FallocateMode, Filesystem, Ino, KillPriv, Mode, NodeId, Observer};

fn ino(mounted: &Mounted, path: &str) -> Ino {
    mounted.walk().stat(path).unwrap().ino
}

#[test]
fn ovl_30_a_number_survives_copy_up_rename_and_remount() {
    for filesystems in [Filesystems::One, Filesystems::Several] {
        for medium in Medium::all() {
            let stack = Stack::new()
                .upper("")
                .lower("d/a='1' d/l->t d/p:fifo")
                .lower("d/b='2'");
            let mut mounted = stack.filesystems(filesystems).mount(medium);
            let paths = ["", "d", "d/a", "d/l", "d/p", "d/b"];
            let before = paths.map(|path| ino(&mounted, path));
            let walk = mounted.walk();
            for path in ["d/a", "d/b", "d/p"] {
                walk.chmod(path, 0o600).unwrap();
            }
            walk.chown("d/l", 1, 1).unwrap();
            assert_eq!(paths.map(|path| ino(&mounted, path)), before);
            mounted.remount();
            assert_eq!(
                paths.map(|path| ino(&mounted, path)),
                before,
                "{medium:?} {filesystems:?}"
            );
            mounted.walk().rename("d/a", "d/renamed").unwrap();
            assert_eq!(ino(&mounted, "d/renamed"), before[2]);
            mounted.remount();
            assert_eq!(
                ino(&mounted, "d/renamed"),
                before[2],
                "{medium:?} {filesystems:?}"
            );
            mounted.finish();
        }
    }
}

#[test]
fn ovl_30_every_object_is_on_one_device() {
    let stack = Stack::new().upper("u='u'").lower("a='1'").lower("b='2'");
    let mounted = stack
        .filesystems(Filesystems::Several)
        .mount(Medium::Memory);
    let dev = mounted.walk().stat("").unwrap().dev;
    for path in ["u", "a", "b"] {
        assert_eq!(mounted.walk().stat(path).unwrap().dev, dev);
    }
    mounted.finish();
}

#[test]
fn ovl_31_numbers_of_several_filesystems_do_not_meet() {
    let stack = Stack::new().upper("u='u'").lower("a='1'").lower("b='2'");
    let mounted = stack
        .filesystems(Filesystems::Several)
        .mount(Medium::Memory);
    let mut all = ["u", "a", "b", ""].map(|path| ino(&mounted, path)).to_vec();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 4);
    mounted.finish();
}

#[test]
fn ovl_33_a_merged_directory_has_one_link() {
    for medium in Medium::all() {
        let mounted = Stack::new()
            .upper("")
            .lower("m/x/ l/x/ l/y/")
            .lower("m/y/")
            .mount(medium);
        let nlink = |path: &str| mounted.walk().stat(path).unwrap().nlink;
        assert_eq!((nlink("m"), nlink("l")), (1, 4));
        mounted.walk().mkdir("l/z").unwrap();
        assert_eq!(nlink("l"), 1);
        mounted.walk().mkdir("new").unwrap();
        mounted.walk().mkdir("new/sub").unwrap();
        assert_eq!(nlink("new"), 3);
        mounted.finish();
    }
}

#[test]
fn ovl_34_copy_up_marks_the_parent_impure() {
    for medium in Medium::all() {
        let mounted = Stack::new().upper("").lower("d/a='1'").mount(medium);
        mounted.walk().chmod("d/a", 0o600).unwrap();
        let mark = |path: &str| {
            mounted
                .walk_upper()
                .getxattr(path, "trusted.overlay.impure")
        };
        assert_eq!(mark("d").as_deref(), Ok(&b"y"[..]));
        assert_eq!(mark("").as_deref(), Ok(&b"y"[..]));
        mounted.walk().mkdir("new").unwrap();
        mounted.walk().write("new/f", b"").unwrap();
        assert!(mark("new").is_err());
        mounted.finish();
    }
}

/// Writes down what it is told.
#[derive(Debug, Clone, Default)]
struct Notes(Arc<Mutex<Vec<(&'static str, NodeId)>>>);

impl Observer for Notes {
    fn attributes_changed(&self, node: NodeId) {
        self.0.lock().unwrap().push(("attributes", node));
    }

    fn numbers_changed(&self, dir: NodeId) {
        self.0.lock().unwrap().push(("numbers", dir));
    }
}

#[test]
fn ovl_33_an_observer_learns_what_no_call_names() {
    for medium in Medium::all() {
        let mounted = Stack::new()
            .upper("")
            .lower("d/a='1' d/b=>d/a d/c='1'")
            .mount(medium);
        let notes = Notes::default();
        mounted.overlay().observe(Box::new(notes.clone()));
        let walk = mounted.walk();
        let (d, a) = (walk.hold("d").unwrap(), walk.hold("d/a").unwrap());
        walk.chmod("d/c", 0o600).unwrap();
        let told = || std::mem::take(&mut *notes.0.lock().unwrap());
        assert_eq!(told(), [("attributes", d.node())]);
        walk.chmod("d/a", 0o600).unwrap();
        walk.chmod("d/a", 0o640).unwrap();
        assert_eq!(told(), []);
        drop((d, a));
        mounted.finish();
    }
}

#[test]
fn ovl_43_an_observer_learns_that_a_change_of_data_took_setuid() {
    for medium in Medium::all() {
        let mounted = Stack::new()
            .upper("a='1'@6755 b='1'@6755 c='1'@6755 plain='1'")
            .lower("")
            .mount(medium);
        let notes = Notes::default();
        let (fs, walk) = (mounted.overlay(), mounted.walk());
        fs.observe(Box::new(notes.clone()));
        let [a, b, c, plain] = ["a", "b", "c", "plain"].map(|path| walk.hold(path).unwrap());
        let told = || std::mem::take(&mut *notes.0.lock().unwrap());
        fs.write(a.node(), 0, b"2", KillPriv::Keep).unwrap();
        fs.write(plain.node(), 0, b"2", KillPriv::Clear).unwrap();
        assert_eq!(told(), []);
        fs.write(a.node(), 0, b"2", KillPriv::Clear).unwrap();
        fs.fallocate(b.node(), FallocateMode::empty(), 0, 10)
            .unwrap();
        fs.copy_range(plain.node(), 0, c.node(), 0, 1).unwrap();
        assert_eq!(told(), [&a, &b, &c].map(|held| ("attributes", held.node())));
        for held in [&a, &b, &c] {
            assert_eq!(fs.get_attr(held.node()).unwrap().mode, Mode::new(0o755));
        }
        drop((a, b, c, plain));
        mounted.finish();
    }
}
