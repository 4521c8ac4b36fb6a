//! `metacopy=on` and data-only layers through a mount: what programs see that have a file open while its data moves.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::process::Command;

use rustix::fs::{XattrFlags, getxattr, setxattr};

use crate::ground::{Ground, can_mount, ok, run};

const METACOPY: &str = "trusted.overlay.metacopy";
const LAYERS: &str = "lowerdir=l,upperdir=u,workdir=w,metacopy=on";

fn is_metacopy(ground: &Ground, path: &str) -> bool {
    getxattr(ground.at(path), METACOPY, &mut [0_u8; 64]).is_ok()
}

#[test]
fn ovl_106_who_has_a_metacopy_open_sees_what_is_written_when_its_data_moves() {
    let test = "ovl_106_who_has_a_metacopy_open_sees_what_is_written_when_its_data_moves";
    if !can_mount(test) {
        return;
    }
    let ground = Ground::alone();
    let lower: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    fs::write(ground.at("l/f"), &lower).unwrap();
    assert_eq!(ground.run(&["mount", "-o", LAYERS, "m"]), ok());
    let reader = File::open(ground.at("m/f")).unwrap();
    let before = reader.metadata().unwrap();
    fs::set_permissions(ground.at("m/f"), Permissions::from_mode(0o640)).unwrap();
    chown(ground.at("m/f"), Some(8), Some(9)).unwrap();
    assert!(is_metacopy(&ground, "u/f"));
    let upper = fs::metadata(ground.at("u/f")).unwrap();
    assert!(upper.blocks() < 64, "{} blocks hold data", upper.blocks());
    assert_eq!(reader.metadata().unwrap().blocks(), before.blocks());
    // Reads through the descriptor that was there before, in cache and not.
    let mut block = [0; 4096];
    reader.read_exact_at(&mut block, 0).unwrap();
    assert!(block == lower[..4096]);
    fs::rename(ground.at("m/f"), ground.at("m/g")).unwrap();
    let writer = OpenOptions::new()
        .write(true)
        .open(ground.at("m/g"))
        .unwrap();
    writer.write_all_at(b"new", 1000).unwrap();
    assert!(!is_metacopy(&ground, "u/g"));
    reader.read_exact_at(&mut block, 0).unwrap();
    assert_eq!(&block[1000..1003], b"new");
    let mut expected = lower.clone();
    expected[1000..1003].copy_from_slice(b"new");
    assert!(fs::read(ground.at("m/g")).unwrap() == expected);
    let after = reader.metadata().unwrap();
    assert_eq!((after.ino(), after.len()), (before.ino(), before.len()));
    assert_eq!(
        (after.mode() & 0o7777, after.uid(), after.gid()),
        (0o640, 8, 9)
    );
    drop((reader, writer));
    ground.unmount("m");
    assert!(
        fs::read(ground.at("l/f")).unwrap() == lower,
        "the lower changed"
    );
    let script = format!("mount -t overlay overlay -o {LAYERS} m && cmp m/g u/g && ! test -e m/f");
    let mut kernel = Command::new("unshare");
    kernel.args(["-m", "sh", "-ec", &script]);
    assert_eq!(run(ground.here(&mut kernel)), ok());
}

#[test]
fn ovl_102_the_data_of_an_image_is_read_from_data_only_layers() {
    if !can_mount("ovl_102_the_data_of_an_image_is_read_from_data_only_layers") {
        return;
    }
    let ground = Ground::new();
    for (dir, blob) in [("d1", "ab"), ("d2", "cd")] {
        fs::create_dir_all(ground.at(dir).join(blob)).unwrap();
        fs::write(
            ground.at(dir).join(blob).join("blob"),
            format!("data of {blob}"),
        )
        .unwrap();
        let file = File::create(ground.at("l").join(blob)).unwrap();
        file.set_len(10).unwrap();
        setxattr(
            ground.at("l").join(blob),
            METACOPY,
            b"",
            XattrFlags::empty(),
        )
        .unwrap();
        let path = format!("/{blob}/blob");
        let redirect = "trusted.overlay.redirect";
        setxattr(
            ground.at("l").join(blob),
            redirect,
            path.as_bytes(),
            XattrFlags::empty(),
        )
        .unwrap();
    }
    for layers in [
        "lowerdir=l::d1::d2,upperdir=u,workdir=w",
        "lowerdir+=l,datadir+=d1,datadir+=d2,upperdir=u,workdir=w",
    ] {
        assert_eq!(ground.run(&["mount", "-o", layers, "m"]), ok());
        assert_eq!(fs::read_to_string(ground.at("m/ab")).unwrap(), "data of ab");
        assert_eq!(fs::read_to_string(ground.at("m/cd")).unwrap(), "data of cd");
        assert_eq!(fs::read_dir(ground.at("m")).unwrap().count(), 2);
        ground.unmount("m");
    }
}
