//! OVL-8, OVL-100 to OVL-106: copies of metadata, whose data lies below.

use mica_overlay::{Config, Metacopies};
use mica_testkit::{Detail, Fault, Medium, Mounted, Stack, Walk, assert_same};
use mica_vfs::{Errno, FallocateMode, Filesystem as _, KillPriv, Time};

const METACOPY: &str = "trusted.overlay.metacopy";
const TIME: Time = Time { secs: 99, nanos: 7 };

fn on() -> Config {
    Config {
        metacopies: Metacopies::On,
        ..Config::default()
    }
}

fn stack(upper: &str, lower: &str) -> Stack {
    Stack::new().upper(upper).lower(lower).config(on())
}

/// Whether the upper has `path`, and whether that is a metacopy.
fn in_upper(mounted: &Mounted, path: &str) -> Option<bool> {
    let upper = mounted.walk_upper();
    upper
        .exists(path)
        .then(|| upper.getxattr(path, METACOPY).is_ok())
}

type Operate = fn(Walk<'_>) -> Result<(), Errno>;

/// Changes of metadata.
const CHANGES: [(&str, Operate); 6] = [
    ("chmod", |w| w.chmod("d/f", 0o751)),
    ("chown", |w| w.chown("d/f", 8, 9)),
    ("utimens", |w| w.utimens("d/f", TIME, TIME)),
    ("setxattr", |w| w.setxattr("d/f", "user.new", b"v")),
    ("removexattr", |w| w.removexattr("d/f", "user.k")),
    ("chmod of an empty file", |w| w.chmod("d/empty", 0o600)),
];

const LOWER: &str = "d/f='0123456789'@4640~3:4!77[user.k=v] d/empty='' n='two' n2=>n";

#[test]
fn ovl_104_a_change_of_metadata_copies_no_data() {
    for (what, change) in CHANGES {
        for medium in Medium::all() {
            let mut mounted = stack("", LOWER).mount(medium);
            let before = mounted.walk().stat("d/f").unwrap();
            change(mounted.walk()).unwrap();
            assert_eq!(mounted.overlay().stats().copied_bytes, 0, "{what}");
            assert_eq!(mounted.overlay().stats().copy_ups, 2, "{what}");
            let path = if what.contains("empty") {
                "d/empty"
            } else {
                "d/f"
            };
            assert_eq!(in_upper(&mounted, path), Some(true), "{what}");
            for _ in 0..2 {
                let walk = mounted.walk();
                assert_eq!(walk.read_text("d/f").as_deref(), Ok("0123456789"));
                let after = walk.stat("d/f").unwrap();
                assert_eq!((after.ino, after.size), (before.ino, 10), "{what}");
                assert_eq!(after.blocks, before.blocks, "{what}");
                mounted.assert_shows_layers();
                mounted.remount();
            }
            mounted.finish();
        }
    }
}

#[test]
fn ovl_104_without_the_option_the_data_is_copied() {
    for (_, change) in CHANGES {
        let mounted = stack("", LOWER).config(Config::default());
        let mounted = mounted.mount(Medium::Memory);
        change(mounted.walk()).unwrap();
        assert_ne!(in_upper(&mounted, "d/f"), Some(true));
        mounted.finish();
    }
}

#[test]
fn ovl_106_the_first_change_of_data_copies_it_and_ends_the_metacopy() {
    let allocate: Operate = |w| {
        let held = w.hold("d/f")?;
        w.fs().fallocate(held.node(), FallocateMode::empty(), 0, 20)
    };
    let cases: [(&str, Operate, &str); 5] = [
        ("write", |w| w.write_at("d/f", 2, b"ab"), "01ab456789"),
        ("truncate", |w| w.truncate("d/f", 3), "012"),
        ("truncate to nothing", |w| w.truncate("d/f", 0), ""),
        ("extend", |w| w.truncate("d/f", 12), "0123456789\0\0"),
        ("allocate", allocate, "0123456789\0\0\0\0\0\0\0\0\0\0"),
    ];
    for (what, change, content) in cases {
        for medium in Medium::all() {
            let mut mounted = stack("", LOWER).mount(medium);
            mounted.walk().chmod("d/f", 0o751).unwrap();
            let ino = mounted.walk().stat("d/f").unwrap().ino;
            change(mounted.walk()).unwrap();
            assert_eq!(in_upper(&mounted, "d/f"), Some(false), "{what}");
            assert_eq!(mounted.overlay().stats().copy_ups, 2, "{what}");
            for _ in 0..2 {
                let walk = mounted.walk();
                assert_eq!(walk.read_text("d/f").as_deref(), Ok(content), "{what}");
                assert_eq!(walk.stat("d/f").unwrap().ino, ino, "{what}");
                assert_eq!(walk.getxattr("d/f", "user.k").as_deref(), Ok(&b"v"[..]));
                mounted.assert_shows_layers();
                mounted.remount();
            }
            mounted.finish();
        }
    }
}

#[test]
fn ovl_106_a_file_is_cut_when_it_is_whole() {
    for size in [0, 3, 20] {
        let mut mounted = stack("", LOWER).mount(Medium::Memory);
        mounted.walk().chmod("d/f", 0o751).unwrap();
        let faults = mounted.with_faults();
        mounted.remount_with(on());
        faults.reset();
        mounted.walk().truncate("d/f", size).unwrap();
        assert_eq!(mounted.overlay().stats().copied_bytes, 10);
        let steps = faults.steps();
        let at = |name: &str| steps.iter().rposition(|step| step.starts_with(name));
        assert!(at("remove_xattr") < at("set_attr"), "{steps:?}");
        mounted.finish();
    }
}

#[test]
fn ovl_106_times_mode_and_capability_stay_when_the_data_comes() {
    let capability = b"\x01\0\0\x02\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    for medium in Medium::all() {
        let mounted = stack("", LOWER).mount(medium);
        let walk = mounted.walk();
        walk.chmod("d/f", 0o4751).unwrap();
        walk.setxattr("d/f", "security.capability", capability)
            .unwrap();
        walk.utimens("d/f", TIME, TIME).unwrap();
        let before = mounted.dump(Detail::MTIME | Detail::ATIME);
        // An empty write changes nothing, but it is a change of data.
        let held = walk.hold("d/f").unwrap();
        walk.fs()
            .write(held.node(), 0, b"", KillPriv::Keep)
            .unwrap();
        assert_eq!(in_upper(&mounted, "d/f"), Some(false));
        let after = mounted.dump(Detail::MTIME | Detail::ATIME);
        assert_same(&before, &after, "before and after the data came");
        drop(held);
        mounted.finish();
    }
}

#[test]
fn ovl_106_a_late_copy_that_fails_leaves_the_metacopy_as_it_was() {
    let detail = Detail::NLINK | Detail::MTIME;
    let changes: [Operate; 2] = [|w| w.write_at("d/f", 0, b"ab"), |w| w.truncate("d/f", 4)];
    for medium in Medium::all() {
        for change in changes {
            let mut mounted = stack("", LOWER).mount(medium);
            mounted.walk().chmod("d/f", 0o4751).unwrap();
            let faults = mounted.with_faults();
            change(mounted.walk()).unwrap();
            let steps = faults.changes();
            mounted.finish();
            for nth in 1..=steps {
                let mut mounted = stack("", LOWER).mount(medium);
                mounted.walk().chmod("d/f", 0o4751).unwrap();
                let blocks = mounted.walk_upper().stat("d/f").unwrap().blocks;
                let before = mounted.dump(detail);
                let faults = mounted.with_faults();
                faults.arm(nth, Fault::Fail(Errno::NOSPC));
                if change(mounted.walk()) == Ok(()) {
                    mounted.finish();
                    continue;
                }
                let what = format!("ENOSPC at step {nth} over {medium:?}");
                assert_same(&before, &mounted.dump(detail), &what);
                if in_upper(&mounted, "d/f") == Some(true) {
                    let left = mounted.walk_upper().stat("d/f").unwrap().blocks;
                    assert_eq!(left, blocks, "{what}: the space is not free again");
                }
                mounted.remount();
                assert_same(&before, &mounted.dump(detail), &what);
                change(mounted.walk()).unwrap();
                mounted.finish();
            }
        }
    }
}

#[test]
fn ovl_106_two_writers_of_one_metacopy_copy_its_data_once() {
    let lower = format!("f='{}'", "x".repeat(100_000));
    for medium in Medium::all() {
        let mounted = stack("", &lower).mount(medium);
        let walk = mounted.walk();
        walk.chmod("f", 0o600).unwrap();
        let held = walk.hold("f").unwrap();
        let overlay = &**mounted.overlay();
        std::thread::scope(|scope| {
            for at in 0..8 {
                let node = held.node();
                scope.spawn(move || {
                    overlay.write(node, at * 10, b"ab", KillPriv::Keep).unwrap();
                    let mut data = [0; 2];
                    overlay.read(node, at * 10, &mut data).unwrap();
                    assert_eq!(&data, b"ab", "a write was lost");
                });
            }
        });
        assert_eq!(overlay.stats().copied_bytes, 100_000);
        let mut expected = vec![b'x'; 100_000];
        (0..8).for_each(|at| expected[at * 10..at * 10 + 2].copy_from_slice(b"ab"));
        assert!(walk.read("f").unwrap() == expected);
        drop(held);
        mounted.finish();
    }
}

/// A file that is nothing but metadata, with a size.
fn metacopy(path: &str, size: u32, redirect: Option<&str>) -> String {
    let redirect = redirect.map_or(String::new(), |to| {
        format!(",trusted.overlay.redirect={to}")
    });
    format!("{path}=hole({size})[{METACOPY}={redirect}] ")
}

#[track_caller]
fn reads(stack: &Stack, expected: &[(&str, Result<&str, Errno>)]) {
    for medium in Medium::all() {
        let mounted = stack.mount(medium);
        for &(path, content) in expected {
            let found = mounted.walk().read_text(path);
            assert_eq!(
                found.as_deref(),
                content.as_ref().copied(),
                "{path} over {medium:?}"
            );
            if content == Err(Errno::IO) || content == Err(Errno::PERM) {
                let found = mounted.walk().stat(path).map(drop);
                assert_eq!(found, content.map(drop), "stat {path}");
            }
        }
        mounted.finish();
    }
}

#[test]
fn ovl_100_the_topmost_metacopy_has_the_metadata_and_the_first_whole_file_the_data() {
    let stack = Stack::new()
        .config(on())
        .upper(format!("d/a=hole(4)@0700[{METACOPY}=] {}", metacopy("e", 4, None)).as_str())
        .lower(format!("d/a=hole(4)@0711[{METACOPY}=] d/b=hole(4)@0640[{METACOPY}=]").as_str())
        .lower("x='0'")
        .lower("d/a='data'@0644 d/b='beta'@0644 e='elem'")
        .lower("d/a='deep' d/b='deep' e='deep'");
    reads(
        &stack,
        &[("d/a", Ok("data")), ("d/b", Ok("beta")), ("e", Ok("elem"))],
    );
    let mounted = stack.mount(Medium::Memory);
    assert_eq!(mounted.walk().stat("d/a").unwrap().mode.bits(), 0o700);
    assert_eq!(mounted.walk().stat("d/b").unwrap().mode.bits(), 0o640);
    mounted.assert_shows_layers();
    mounted.finish();
}

#[test]
fn ovl_100_a_relative_redirect_is_another_name_below() {
    let stack = Stack::new()
        .config(on())
        .upper(metacopy("d/new", 4, Some("old")).as_str())
        .lower(metacopy("d/old", 4, Some("older")).as_str())
        .lower("d/old='nope' d/new='nope' d/older='data'");
    reads(&stack, &[("d/new", Ok("data")), ("d/old", Ok("data"))]);
}

#[test]
fn ovl_100_a_metacopy_without_data_is_an_error() {
    let all = ["none", "dir", "hidden", "gone", "fifo"];
    let upper: String = all.map(|path| metacopy(path, 4, None)).concat();
    let stack = Stack::new()
        .config(on())
        .upper(upper.as_str())
        .lower("dir/ hidden:whiteout gone:xwhiteout fifo:fifo")
        .lower("dir='data' hidden='data' gone='data' fifo='data'");
    reads(&stack, &all.map(|path| (path, Err(Errno::IO))));
}

#[test]
fn ovl_8_a_metacopy_is_refused_where_it_was_not_asked_for() {
    let stack = Stack::new()
        .upper(metacopy("u", 4, None).as_str())
        .lower(metacopy("l", 4, None).as_str())
        .lower("u='data' l='data'");
    reads(&stack, &[("u", Err(Errno::PERM)), ("l", Err(Errno::PERM))]);
}

#[test]
fn ovl_101_readers_see_as_much_as_the_metadata_say() {
    let lower: String = [metacopy("short", 3, None), metacopy("long", 8, None)].concat();
    let stack = Stack::new()
        .config(on())
        .upper("")
        .lower(lower.as_str())
        .lower("short='data' long='data'");
    for medium in Medium::all() {
        let mounted = stack.mount(medium);
        let walk = mounted.walk();
        assert_eq!(walk.read_text("short").as_deref(), Ok("dat"));
        assert_eq!(walk.stat("short").unwrap().size, 3);
        assert_eq!(walk.stat("long").unwrap().size, 8);
        let held = walk.hold("short").unwrap();
        let seek = |from| walk.fs().seek(held.node(), from);
        assert_eq!(seek(mica_vfs::SeekFrom::Hole(0)), Ok(3));
        assert_eq!(seek(mica_vfs::SeekFrom::Data(3)), Err(Errno::NXIO));
        drop(held);
        // A copy is what was seen, filled with zeros.
        walk.write_at("short", 0, b"D").unwrap();
        walk.write_at("long", 0, b"D").unwrap();
        assert_eq!(walk.read_text("short").as_deref(), Ok("Dat"));
        assert_eq!(walk.read_text("long").as_deref(), Ok("Data\0\0\0\0"));
        mounted.finish();
    }
}

/// The lower of a stack with data-only layers, and the layers.
fn with_data(config: Config, lowers: &[&str]) -> Stack {
    let stack = Stack::new().upper("").config(config);
    let stack = lowers
        .iter()
        .fold(stack, |stack, &lower| stack.lower(lower));
    stack
        .data("b1='blob1' both='both1' dir/ sub->deep deep/x='deep1'")
        .data("b2='blob2' both='both2' sub/x='deep2'")
}

fn to_data() -> String {
    let named = ["b1", "b2", "both", "dir", "none"]
        .map(|name| metacopy(name, 5, Some(&format!("/{name}"))));
    let deep = metacopy("deep", 5, Some("/sub/x"));
    let near = metacopy("near", 5, Some("b1")) + &metacopy("here", 5, None);
    named.concat() + &deep + &near
}

#[test]
fn ovl_102_data_only_layers_are_asked_in_order_by_absolute_redirects_alone() {
    let lower = to_data();
    let found = [
        ("b1", Ok("blob1")),
        ("b2", Ok("blob2")),
        ("both", Ok("both1")),
        ("deep", Ok("deep2")),
        ("dir", Err(Errno::NOENT)),
        ("none", Err(Errno::NOENT)),
    ];
    let refused = |errno| [("near", Err(errno)), ("here", Err(errno))];
    reads(&with_data(on(), &[&lower]), &found);
    reads(&with_data(on(), &[&lower]), &refused(Errno::IO));
    // To read them is what they were given for (OVL-103).
    reads(&with_data(Config::default(), &[&lower]), &found);
    reads(
        &with_data(Config::default(), &[&lower]),
        &refused(Errno::PERM),
    );
    // But not from a layer that has another one below it.
    let from_above = with_data(Config::default(), &[&lower, "x='x'"]);
    reads(&from_above, &[("b1", Err(Errno::PERM))]);
    let mounted = with_data(on(), &[&lower]).mount(Medium::Memory);
    assert!(
        !mounted.walk().exists("sub"),
        "a data-only layer shows its names"
    );
    assert_eq!(mounted.walk().ls("").unwrap().len(), 8);
    mounted.finish();
}

#[test]
fn ovl_102_blocks_are_guessed_until_the_data_is_looked_for() {
    let lower = metacopy("b1", 5000, Some("/b1"));
    for medium in Medium::all() {
        let mounted = with_data(on(), &[&lower]).mount(medium);
        let walk = mounted.walk();
        let held = walk.hold("b1").unwrap();
        let guessed = walk.stat("b1").unwrap();
        let unit = u64::from(guessed.blksize);
        assert_eq!(guessed.blocks, 5000_u64.next_multiple_of(unit) / 512);
        walk.read("b1").unwrap();
        let data = u64::from(walk.stat("b1").unwrap().blocks < guessed.blocks);
        assert_eq!(data, u64::from(unit < 5000), "over {medium:?}");
        drop(held);
        mounted.finish();
    }
}

#[test]
fn ovl_103_a_file_of_a_data_only_layer_is_changed_as_any_other() {
    let lower = to_data();
    for config in [on(), Config::default()] {
        for medium in Medium::all() {
            let mut mounted = with_data(config.clone(), &[&lower]).mount(medium);
            let walk = mounted.walk();
            walk.chmod("b1", 0o600).unwrap();
            walk.write_at("b2", 0, b"B").unwrap();
            let is_on = config.metacopies == Metacopies::On;
            assert_eq!(in_upper(&mounted, "b1"), Some(is_on));
            assert_eq!(in_upper(&mounted, "b2"), Some(false));
            mounted.remount();
            let walk = mounted.walk();
            assert_eq!(walk.read_text("b1").as_deref(), Ok("blob1"));
            assert_eq!(walk.stat("b1").unwrap().mode.bits(), 0o600);
            assert_eq!(walk.read_text("b2").as_deref(), Ok("Blob2"));
            walk.write_at("b1", 0, b"B").unwrap();
            assert_eq!(walk.read_text("b1").as_deref(), Ok("Blob1"));
            mounted.finish();
        }
    }
}

#[test]
fn ovl_105_a_renamed_or_linked_metacopy_finds_its_data_by_a_redirect() {
    let lower = "a='a' b='b' c='c' e='e' h='h' h2=>h d/x='x' d/y='y' k/";
    for medium in Medium::all() {
        let mut mounted = stack("", lower).mount(medium);
        let walk = mounted.walk();
        walk.rename("a", "a2").unwrap();
        walk.rename("b", "k/b").unwrap();
        walk.link("c", "k/c").unwrap();
        walk.rename("h", "h3").unwrap();
        walk.rename("d", "d2").unwrap();
        walk.rename("d2/x", "d2/x2").unwrap();
        walk.rename("d2/y", "y").unwrap();
        walk.rename_with("e", "k/b", mica_vfs::RenameFlags::EXCHANGE)
            .unwrap();
        assert_eq!(mounted.overlay().stats().copied_bytes, 0);
        let upper = mounted.walk_upper();
        for (path, redirect) in [
            ("a2", "a"),
            ("e", "/b"),
            ("k/b", "/e"),
            ("c", "/c"),
            ("k/c", "/c"),
            ("h3", "/h"),
            ("d2/x2", "x"),
            ("y", "/d/y"),
        ] {
            let found = upper.getxattr(path, "trusted.overlay.redirect");
            assert_eq!(found.as_deref(), Ok(redirect.as_bytes()), "{path}");
        }
        for _ in 0..2 {
            let walk = mounted.walk();
            let content = [
                ("a2", "a"),
                ("e", "b"),
                ("k/b", "e"),
                ("c", "c"),
                ("k/c", "c"),
                ("h3", "h"),
                ("h2", "h"),
                ("d2/x2", "x"),
                ("y", "y"),
            ];
            for (path, data) in content {
                assert_eq!(
                    walk.read_text(path).as_deref(),
                    Ok(data),
                    "{path} over {medium:?}"
                );
            }
            for path in ["a", "b", "h", "d", "d2/x", "d2/y"] {
                assert!(!walk.exists(path), "{path}");
            }
            mounted.remount();
        }
        // A relative redirect becomes a path when the file leaves the directory.
        mounted.walk().rename("a2", "k/a3").unwrap();
        mounted.walk().rename("k/a3", "k/a4").unwrap();
        mounted.remount();
        assert_eq!(mounted.walk().read_text("k/a4").as_deref(), Ok("a"));
        let found = mounted
            .walk_upper()
            .getxattr("k/a4", "trusted.overlay.redirect");
        assert_eq!(found.as_deref(), Ok(&b"/a"[..]));
        // The data comes to all names, and what leads to it stays behind.
        mounted.walk().write_at("k/c", 0, b"C").unwrap();
        assert_eq!(in_upper(&mounted, "c"), Some(false));
        mounted.remount();
        assert_eq!(mounted.walk().read_text("c").as_deref(), Ok("C"));
        mounted.finish();
    }
}

#[test]
fn ovl_105_a_path_that_is_too_long_for_a_redirect_is_no_reason_to_refuse_a_rename() {
    let long = "n".repeat(200);
    let lower = format!("{long}/{long}/f='data' {long}/{long}/g='data'");
    for medium in Medium::all() {
        let mut mounted = stack("", &lower).mount(medium);
        mounted
            .walk()
            .chmod(&format!("{long}/{long}/f"), 0o600)
            .unwrap();
        mounted
            .walk()
            .rename(&format!("{long}/{long}/f"), "f")
            .unwrap();
        mounted
            .walk()
            .link(&format!("{long}/{long}/g"), "g")
            .unwrap();
        assert_eq!(
            (in_upper(&mounted, "f"), in_upper(&mounted, "g")),
            (Some(false), Some(false))
        );
        mounted.remount();
        assert_eq!(mounted.walk().read_text("f").as_deref(), Ok("data"));
        assert_eq!(mounted.walk().read_text("g").as_deref(), Ok("data"));
        mounted.finish();
    }
}

#[test]
fn ovl_106_the_data_is_on_disk_before_the_mark_goes() {
    use mica_overlay::Durability::{Auto, Strict, Volatile};
    let write: Operate = |w| w.write_at("d/f", 0, b"ab");
    let cut: Operate = |w| w.truncate("d/f", 0);
    let chmod: Operate = |w| w.chmod("d/empty", 0o600);
    let mark = "remove_xattr";
    for (durability, operate, expected) in [
        (Auto, write, &["fsync", mark][..]),
        (Strict, write, &["fsync", mark]),
        (Volatile, write, &[mark]),
        (Auto, cut, &["fsync", mark]),
        (Strict, cut, &["fsync", mark]),
        (Auto, chmod, &["rename"]),
        (Strict, chmod, &["fsync", "rename"]),
    ] {
        for medium in Medium::all() {
            let mut mounted = stack("", LOWER).mount(medium);
            mounted.walk().chmod("d/f", 0o600).unwrap();
            let faults = mounted.with_faults();
            mounted.remount_with(Config { durability, ..on() });
            faults.reset();
            operate(mounted.walk()).unwrap();
            let steps = faults.steps();
            let known = |step: &String| {
                let names = ["fsync", "rename", mark];
                names.into_iter().find(|known| step.starts_with(known))
            };
            let found: Vec<_> = steps.iter().filter_map(known).collect();
            assert_eq!(found, expected, "{durability:?} over {medium:?}");
            mounted.finish();
        }
    }
}

#[test]
fn ovl_102_an_upper_metacopy_finds_its_data_by_way_of_a_lower_one() {
    let lower = to_data();
    let upper = metacopy("direct", 5, Some("/b1")) + &metacopy("moved", 5, Some("/b2"));
    let stack = with_data(on(), &[&lower]).upper(upper.as_str());
    // `b2` is a metacopy of the lower; so is `b1`, so both are found.
    reads(&stack, &[("direct", Ok("blob1")), ("moved", Ok("blob2"))]);
    let stack = with_data(on(), &["x='x'"]).upper(upper.as_str());
    reads(
        &stack,
        &[("direct", Err(Errno::IO)), ("moved", Err(Errno::IO))],
    );
}

#[test]
fn ovl_40_the_marks_of_a_metacopy_are_not_seen() {
    let mounted = stack("", LOWER).mount(Medium::Memory);
    let walk = mounted.walk();
    walk.chmod("d/f", 0o600).unwrap();
    walk.rename("d/f", "d/g").unwrap();
    assert_eq!(walk.listxattr("d/g").unwrap(), ["user.k"]);
    mounted.finish();
}

#[test]
fn ovl_105_a_metacopy_is_replaced_as_any_other_file() {
    for medium in Medium::all() {
        let lower = LOWER.replace("n2=>n", "n2=''");
        let mounted = stack("u='upper'", &lower).mount(medium);
        let walk = mounted.walk();
        walk.chmod("d/f", 0o600).unwrap();
        walk.chmod("n", 0o600).unwrap();
        walk.rename("u", "d/f").unwrap();
        assert_eq!(walk.read_text("d/f").as_deref(), Ok("upper"));
        walk.rename("n", "d/f").unwrap();
        assert_eq!(walk.read_text("d/f").as_deref(), Ok("two"));
        assert_eq!(walk.rename("d", "n2"), Err(Errno::NOTDIR));
        mounted.assert_shows_layers();
        mounted.finish();
    }
}

#[test]
fn ovl_106_metadata_data_and_names_of_one_file_change_at_the_same_time() {
    let lower = format!("f='{}' k/", "x".repeat(100_000));
    for medium in Medium::all() {
        for _ in 0..10 {
            let mut mounted = stack("k/", &lower).mount(medium);
            let held = mounted.walk().hold("f").unwrap();
            let overlay = &**mounted.overlay();
            let walk = Walk::new(overlay);
            std::thread::scope(|scope| {
                for at in 0..8 {
                    let node = held.node();
                    scope.spawn(move || overlay.write(node, at * 10, b"ab", KillPriv::Keep));
                    scope.spawn(move || {
                        let change = mica_vfs::SetAttr {
                            mode: Some(mica_vfs::Mode::new(0o600)),
                            ..mica_vfs::SetAttr::default()
                        };
                        overlay.set_attr(node, &change)
                    });
                }
                scope.spawn(move || {
                    walk.rename("f", "k/g").unwrap();
                    walk.link("k/g", "h").unwrap();
                });
                scope.spawn(move || walk.link("k", "no").unwrap_err());
            });
            assert_eq!(overlay.stats().copy_ups, 1);
            drop(held);
            let mut expected = vec![b'x'; 100_000];
            (0..8).for_each(|at| expected[at * 10..at * 10 + 2].copy_from_slice(b"ab"));
            for _ in 0..2 {
                let walk = mounted.walk();
                assert!(walk.read("k/g").unwrap() == expected, "over {medium:?}");
                assert!(walk.read("h").unwrap() == expected, "over {medium:?}");
                assert_eq!(walk.stat("h").unwrap().mode.bits(), 0o600);
                assert!(!walk.exists("f"));
                mounted.remount();
            }
            mounted.finish();
        }
    }
}
