//! OVL-105: metacopies that are renamed, linked and replaced.

use mica_testkit::Medium;
use mica_vfs::{Errno, RenameFlags};

use super::{LOWER, in_upper, stack};

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
        walk.rename_with("e", "k/b", RenameFlags::EXCHANGE).unwrap();
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
