use mica_vfs::{Errno, Filesystem, RenameFlags};

use crate::stage::*;

#[test]
fn a_node_without_a_reference_is_estale_until_it_is_looked_up() {
    let fs = tmpfs();
    let node = file_with(&fs, "f", b"x");
    fs.forget(node, 1);
    assert_eq!(fs.get_attr(node).err(), Some(Errno::STALE));
    assert_eq!(lookup(&fs, ROOT, "f").unwrap().node, node);
    assert_eq!(read(&fs, node), b"x");
}

#[test]
fn references_are_counted() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    lookup(&fs, ROOT, "f").unwrap();
    lookup(&fs, ROOT, "f").unwrap();
    assert_eq!(fs.referenced_nodes(), Ok(1));
    fs.forget(node, 2);
    assert!(fs.get_attr(node).is_ok());
    fs.forget(node, 1);
    assert_eq!(fs.referenced_nodes(), Ok(0));
    // More than there are, and of a node that never was.
    fs.forget(node, 5);
    fs.forget(mica_vfs::NodeId(77), 1);
    fs.forget(mica_vfs::NodeId(0), 1);
}

#[test]
fn the_root_needs_no_reference() {
    let fs = tmpfs();
    fs.forget(ROOT, 3);
    assert!(fs.get_attr(ROOT).is_ok());
}

#[test]
fn a_slot_that_is_used_again_gives_another_node() {
    let fs = tmpfs();
    let old = file(&fs, ROOT, "f");
    fs.unlink(ROOT, name("f")).unwrap();
    fs.forget(old, 1);
    let new = file(&fs, ROOT, "g");
    assert_ne!(old, new);
    assert_eq!(old.0 & 0xffff_ffff, new.0 & 0xffff_ffff);
    assert_eq!(fs.get_attr(old).err(), Some(Errno::STALE));
}

#[test]
fn a_node_keeps_its_number_across_renames() {
    let fs = tmpfs();
    let node = file(&fs, ROOT, "f");
    let dir = mkdir(&fs, ROOT, "d");
    rename(&fs, (ROOT, "f"), (dir, "g"), RenameFlags::empty()).unwrap();
    assert_eq!(lookup(&fs, dir, "g").unwrap().node, node);
}
