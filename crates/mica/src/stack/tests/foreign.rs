//! Traces of other implementations: which are refused, which mean nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rustix::fs::XattrFlags;

use super::*;
use mica_vfs::Errno;

impl Ground {
    fn file(&self, name: &str) -> &Self {
        fs::write(self.dir.path().join(name), "").unwrap();
        self
    }

    fn mark(&self, name: &str, attribute: &str, value: &str) -> &Self {
        let path = self.dir.path().join(name);
        let flags = XattrFlags::empty();
        rustix::fs::lsetxattr(path, attribute, value.as_bytes(), flags).unwrap();
        self
    }

    fn open(&self) -> Result<Stack, StackError> {
        Stack::open(&self.spec(&["l"], Some(("u", "w"))))
    }

    /// Checks that the upper is refused because of a mark that is told as `mark`.
    #[track_caller]
    fn is_refused(&self, mark: &str) -> String {
        let (message, hint) = self.refusal(&["l"], Some(("u", "w")));
        let expected = format!("upperdir `$/u` was written by another overlay: {mark}");
        assert_eq!(message, expected);
        hint
    }
}

#[test]
fn a_whiteout_by_name_that_hides_something_is_refused() {
    let ground = Ground::with(&["l/d", "u/d", "w"]);
    ground.file("l/d/f").file("u/d/.wh.f");
    let hint = ground
        .is_refused("`d/.wh.f` of fuse-overlayfs or aufs hides `d/f`, which would be there again");
    assert!(
        hint.starts_with("mount it with the program that wrote it"),
        "{hint}"
    );
}

#[test]
fn a_whiteout_by_name_in_the_root_is_refused() {
    let ground = Ground::with(&["l", "u", "w"]);
    ground.file("l/f").file("u/.wh.f");
    ground.is_refused("`.wh.f` of fuse-overlayfs or aufs hides `f`, which would be there again");
}

#[test]
fn a_name_like_a_whiteouts_that_hides_nothing_is_a_file() {
    let ground = Ground::with(&["l/d", "u/d", "u/e", "w"]);
    // No lower has it; the upper has it again; it has content; nothing merges.
    ground
        .file("u/.wh.none")
        .file("u/e/.wh.f")
        .file("u/e/.wh..wh..opq");
    ground.file("l/d/f").file("u/d/f").file("u/d/.wh.f");
    ground.file("l/g");
    fs::write(ground.dir.path().join("u/.wh.g"), "content").unwrap();
    assert_eq!(ground.open().unwrap().warnings(), []);
}

#[test]
fn a_whiteout_by_name_below_one_level_is_not_looked_for() {
    let ground = Ground::with(&["l/d/e", "u/d/e", "w"]);
    ground.file("l/d/e/f").file("u/d/e/.wh.f");
    ground.open().unwrap();
}

#[test]
fn an_opaque_file_is_refused_where_it_hides_something() {
    let ground = Ground::with(&["l/d", "u/d", "w"]);
    ground.file("u/d/.wh..wh..opq");
    let hint = ground.is_refused(
        "`d/.wh..wh..opq` of fuse-overlayfs or aufs hides what lower layers have there, which would be there again",
    );
    assert_eq!(
        hint,
        r"mount it with `fuse-overlayfs`, or give opaque directories the kernel's form: `find $/u -name .wh..wh..opq -execdir setfattr -n user.overlay.opaque -v y . \; -delete`"
    );
}

#[test]
fn an_opaque_file_beside_the_mark_of_the_kernel_is_only_in_the_way() {
    let ground = Ground::with(&["l/d", "u/d", "w"]);
    ground.file("u/d/.wh..wh..opq");
    ground.mark("u/d", "user.overlay.opaque", "y");
    let stack = ground.open().unwrap();
    let [warning] = stack.warnings() else {
        panic!("{:?}", stack.warnings());
    };
    assert!(
        warning
            .to_string()
            .starts_with("`d/.wh..wh..opq` in upperdir")
    );
    assert!(warning.hint().unwrap().starts_with("`find "));
}

#[test]
fn an_upper_of_aufs_is_refused() {
    for kept in [".wh..wh.aufs", ".wh..wh.plnk", ".wh..wh.orph"] {
        let ground = Ground::with(&["l", "u", "w"]);
        ground.file(&format!("u/{kept}"));
        ground.is_refused(&format!(
            "`{kept}` is of aufs, whose whiteouts (`.wh.NAME`) would be files"
        ));
    }
}

#[test]
fn an_upper_of_unionfs_fuse_is_refused() {
    for kept in [".unionfs", ".unionfs-fuse"] {
        let ground = Ground::with(&["l", "u", "w"]);
        fs::create_dir(ground.dir.path().join("u").join(kept)).unwrap();
        drop(ground.open().unwrap());
        ground.file(&format!("u/{kept}/f_HIDDEN~"));
        let hint = ground.is_refused(&format!(
            "`{kept}` is of unionfs-fuse, whose whiteouts are in it; what they hide would be there again"
        ));
        let rm = format!("`rm -r $/u/{kept}`");
        assert!(hint.ends_with(&rm), "{hint}");
    }
}

#[test]
fn an_opaque_attribute_of_fuse_overlayfs_is_refused() {
    let ground = Ground::with(&["l/d", "u/d", "w"]);
    ground.mark("u/d", "user.fuseoverlayfs.opaque", "y");
    ground.is_refused(
        "`user.fuseoverlayfs.opaque` on `d` hides what lower layers have there, which would be there again",
    );
    ground.mark("u/d", "user.overlay.opaque", "y");
    ground.open().unwrap();
}

#[test]
fn owners_in_attributes_are_refused() {
    for attribute in [
        "user.fuseoverlayfs.override_stat",
        "user.containers.override_stat",
    ] {
        for (object, shown) in [("u", "/"), ("u/f", "f")] {
            let ground = Ground::with(&["l", "u", "w"]);
            ground.file("u/f").mark(object, attribute, "0:0:100755");
            let hint = ground.is_refused(&format!(
                "owner and mode of `{shown}` are in `{attribute}`, and would be shown wrongly"
            ));
            assert_eq!(
                hint,
                "mount it with `-o xattr_permissions=2`, as it was mounted before"
            );
        }
    }
}

#[test]
fn what_changes_no_view_is_taken() {
    let ground = Ground::with(&["l/d", "u/d", "u/own", "w"]);
    ground
        .file("u/f")
        .mark("u/f", "user.fuseoverlayfs.origin", "f");
    // Opaque, but nothing lies below.
    ground.mark("u/own", "user.fuseoverlayfs.opaque", "y");
    assert_eq!(ground.open().unwrap().warnings(), []);
}

#[test]
#[expect(clippy::print_stderr, reason = "a skip is counted")]
fn marks_of_the_other_attributes_are_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED marks_of_the_other_attributes_are_refused: needs root");
        assert!(std::env::var_os("MICA_REQUIRE_ALL").is_none_or(|all| all != "1"));
        return;
    }
    let open = |ground: &Ground, xattrs| {
        let mut spec = ground.spec(&["l"], Some(("u", "w")));
        spec.xattrs = xattrs;
        Stack::open(&spec).map(drop)
    };
    for (made, reads, hint) in [
        (
            "trusted",
            XattrNamespace::User,
            "leave `userxattr` out, as root",
        ),
        ("user", XattrNamespace::Trusted, "add `-o userxattr`"),
    ] {
        let ground = Ground::with(&["l/d", "u/d", "w"]);
        for harmless in ["origin", "impure", "uuid"] {
            ground.mark("u/d", &format!("{made}.overlay.{harmless}"), "y");
        }
        open(&ground, reads).unwrap();
        ground.mark("u/d", &format!("{made}.overlay.opaque"), "y");
        let refused = open(&ground, reads).unwrap_err();
        let prefix = reads.prefix().escape_ascii();
        let message = format!(
            "was written by another overlay: `{made}.overlay.opaque` on `d` would mean nothing to this mount, which reads `{prefix}*`"
        );
        assert!(refused.to_string().ends_with(&message), "{refused}");
        assert_eq!(refused.hint().as_deref(), Some(hint));
    }
}

#[test]
fn ovl_83_an_index_that_ties_names_is_refused() {
    let ground = Ground::with(&["l", "u", "w/index"]);
    ground.file("u/f").file("w/index/orphan");
    fs::create_dir(ground.dir.path().join("w/index/dir")).unwrap();
    drop(ground.open().unwrap());
    fs::hard_link(
        ground.dir.path().join("u/f"),
        ground.dir.path().join("w/index/00fb"),
    )
    .unwrap();
    assert_eq!(
        ground.refusal(&["l"], Some(("u", "w"))),
        (
            "workdir `$/w` was used with `index=on`: names of changed files would show their old content".into(),
            "add `-o index=on`, or give the tie between the names up with `rm -r $/w/index`".into()
        )
    );
}

#[test]
fn the_command_that_makes_whiteouts_of_names_works() {
    let ground = Ground::with(&["l/d", "u/d", "w"]);
    ground.file("l/d/f").file("u/d/.wh.f");
    ground.file("l/.hidden").file("u/.wh..hidden");
    let hint = ground.open().unwrap_err().hint().unwrap();
    let command = hint.split('`').nth(1).unwrap();
    let done = Command::new("sh").args(["-ec", command]).status().unwrap();
    assert!(done.success(), "{command}");
    for whiteout in ["u/d/f", "u/.hidden"] {
        let made = fs::symlink_metadata(ground.dir.path().join(whiteout)).unwrap();
        assert_eq!(made.permissions().mode() & 0o170_000, 0o020_000);
    }
    let stack = ground.open().unwrap();
    let name = FileName::new(b".hidden").unwrap();
    let gone = stack.overlay().lookup(NodeId::ROOT, name);
    assert_eq!(gone.unwrap_err(), Errno::NOENT);
}
