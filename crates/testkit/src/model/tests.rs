use mica_tmpfs::Tmpfs;
use mica_vfs::{NodeId, RenameFlags};

use super::*;
use crate::tree::PREFIX;
use crate::{build, dump};

fn layer(literal: &str) -> Dump {
    let fs = Tmpfs::new();
    build(&fs, NodeId::ROOT, literal);
    dump(&fs, NodeId::ROOT, Model::LAYER)
}

fn merged(upper: &str, lowers: &[&str]) -> Model {
    let lowers: Vec<_> = lowers.iter().map(|literal| layer(literal)).collect();
    Model::merge(Some(&layer(upper)), &lowers, PREFIX)
}

#[test]
fn the_layers_merge_from_the_top() {
    let model = merged(
        "d/b:whiteout d/c='up' o:opaque o/x='1' f='file' gone:whiteout",
        &[
            "d/a='mid' d/c='low' o/y='2' f/ f/z='3' w:whiteouts w/v:xwhiteout",
            "d/b='low' d/a='low' gone/ gone/deep='4' w/v='5' w/u='6' only='7'",
        ],
    );
    assert_eq!(
        model.paths(),
        ["d", "d/a", "d/c", "f", "o", "o/x", "only", "w", "w/u"]
    );
    assert_eq!(model.read("d/a").unwrap(), b"mid");
    assert_eq!(model.read("d/c").unwrap(), b"up");
    assert_eq!(model.ls("w").unwrap(), ["u"]);
    assert_eq!(model.ls("").unwrap(), ["d", "f", "o", "only", "w"]);
}

#[test]
fn a_file_between_directories_ends_the_merge() {
    let model = merged("d/ d/a='1'", &["d='file'", "d/b='2'"]);
    assert_eq!(model.paths(), ["d", "d/a"]);
}

#[test]
fn the_overlays_attributes_are_hidden_and_escaped_ones_are_shown() {
    let model = merged(
        "f='x'[trusted.overlay.origin=o,trusted.overlay.overlay.opaque=y,user.k=v]",
        &["l='y'"],
    );
    let shown = |name| model.getxattr("f", name);
    assert_eq!(shown("trusted.overlay.origin"), Err(Errno::NODATA));
    assert_eq!(shown("trusted.overlay.opaque"), Ok(b"y".to_vec()));
    assert_eq!(shown("user.k"), Ok(b"v".to_vec()));
}

#[test]
fn links_hold_and_those_of_a_lower_split_at_the_next_mount() {
    let mut model = merged("u='1' v=>u", &["l='2' m=>l k=>l"]);
    model.write_at("u", 0, b"x").unwrap();
    assert_eq!(model.read("v").unwrap(), b"x");
    assert_eq!(model.dump().0["v"].same_as.as_deref(), Some("u"));
    assert_eq!(model.dump().0["l"].nlink, None);
    model.write_at("l", 0, b"x").unwrap();
    model.rename("k", "n", RenameFlags::empty()).unwrap();
    assert_eq!(model.read("m").unwrap(), b"x");
    assert_eq!(model.dump().0["m"].same_as.as_deref(), Some("l"));
    model.remount(&merged(
        "u='x' v=>u l='x' n=>l k:whiteout",
        &["l='2' m=>l k=>l"],
    ));
    assert_eq!(model.read("m").unwrap(), b"2");
    assert_eq!(model.read("n").unwrap(), b"x");
    assert_eq!(model.dump().0["n"].nlink, Some(2));
    model.check();
}

#[test]
fn a_directory_of_a_lower_does_not_move() {
    let mut model = merged("up/ up/f='1' both/", &["low/ both/ e/"]);
    let plain = RenameFlags::empty();
    for dir in ["low", "both"] {
        assert_eq!(model.rename(dir, "new", plain), Err(Errno::XDEV));
    }
    assert_eq!(
        model.rename("up", "low", RenameFlags::EXCHANGE),
        Err(Errno::XDEV)
    );
    model.rename("up", "e", plain).unwrap();
    assert_eq!(model.read("e/f").unwrap(), b"1");
    model.check();
}

#[test]
fn a_rename_moves_what_is_below_and_an_exchange_both() {
    let mut model = merged("a/ a/b/ a/b/c='1' x='2' ab='3'", &["l='4'"]);
    model.rename("a", "x", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(model.read("x/b/c").unwrap(), b"1");
    assert_eq!(model.read("a").unwrap(), b"2");
    assert_eq!(
        model.rename("x", "x/b/y", RenameFlags::empty()),
        Err(Errno::INVAL)
    );
    assert_eq!(
        model.rename("x/b/c", "x", RenameFlags::empty()),
        Err(Errno::NOTEMPTY)
    );
    assert_eq!(model.read("ab").unwrap(), b"3");
    model.check();
}

#[test]
fn whiteouts_that_are_made_by_hand_are_devices() {
    let mut model = merged("u='1'", &["l='2'"]);
    let made = model.mknod("w", FileType::CharDevice, 0, Rdev::WHITEOUT);
    assert_eq!(made, Ok(()));
    assert_eq!(model.rename("l", "m", RenameFlags::WHITEOUT), Ok(()));
    for path in ["w", "l"] {
        assert_eq!(model.dump().0[path].kind, FileType::CharDevice);
    }
    let both = RenameFlags::WHITEOUT | RenameFlags::EXCHANGE;
    assert_eq!(model.rename("u", "m", both), Err(Errno::INVAL));
}

#[test]
fn a_time_is_known_until_a_call_sets_it() {
    let mut model = merged("u='1'!5", &["l='2'!6"]);
    assert_eq!(model.dump().0["l"].mtime.unwrap().secs, 6);
    model.chmod("l", 0o600).unwrap();
    assert_eq!(model.dump().0["l"].mtime.unwrap().secs, 6);
    model.write_at("l", 0, b"x").unwrap();
    assert_eq!(model.dump().0["l"].mtime, None);
}
