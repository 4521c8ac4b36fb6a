//! OVL-68 on real mounts: one malformed mark does not spoil a directory, and the log says where it is.

use std::fs;
use std::path::Path;

use rustix::fs::{XattrFlags, lsetxattr};
use rustix::io::Errno;

use crate::ground::{Ground, can_mount, ok};

/// A mark on an object: its name, its value, and why it is malformed.
const MARKS: [(&str, &str, &[u8], &str); 6] = [
    ("dir", "opaque", b"n", "`opaque` is neither `y` nor `x`"),
    ("dir", "redirect", b"", "`redirect` is empty"),
    (
        "dir",
        "redirect",
        b"a/b",
        "`redirect` is a relative path of several names",
    ),
    (
        "dir",
        "redirect",
        b"/a//b",
        "`redirect` has an empty name in its path",
    ),
    (
        "file",
        "metacopy",
        b"xx",
        "`metacopy` is shorter than its header",
    ),
    (
        "file",
        "origin",
        b"\0\xfa\x04\0",
        "`origin` is no file handle",
    ),
];

#[track_caller]
fn fails(path: &Path) {
    let error = fs::symlink_metadata(path).unwrap_err();
    let errno = Errno::from_io_error(&error);
    assert_eq!(errno, Some(Errno::IO), "{}: {error}", path.display());
}

#[test]
fn ovl_68_a_malformed_mark_is_an_error_of_its_object_and_the_log_says_where() {
    if !can_mount("ovl_68_a_malformed_mark_is_an_error_of_its_object_and_the_log_says_where") {
        return;
    }
    for (option, prefix) in [("rw", "trusted"), ("userxattr", "user")] {
        for (object, mark, value, reason) in MARKS {
            let ground = Ground::new();
            for layer in ["l", "u"] {
                fs::create_dir_all(ground.at(layer).join("p/dir")).unwrap();
                for name in ["p/dir/f", "p/file", "p/good"] {
                    fs::write(ground.at(layer).join(name), layer).unwrap();
                }
            }
            let name = format!("{prefix}.overlay.{mark}");
            let marked = ground.at("u/p").join(object);
            lsetxattr(&marked, &name, value, XattrFlags::empty()).unwrap();
            let options = format!("lowerdir=l,upperdir=u,workdir=w,{option}");
            let mount = ["mount", "--log", "messages", "-o", &options, "m"];
            assert_eq!(ground.run(&mount), ok());

            let parent = ground.at("m/p");
            // Listed with and without attributes: each name is there.
            for _ in 0..2 {
                let entries = fs::read_dir(&parent).unwrap();
                let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
                names.sort();
                assert_eq!(names, ["dir", "file", "good"], "{name}");
                fails(&parent.join(object));
            }
            for other in ["dir", "file", "good"] {
                if other != object {
                    fs::symlink_metadata(parent.join(other)).unwrap();
                }
            }
            fs::write(parent.join("good"), "changed").unwrap();
            fs::rename(parent.join("good"), parent.join("better")).unwrap();
            fs::write(parent.join("new"), "new").unwrap();
            fs::remove_file(parent.join("new")).unwrap();
            let log = fs::read_to_string(ground.at("messages")).unwrap();
            let place = format!("path=/p/{object}");
            for part in ["layer=u", &place, reason] {
                assert!(log.contains(part), "{part} is not in:\n{log}");
            }
        }
    }
}
