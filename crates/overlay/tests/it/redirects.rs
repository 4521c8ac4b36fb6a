//! OVL-8 and OVL-90 to OVL-93: directories that have another name in the layers below.

mod kernel;

use std::sync::Arc;

use mica_overlay::{Config, Layer, Overlay, Redirects, Upper, XattrNamespace};
use mica_testkit::{Detail, Medium, Mounted, Stack, Walk, assert_same};
use mica_tmpfs::Tmpfs;
use mica_vfs::{Caller, Errno, FileName, Filesystem, Mode, NodeId, RenameFlags};

fn config(redirects: Redirects) -> Config {
    Config {
        redirects,
        ..Config::default()
    }
}

fn names<const N: usize>(names: [&str; N]) -> Result<Vec<String>, Errno> {
    Ok(names.map(String::from).to_vec())
}

#[test]
fn ovl_8_a_redirect_that_is_not_followed_is_refused_in_every_layer() {
    for value in ["below", "/below", "nowhere", "/no/where"] {
        let dir = format!("d/[trusted.overlay.redirect={value}] d/a='1'");
        let below = "d/b='2' below/c='3'";
        for (stack, expected) in [
            (
                Stack::new().upper(dir.as_str()).lower(below),
                Err(Errno::PERM),
            ),
            (
                Stack::new().upper("").lower(dir.as_str()).lower(below),
                Err(Errno::PERM),
            ),
            // Nothing lies below the lowest layer.
            (
                Stack::new().upper("").lower("x='1'").lower(dir.as_str()),
                names(["a"]),
            ),
        ] {
            for medium in Medium::all() {
                let mounted = stack
                    .clone()
                    .config(config(Redirects::NoFollow))
                    .mount(medium);
                assert_eq!(mounted.walk().ls("d"), expected, "{stack} over {medium:?}");
                mounted.finish();
            }
        }
    }
}

/// What the upper has as the redirect of `path`.
fn redirect(mounted: &Mounted, path: &str) -> Option<String> {
    let value = mounted
        .walk_upper()
        .getxattr(path, "trusted.overlay.redirect");
    value.ok().map(|value| String::from_utf8(value).unwrap())
}

/// Runs `operate` over each medium; the overlay must show what its layers hold, before and after a remount.
fn on_each(stack: &Stack, operate: impl Fn(&Mounted)) {
    for medium in Medium::all() {
        let mut mounted = stack.mount(medium);
        operate(&mounted);
        mounted.assert_shows_layers();
        let before = mounted.dump(Detail::INO);
        mounted.remount();
        assert_same(&before, &mounted.dump(Detail::INO), "after a remount");
        mounted.finish();
    }
}

#[test]
fn ovl_90_a_renamed_directory_says_where_the_lowers_have_it() {
    let stack = Stack::new()
        .upper("m/u='u'")
        .lower("m/l='l' p/q/x='x' d/e/f='f'");
    on_each(&stack, |mounted| {
        let walk = mounted.walk();
        // In its directory: by its name there, which stays when it is renamed again, and when it goes back.
        for (from, to) in [("m", "n"), ("n", "o"), ("o", "m"), ("m", "n")] {
            walk.rename(from, to).unwrap();
            assert_eq!(
                redirect(mounted, to).as_deref(),
                Some("m"),
                "{from} to {to}"
            );
            assert_eq!(walk.ls(to).unwrap(), ["l", "u"]);
            assert!(!walk.exists(from));
        }
        // Elsewhere: by its path, made of what its ancestors are called in the lowers. That stays, too.
        walk.rename("p", "pp").unwrap();
        walk.rename("pp/q", "d/q").unwrap();
        assert_eq!(redirect(mounted, "d/q").as_deref(), Some("/p/q"));
        walk.rename("d", "n/d").unwrap();
        assert_eq!(redirect(mounted, "n/d").as_deref(), Some("/d"));
        walk.rename("n/d/e", "e").unwrap();
        assert_eq!(redirect(mounted, "e").as_deref(), Some("/d/e"));
        walk.rename("n/d/q", "n/d/r").unwrap();
        assert_eq!(redirect(mounted, "n/d/r").as_deref(), Some("/p/q"));
        assert_eq!(walk.read_text("n/d/r/x").as_deref(), Ok("x"));
        assert_eq!(walk.read_text("e/f").as_deref(), Ok("f"));
        assert_eq!(walk.ls("").unwrap(), ["e", "n", "pp"]);
    });
}

#[test]
fn ovl_90_what_is_known_of_a_directory_stays_when_it_is_renamed() {
    let stack = Stack::new().upper("").lower("a/b/f='f' a/b/g='g' to/");
    on_each(&stack, |mounted| {
        let walk = mounted.walk();
        let held = ["a", "a/b", "a/b/f"].map(|path| walk.hold(path).unwrap());
        let numbers = ["a", "a/b", "a/b/f"].map(|path| walk.stat(path).unwrap().ino);
        walk.rename("a", "to/x").unwrap();
        let now = ["to/x", "to/x/b", "to/x/b/f"];
        assert_eq!(now.map(|path| walk.stat(path).unwrap().ino), numbers);
        assert_eq!(
            now.map(|path| walk.hold(path).unwrap().node()),
            held.each_ref().map(|h| h.node())
        );
        // Copy-up finds the new place.
        walk.write_held(&held[2], b"changed").unwrap();
        assert_eq!(walk.read_text("to/x/b/f").as_deref(), Ok("changed"));
        walk.unlink("to/x/b/g").unwrap();
        assert_eq!(walk.ls("to/x/b").unwrap(), ["f"]);
    });
}

#[test]
fn ovl_90_directories_are_exchanged() {
    let stack = Stack::new()
        .upper("m/u='u' n/x='x'")
        .lower("m/l='l' a/1='1' f='f' p/q/2='2'");
    for (one, other) in [
        ("a", "m"),
        ("a", "n"),
        ("m", "f"),
        ("m", "p/q"),
        ("p/q", "f"),
        ("n", "p/q"),
    ] {
        on_each(&stack, |mounted| {
            let walk = mounted.walk();
            let numbers = [other, one].map(|path| walk.stat(path).unwrap().ino);
            walk.rename_with(one, other, RenameFlags::EXCHANGE).unwrap();
            assert_eq!(
                [one, other].map(|path| walk.stat(path).unwrap().ino),
                numbers
            );
        });
    }
}

#[test]
fn ovl_90_a_path_that_is_too_long_is_exdev() {
    let name = |len: usize| "x".repeat(len);
    // With its slashes the path has 256 bytes at most, redirect_max of the kernel; the name alone may be longer.
    for (len, expected) in [(54, Ok(())), (55, Err(Errno::XDEV))] {
        let (dir, sub) = (name(200), name(len));
        let lower = format!("{dir}/{sub}/f='f' to/");
        let stack = Stack::new().upper("").lower(lower.as_str());
        on_each(&stack, |mounted| {
            let walk = mounted.walk();
            let from = format!("{dir}/{sub}");
            assert_eq!(walk.rename(&from, "to/d"), expected, "{len}");
            let at = if expected.is_ok() {
                "to/d"
            } else {
                from.as_str()
            };
            let new = format!("{}/new", at.rsplit_once('/').unwrap().0);
            walk.rename(at, &new).unwrap();
            assert_eq!(walk.ls(&new).unwrap(), ["f"]);
        });
    }
}

#[test]
fn ovl_92_the_root_of_a_layer_that_is_found_in_another_is_eloop() {
    let fs: Arc<dyn Filesystem> = Arc::new(Tmpfs::new());
    let make = |dir, name: &[u8]| {
        let (name, mode) = (FileName::new(name).unwrap(), Mode::new(0o755));
        fs.mkdir(&Caller::ROOT, dir, name, mode).unwrap().node
    };
    let layer = |root, label: &str| Layer {
        fs: Arc::clone(&fs),
        root,
        label: label.to_owned(),
    };
    let lower = make(NodeId::ROOT, b"lower");
    let inner = make(lower, b"inner");
    let work = make(lower, b"work");
    let upper = make(lower, b"upper");
    make(lower, b"other");
    let lowers = vec![layer(lower, "lower"), layer(inner, "inner")];
    let upper = Upper {
        layer: layer(upper, "upper"),
        work,
    };
    let overlay = Overlay::new(Some(upper), lowers, Config::default()).unwrap();
    let walk = Walk::new(&overlay);
    for name in ["inner", "work", "upper"] {
        assert_eq!(walk.stat(name).map(drop), Err(Errno::LOOP), "{name}");
    }
    assert!(walk.stat("other").is_ok());
    assert_eq!(walk.ls("").unwrap(), ["inner", "other", "upper", "work"]);
}

#[test]
fn ovl_93_a_new_directory_in_a_merged_one_is_opaque_with_redirects() {
    for (redirects, expected) in [
        (Redirects::On, Ok(b"y".to_vec())),
        (Redirects::Follow, Err(Errno::NODATA)),
        (Redirects::NoFollow, Err(Errno::NODATA)),
    ] {
        let stack = Stack::new()
            .upper("pure/")
            .lower("d/l='l'")
            .config(config(redirects));
        on_each(&stack, |mounted| {
            let (walk, upper) = (mounted.walk(), mounted.walk_upper());
            let mark = |path| upper.getxattr(path, "trusted.overlay.opaque");
            for path in ["new", "d/new", "pure/new", "d/new/deep"] {
                walk.mkdir(path).unwrap();
            }
            for path in ["new", "d/new"] {
                assert_eq!(mark(path), expected, "{path} {redirects:?}");
            }
            for path in ["pure/new", "d/new/deep"] {
                assert_eq!(mark(path), Err(Errno::NODATA), "{path} {redirects:?}");
            }
        });
    }
}

#[test]
fn ovl_90_redirects_work_in_user_attributes() {
    let stack = Stack::new().upper("").lower("d/l='l' to/");
    let config = Config {
        xattrs: XattrNamespace::User,
        ..config(Redirects::On)
    };
    on_each(&stack.config(config), |mounted| {
        mounted.walk().rename("d", "to/e").unwrap();
        let value = mounted
            .walk_upper()
            .getxattr("to/e", "user.overlay.redirect");
        assert_eq!(value.as_deref(), Ok(&b"/d"[..]));
    });
}
