//! `mica import` and `mica export` without privileges.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use crate::ground::{Ground, is_root, ok};
use crate::layers::sh;

const NOBODY: u32 = 65534;

/// A layer of several owners, and a directory for an ordinary user.
fn prepared(ground: &Ground) {
    fs::set_permissions(ground.root(), fs::Permissions::from_mode(0o755)).unwrap();
    let made = sh(
        ground,
        "cd u; mkdir closed; echo 1 > closed/f; chmod 0 closed/f closed; mkdir -m 2775 d; echo 2 > d/f; \
         chown 5:6 d/f closed; mknod gone c 0 0; ln d/f d/g; chown 65534:65534 d; chmod 4711 d/f",
    );
    assert_eq!(made, ok());
    assert_eq!(ground.run(&["export", "u", "-o", "layer.tar"]), ok());
    chown(ground.at("m"), Some(NOBODY), Some(NOBODY)).unwrap();
    ground.copy_program("mica");
}

#[test]
fn owners_that_a_user_cannot_give_are_refused_left_out_or_recorded() {
    if !is_root("owners_that_a_user_cannot_give_are_refused_left_out_or_recorded") {
        return;
    }
    let ground = Ground::new();
    prepared(&ground);
    let user = |script: &str| ground.as_user(NOBODY, NOBODY, "m", script);

    let refused = user("../mica import ../layer.tar new");
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("cannot make the entry `closed/`"),
        "{refused:?}"
    );
    assert!(
        refused
            .stderr
            .contains("hint: run as root, or give all to yourself with `--owners mine`")
    );
    assert_eq!(fs::read_dir(ground.at("m")).unwrap().count(), 0);

    let mine = user("../mica import ../layer.tar mine --owners mine");
    assert_eq!((mine.status, &*mine.stderr), (Some(0), ""));
    let file = fs::metadata(ground.at("m/mine/d/f")).unwrap();
    assert_eq!(
        (file.uid(), file.mode() & 0o7777, file.nlink()),
        (NOBODY, 0o4711, 2)
    );
    let closed = fs::metadata(ground.at("m/mine/closed")).unwrap();
    assert_eq!((closed.uid(), closed.mode() & 0o7777), (NOBODY, 0));
    assert!(ground.at("m/mine/closed/f").exists());

    let recorded = user("../mica import ../layer.tar rec --owners xattr");
    assert_eq!(
        (recorded.status, &*recorded.stderr),
        (Some(0), ""),
        "{recorded:?}"
    );
    // With all owners and modes.
    let again = user("../mica export rec -o again.tar");
    assert_eq!(again, ok());
    let archive = fs::read(ground.at("layer.tar")).unwrap();
    assert!(archive == fs::read(ground.at("m/again.tar")).unwrap());
    let unreadable = user("../mica export mine -o x.tar");
    assert!(
        unreadable
            .stderr
            .contains("`/closed` cannot be exported: it cannot be read"),
        "{unreadable:?}"
    );
}
