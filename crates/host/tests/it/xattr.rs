//! Extended attributes.

use mica_vfs::{Errno, Filesystem, KillPriv, Mode, NodeId, SetAttr, XattrMode};

use crate::ground::{Ground, is_root, me, name, skip, xattr_name};

const KEEP: KillPriv = KillPriv::Keep;

fn names(ground: &Ground, node: NodeId) -> Vec<String> {
    let len = ground.fs.list_xattr(node, &mut []).unwrap();
    let mut names = vec![0; len];
    assert_eq!(ground.fs.list_xattr(node, &mut names), Ok(len));
    let names = names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty());
    names
        .map(|name| String::from_utf8(name.to_vec()).unwrap())
        .collect()
}

#[test]
fn attributes_of_files_and_directories_are_set_listed_and_removed() {
    let ground = Ground::new();
    let a = xattr_name("user.a");
    for node in [ground.file("f", b""), ground.mkdir("d")] {
        // With the descriptors of the births, by name, and with those of the change before.
        for round in 0..3u8 {
            if round == 1 {
                ground.empty_cache();
            }
            let fs = &ground.fs;
            match fs.set_xattr(node, a, &[round; 5], XattrMode::Create, KEEP) {
                Err(Errno::OPNOTSUPP) => {
                    return skip(
                        "attributes_of_files_and_directories_are_set_listed_and_removed",
                        "the filesystem has none",
                    );
                }
                done => done.unwrap(),
            }
            let again = fs.set_xattr(node, a, b"", XattrMode::Create, KEEP);
            assert_eq!(again, Err(Errno::EXIST));
            fs.set_xattr(node, a, &[round; 3], XattrMode::Replace, KEEP)
                .unwrap();
            let mut value = [9; 8];
            assert_eq!(fs.get_xattr(node, a, &mut []), Ok(3));
            assert_eq!(fs.get_xattr(node, a, &mut value), Ok(3));
            assert_eq!(value[..3], [round; 3]);
            assert_eq!(fs.get_xattr(node, a, &mut value[..2]), Err(Errno::RANGE));
            assert!(names(&ground, node).contains(&"user.a".to_owned()));
            fs.remove_xattr(node, a).unwrap();
            assert_eq!(fs.remove_xattr(node, a), Err(Errno::NODATA));
            assert_eq!(fs.get_xattr(node, a, &mut []), Err(Errno::NODATA));
            let replaced = fs.set_xattr(node, a, b"", XattrMode::Replace, KEEP);
            assert_eq!(replaced, Err(Errno::NODATA));
        }
    }
}

#[test]
fn a_symlink_has_attributes_of_its_own() {
    if !is_root() {
        return skip(
            "a_symlink_has_attributes_of_its_own",
            "it needs trusted attributes",
        );
    }
    let ground = Ground::new();
    let target = ground.file("t", b"");
    let link = ground
        .fs
        .symlink(&me(), NodeId::ROOT, name("l"), b"t")
        .unwrap()
        .node;
    let trusted = xattr_name("trusted.a");
    match ground
        .fs
        .set_xattr(link, trusted, b"1", XattrMode::Set, KEEP)
    {
        Err(Errno::OPNOTSUPP) => {
            return skip(
                "a_symlink_has_attributes_of_its_own",
                "the filesystem has none",
            );
        }
        done => done.unwrap(),
    }
    assert_eq!(ground.fs.get_xattr(link, trusted, &mut []), Ok(1));
    assert_eq!(names(&ground, link), ["trusted.a"]);
    assert_eq!(
        ground.fs.get_xattr(target, trusted, &mut []),
        Err(Errno::NODATA)
    );
    ground.fs.unlink(NodeId::ROOT, name("l")).unwrap();
    assert_eq!(
        ground.fs.get_xattr(link, trusted, &mut []),
        Ok(1),
        "without a name, too"
    );
    ground.fs.remove_xattr(link, trusted).unwrap();
    let user = ground
        .fs
        .set_xattr(link, xattr_name("user.a"), b"1", XattrMode::Set, KEEP);
    assert_eq!(user, Err(Errno::PERM));
}

#[test]
fn an_access_acl_that_kills_takes_the_setgid_bit() {
    let ground = Ground::new();
    let node = ground.file("f", b"");
    // Version 2; user rw, group r, others r.
    let acl: Vec<u8> = [
        &2u32.to_le_bytes()[..],
        &[1, 0, 6, 0, 255, 255, 255, 255],
        &[4, 0, 4, 0, 255, 255, 255, 255],
        &[32, 0, 4, 0, 255, 255, 255, 255],
    ]
    .concat();
    let access = xattr_name("system.posix_acl_access");
    let setgid = SetAttr {
        mode: Some(Mode::new(0o2644)),
        ..SetAttr::default()
    };
    for (kill, mode) in [(KEEP, 0o2644), (KillPriv::Clear, 0o644)] {
        ground.fs.set_attr(node, &setgid).unwrap();
        match ground
            .fs
            .set_xattr(node, access, &acl, XattrMode::Set, kill)
        {
            Err(Errno::OPNOTSUPP) => {
                return skip(
                    "an_access_acl_that_kills_takes_the_setgid_bit",
                    "the filesystem has none",
                );
            }
            done => done.unwrap(),
        }
        // An ordinary user outside of the group loses the bit to the host in any case.
        let found = ground.fs.get_attr(node).unwrap().mode;
        assert_eq!(found, Mode::new(mode));
    }
}
