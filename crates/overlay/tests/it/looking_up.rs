//! OVL-1 to OVL-8: what a name shows.

use mica_testkit::{Medium, Stack, check};
use mica_vfs::{Errno, FileType, Rdev};

#[test]
fn ovl_1_the_topmost_layer_decides() {
    let stack = Stack::new()
        .upper("a='up'")
        .lower("a='1' b='1'")
        .lower("a='2' b='2' c='2'");
    let read = |name: &'static str| move |w: mica_testkit::Walk<'_>| w.read_text(name);
    check(&stack, read("a"), Ok("up".to_owned()));
    check(&stack, read("b"), Ok("1".to_owned()));
    check(&stack, read("c"), Ok("2".to_owned()));
    check(&stack, read("d"), Err::<String, _>(Errno::NOENT));
}

#[test]
fn ovl_2_directories_merge_down_to_the_first_file() {
    let stack = Stack::new()
        .lower("d/a='1'")
        .lower("d='file'")
        .lower("d/b='3'");
    check(&stack, |w| w.ls("d"), Ok(vec!["a".to_owned()]));
    let stack = Stack::new()
        .upper("d/")
        .lower("d/a='1'")
        .lower("d/b='2' d/a='2'");
    check(
        &stack,
        |w| (w.ls("d"), w.read_text("d/a")),
        (Ok(vec!["a".to_owned(), "b".to_owned()]), Ok("1".to_owned())),
    );
}

#[test]
fn ovl_3_a_device_whiteout_hides_its_name() {
    let stack = Stack::new().upper("d/a:whiteout").lower("d/a='1' d/b='1'");
    check(
        &stack,
        |w| (w.ls("d"), w.read("d/a")),
        (Ok(vec!["b".to_owned()]), Err::<Vec<u8>, _>(Errno::NOENT)),
    );
    let stack = Stack::new().lower("d:whiteout").lower("d/a='1'");
    check(&stack, |w| w.ls(""), Ok(Vec::<String>::new()));
}

#[test]
fn ovl_3_a_device_that_a_user_makes_hides_nothing() {
    let stack = Stack::new().upper("").lower("a='1'");
    let null = Rdev { major: 1, minor: 3 };
    for rdev in [Rdev::WHITEOUT, null] {
        let mknod = |w: mica_testkit::Walk<'_>| {
            w.mknod("x", FileType::CharDevice, 0o600, rdev)?;
            Ok::<_, Errno>((w.stat("x")?.rdev, w.ls("")?))
        };
        let names = vec!["a".to_owned(), "x".to_owned()];
        check(&stack, mknod, Ok::<_, Errno>((rdev, names)));
    }
}

#[test]
fn ovl_4_an_xattr_whiteout_hides_its_name() {
    let stack = Stack::new()
        .upper("")
        .lower("d:whiteouts d/a:xwhiteout d/e=''")
        .lower("d/a='1' d/b='1'");
    check(
        &stack,
        |w| (w.ls("d"), w.exists("d/a")),
        (Ok(vec!["b".to_owned(), "e".to_owned()]), false),
    );
}

#[test]
fn ovl_5_an_opaque_directory_hides_what_is_below() {
    let stack = Stack::new().upper("d:opaque d/u='u'").lower("d/a='1'");
    check(
        &stack,
        |w| (w.ls("d"), w.exists("d/a")),
        (Ok(vec!["u".to_owned()]), false),
    );
    let stack = Stack::new()
        .lower("d/a='1'")
        .lower("d:opaque d/b='2'")
        .lower("d/c='3'");
    check(
        &stack,
        |w| w.ls("d"),
        Ok(vec!["a".to_owned(), "b".to_owned()]),
    );
}

#[test]
fn ovl_6_without_the_mark_an_xattr_whiteout_is_listed_but_not_found() {
    let stack = Stack::new().lower("d/a:xwhiteout").lower("d/a='1'");
    for medium in Medium::all() {
        let mounted = stack.mount(medium);
        assert_eq!(mounted.walk().read("d/a"), Err(Errno::NOENT));
        assert_eq!(mounted.walk().ls("d"), Ok(vec!["a".to_owned()]));
        mounted.finish();
    }
}

#[test]
fn ovl_7_a_name_that_no_layer_can_hold_is_not_there() {
    let long = "x".repeat(255);
    let stack = Stack::new().upper("").lower("a='1'");
    check(&stack, |w| w.read(&long), Err::<Vec<u8>, _>(Errno::NOENT));
    check(
        &stack,
        |w| w.write(&long, b"data").and_then(|()| w.read(&long)),
        Ok(b"data".to_vec()),
    );
}

#[test]
fn ovl_8_a_metacopy_is_refused_not_misread() {
    for medium in Medium::all() {
        let mounted = Stack::new()
            .upper("f=hole(4K)[trusted.overlay.metacopy='']")
            .lower("f='the data'")
            .mount(medium);
        let found = mounted.walk().stat("f").map(drop);
        assert_eq!(found, Err(Errno::PERM), "over {medium:?}");
        mounted.finish();
    }
}

#[test]
fn symlinks_of_a_layer_are_objects() {
    let stack = Stack::new().upper("").lower("l->/etc/passwd d/a='1'");
    check(
        &stack,
        |w| (w.readlink("l"), w.read("l/x").err()),
        (Ok("/etc/passwd".to_owned()), Some(Errno::NOTDIR)),
    );
}

#[test]
fn five_hundred_layers_merge() {
    let mut stack = Stack::new().upper("");
    for n in 0..500 {
        stack = stack.lower(format!("d/{n}='{n}' same='{n}'").as_str());
    }
    for medium in Medium::all() {
        let mounted = stack.mount(medium);
        let w = mounted.walk();
        assert_eq!(w.ls("d").map(|names| names.len()), Ok(500));
        assert_eq!(w.read_text("same").as_deref(), Ok("0"));
        assert_eq!(w.read_text("d/499").as_deref(), Ok("499"));
        w.write("d/499", b"changed").unwrap();
        assert_eq!(w.read_text("d/499").as_deref(), Ok("changed"));
        mounted.finish();
    }
}
