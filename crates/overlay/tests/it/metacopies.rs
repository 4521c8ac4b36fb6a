//! OVL-8, OVL-100 to OVL-106: copies of metadata, whose data lies below.

mod finding;
mod kernel;
mod late_data;
mod moving;

use mica_overlay::{Config, Metacopies};
use mica_testkit::{Medium, Mounted, Stack, Walk};
use mica_vfs::{Errno, Time};

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

/// A file that is nothing but metadata, with a size.
fn metacopy(path: &str, size: u32, redirect: Option<&str>) -> String {
    let redirect = redirect.map_or(String::new(), |to| {
        format!(",trusted.overlay.redirect={to}")
    });
    format!("{path}=hole({size})[{METACOPY}={redirect}] ")
}

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
fn ovl_40_the_marks_of_a_metacopy_are_not_seen() {
    let mounted = stack("", LOWER).mount(Medium::Memory);
    let walk = mounted.walk();
    walk.chmod("d/f", 0o600).unwrap();
    walk.rename("d/f", "d/g").unwrap();
    assert_eq!(walk.listxattr("d/g").unwrap(), ["user.k"]);
    mounted.finish();
}
