//! Options of the kernel's overlayfs.

use mica_overlay::{Redirects, XattrNamespace};

use super::*;

#[test]
fn userxattr_chooses_the_user_namespace() {
    let namespace = |options| parse(options).unwrap().stack.xattrs;
    assert_eq!(namespace(&["lowerdir=l"]), XattrNamespace::Trusted);
    assert_eq!(namespace(&["lowerdir=l,userxattr"]), XattrNamespace::User);
}

#[test]
fn what_the_kernel_does_not_let_be_together_is_refused() {
    for (options, one, other) in [
        ("userxattr,metacopy=on", "userxattr", "metacopy=on"),
        (
            "metacopy=on,redirect_dir=off",
            "metacopy=on",
            "redirect_dir=off",
        ),
        (
            "metacopy=on,redirect_dir=follow",
            "metacopy=on",
            "redirect_dir=follow",
        ),
        (
            "metacopy=on,redirect_dir=nofollow",
            "metacopy=on",
            "redirect_dir=nofollow",
        ),
        ("index=off,nfs_export=on", "nfs_export=on", "index=off"),
        ("metacopy=on,nfs_export=on", "nfs_export=on", "metacopy=on"),
    ] {
        refused(
            &["lowerdir=a", options],
            &format!("mount options `{one}` and `{other}` contradict each other"),
            &format!("leave out `{one}` or `{other}`"),
        );
    }
    assert!(parse(&["lowerdir=a,userxattr,redirect_dir=off,metacopy=off"]).is_ok());
}

#[test]
fn redirects_are_written_unless_the_kernel_or_fuse_overlayfs_would_not_find_them() {
    let asked = |options: &str, manner| {
        let request = Request::parse([format!("lowerdir=l,{options}")], manner);
        let Ok(Request::Mount(spec)) = request else {
            panic!("{request:?}");
        };
        assert_eq!(spec.notes, [], "{options}");
        spec.stack.redirects
    };
    for (options, manner, expected) in [
        ("ro", Manner::Mica, RedirectDir::On),
        ("ro", Manner::Mount, RedirectDir::On),
        ("userxattr", Manner::Mica, RedirectDir::Off),
        ("ro", Manner::FuseOverlayfs, RedirectDir::Off),
        ("redirect_dir=on", Manner::FuseOverlayfs, RedirectDir::On),
        ("redirect_dir=on,userxattr", Manner::Mica, RedirectDir::On),
        (
            "userxattr,redirect_dir=follow",
            Manner::Mica,
            RedirectDir::Follow,
        ),
        ("redirect_dir=nofollow", Manner::Mica, RedirectDir::NoFollow),
        (
            "redirect_dir=on,redirect_dir=off",
            Manner::Mica,
            RedirectDir::Off,
        ),
    ] {
        assert_eq!(asked(options, manner), expected, "{options} {manner:?}");
    }
    use XattrNamespace::{Trusted, User};
    assert_eq!(RedirectDir::Off.in_xattrs(Trusted), Redirects::Follow);
    assert_eq!(RedirectDir::Off.in_xattrs(User), Redirects::NoFollow);
    for both in [Trusted, User] {
        assert_eq!(RedirectDir::On.in_xattrs(both), Redirects::On);
        assert_eq!(RedirectDir::Follow.in_xattrs(both), Redirects::Follow);
        assert_eq!(RedirectDir::NoFollow.in_xattrs(both), Redirects::NoFollow);
    }
}

#[test]
fn metacopy_on_makes_metacopies() {
    let metacopies = |options: &str| parse(&["lowerdir=a", options]).unwrap().stack.metacopies;
    for (options, expected) in [
        ("ro", Metacopies::Off),
        ("metacopy=on", Metacopies::On),
        ("metacopy=on,redirect_dir=on", Metacopies::On),
        ("metacopy=on,metacopy=off", Metacopies::Off),
        ("metacopy=off,redirect_dir=off", Metacopies::Off),
    ] {
        assert_eq!(metacopies(options), expected, "{options}");
    }
}
