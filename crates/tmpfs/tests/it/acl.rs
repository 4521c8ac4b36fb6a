use mica_vfs::{Caller, Errno, Filesystem, KillPriv, Mode, XattrMode};

use crate::stage::*;

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

const USER_OBJ: u16 = 1;
const USER: u16 = 2;
const GROUP_OBJ: u16 = 4;
const GROUP: u16 = 8;
const MASK: u16 = 16;
const OTHER: u16 = 32;

/// The xattr form of an ACL of (tag, permissions, id).
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for &(tag, perm, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(perm.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

const NONE: u32 = u32::MAX;

fn minimal(user: u16, group: u16, other: u16) -> Vec<u8> {
    acl(&[
        (USER_OBJ, user, NONE),
        (GROUP_OBJ, group, NONE),
        (OTHER, other, NONE),
    ])
}

fn extended(user: u16, named: u16, group: u16, mask: u16, other: u16) -> Vec<u8> {
    acl(&[
        (USER_OBJ, user, NONE),
        (USER, named, 1000),
        (GROUP_OBJ, group, NONE),
        (MASK, mask, NONE),
        (OTHER, other, NONE),
    ])
}

#[test]
fn an_access_acl_sets_the_mode_and_its_mask_is_the_group() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    chmod(&fs, node, 0o4600);
    set_xattr(&fs, node, ACCESS, &extended(6, 7, 0, 5, 4)).unwrap();
    assert_eq!(attr(&fs, node).mode, Mode::new(0o4654));
    assert_eq!(get_xattr(&fs, node, ACCESS), Ok(extended(6, 7, 0, 5, 4)));
}

#[test]
fn a_minimal_access_acl_is_a_chmod_and_is_not_kept() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    set_xattr(&fs, node, ACCESS, &extended(6, 7, 0, 5, 4)).unwrap();
    set_xattr(&fs, node, ACCESS, &minimal(7, 1, 0)).unwrap();
    assert_eq!(attr(&fs, node).mode, Mode::new(0o710));
    assert_eq!(get_xattr(&fs, node, ACCESS), Err(Errno::NODATA));
}

#[test]
fn a_chmod_reaches_the_acl_through_the_mask() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    set_xattr(&fs, node, ACCESS, &extended(6, 7, 4, 5, 4)).unwrap();
    chmod(&fs, node, 0o2731);
    assert_eq!(get_xattr(&fs, node, ACCESS), Ok(extended(7, 7, 4, 3, 1)));
    assert_eq!(attr(&fs, node).mode, Mode::new(0o2731));
}

#[test]
fn an_acl_drops_setgid_on_demand() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    chmod(&fs, node, 0o6770);
    let set = |kill| {
        fs.set_xattr(node, xattr(ACCESS), &minimal(7, 5, 5), XattrMode::Set, kill)
            .unwrap();
        attr(&fs, node).mode
    };
    assert_eq!(set(KillPriv::Keep), Mode::new(0o6755));
    assert_eq!(set(KillPriv::Clear), Mode::new(0o4755));
}

#[test]
fn a_default_acl_replaces_the_umask_and_is_passed_on() {
    let fs = tmpfs();
    let dir = mkdir(&fs, ROOT, "d");
    let default = extended(7, 7, 5, 7, 0);
    set_xattr(&fs, dir, DEFAULT, &default).unwrap();
    let caller = Caller {
        uid: 1,
        gid: 1,
        umask: 0o077,
    };
    let made = fs
        .create(&caller, dir, name("f"), Mode::new(0o664))
        .unwrap();
    assert_eq!(made.attr.mode, Mode::new(0o660));
    assert_eq!(
        get_xattr(&fs, made.node, ACCESS),
        Ok(extended(6, 7, 5, 6, 0))
    );
    assert_eq!(get_xattr(&fs, made.node, DEFAULT), Err(Errno::NODATA));
    let sub = fs.mkdir(&caller, dir, name("s"), Mode::new(0o755)).unwrap();
    assert_eq!(sub.attr.mode, Mode::new(0o750));
    assert_eq!(get_xattr(&fs, sub.node, DEFAULT), Ok(default));
    assert_eq!(
        get_xattr(&fs, sub.node, ACCESS),
        Ok(extended(7, 7, 5, 5, 0))
    );
    let link = fs.symlink(&caller, dir, name("l"), b"x").unwrap();
    assert_eq!(fs.list_xattr(link.node, &mut []), Ok(0));
}

#[test]
fn a_minimal_default_acl_is_a_mode_alone() {
    let fs = tmpfs();
    let dir = mkdir(&fs, ROOT, "d");
    set_xattr(&fs, dir, DEFAULT, &minimal(7, 5, 0)).unwrap();
    let node = file(&fs, dir, "f");
    assert_eq!(attr(&fs, node).mode, Mode::new(0o640));
    assert_eq!(get_xattr(&fs, node, ACCESS), Err(Errno::NODATA));
}

#[test]
fn acls_are_set_where_they_mean_something() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    let link = fs
        .symlink(&Caller::ROOT, ROOT, name("l"), b"f")
        .unwrap()
        .node;
    let value = minimal(7, 7, 7);
    assert_eq!(set_xattr(&fs, node, DEFAULT, &value), Err(Errno::ACCESS));
    assert_eq!(set_xattr(&fs, link, ACCESS, &value), Err(Errno::OPNOTSUPP));
    // An empty ACL takes it away, and to take away none is no error.
    assert_eq!(set_xattr(&fs, node, DEFAULT, b""), Ok(()));
    assert_eq!(set_xattr(&fs, node, ACCESS, &acl(&[])), Ok(()));
    assert_eq!(fs.remove_xattr(node, xattr(ACCESS)), Ok(()));
}

#[test]
fn a_malformed_acl_is_refused_and_changes_nothing() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    let before = attr(&fs, node);
    let mut version = minimal(7, 7, 7);
    version[0] = 3;
    assert_eq!(
        set_xattr(&fs, node, ACCESS, &version),
        Err(Errno::OPNOTSUPP)
    );
    let (user, group, other) = ((USER_OBJ, 7, NONE), (GROUP_OBJ, 5, NONE), (OTHER, 0, NONE));
    let mask = (MASK, 7, NONE);
    for bad in [
        b"\x02\0\0".to_vec(),
        minimal(7, 7, 7)[..27].to_vec(),
        minimal(8, 7, 7),
        acl(&[user, group]),
        acl(&[user, other, group]),
        acl(&[user, user, group, other]),
        acl(&[user, (USER, 7, 5), group, other]),
        acl(&[user, (USER, 7, NONE), group, mask, other]),
        acl(&[user, group, (GROUP, 7, 5), other]),
        acl(&[user, (3, 7, 5), group, other]),
        acl(&[user, group, mask, mask, other]),
    ] {
        assert_eq!(
            set_xattr(&fs, node, ACCESS, &bad),
            Err(Errno::INVAL),
            "{bad:?}"
        );
    }
    assert_eq!(attr(&fs, node), before);
}
