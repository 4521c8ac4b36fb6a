//! OVL-68: what is malformed is an error, and only that.

use mica_overlay::{Config, Overlay, XattrNamespace};
use mica_testkit::{Medium, Stack, Walk};
use mica_vfs::{Cookie, Errno, Filesystem, Flow};

const NAMESPACES: [(XattrNamespace, &str); 2] = [
    (XattrNamespace::Trusted, "trusted.overlay."),
    (XattrNamespace::User, "user.overlay."),
];

/// Lays attribute `mark` with `value` on `path` of the top layer of `stack`, mounts it and lets `check` look at it.
fn with_mark(
    stack: &Stack,
    (mark, value): (&str, &[u8]),
    path: &str,
    check: &dyn Fn(Walk<'_>, &str),
) {
    for medium in Medium::all() {
        for (xattrs, prefix) in NAMESPACES {
            let config = Config {
                xattrs,
                ..Config::default()
            };
            let mut mounted = stack.clone().config(config).mount(medium);
            mounted.unmount();
            let name = format!("{prefix}{mark}");
            let upper = mounted.walk_upper();
            upper.setxattr(path, &name, value).unwrap();
            mounted.remount();
            let what = format!("{name}={} over {medium:?}", value.escape_ascii());
            check(mounted.walk(), &what);
            mounted.finish();
        }
    }
}

/// Lists with attributes: the names, and whether they came with an object.
fn ls_plus(walk: Walk<'_>, fs: &dyn Filesystem, path: &str) -> Vec<(String, bool)> {
    let dir = walk.hold(path).unwrap();
    let (mut names, mut nodes) = (Vec::new(), Vec::new());
    fs.read_dir_plus(dir.node(), Cookie::START, &mut |entry, found| {
        nodes.extend(found.as_ref().map(|entry| entry.node));
        names.push((entry.name.to_string(), found.is_some()));
        Flow::Continue
    })
    .unwrap();
    nodes.iter().for_each(|node| fs.forget(*node, 1));
    names.sort();
    names
}

const BAD_ON_DIRECTORIES: [(&str, &[u8]); 12] = [
    ("opaque", b""),
    ("opaque", b"n"),
    ("opaque", b"yy"),
    ("opaque", b"a value that is longer than any"),
    ("redirect", b""),
    ("redirect", b"a/b"),
    ("redirect", b"/"),
    ("redirect", b"//a"),
    ("redirect", b"/a//b"),
    ("redirect", b"/a/"),
    ("redirect", b".."),
    ("redirect", b"/a/../b"),
];

#[test]
fn ovl_68_a_malformed_mark_makes_its_directory_an_error_and_no_other() {
    let stack = Stack::new()
        .upper("p/d/u='u' p/ok/u='u'")
        .lower("p/d/l='l' p/ok/l='l' p/f='f'");
    for mark in BAD_ON_DIRECTORIES {
        with_mark(&stack, mark, "p/d", &|w, what| {
            assert_eq!(w.stat("p/d").map(drop), Err(Errno::IO), "{what}");
            assert_eq!(w.ls("p/d"), Err(Errno::IO), "{what}");
            assert_eq!(w.read("p/d/u"), Err(Errno::IO), "{what}");
            assert_eq!(w.ls("p").unwrap(), ["d", "f", "ok"], "{what}");
            assert_eq!(w.ls("p/ok").unwrap(), ["l", "u"], "{what}");
            assert_eq!(w.read_text("p/f").as_deref(), Ok("f"), "{what}");
            // The parent can be changed.
            w.write("p/new", b"new").unwrap();
            w.rename("p/f", "p/g").unwrap();
            assert_eq!(w.rename("p/d", "p/e"), Err(Errno::IO), "{what}");
            assert_eq!(w.rmdir("p/d"), Err(Errno::IO), "{what}");
            assert_eq!(w.ls("p").unwrap(), ["d", "g", "new", "ok"], "{what}");
        });
    }
}

const BAD_ON_FILES: [(&str, &[u8]); 9] = [
    ("metacopy", b"\0"),
    ("metacopy", b"\0\x03\0"),
    ("metacopy", b"\x01\x04\0\0"),
    ("metacopy", b"\0\x05\0\0"),
    ("metacopy", b"\0\x04\0\0digest"),
    ("metacopy", &[0; 100]),
    ("origin", b"\0"),
    ("origin", b"\0\xfa\x1d\0\x01uuid-of-the-layerhandle.."),
    ("origin", b"\0\xfb\x1e\0\x01uuid-of-the-layer"),
];

#[test]
fn ovl_68_a_malformed_mark_makes_its_file_an_error_and_no_other() {
    let stack = Stack::new()
        .upper("p/f='upper' p/ok='upper'")
        .lower("p/f='lower' p/l='lower'");
    for mark in BAD_ON_FILES {
        with_mark(&stack, mark, "p/f", &|w, what| {
            assert_eq!(w.stat("p/f").map(drop), Err(Errno::IO), "{what}");
            assert_eq!(w.write_at("p/f", 0, b"x"), Err(Errno::IO), "{what}");
            assert_eq!(w.ls("p").unwrap(), ["f", "l", "ok"], "{what}");
            assert_eq!(w.read_text("p/ok").as_deref(), Ok("upper"), "{what}");
            w.write("p/l", b"changed").unwrap();
            assert_eq!(w.ls("p").unwrap(), ["f", "l", "ok"], "{what}");
        });
    }
}

#[test]
fn ovl_68_a_name_that_is_an_error_is_listed_without_attributes() {
    for mark in [("opaque", &b"n"[..]), ("redirect", b"")] {
        for medium in Medium::all() {
            let mut mounted = Stack::new()
                .upper("d/ a='1'")
                .lower("d/l='l' b='2'")
                .mount(medium);
            mounted.unmount();
            let name = format!("trusted.overlay.{}", mark.0);
            let upper = mounted.walk_upper();
            upper.setxattr("d", &name, mark.1).unwrap();
            // The entries of an impure directory are looked at for their numbers.
            for impure in [false, true] {
                if impure {
                    let name = "trusted.overlay.impure";
                    mounted.walk_upper().setxattr("", name, b"y").unwrap();
                }
                mounted.remount();
                let (walk, fs) = (mounted.walk(), &**mounted.overlay());
                let expected = [("a", true), ("b", true), ("d", false)];
                let expected = expected.map(|(name, found)| (name.to_owned(), found));
                assert_eq!(ls_plus(walk, fs, ""), expected);
                assert_eq!(walk.ls("").unwrap(), ["a", "b", "d"]);
            }
            mounted.finish();
        }
    }
}

#[test]
fn ovl_68_every_lower_is_looked_at_where_something_lies_below() {
    for (middle, bottom, expected) in [
        // A directory in the middle of a merge.
        (
            "d/[trusted.overlay.opaque=n] d/m='m'",
            "d/l='l'",
            Err(Errno::IO),
        ),
        (
            "d/[trusted.overlay.redirect=a/b] d/m='m'",
            "d/l='l'",
            Err(Errno::IO),
        ),
        // Nothing lies below the lowest: there is nothing that the mark could hide or show.
        ("d/m='m'", "d/[trusted.overlay.opaque=n] d/l='l'", Ok(())),
        (
            "d/m='m'",
            "d/[trusted.overlay.redirect=a/b] d/l='l'",
            Ok(()),
        ),
    ] {
        for medium in Medium::all() {
            let mounted = Stack::new()
                .upper("d/u='u'")
                .lower(middle)
                .lower(bottom)
                .mount(medium);
            let found = mounted.walk().ls("d").map(drop);
            assert_eq!(found, expected, "{middle} over {bottom} over {medium:?}");
            mounted.finish();
        }
    }
}

#[test]
fn ovl_8_a_metacopy_is_refused_in_every_layer() {
    for (value, expected) in [("''", Errno::PERM), ("'x'", Errno::IO)] {
        let file = format!("f='stub'[trusted.overlay.metacopy={value}] g='g'");
        let empty = Stack::new().upper("").lower("x='x'");
        for stack in [
            Stack::new().upper(file.as_str()).lower("f='data'"),
            Stack::new().lower(file.as_str()).lower("f='data'"),
            empty.clone().lower(file.as_str()),
            Stack::new().lower(file.as_str()),
        ] {
            for medium in Medium::all() {
                let mounted = stack.mount(medium);
                let walk = mounted.walk();
                assert_eq!(walk.read("f"), Err(expected), "{stack} over {medium:?}");
                assert_eq!(walk.read_text("g").ok(), mounted.walk().read_text("g").ok());
                mounted.finish();
            }
        }
    }
}

#[test]
fn ovl_8_what_the_kernel_does_not_read_is_not_read() {
    // A redirect counts on directories and metacopies, a metacopy on regular files (measured on Linux 6.18).
    let stack = Stack::new()
        .upper("f='data'[trusted.overlay.redirect=other] d/[trusted.overlay.metacopy=x] d/u='u'")
        .lower("d/l='l'");
    for medium in Medium::all() {
        let mounted = stack.mount(medium);
        assert_eq!(mounted.walk().read_text("f").as_deref(), Ok("data"));
        assert_eq!(mounted.walk().ls("d").unwrap(), ["l", "u"]);
        mounted.finish();
    }
}

#[test]
fn ovl_5_the_roots_of_layers_merge_whatever_they_say() {
    for value in [&b"y"[..], b"x", b"n", b""] {
        for medium in Medium::all() {
            let mut mounted = Stack::new()
                .upper("u='u'")
                .lower("m='m'")
                .lower("l='l'")
                .mount(medium);
            mounted.unmount();
            let upper = mounted.walk_upper();
            upper.setxattr("", "trusted.overlay.opaque", value).unwrap();
            mounted.remount();
            assert_eq!(mounted.walk().ls("").unwrap(), ["l", "m", "u"]);
            mounted.finish();
        }
    }
}

#[test]
fn ovl_5_the_roots_of_lowers_merge_whatever_they_say() {
    for (mark, value) in [("opaque", "y"), ("opaque", "n"), ("redirect", "a/b")] {
        for medium in Medium::all() {
            let mut mounted = Stack::new().upper("m='m'").lower("l='l'").mount(medium);
            mounted.unmount();
            let name = format!("trusted.overlay.{mark}");
            let upper = mounted.walk_upper();
            upper.setxattr("", &name, value.as_bytes()).unwrap();
            let lowers = vec![
                mounted.upper().unwrap().layer.clone(),
                mounted.lowers()[0].clone(),
            ];
            let overlay = Overlay::new(None, lowers, Config::default()).unwrap();
            assert_eq!(Walk::new(&overlay).ls("").unwrap(), ["l", "m"], "{mark}");
            drop(overlay);
            mounted.finish();
        }
    }
}
