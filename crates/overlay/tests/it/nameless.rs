//! OVL-60 to OVL-64: what lost its last name, or never had one, while somebody knows it.

use mica_overlay::Config;
use mica_testkit::{Detail, Fault, Held, Medium, Mounted, Stack, Walk};
use mica_vfs::{
    Errno, FallocateMode, FileType, Filesystem, KillPriv, Mode, NodeId, RenameFlags, SeekFrom,
    SetAttr, SyncScope, XattrMode, XattrName,
};

/// How many the upper keeps by itself: all of these tests, or none.
const BUDGETS: [usize; 2] = [64, 0];

const UPPER: &str = "u='0123456789' v='0123456789' over='new' p:fifo l->t copied='0123456789' \
                     again='0123456789' ud/";
const LOWER: &str =
    "low='0123456789' copied='lower' again='lower' over2='new' removed='0123456789'";

fn stack(budget: usize) -> Stack {
    Stack::new().upper(UPPER).lower(LOWER).config(Config {
        nameless_max: budget,
        ..Config::default()
    })
}

/// Mounts over each medium with each budget.
fn on_each(operate: impl Fn(&mut Mounted, usize)) {
    for (medium, budget) in Medium::all().flat_map(|m| BUDGETS.map(|budget| (m, budget))) {
        let mut mounted = stack(budget).mount(medium);
        operate(&mut mounted, budget);
        mounted.finish();
    }
}

/// The names in the work directory but those of whiteouts.
fn in_work(mounted: &Mounted) -> usize {
    let work = mounted.walk_work();
    let names = work.ls("work").unwrap();
    let files = names.iter().filter(|name| {
        let attr = work.stat(&format!("work/{name}")).unwrap();
        attr.kind != FileType::CharDevice
    });
    files.count()
}

/// The ways of a regular file with the content `0123456789` to have no name, each with the reference that is left.
type Way = for<'a> fn(Walk<'a>) -> Result<Held<'a>, Errno>;

const WAYS: [(&str, Way); 6] = [
    ("an upper file is unlinked", |w| {
        let held = w.hold("u")?;
        w.unlink("u").map(|()| held)
    }),
    ("a copied file is unlinked", |w| {
        let held = w.hold("copied")?;
        w.unlink("copied").map(|()| held)
    }),
    ("an upper file is replaced", |w| {
        let held = w.hold("v")?;
        w.rename("over", "v").map(|()| held)
    }),
    ("a copied file is replaced by what leaves a whiteout", |w| {
        let held = w.hold("again")?;
        w.rename("over2", "again").map(|()| held)
    }),
    ("a lower file is unlinked", |w| {
        let held = w.hold("removed")?;
        w.unlink("removed").map(|()| held)
    }),
    ("a file is born without a name", |w| {
        let held = w.tmpfile("", 0o600)?;
        Ok(held)
    }),
];

/// Does everything to a file that its node alone allows.
fn use_fully(fs: &dyn Filesystem, node: NodeId) {
    let mut data = [0; 32];
    assert_eq!(fs.get_attr(node).unwrap().nlink, 0);
    assert_eq!(fs.write(node, 0, b"written", KillPriv::Keep), Ok(7));
    assert_eq!(fs.read(node, 0, &mut data[..7]), Ok(7));
    assert_eq!(&data[..7], b"written");
    let change = SetAttr {
        size: Some(4),
        mode: Some(Mode::new(0o4711)),
        ..SetAttr::default()
    };
    let attr = fs.set_attr(node, &change).unwrap();
    assert_eq!((attr.size, attr.nlink), (4, 0));
    let owner = SetAttr {
        uid: Some(5),
        gid: Some(6),
        ..SetAttr::default()
    };
    let attr = fs.set_attr(node, &owner).unwrap();
    assert_eq!(
        (attr.uid, attr.gid, attr.mode, attr.nlink),
        (5, 6, Mode::new(0o711), 0)
    );
    let name = XattrName::new(b"user.k").unwrap();
    fs.set_xattr(node, name, b"value", XattrMode::Set, KillPriv::Keep)
        .unwrap();
    assert_eq!(fs.get_xattr(node, name, &mut data), Ok(5));
    fs.remove_xattr(node, name).unwrap();
    fs.fallocate(node, FallocateMode::empty(), 0, 20).unwrap();
    let punch = FallocateMode::PUNCH_HOLE | FallocateMode::KEEP_SIZE;
    fs.fallocate(node, punch, 0, 2).unwrap();
    assert_eq!(fs.seek(node, SeekFrom::Hole(20)), Err(Errno::NXIO));
    assert_eq!(fs.read(node, 0, &mut data), Ok(20));
    assert_eq!(&data[..4], b"\0\0it");
    fs.fsync(node, SyncScope::All).unwrap();
    assert_eq!(fs.get_attr(node).unwrap().nlink, 0);
}

#[test]
fn ovl_60_a_file_without_a_name_can_be_used_until_it_is_forgotten() {
    on_each(|mounted, budget| {
        let (fs, walk) = (&**mounted.overlay(), mounted.walk());
        let mut held = Vec::new();
        for (what, way) in WAYS {
            let file = way(walk).unwrap_or_else(|errno| panic!("{what}: {errno}"));
            let attr = fs.get_attr(file.node()).unwrap();
            assert_eq!(attr.nlink, 0, "{what}, budget {budget}");
            if attr.size > 0 {
                let mut data = [0; 16];
                assert_eq!(fs.read(file.node(), 0, &mut data), Ok(10), "{what}");
                assert_eq!(&data[..10], b"0123456789", "{what}");
            }
            held.push(file);
        }
        let shown = mounted.dump_shown();
        held.iter().for_each(|file| use_fully(fs, file.node()));
        assert_eq!(shown.diff(&mounted.dump_shown()), None);
        // The lower file is copied under a name whoever keeps the others.
        let expected = if budget == 0 { held.len() } else { 1 };
        assert_eq!(in_work(mounted), expected, "budget {budget}");
        drop(held);
        assert_eq!(in_work(mounted), 0, "budget {budget}");
        assert_eq!(fs.stats().nodes, 1);
        mounted.assert_shows_layers();
    });
}

#[test]
fn ovl_60_what_is_no_regular_file_can_lose_its_name_too() {
    on_each(|mounted, budget| {
        let (fs, walk) = (&**mounted.overlay(), mounted.walk());
        let [pipe, link, dir] = ["p", "l", "ud"].map(|path| walk.hold(path).unwrap());
        walk.unlink("p").unwrap();
        walk.unlink("l").unwrap();
        walk.rmdir("ud").unwrap();
        assert_eq!(fs.read_link(link.node()).as_deref(), Ok(&b"t"[..]));
        for held in [&pipe, &link, &dir] {
            assert_eq!(fs.get_attr(held.node()).unwrap().nlink, 0);
        }
        let owner = SetAttr {
            uid: Some(5),
            ..SetAttr::default()
        };
        assert_eq!(fs.set_attr(pipe.node(), &owner).unwrap().uid, 5);
        assert_eq!(fs.set_attr(dir.node(), &owner).unwrap().uid, 5);
        assert_eq!(in_work(mounted), if budget == 0 { 3 } else { 0 });
        drop([pipe, link, dir]);
        assert_eq!(in_work(mounted), 0);
    });
}

#[test]
fn ovl_61_the_upper_keeps_few_by_itself() {
    for medium in Medium::all() {
        let config = Config {
            nameless_max: 8,
            ..Config::default()
        };
        let stack = Stack::new().upper("").lower("").config(config);
        let mounted = stack.mount(medium);
        let (fs, walk) = (&**mounted.overlay(), mounted.walk());
        let (mut held, mut dirs) = (Vec::new(), Vec::new());
        for n in 0..200 {
            let path = n.to_string();
            walk.write(&path, path.as_bytes()).unwrap();
            held.push(walk.hold(&path).unwrap());
            walk.unlink(&path).unwrap();
            held.push(walk.tmpfile("", 0o600).unwrap());
            walk.mkdir("dir").unwrap();
            dirs.push(walk.hold("dir").unwrap());
            walk.rmdir("dir").unwrap();
        }
        let kept = mounted.upper().unwrap().layer.fs.nameless();
        assert!(kept <= 8, "{kept} are kept by the upper");
        held.iter().for_each(|file| use_fully(fs, file.node()));
        for dir in &dirs {
            assert_eq!(fs.get_attr(dir.node()).unwrap().nlink, 0);
        }
        drop((held, dirs));
        assert_eq!(in_work(&mounted), 0);
        mounted.finish();
    }
}

#[test]
fn ovl_61_names_that_go_at_the_same_time_leave_nothing_behind() {
    for (medium, budget) in Medium::all().flat_map(|m| [0, 1].map(|budget| (m, budget))) {
        let config = Config {
            nameless_max: budget,
            ..Config::default()
        };
        let stack = Stack::new()
            .upper("d/")
            .lower("a='1' d/b='1' d/a='1' b='1'")
            .config(config);
        let mut mounted = stack.mount(medium);
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let mounted = &mounted;
                scope.spawn(move || (0..250).for_each(|step| disturb(mounted, seed, step)));
            }
        });
        assert_eq!(in_work(&mounted), 0);
        assert_eq!(mounted.overlay().stats().nodes, 1);
        assert_eq!(mounted.upper().unwrap().layer.fs.nameless(), 0);
        mounted.assert_shows_layers();
        let before = mounted.dump_shown();
        mounted.remount();
        assert_eq!(before.diff(&mounted.dump_shown()), None);
        mounted.finish();
    }
}

/// Takes a name away, or gives one, that others are at, too. What was held stays usable whoever came first.
fn disturb(mounted: &Mounted, seed: usize, step: usize) {
    const NAMES: [&str; 4] = ["a", "b", "d/a", "d/b"];
    let (fs, walk) = (&**mounted.overlay(), mounted.walk());
    let mixed = (seed * 1000 + step).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let (path, other) = (NAMES[mixed % 4], NAMES[mixed / 4 % 4]);
    let held = walk.hold(path);
    let done = match mixed / 16 % 5 {
        0 => walk.unlink(path),
        1 => walk.rename(path, other),
        2 => walk.link(path, other),
        3 => walk.create(path, 0o600),
        _ => walk
            .tmpfile("d", 0o600)
            .and_then(|file| walk.link_held(&file, path)),
    };
    let lost = [Errno::NOENT, Errno::EXIST, Errno::STALE];
    assert!(
        done.is_ok() || done.is_err_and(|errno| lost.contains(&errno)),
        "{path}, {other}: {done:?}"
    );
    if let Ok(held) = held {
        fs.write(held.node(), 0, b"x", KillPriv::Keep).unwrap();
        let mut data = [0];
        assert_eq!(fs.read(held.node(), 0, &mut data), Ok(1));
        fs.get_attr(held.node()).unwrap();
    }
}

#[test]
fn ovl_61_one_of_several_names_is_no_last_one() {
    on_each(|mounted, _| {
        let (fs, walk) = (&**mounted.overlay(), mounted.walk());
        walk.link("u", "second").unwrap();
        let held = walk.hold("u").unwrap();
        walk.unlink("u").unwrap();
        assert_eq!(fs.get_attr(held.node()).unwrap().nlink, 1);
        assert_eq!(walk.stat("second").unwrap().nlink, 1);
        assert_eq!(walk.hold("second").unwrap().node(), held.node());
        walk.link("second", "third").unwrap();
        assert_eq!(walk.stat("third").unwrap().nlink, 2);
        for path in ["second", "third"] {
            walk.unlink(path).unwrap();
        }
        use_fully(fs, held.node());
        drop(held);
        assert_eq!(in_work(mounted), 0);
    });
}

#[test]
fn ovl_61_an_end_of_the_mount_empties_the_work_directory() {
    on_each(|mounted, budget| {
        for (_, way) in WAYS {
            // As a front that is cut off leaves its references.
            std::mem::forget(way(mounted.walk()).unwrap());
        }
        assert_eq!(in_work(mounted), if budget == 0 { 5 } else { 0 });
        mounted.overlay().clear_work();
        assert_eq!(
            mounted.walk_work().ls("work").unwrap(),
            Vec::<String>::new()
        );
        if budget == 0 {
            assert_eq!(mounted.upper().unwrap().layer.fs.nameless(), 0);
        }
    });
}

#[test]
fn ovl_61_a_crash_leaves_them_to_the_next_mount() {
    on_each(|mounted, _| {
        let faults = mounted.with_faults();
        let shown = {
            let held: Vec<_> = WAYS.map(|(_, way)| way(mounted.walk()).unwrap()).into();
            let shown = mounted.dump(Detail::NLINK);
            faults.arm(1, Fault::Stop);
            drop(held);
            shown
        };
        mounted.unmount();
        faults.heal();
        mounted.remount();
        assert_eq!(
            mounted.walk_work().ls("work").unwrap(),
            Vec::<String>::new()
        );
        assert_eq!(shown.diff(&mounted.dump(Detail::NLINK)), None);
    });
}

/// The changes of the upper by which a file comes to have no name.
fn steps_of(medium: Medium, budget: usize, way: Way) -> Vec<String> {
    let mut mounted = stack(budget).mount(medium);
    let faults = mounted.with_faults();
    let held = way(mounted.walk()).unwrap();
    let steps = faults.steps();
    drop(held);
    mounted.finish();
    steps
}

/// Lets the `nth` change fail, which the way must survive. Returns how many names are in the work directory then.
fn survive(
    medium: Medium,
    budget: usize,
    (what, way): (&str, Way),
    nth: usize,
    errno: Errno,
) -> usize {
    let mut mounted = stack(budget).mount(medium);
    let faults = mounted.with_faults();
    faults.arm(nth, Fault::Fail(errno));
    let held = way(mounted.walk());
    let held = held.unwrap_or_else(|errno| panic!("{what}: {errno}, {:?}", faults.steps()));
    assert!(faults.struck(), "{what}");
    faults.heal();
    let names = in_work(&mounted);
    use_fully(&**mounted.overlay(), held.node());
    drop(held);
    assert_eq!(in_work(&mounted), 0, "{what}: {:?}", faults.steps());
    mounted.finish();
    names
}

#[test]
fn ovl_62_an_upper_without_descriptors_leaves_them_to_the_work_directory() {
    for medium in Medium::all() {
        for way in WAYS.into_iter().take(4) {
            // The last change is the one that takes the name away.
            let nth = steps_of(medium, 64, way.1).len();
            assert_eq!(survive(medium, 64, way, nth, Errno::MFILE), 1, "{}", way.0);
        }
    }
}

#[test]
fn ovl_62_a_work_directory_that_cannot_take_them_leaves_them_to_the_upper() {
    for medium in Medium::all() {
        for way in WAYS {
            let steps = steps_of(medium, 0, way.1);
            let parks = |step: &String| {
                step.starts_with("link #") || step.contains("-> #") || step.contains("EXCHANGE")
            };
            let Some(at) = steps.iter().rposition(parks) else {
                assert_eq!(way.0, "a lower file is unlinked");
                continue;
            };
            let exchange = steps[at].contains("EXCHANGE");
            let names = survive(medium, 0, way, at + 1, Errno::XDEV);
            // Without an exchange a link does it, too.
            assert_eq!(names, usize::from(exchange), "{}: {steps:?}", way.0);
        }
    }
}

#[test]
fn ovl_63_a_file_that_was_born_without_a_name_gets_one() {
    for (medium, budget) in Medium::all().flat_map(|m| BUDGETS.map(|budget| (m, budget))) {
        let config = Config {
            nameless_max: budget,
            ..Config::default()
        };
        let stack = Stack::new()
            .upper("w:whiteout d/")
            .lower("w='1' d/x='1'")
            .config(config);
        let mut mounted = stack.mount(medium);
        for first in ["f", "w", "d/f"] {
            let (fs, walk) = (&**mounted.overlay(), mounted.walk());
            let held = walk.tmpfile("d", 0o640).unwrap();
            assert_eq!(held.attr().nlink, 0);
            fs.write(held.node(), 0, b"born", KillPriv::Keep).unwrap();
            assert_eq!(walk.link_held(&held, "d/x"), Err(Errno::EXIST));
            assert_eq!(fs.get_attr(held.node()).unwrap().nlink, 0);
            walk.link_held(&held, first).unwrap();
            assert_eq!(fs.get_attr(held.node()).unwrap().nlink, 1);
            assert_eq!(walk.hold(first).unwrap().node(), held.node());
            assert_eq!(in_work(&mounted), 0);
            walk.link_held(&held, "second").unwrap();
            assert_eq!(walk.stat(first).unwrap().nlink, 2);
            walk.unlink("second").unwrap();
            drop(held);
            assert_eq!(walk.read_text(first).as_deref(), Ok("born"));
            assert_eq!(walk.stat(first).unwrap().nlink, 1);
        }
        let before = mounted.dump_shown();
        mounted.assert_shows_layers();
        mounted.remount();
        assert_eq!(before.diff(&mounted.dump_shown()), None);
        mounted.finish();
    }
}

#[test]
fn ovl_63_a_file_that_lost_its_last_name_gets_none_again() {
    on_each(|mounted, budget| {
        let walk = mounted.walk();
        for (what, way) in WAYS.into_iter().take(5) {
            let held = way(walk).unwrap();
            let linked = walk.link_held(&held, "back");
            assert_eq!(linked, Err(Errno::NOENT), "{what}, budget {budget}");
            use_fully(&**mounted.overlay(), held.node());
        }
        assert_eq!(in_work(mounted), 0);
    });
}

#[test]
fn ovl_64_a_removed_lower_file_is_copied_up_without_a_name() {
    on_each(|mounted, _| {
        let (fs, walk) = (&**mounted.overlay(), mounted.walk());
        let held = walk.hold("low").unwrap();
        walk.unlink("low").unwrap();
        walk.create("low", 0o600).unwrap();
        fs.write(held.node(), 10, b"more", KillPriv::Keep).unwrap();
        let mut data = [0; 32];
        assert_eq!(fs.read(held.node(), 0, &mut data), Ok(14));
        assert_eq!(&data[..14], b"0123456789more");
        assert_eq!(walk.stat("low").unwrap().size, 0);
        assert_eq!(fs.get_attr(held.node()).unwrap().nlink, 0);
        assert_eq!(mounted.upper().unwrap().layer.fs.nameless(), 0);
        assert_eq!(in_work(mounted), 1);
        drop(held);
        assert_eq!(in_work(mounted), 0);
    });
}

#[test]
fn ovl_62_an_exchange_takes_no_name_away() {
    on_each(|mounted, _| {
        let (fs, walk) = (&**mounted.overlay(), mounted.walk());
        let held = ["u", "copied"].map(|path| walk.hold(path).unwrap());
        walk.rename_with("u", "copied", RenameFlags::EXCHANGE)
            .unwrap();
        for file in &held {
            assert_eq!(fs.get_attr(file.node()).unwrap().nlink, 1);
        }
        assert_eq!(in_work(mounted), 0);
    });
}
