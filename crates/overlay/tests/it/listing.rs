//! OVL-10 to OVL-12: listing directories.

use std::collections::BTreeMap;

use mica_testkit::{Medium, Stack, check};
use mica_vfs::{Cookie, Errno, Filesystem, Flow, NodeId};

#[test]
fn ovl_10_each_visible_name_is_listed_once() {
    let stack = Stack::new()
        .upper("a='u' gone:whiteout new='u'")
        .lower("a='1' gone='1' b='1'")
        .lower("a='2' b='2' c='2' gone='2'");
    check(
        &stack,
        |w| w.ls(""),
        Ok(["a", "b", "c", "new"].map(str::to_owned).to_vec()),
    );
}

#[test]
fn ovl_10_changes_show_in_a_listing_that_is_kept() {
    let stack = Stack::new().upper("").lower("a='1' b='1' d/x='1'");
    check(
        &stack,
        |w| {
            let before = w.ls("")?;
            w.unlink("a")?;
            w.write("c", b"")?;
            w.rename("b", "e")?;
            w.mkdir("f")?;
            w.write("d/x", b"copied up")?;
            Ok::<_, Errno>((before.len(), w.ls("")?.join(" "), w.ls("d")?.join(" ")))
        },
        Ok::<_, Errno>((3, "c d e f".to_owned(), "x".to_owned())),
    );
}

#[test]
fn ovl_11_a_listed_number_is_that_of_the_object() {
    let stack = Stack::new()
        .upper("d/u='u' e:opaque e/x='u'")
        .lower("d/a='1' d/b='1' d/sub/s='1' e/y='1'")
        .lower("d/c='2' d/sub/t='2'");
    for medium in Medium::all() {
        let mut mounted = stack.mount(medium);
        mounted.walk().chmod("d/a", 0o600).unwrap();
        mounted.walk().write("d/sub/t", b"changed").unwrap();
        for _ in 0..2 {
            assert_numbers(&mounted, "");
            assert_numbers(&mounted, "d");
            assert_numbers(&mounted, "d/sub");
            mounted.remount();
        }
        mounted.finish();
    }
}

fn assert_numbers(mounted: &mica_testkit::Mounted, path: &str) {
    let (fs, walk) = (&**mounted.overlay(), mounted.walk());
    let dir = walk.hold(path).unwrap();
    let mut listed = BTreeMap::new();
    fs.read_dir(dir.node(), Cookie::START, &mut |entry| {
        listed.insert(entry.name.to_string(), (entry.ino, entry.kind));
        Flow::Continue
    })
    .unwrap();
    for (name, (ino, kind)) in &listed {
        let attr = walk.stat(&format!("{path}/{name}")).unwrap();
        assert_eq!((attr.ino, Some(attr.kind)), (*ino, *kind), "{path}/{name}");
    }
    let mut plus = BTreeMap::new();
    fs.read_dir_plus(dir.node(), Cookie::START, &mut |entry, node| {
        let found = node.unwrap();
        plus.insert(
            entry.name.to_string(),
            (found.attr.ino, Some(found.attr.kind)),
        );
        fs.forget(found.node, 1);
        Flow::Continue
    })
    .unwrap();
    assert_eq!(listed, plus);
}

#[test]
fn ovl_80_a_name_that_cannot_be_looked_up_is_listed_without_attributes() {
    for medium in Medium::all() {
        let mounted = Stack::new()
            .upper("a='u' refused=hole(4K)[trusted.overlay.metacopy=''] z='u'")
            .lower("b='1'")
            .mount(medium);
        let fs = &**mounted.overlay();
        let mut plus = BTreeMap::new();
        fs.read_dir_plus(NodeId::ROOT, Cookie::START, &mut |entry, node| {
            plus.insert(entry.name.to_string(), node.is_some());
            assert_ne!(entry.ino.0, 0, "readers take it for a removed name");
            if let Some(found) = node {
                fs.forget(found.node, 1);
            }
            Flow::Continue
        })
        .unwrap();
        let expected = [("a", true), ("b", true), ("refused", false), ("z", true)];
        let expected = expected.map(|(name, found)| (name.to_owned(), found));
        assert_eq!(plus, BTreeMap::from(expected), "{medium:?}");
        let names = mounted.walk().ls("").unwrap();
        assert_eq!(names.len(), 4, "{medium:?}");
        mounted.finish();
    }
}

#[test]
fn ovl_6_a_listing_with_attributes_ends_at_a_name_that_only_a_lookup_hides() {
    for medium in Medium::all() {
        let mounted = Stack::new()
            .lower("d/a:xwhiteout")
            .lower("d/a='1'")
            .mount(medium);
        let fs = &**mounted.overlay();
        let dir = mounted.walk().hold("d").unwrap();
        let mut plus = Vec::new();
        fs.read_dir_plus(dir.node(), Cookie::START, &mut |entry, node| {
            plus.push((entry.name.to_string(), node.is_some()));
            Flow::Continue
        })
        .unwrap();
        assert_eq!(plus, [("a".to_owned(), false)], "{medium:?}");
        drop(dir);
        mounted.finish();
    }
}

/// Lists `count` names from `from`; where it stopped, and what it saw.
fn some(fs: &dyn Filesystem, from: Cookie, count: usize) -> (Cookie, Vec<String>) {
    let (mut last, mut names) = (from, Vec::new());
    fs.read_dir(NodeId::ROOT, from, &mut |entry| {
        if names.len() == count {
            return Flow::Stop;
        }
        names.push(entry.name.to_string());
        last = entry.cookie;
        Flow::Continue
    })
    .unwrap();
    (last, names)
}

#[test]
fn ovl_12_a_reader_gets_every_lasting_name_once_while_others_come_and_go() {
    for medium in Medium::all() {
        let lasting: Vec<_> = (0..200).map(|n| format!("stays{n}")).collect();
        let literal = |names: &[String]| {
            names
                .iter()
                .map(|n| format!("{n}='1' "))
                .collect::<String>()
        };
        let (upper, lower) = lasting.split_at(100);
        let mut mounted = Stack::new()
            .upper(literal(upper).as_str())
            .lower(literal(lower).as_str())
            .mount(medium);
        let mut seen = BTreeMap::<String, u32>::new();
        let mut from = Cookie::START;
        for round in 0..1000 {
            let (next, names) = some(&**mounted.overlay(), from, 1 + round % 7);
            if names.is_empty() {
                break;
            }
            names
                .into_iter()
                .for_each(|name| *seen.entry(name).or_default() += 1);
            from = next;
            let walk = mounted.walk();
            walk.write(&format!("new{round}"), b"").unwrap();
            walk.rename(&format!("new{round}"), &format!("renamed{round}"))
                .unwrap();
            if round % 3 == 0 {
                walk.unlink(&format!("renamed{round}")).unwrap();
            }
            // The change copies up, which must not move the name.
            walk.chmod(&lasting[round % 200], 0o600).unwrap();
            if round % 11 == 0 {
                mounted.remount();
            }
        }
        for name in &lasting {
            assert_eq!(seen.get(name), Some(&1), "{name} over {medium:?}");
        }
        assert!(
            seen.values().all(|&count| count == 1),
            "a name was listed twice"
        );
        mounted.finish();
    }
}

#[test]
fn a_directory_with_ten_thousand_names_is_listed_whole() {
    for medium in Medium::all() {
        let mounted = Stack::new().upper("").lower("a='1'").mount(medium);
        let walk = mounted.walk();
        for n in 0..10_000 {
            walk.write(&format!("n{n}"), b"").unwrap();
        }
        assert_eq!(walk.ls("").unwrap().len(), 10_001);
        mounted.finish();
    }
}

#[test]
fn ovl_6_a_whiteout_that_a_listing_takes_for_a_file_is_listed_without_a_node() {
    let stack = Stack::new()
        .upper("d/a:xwhiteout d/b:xwhiteout")
        .lower("d/a='1' d/b='2'");
    for medium in Medium::all() {
        let mounted = stack.mount(medium);
        let dir = mounted.walk().hold("d").unwrap();
        let mut names = Vec::new();
        let overlay = mounted.overlay();
        let sink = &mut |entry: mica_vfs::DirEntry<'_>, node: &mica_vfs::ListedNode| {
            names.push(entry.name.to_string());
            assert!(node.is_none());
            // Twice the same would go on for ever.
            assert!(names.len() <= 2, "{names:?}");
            Flow::Continue
        };
        overlay
            .read_dir_plus(dir.node(), Cookie::START, sink)
            .unwrap();
        names.sort();
        assert_eq!(names, ["a", "b"]);
        drop(dir);
        mounted.finish();
    }
}
