//! OVL-90 through a mount: directories of lowers are renamed, by programs that hold what is in them, and the kernel follows.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use rustix::io::Errno;

use crate::ground::{Ground, can_mount, is_root, ok, run};

const LAYERS: &str = "lowerdir=l,upperdir=u,workdir=w";

fn errno(result: io::Result<()>) -> Option<Errno> {
    result.err().and_then(|error| Errno::from_io_error(&error))
}

/// What `ls` says of a directory by the kernel's overlayfs on the same layers.
fn by_the_kernel(ground: &Ground, options: &str, dir: &str) -> String {
    let script = "mount -t overlay overlay -o \"$1\" m; ls \"$2\" 2>&1; umount m";
    let mut shell = Command::new("sh");
    let said = run(ground.here(shell.args(["-c", script, "sh", options, dir])));
    assert_eq!(said.stderr, "", "{options}");
    said.stdout
}

#[test]
fn ovl_90_redirect_dir_lets_directories_of_lowers_be_renamed() {
    let test = "ovl_90_redirect_dir_lets_directories_of_lowers_be_renamed";
    if !is_root(test) || !can_mount(test) {
        return;
    }
    let exdev = Some(Errno::XDEV);
    let (followed, eperm) = (
        "f\n",
        "ls: cannot access 'm/gone': Operation not permitted\n",
    );
    let alone = "redirects written and followed\n";
    let with_user =
        "redirects written and followed; the kernel's overlayfs follows none in user.overlay.*";
    let follow = "redirects followed, not written";
    let refused = "redirects refused with EPERM, not written";
    for (program, options, renamed, says, redirected) in [
        ("mica", "", None, alone, followed),
        ("mica", ",redirect_dir=on", None, alone, followed),
        ("mica", ",redirect_dir=follow", exdev, follow, followed),
        ("mica", ",redirect_dir=nofollow", exdev, refused, eperm),
        ("mica", ",redirect_dir=off", exdev, follow, followed),
        ("mica", ",userxattr", exdev, refused, eperm),
        (
            "mica",
            ",userxattr,redirect_dir=on",
            None,
            with_user,
            followed,
        ),
        (
            "mica",
            ",userxattr,redirect_dir=follow",
            exdev,
            follow,
            followed,
        ),
        ("mica", ",userxattr,redirect_dir=off", exdev, refused, eperm),
        ("fuse-overlayfs", "", exdev, follow, followed),
        ("fuse-overlayfs", ",redirect_dir=on", None, alone, followed),
    ] {
        let ground = Ground::new();
        for dir in ["l/d/sub", "l/old", "u/gone"] {
            fs::create_dir_all(ground.at(dir)).unwrap();
        }
        fs::write(ground.at("l/old/f"), "f").unwrap();
        let user = options.contains("userxattr");
        let name = if user {
            c"user.overlay.redirect"
        } else {
            c"trusted.overlay.redirect"
        };
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(ground.at("u/gone"), name, b"old", flags).unwrap();
        let all = format!("{LAYERS}{options}");
        if program == "mica" {
            let said = ground.run(&["mount", "-v", "-o", &all, "m"]);
            assert_eq!(said.status, Some(0), "{options}: {}", said.stderr);
            assert!(said.stderr.contains(says), "{options}: {}", said.stderr);
        } else {
            assert_eq!(
                run(&mut ground.called_as(program, &["-o", &all, "m"])),
                ok()
            );
        }
        let rename = fs::rename(ground.at("m/d"), ground.at("m/e"));
        assert_eq!(errno(rename), renamed, "{program} {options}");
        // Programs copy then.
        let mut mv = Command::new("mv");
        let moved = match renamed {
            Some(_) => run(ground.here(mv.args(["m/d", "m/e"]))),
            None => ok(),
        };
        assert_eq!(moved, ok(), "{program} {options}");
        assert!(ground.at("m/e/sub").is_dir() && !ground.at("m/d").exists());
        let mut ls = Command::new("ls");
        let listed = run(ground.here(ls.arg("m/gone")));
        assert_eq!(
            listed.stdout + &listed.stderr,
            redirected,
            "{program} {options}"
        );
        let mut umount = Command::new("umount");
        assert_eq!(run(ground.here(umount.arg("m"))), ok());
    }
}

#[test]
fn ovl_90_who_is_in_a_directory_that_is_renamed_stays_there() {
    let test = "ovl_90_who_is_in_a_directory_that_is_renamed_stays_there";
    if !is_root(test) || !can_mount(test) {
        return;
    }
    let ground = Ground::new();
    fs::create_dir_all(ground.at("l/a/b/c")).unwrap();
    fs::create_dir(ground.at("l/to")).unwrap();
    fs::write(ground.at("l/a/b/c/f"), "lower").unwrap();
    assert_eq!(ground.run(&["mount", "-o", LAYERS, "m"]), ok());
    let mut file = File::open(ground.at("m/a/b/c/f")).unwrap();
    let number = |path: &str| fs::metadata(ground.at(path)).unwrap().ino();
    let numbers = ["m/a", "m/a/b", "m/a/b/c", "m/a/b/c/f"].map(number);
    // In the directory while it moves, and afterwards.
    let script = "cd m/a/b/c; mv ../../../a ../../../to/x; mv ../../b ../../y; pwd -P; cat f; echo new > g; \
                  cd -P ..; ls c; rm c/f; mv c ../../c; ls ../../../to";
    let mut shell = Command::new("sh");
    let said = ground.shown(run(ground.here(shell.args(["-ec", script]))));
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    assert_eq!(said.stdout, "$/m/to/x/y/c\nlowerf\ng\nc\nx\n");
    let now = ["m/to/x", "m/to/x/y", "m/to/c"].map(number);
    assert_eq!(now, numbers[..3]);
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "lower");
    drop(file);
    ground.unmount("m");
    for options in ["redirect_dir=on", "redirect_dir=follow"] {
        let options = format!("{LAYERS},{options}");
        assert_eq!(by_the_kernel(&ground, &options, "m/to/c"), "g\n");
        assert_eq!(by_the_kernel(&ground, &options, "m/to/x"), "y\n");
    }
}

#[test]
fn ovl_90_the_kernel_refuses_directories_that_were_renamed_by_user_attributes() {
    let test = "ovl_90_the_kernel_refuses_directories_that_were_renamed_by_user_attributes";
    if !is_root(test) || !can_mount(test) {
        return;
    }
    let ground = Ground::new();
    fs::create_dir_all(ground.at("l/a/b")).unwrap();
    let options = format!("{LAYERS},userxattr,redirect_dir=on");
    assert_eq!(ground.run(&["mount", "-o", &options, "m"]), ok());
    fs::rename(ground.at("m/a"), ground.at("m/c")).unwrap();
    ground.unmount("m");
    let refused = "ls: cannot access 'm/c': Operation not permitted\n";
    let kernel = by_the_kernel(&ground, &format!("{LAYERS},userxattr"), "m/c");
    assert_eq!(kernel, refused);
}
