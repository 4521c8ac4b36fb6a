//! A fault at every change of the upper, for every operation: the view is the one before or the one after, and the work
//! directory can be emptied (OVL-22 to OVL-26).

use mica_overlay::Config;
use mica_testkit::{Detail, Fault, Medium, Mounted, Stack, Walk, assert_same};
use mica_vfs::{Errno, RenameFlags, SetAttr};

const UPPER: &str = "u='u' ud/x='u' w:whiteout wd:whiteout md/ e/z:whiteout empty/ both/ c='copy'";
const LOWER: &str = "f='lower'@0640~3:4[user.k=v] d/a='1' d/b='1' w='1' wd/x='1' md/y='1' e/z='1' l->t p:fifo both/ c='1'";

type Operation = (&'static str, fn(Walk<'_>) -> Result<(), Errno>);

const OPERATIONS: [Operation; 21] = [
    ("write to a lower file", |w| w.write_at("f", 0, b"changed")),
    ("truncate a lower file", |w| w.truncate("f", 2)),
    ("chmod a lower file", |w| w.chmod("f", 0o600)),
    ("chmod deep", |w| w.chmod("d/a", 0o600)),
    ("chown a symlink", |w| w.chown("l", 1, 1)),
    ("chmod a fifo", |w| w.chmod("p", 0o600)),
    ("set an attribute", |w| w.setxattr("f", "user.n", b"v")),
    ("create", |w| w.create("d/new", 0o600)),
    ("create over a whiteout", |w| w.create("w", 0o600)),
    ("mkdir over a whiteout", |w| w.mkdir("wd")),
    ("symlink over a whiteout", |w| w.symlink("t", "w")),
    ("link a lower file", |w| w.link("f", "d/link")),
    ("link over a whiteout", |w| w.link("u", "w")),
    ("unlink a lower file", |w| w.unlink("f")),
    ("unlink an upper file", |w| w.unlink("u")),
    ("rmdir a swept directory", |w| w.rmdir("e")),
    ("rename a lower file", |w| w.rename("f", "d/f")),
    ("rename over a whiteout", |w| w.rename("f", "w")),
    ("rename a directory over a whiteout", |w| {
        w.rename("ud", "wd")
    }),
    ("rename a directory into a merged one", |w| {
        w.rename("ud", "md/ud")
    }),
    ("exchange", |w| {
        w.rename_with("u", "f", RenameFlags::EXCHANGE)
    }),
];

fn stack() -> Stack {
    Stack::new().upper(UPPER).lower(LOWER)
}

/// Operations that leave a file without a name, or give it one, while somebody knows it.
const NAMELESS: [Operation; 10] = [
    ("unlink a held upper file", |w| {
        let _held = w.hold("u")?;
        w.unlink("u")
    }),
    ("unlink a held copy", |w| {
        let _held = w.hold("c")?;
        w.unlink("c")
    }),
    ("change a removed lower file", |w| {
        let held = w.hold("f")?;
        w.unlink("f")?;
        w.write_held(&held, b"changed")
    }),
    ("replace a held upper file", |w| {
        let _held = w.hold("u")?;
        w.rename("ud/x", "u")
    }),
    ("replace a held upper file, leaving a whiteout", |w| {
        let _held = w.hold("u")?;
        w.rename("f", "u")
    }),
    ("make a file without a name", |w| {
        w.tmpfile("d", 0o600).map(drop)
    }),
    ("name a file without a name", |w| {
        let held = w.tmpfile("d", 0o600)?;
        w.link_held(&held, "d/new")
    }),
    ("name a file without a name over a whiteout", |w| {
        let held = w.tmpfile("d", 0o600)?;
        w.link_held(&held, "w")
    }),
    ("rmdir a held merged directory", |w| {
        let _held = w.hold("both")?;
        w.rmdir("both")
    }),
    ("rmdir a held directory of the upper alone", |w| {
        let _held = w.hold("empty")?;
        w.rmdir("empty")
    }),
];

/// What a program sees: everything but times, which a copy that was undone may have moved on a directory.
const VIEW: Detail = Detail::NLINK;

#[test]
fn a_fault_at_any_step_leaves_the_view_before_or_the_one_after() {
    for medium in Medium::all() {
        for operation in OPERATIONS {
            strike_each_step(medium, &stack(), operation);
        }
    }
}

#[test]
fn ovl_62_a_fault_while_a_file_loses_its_last_name_leaves_the_view_before_or_the_one_after() {
    for (medium, budget) in Medium::all().flat_map(|medium| [(medium, 64), (medium, 0)]) {
        let stack = stack().config(Config {
            nameless_max: budget,
            ..Config::default()
        });
        for operation in NAMELESS {
            strike_each_step(medium, &stack, operation);
        }
    }
}

fn strike_each_step(medium: Medium, stack: &Stack, (name, operate): Operation) {
    let (before, after, steps) = views(medium, stack, operate);
    assert!(steps > 0, "{name} changes nothing");
    for nth in 1..=steps {
        for fault in [Fault::Fail(Errno::NOSPC), Fault::Stop] {
            let what = format!("{name}, {fault:?} at step {nth} over {medium:?}");
            let mounted = stack.mount(medium);
            strike(mounted, &what, operate, (nth, fault), (&before, &after));
        }
    }
    eprintln!("{medium:?}: {name}: {steps} steps");
}

/// The views around the undisturbed operation, and how many changes of the upper it takes.
fn views(
    medium: Medium,
    stack: &Stack,
    operate: fn(Walk<'_>) -> Result<(), Errno>,
) -> (mica_testkit::Dump, mica_testkit::Dump, usize) {
    let mut mounted = stack.mount(medium);
    let faults = mounted.with_faults();
    let before = mounted.dump(VIEW);
    operate(mounted.walk()).unwrap();
    let steps = faults.changes();
    let after = mounted.dump(VIEW);
    mounted.finish();
    (before, after, steps)
}

fn strike(
    mut mounted: Mounted,
    what: &str,
    operate: fn(Walk<'_>) -> Result<(), Errno>,
    (nth, fault): (usize, Fault),
    (before, after): (&mica_testkit::Dump, &mica_testkit::Dump),
) {
    let faults = mounted.with_faults();
    faults.arm(nth, fault);
    let result = operate(mounted.walk());
    faults.heal();
    // A failure that is answered is undone at once, for who goes on without a remount.
    if matches!(fault, Fault::Fail(_)) {
        let view = mounted.dump(VIEW);
        let expected = if result.is_ok() { after } else { before };
        if view.diff(expected).is_some() {
            assert_same(after, &view, &format!("{what}: neither before nor after"));
        }
    }
    mounted.remount();
    let view = mounted.dump(VIEW);
    if view.diff(before).is_some() {
        assert_same(
            after,
            &view,
            &format!("{what}: after a remount, neither before nor after"),
        );
    }
    let left = mounted.walk_work().ls("work").unwrap();
    assert!(
        left.is_empty(),
        "{what}: left in the work directory: {left:?}"
    );
    mounted.finish();
}

#[test]
fn a_failed_copy_up_can_be_tried_again() {
    for medium in Medium::all() {
        let mut mounted = stack().mount(medium);
        let faults = mounted.with_faults();
        for nth in 1..=12 {
            faults.arm(nth, Fault::Fail(Errno::DQUOT));
            let result = mounted.walk().set_attr(
                "f",
                &SetAttr {
                    uid: Some(9),
                    ..SetAttr::default()
                },
            );
            if faults.struck() && result.is_err() {
                assert_eq!(result, Err(Errno::DQUOT));
            }
        }
        faults.heal();
        mounted.walk().write_at("f", 0, b"LOWER").unwrap();
        assert_eq!(mounted.walk().read_text("f").as_deref(), Ok("LOWER"));
        mounted.finish();
    }
}
