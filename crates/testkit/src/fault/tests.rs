use mica_tmpfs::Tmpfs;

use super::*;
use crate::{Walk, build};

fn layer() -> FaultLayer {
    FaultLayer::new(Arc::new(Tmpfs::new()))
}

#[test]
fn the_nth_change_fails_and_the_next_does_not() {
    let layer = layer();
    let walk = Walk::new(&layer);
    layer.arm(2, Fault::Fail(Errno::DQUOT));
    assert_eq!(walk.mkdir("a"), Ok(()));
    assert!(!layer.struck());
    assert_eq!(walk.mkdir("b"), Err(Errno::DQUOT));
    assert!(layer.struck());
    assert_eq!(walk.mkdir("c"), Ok(()));
    assert_eq!(walk.ls("").unwrap(), ["a", "c"]);
    assert_eq!(layer.steps(), ["mkdir a", "mkdir b", "mkdir c"]);
}

#[test]
fn after_a_stop_nothing_changes_until_it_is_healed() {
    let layer = layer();
    build(&layer, NodeId::ROOT, "a='1'");
    layer.arm(1, Fault::Stop);
    let walk = Walk::new(&layer);
    assert_eq!(walk.rename("a", "b"), Err(Errno::IO));
    assert_eq!(walk.unlink("a"), Err(Errno::IO));
    assert_eq!(walk.chmod("a", 0), Err(Errno::IO));
    assert_eq!(walk.read("a").unwrap(), b"1");
    layer.heal();
    assert_eq!(walk.rename("a", "b"), Ok(()));
}

#[test]
fn a_short_write_takes_half_and_the_next_fails() {
    let layer = layer();
    build(&layer, NodeId::ROOT, "a=''");
    layer.arm(1, Fault::Short);
    let walk = Walk::new(&layer);
    assert_eq!(walk.write_at("a", 0, b"abcd"), Err(Errno::NOSPC));
    assert_eq!(walk.read("a").unwrap(), b"ab");
}

#[test]
fn a_short_copy_leaves_half() {
    let layer = layer();
    let source = Tmpfs::new();
    build(&source, NodeId::ROOT, "a='abcd'");
    build(&layer, NodeId::ROOT, "b=''");
    layer.arm(1, Fault::Short);
    let walk = Walk::new(&layer);
    let from = Walk::new(&source).hold("a").unwrap();
    let to = walk.hold("b").unwrap();
    let copied = layer.copy_from(to.node(), &source, from.node(), 4);
    assert_eq!(copied, Err(Errno::NOSPC));
    assert_eq!(walk.read("b").unwrap(), b"ab");
}

#[test]
fn the_steps_name_what_they_change() {
    let layer = layer();
    build(&layer, NodeId::ROOT, "a='x'@0600~1:2");
    assert_eq!(
        layer.steps(),
        ["create a", "write 1", "set_attr owner", "set_attr mode"]
    );
    layer.reset();
    assert_eq!(layer.changes(), 0);
}
