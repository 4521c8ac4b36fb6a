use mica_vfs::{Cookie, Errno, FileType, Filesystem, NodeId, Rdev, RenameFlags};

use crate::stage::*;

const PLAIN: RenameFlags = RenameFlags::empty();

#[test]
fn a_rename_replaces_a_file() {
    let fs = tmpfs();
    let source = file_with(&fs, "a", b"A");
    let target = file_with(&fs, "b", b"B");
    let before = attr(&fs, source);
    rename(&fs, (ROOT, "a"), (ROOT, "b"), PLAIN).unwrap();
    assert_eq!(names(&fs, ROOT), ["b"]);
    assert_eq!(lookup(&fs, ROOT, "b").unwrap().node, source);
    assert_eq!(attr(&fs, target).nlink, 0);
    assert!(attr(&fs, source).ctime > before.ctime);
    assert_eq!(attr(&fs, source).mtime, before.mtime);
}

#[test]
fn two_names_of_one_file_stay_as_they_are() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "a");
    fs.link(node, ROOT, name("b")).unwrap();
    rename(&fs, (ROOT, "a"), (ROOT, "b"), PLAIN).unwrap();
    assert_eq!(names(&fs, ROOT), ["a", "b"]);
}

#[test]
fn a_directory_replaces_only_an_empty_directory() {
    let fs = tmpfs();
    let source = mkdir(&fs, ROOT, "a");
    file(&fs, source, "x");
    let full = mkdir(&fs, ROOT, "full");
    file(&fs, full, "y");
    let empty = mkdir(&fs, ROOT, "empty");
    file(&fs, ROOT, "f");
    assert_eq!(
        rename(&fs, (ROOT, "a"), (ROOT, "full"), PLAIN),
        Err(Errno::NOTEMPTY)
    );
    assert_eq!(
        rename(&fs, (ROOT, "a"), (ROOT, "f"), PLAIN),
        Err(Errno::NOTDIR)
    );
    assert_eq!(
        rename(&fs, (ROOT, "f"), (ROOT, "a"), PLAIN),
        Err(Errno::ISDIR)
    );
    rename(&fs, (ROOT, "a"), (ROOT, "empty"), PLAIN).unwrap();
    assert_eq!(names(&fs, source), ["x"]);
    assert_eq!(attr(&fs, empty).nlink, 0);
    assert_eq!(attr(&fs, ROOT).nlink, 4);
}

#[test]
fn a_directory_moves_its_link_on_the_parent() {
    let fs = tmpfs();
    let (from, to) = (mkdir(&fs, ROOT, "from"), mkdir(&fs, ROOT, "to"));
    mkdir(&fs, from, "d");
    rename(&fs, (from, "d"), (to, "e"), PLAIN).unwrap();
    assert_eq!((attr(&fs, from).nlink, attr(&fs, to).nlink), (2, 3));
}

#[test]
fn a_directory_never_comes_into_itself() {
    let fs = tmpfs();
    let a = mkdir(&fs, ROOT, "a");
    let b = mkdir(&fs, a, "b");
    for dir in [a, b] {
        assert_eq!(
            rename(&fs, (ROOT, "a"), (dir, "x"), PLAIN),
            Err(Errno::INVAL)
        );
    }
    assert_eq!(
        rename(&fs, (a, "b"), (ROOT, "a"), PLAIN),
        Err(Errno::NOTEMPTY)
    );
    assert_eq!(
        rename(&fs, (a, "b"), (ROOT, "a"), RenameFlags::EXCHANGE),
        Err(Errno::INVAL)
    );
    // After a move the way up is the new one.
    let c = mkdir(&fs, ROOT, "c");
    rename(&fs, (a, "b"), (c, "b"), PLAIN).unwrap();
    rename(&fs, (ROOT, "a"), (b, "a"), PLAIN).unwrap();
    assert_eq!(rename(&fs, (ROOT, "c"), (a, "c"), PLAIN), Err(Errno::INVAL));
}

#[test]
fn noreplace_fails_where_a_name_is() {
    let fs = tmpfs();
    file(&fs, ROOT, "a");
    file(&fs, ROOT, "b");
    let noreplace = RenameFlags::NOREPLACE;
    assert_eq!(
        rename(&fs, (ROOT, "a"), (ROOT, "b"), noreplace),
        Err(Errno::EXIST)
    );
    rename(&fs, (ROOT, "a"), (ROOT, "c"), noreplace).unwrap();
    assert_eq!(names(&fs, ROOT), ["b", "c"]);
}

#[test]
fn an_exchange_swaps_objects_of_any_type() {
    let fs = tmpfs();
    let (da, db) = (mkdir(&fs, ROOT, "da"), mkdir(&fs, ROOT, "db"));
    let dir = mkdir(&fs, da, "x");
    let node = file(&fs, db, "y");
    let exchange = RenameFlags::EXCHANGE;
    rename(&fs, (da, "x"), (db, "y"), exchange).unwrap();
    assert_eq!(lookup(&fs, da, "x").unwrap().node, node);
    assert_eq!(lookup(&fs, db, "y").unwrap().node, dir);
    assert_eq!((attr(&fs, da).nlink, attr(&fs, db).nlink), (2, 3));
    assert_eq!(
        rename(&fs, (da, "x"), (db, "none"), exchange),
        Err(Errno::NOENT)
    );
}

#[test]
fn a_whiteout_is_left_at_the_old_name() {
    let fs = tmpfs();
    file(&fs, ROOT, "a");
    let dir = mkdir(&fs, ROOT, "d");
    rename(&fs, (ROOT, "a"), (dir, "b"), RenameFlags::WHITEOUT).unwrap();
    let left = lookup(&fs, ROOT, "a").unwrap().attr;
    assert_eq!(
        (left.kind, left.rdev),
        (FileType::CharDevice, Rdev::WHITEOUT)
    );
    assert_eq!(left.nlink, 1);
    assert_eq!(names(&fs, dir), ["b"]);
    rename(&fs, (ROOT, "d"), (ROOT, "e"), RenameFlags::WHITEOUT).unwrap();
    assert_eq!(attr(&fs, ROOT).nlink, 3);
}

#[test]
fn flags_that_do_not_go_together_are_einval() {
    let fs = tmpfs();
    file(&fs, ROOT, "a");
    let exchange = RenameFlags::EXCHANGE;
    for flags in [
        exchange | RenameFlags::NOREPLACE,
        exchange | RenameFlags::WHITEOUT,
        RenameFlags::from_bits_retain(8),
    ] {
        assert_eq!(
            rename(&fs, (ROOT, "a"), (ROOT, "b"), flags),
            Err(Errno::INVAL)
        );
    }
}

#[test]
fn what_is_missing_is_named_first() {
    let fs = tmpfs();
    file(&fs, ROOT, "a");
    assert_eq!(
        rename(&fs, (ROOT, "x"), (ROOT, "a"), RenameFlags::NOREPLACE),
        Err(Errno::NOENT)
    );
    assert_eq!(
        rename(&fs, (ROOT, "a"), (NodeId(9), "b"), PLAIN),
        Err(Errno::STALE)
    );
}

#[test]
fn a_replaced_name_keeps_its_cookie_and_a_moved_one_does_not() {
    let fs = tmpfs();
    for at in ["a", "b", "c"] {
        file(&fs, ROOT, at);
    }
    let before = list_from(&fs, ROOT, Cookie::START);
    rename(&fs, (ROOT, "c"), (ROOT, "a"), PLAIN).unwrap();
    let after = list_from(&fs, ROOT, Cookie::START);
    assert_eq!(after, before[..2]);
    rename(&fs, (ROOT, "a"), (ROOT, "z"), PLAIN).unwrap();
    let after = list_from(&fs, ROOT, Cookie::START);
    assert_eq!(after[0], before[1]);
    assert!(after[1].1 > before[2].1);
}
