use mica_tmpfs::Tmpfs;
use mica_vfs::{NodeId, RenameFlags};

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

#[test]
fn reads_are_counted_apart_and_fail_apart() {
    let layer = layer();
    build(&layer, NodeId::ROOT, "a='1'");
    let walk = Walk::new(&layer);
    layer.arm_reads(2, Fault::Fail(Errno::IO));
    // A lookup, then the data.
    assert_eq!(walk.read("a"), Err(Errno::IO));
    assert_eq!(layer.struck_call(), Some(Call::Read));
    assert_eq!(walk.read("a").unwrap(), b"1");
    layer.arm_reads(1, Fault::Stop);
    assert_eq!(walk.stat("a"), Err(Errno::IO));
    assert_eq!(walk.mkdir("d"), Err(Errno::IO), "a layer that has gone");
    layer.heal();
    assert_eq!(walk.ls("").unwrap(), ["a"]);
}

#[test]
fn layers_beside_each_other_count_together() {
    let one = layer();
    let other = one.beside(Arc::new(Tmpfs::new()));
    one.arm(2, Fault::Fail(Errno::NOSPC));
    assert_eq!(Walk::new(&one).mkdir("a"), Ok(()));
    assert_eq!(Walk::new(&other).mkdir("a"), Err(Errno::NOSPC));
}

#[test]
fn what_a_layer_lacks_is_refused_and_not_counted() {
    let layer = layer();
    build(&layer, NodeId::ROOT, "a='1' b='2' w:whiteout");
    layer.reset();
    layer.lack(Lacks::all());
    let walk = Walk::new(&layer);
    for flags in [RenameFlags::EXCHANGE, RenameFlags::WHITEOUT] {
        assert_eq!(walk.rename_with("a", "b", flags), Err(Errno::INVAL));
    }
    assert_eq!(walk.tmpfile("", 0o600).map(drop), Err(Errno::OPNOTSUPP));
    assert_eq!(walk.link("w", "x"), Err(Errno::MLINK));
    assert_eq!(layer.changes(), 0);
    assert_eq!(walk.link("a", "c"), Ok(()));
}
