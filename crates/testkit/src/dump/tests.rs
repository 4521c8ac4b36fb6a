use mica_tmpfs::Tmpfs;
use mica_vfs::NodeId;

use super::*;
use crate::{Tree, Walk, build};

fn dumped(literal: &str, detail: Detail) -> Dump {
    let fs = Tmpfs::new();
    build(&fs, NodeId::ROOT, literal);
    let dump = dump(&fs, NodeId::ROOT, detail);
    assert_eq!(fs.referenced_nodes(), Ok(0));
    dump
}

#[test]
fn a_dump_reads_like_a_listing() {
    let dump = dumped(
        "d/ d/a='one'@0600~1:2!5[user.k=v] d/b=>d/a l->to c:char(1,3)",
        Detail::NLINK | Detail::LINKS | Detail::MTIME,
    );
    let text = dump.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("/ dir 0755 0:0 mtime="));
    assert!(lines[1].starts_with("/c char 0644 0:0 nlink=1 rdev=1:3 mtime="));
    assert_eq!(
        lines[3],
        "/d/a file 0600 1:2 nlink=2 size=3 'one' mtime=5.000000000 user.k='v'"
    );
    assert!(lines[4].starts_with("/d/b file 0600 1:2 nlink=2 same-as=d/a size=3 'one'"));
    assert!(lines[5].starts_with("/l link 0777 0:0 nlink=1 -> to mtime="));
}

#[test]
fn the_difference_of_two_dumps_is_the_lines_that_differ() {
    let a = dumped("a='1' b='2' c='3'", Detail::empty());
    let b = dumped("a='1' b='x' d='4'", Detail::empty());
    assert_eq!(a.diff(&a), None);
    assert_eq!(
        a.diff(&b).unwrap(),
        "- /b file 0644 0:0 size=1 '2'\n+ /b file 0644 0:0 size=1 'x'\n\
         - /c file 0644 0:0 size=1 '3'\n+ /d file 0644 0:0 size=1 '4'\n"
    );
}

#[test]
fn what_one_side_leaves_open_is_no_difference() {
    let with = dumped("a='1'", Detail::UNTOUCHED);
    let without = dumped("a='1'", Detail::empty());
    assert_eq!(with.diff(&without), None);
}

#[test]
fn a_hole_and_zeros_are_the_same_data() {
    let dense = Tmpfs::new();
    Walk::new(&dense).write("f", &[0; 9000]).unwrap();
    Walk::new(&dense).write_at("f", 5000, b"data").unwrap();
    let sparse = Tmpfs::new();
    build(&sparse, NodeId::ROOT, "f=hole(9000)");
    Walk::new(&sparse).write_at("f", 5000, b"data").unwrap();
    let dumps = [&dense, &sparse].map(|fs| dump(fs, NodeId::ROOT, Detail::empty()));
    assert_eq!(dumps[0], dumps[1]);
    assert_eq!(
        dumps[0].0["f"].data,
        Some(Summary::of(&Walk::new(&dense).read("f").unwrap()))
    );
    Walk::new(&sparse).write_at("f", 8999, b"!").unwrap();
    assert_ne!(dumps[0], dump(&sparse, NodeId::ROOT, Detail::empty()));
}

#[test]
fn a_host_directory_dumps_as_the_same_tree_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    std::fs::create_dir(at.join("d")).unwrap();
    std::fs::write(at.join("d/a"), "one").unwrap();
    std::fs::hard_link(at.join("d/a"), at.join("d/b")).unwrap();
    std::fs::write(at.join("long"), [b'x'; 5000]).unwrap();
    std::os::unix::fs::symlink("nowhere", at.join("l")).unwrap();
    let host = dump_host(at, Detail::NLINK | Detail::LINKS);

    let owner = host.0[""].uid;
    let group = host.0[""].gid;
    let long = "x".repeat(5000);
    let mut tree = Tree::from(format!("d/ d/a='one' d/b=>d/a long='{long}' l->nowhere").as_str());
    for item in &mut tree.0 {
        let found = &host.0[&item.path];
        item.owner = Some((owner, group));
        item.mode = Some(found.mode);
    }
    let fs = Tmpfs::new();
    tree.build(&fs, NodeId::ROOT, "trusted.overlay.");
    let memory = dump(&fs, NodeId::ROOT, Detail::NLINK | Detail::LINKS);
    assert_same(&memory.without_root(), &host.without_root(), "host");
}

#[test]
fn the_hash_of_a_tree_changes_with_what_a_lower_must_keep() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "one").unwrap();
    let before = hash_tree(dir.path());
    assert_eq!(hash_tree(dir.path()), before);
    // The name is the same, and so is the data; the inode is not.
    std::fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
    std::fs::write(dir.path().join("a"), "one").unwrap();
    std::fs::remove_file(dir.path().join("b")).unwrap();
    assert_ne!(hash_tree(dir.path()), before);
}
