//! What a server may hold: open files, and names that it cannot look at.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use rustix::fs::{XattrFlags, setxattr};

use crate::ground::{Ground, can_mount, ok, run};

/// The names in `dir`, and whether each could be asked for its attributes.
fn list(dir: &Path) -> Vec<(String, io::Result<u64>)> {
    let entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let inode = entry.metadata().map(|attributes| attributes.ino());
        (entry.file_name().into_string().unwrap(), inode)
    };
    fs::read_dir(dir).unwrap().map(entry).collect()
}

#[test]
fn ovl_80_a_name_whose_attributes_cannot_be_read_is_listed() {
    if !can_mount("ovl_80_a_name_whose_attributes_cannot_be_read_is_listed") {
        return;
    }
    let ground = Ground::new();
    for n in 0..50 {
        fs::write(ground.at(&format!("u/{n}")), "upper").unwrap();
        fs::write(ground.at(&format!("l/lower{n}")), "lower").unwrap();
    }
    // Mica does not follow `metacopy` by default: a file that has it is refused.
    let refused = ["7", "33"];
    for name in refused {
        let path = ground.at(&format!("u/{name}"));
        setxattr(path, "user.overlay.metacopy", b"", XattrFlags::empty()).unwrap();
    }
    ground.mount(&[]);
    for _ in 0..2 {
        let listed = list(&ground.at("m"));
        assert_eq!(listed.len(), 100);
        let failed: BTreeSet<_> = listed
            .iter()
            .filter(|(_, inode)| inode.is_err())
            .map(|(name, _)| &**name)
            .collect();
        assert_eq!(failed, BTreeSet::from(refused));
    }
}

/// Mounts under a shell's `limit` and reads a thousand files of a hundred directories; the server's most open files.
fn most_fds_under(limit: &str) -> usize {
    let ground = Ground::new();
    for dir in 0..100 {
        let dir = format!("l/{dir}");
        fs::create_dir(ground.at(&dir)).unwrap();
        for file in 0..10 {
            fs::write(ground.at(&format!("{dir}/{file}")), &dir).unwrap();
        }
    }
    let script = format!("{limit}; exec \"$0\" mount -o lowerdir=l,upperdir=u,workdir=w m");
    let mut command = Command::new("sh");
    ground.here(command.args(["-c", &script, env!("CARGO_BIN_EXE_mica")]));
    assert_eq!(run(&mut command), ok());
    let server = ground.server();
    let open_files = format!("/proc/{}/fd", server.pid());
    let (mut most, mut held) = (0, Vec::new());
    for dir in 0..100 {
        for file in 0..10 {
            let path = ground.at(&format!("m/{dir}/{file}"));
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("l/{dir}"));
            held.push(File::open(&path).unwrap());
        }
        most = most.max(fs::read_dir(&open_files).unwrap().count());
    }
    assert_eq!(list(&ground.at("m")).len(), 100);
    most
}

#[test]
fn a_limit_of_256_open_files_is_kept_and_everything_is_read() {
    if !can_mount("a_limit_of_256_open_files_is_kept_and_everything_is_read") {
        return;
    }
    // The soft limit alone says what is meant for a program, though it may raise it.
    for limit in ["ulimit -n 256", "ulimit -S -n 256"] {
        let most = most_fds_under(limit);
        assert!((100..=200).contains(&most), "{most} under `{limit}`");
    }
}
