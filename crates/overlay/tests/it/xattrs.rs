//! OVL-40 and OVL-41: extended attributes.

use mica_overlay::{Config, XattrNamespace};
use mica_testkit::{Medium, Stack, check};
use mica_vfs::{Errno, XattrMode};

#[test]
fn ovl_40_the_overlays_own_attributes_are_hidden() {
    let stack = Stack::new()
        .upper("d:opaque")
        .lower("d/a='1' f='1'[user.k=v]");
    check(
        &stack,
        |w| {
            (
                w.listxattr("d"),
                w.getxattr("d", "trusted.overlay.opaque"),
                w.listxattr("f"),
            )
        },
        (
            Ok(Vec::<String>::new()),
            Err::<Vec<u8>, _>(Errno::NODATA),
            Ok(vec!["user.k".to_owned()]),
        ),
    );
}

#[test]
fn ovl_40_an_overlay_on_an_overlay_keeps_its_attributes() {
    for medium in Medium::all() {
        let mounted = Stack::new().upper("").lower("d/a='1'").mount(medium);
        let walk = mounted.walk();
        walk.setxattr("d", "trusted.overlay.opaque", b"y").unwrap();
        assert_eq!(
            walk.ls("d").unwrap(),
            ["a"],
            "a user's attribute is not the overlay's"
        );
        assert_eq!(walk.listxattr("d").unwrap(), ["trusted.overlay.opaque"]);
        let stored = mounted
            .walk_upper()
            .getxattr("d", "trusted.overlay.overlay.opaque");
        assert_eq!(stored.as_deref(), Ok(&b"y"[..]));
        walk.removexattr("d", "trusted.overlay.opaque").unwrap();
        assert_eq!(walk.listxattr("d").unwrap(), Vec::<String>::new());
        mounted.finish();
    }
}

#[test]
fn ovl_41_private_attributes_of_a_lower_are_not_copied_up() {
    let lower = "f='1'[user.k=v,trusted.overlay.foo=x,trusted.overlay.overlay.bar=y]";
    for medium in Medium::all() {
        let mounted = Stack::new().upper("").lower(lower).mount(medium);
        mounted.walk().chmod("f", 0o600).unwrap();
        let mut names = mounted.walk_upper().listxattr("f").unwrap();
        names.sort();
        assert_eq!(
            names,
            [
                "trusted.overlay.origin",
                "trusted.overlay.overlay.bar",
                "user.k"
            ]
        );
        assert_eq!(
            mounted
                .walk()
                .getxattr("f", "trusted.overlay.bar")
                .as_deref(),
            Ok(&b"y"[..])
        );
        mounted.finish();
    }
}

#[test]
fn ovl_40_userxattr_keeps_the_marks_in_the_user_namespace() {
    let config = Config {
        xattrs: XattrNamespace::User,
        ..Config::default()
    };
    let stack = Stack::new().upper("").lower("d/a='1' l->t").config(config);
    check(
        &stack,
        |w| {
            w.remove_all("d")?;
            w.mkdir("d")?;
            w.chown("l", 1, 1)?;
            Ok::<_, Errno>((w.ls("d")?.len(), w.listxattr("d")?.len()))
        },
        Ok::<_, Errno>((0, 0)),
    );
    for medium in Medium::all() {
        let mounted = stack.mount(medium);
        mounted.walk().remove_all("d").unwrap();
        mounted.walk().mkdir("d").unwrap();
        let mark = mounted.walk_upper().getxattr("d", "user.overlay.opaque");
        assert_eq!(mark.as_deref(), Ok(&b"y"[..]));
        mounted.finish();
    }
}

#[test]
fn setting_and_removing_attributes_follows_the_flags() {
    let stack = Stack::new().upper("").lower("f='1'[user.k=v]");
    check(
        &stack,
        |w| {
            (
                w.setxattr_with("f", "user.k", b"w", XattrMode::Create),
                w.setxattr_with("f", "user.new", b"w", XattrMode::Replace),
                w.removexattr("f", "user.none"),
                w.removexattr("f", "user.k"),
                w.getxattr("f", "user.k"),
            )
        },
        (
            Err::<(), _>(Errno::EXIST),
            Err::<(), _>(Errno::NODATA),
            Err::<(), _>(Errno::NODATA),
            Ok::<(), Errno>(()),
            Err::<Vec<u8>, _>(Errno::NODATA),
        ),
    );
}
