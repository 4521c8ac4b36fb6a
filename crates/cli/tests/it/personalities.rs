//! The program, called by other names.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::ground::{Ground, Outcome, can_mount, ok, run};

fn refusal(status: i32, stderr: &str) -> Outcome {
    Outcome {
        status: Some(status),
        stdout: String::new(),
        stderr: stderr.into(),
    }
}

#[test]
fn fuse_overlayfs_mounts_in_the_background() {
    if !can_mount("fuse_overlayfs_mounts_in_the_background") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/f"), "lower").unwrap();
    let layers = "lowerdir=l,upperdir=u,workdir=w";
    for arguments in [
        &["-o", layers, "m"][..],
        &["-olowerdir=l", "-o", "upperdir=u,workdir=w", "m"],
        &["m", "-o", layers],
        &["elsewhere", "-o", layers, "--", "m"],
    ] {
        assert_eq!(
            run(&mut ground.called_as("fuse-overlayfs", arguments)),
            ok()
        );
        let fields = ground.mounted("m").unwrap();
        assert_eq!(
            (fields[0].as_str(), fields[2].as_str()),
            ("fuse-overlayfs", "fuse.fuse-overlayfs")
        );
        let has = |flag| fields[3].split(',').any(|shown| shown == flag);
        assert!(
            has("noatime") && has("default_permissions") && has("allow_other"),
            "{}",
            fields[3]
        );
        fs::write(ground.at("m/f"), "changed").unwrap();
        assert_eq!(fs::read_to_string(ground.at("u/f")).unwrap(), "changed");
        let server = ground.server();
        assert_eq!(run(Command::new("umount").arg(ground.at("m"))), ok());
        server.ends();
    }
    assert_eq!(fs::read_to_string(ground.at("l/f")).unwrap(), "lower");
}

#[test]
fn fuse_overlayfs_says_its_version_as_engines_expect() {
    let ground = Ground::new();
    for flag in ["--version", "-V"] {
        let outcome = run(&mut ground.called_as("fuse-overlayfs", &["-f", flag]));
        assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""));
        let lines: Vec<&str> = outcome.stdout.lines().collect();
        let version = lines[0].strip_prefix("fuse-overlayfs: version 1.").unwrap();
        assert!(version.parse::<u32>().unwrap() >= 7, "{version}");
        assert_eq!(lines[1], concat!("mica ", env!("CARGO_PKG_VERSION")));
        assert!(lines[2].starts_with("using FUSE kernel interface version 7."));
        assert_eq!(lines.len(), 3);
    }
    for flag in ["--help", "-h"] {
        let outcome = run(&mut ground.called_as("fuse-overlayfs", &[flag]));
        assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""));
        assert!(
            outcome
                .stdout
                .starts_with("usage: fuse-overlayfs [options] <mountpoint>\n")
        );
        assert!(outcome.stdout.lines().all(|line| line.len() <= 78));
    }
}

#[test]
fn fuse_overlayfs_ignores_what_it_does_not_know() {
    if !can_mount("fuse_overlayfs_ignores_what_it_does_not_know") {
        return;
    }
    let ground = Ground::new();
    let options = "nodev,metacopy=on,wibble=1,lazytime,lowerdir=l,upperdir=u,workdir=w";
    let mut mount = ground.called_as("fuse-overlayfs", &["-t", "overlay", "-o", options, "m"]);
    let said = refusal(
        0,
        "unknown argument ignored: -t\n\
         unknown argument ignored: metacopy=on\n\
         unknown argument ignored: wibble=1\n",
    );
    assert_eq!(run(&mut mount), said);
    let shown = ground.mounted("m").unwrap()[3].clone();
    assert!(shown.split(',').any(|flag| flag == "nodev"), "{shown}");
}

#[test]
fn fuse_overlayfs_fails_with_status_1() {
    let ground = Ground::new();
    let hint = "hint: run `fuse-overlayfs -o lowerdir=DIR,upperdir=DIR,workdir=DIR MOUNTPOINT`\n";
    for (arguments, stderr) in [
        (&["-o", "lowerdir=l"][..], format!("error: no mountpoint specified\n{hint}")),
        (&["m", "-o"], format!("error: missing argument after `-o`\n{hint}")),
        (
            &["m"],
            "error: mount option `lowerdir` is missing\n\
             hint: give at least one directory: `mica mount -o lowerdir=DIR MOUNTPOINT`\n"
                .into(),
        ),
        (
            &["-o", "lowerdir=gone", "m"],
            "error: cannot mount at `m`\n\
             caused by: lowerdir `gone` does not exist\n\
             hint: see how far the path leads with `namei gone`; a `:` or `,` that belongs to a path is written `\\:` or `\\,`\n"
                .into(),
        ),
        (
            &["-o", "lowerdir=l,plugins=/p", "m"],
            "error: mount option `plugins` cannot be had: there are no plugins; a layer is a directory\n\
             hint: leave it out, and name directories in `-o lowerdir=`\n"
                .into(),
        ),
    ] {
        let outcome = run(&mut ground.called_as("fuse-overlayfs", arguments));
        assert_eq!(outcome, refusal(1, &stderr), "{arguments:?}");
    }
}

#[test]
fn fuse_overlayfs_needs_no_userxattr_in_a_user_namespace() {
    if !can_mount("fuse_overlayfs_needs_no_userxattr_in_a_user_namespace") {
        return;
    }
    let ground = Ground::alone();
    fs::create_dir(ground.at("l/d")).unwrap();
    let link = ground.link("fuse-overlayfs");
    // As an engine without root runs it: root of a user namespace of its own. What is in the directory is its.
    let script = "mount --make-rprivate / && \"$0\" -o lowerdir=l,upperdir=u,workdir=w m && \
                  rmdir m/d && mkdir m/d && umount m";
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", script]).arg(&link);
    assert_eq!(run(ground.here(&mut command)), ok());
    let mut value = [0; 8];
    let length = rustix::fs::lgetxattr(ground.at("u/d"), "user.overlay.opaque", &mut value);
    assert_eq!(&value[..length.unwrap()], b"y");
}

#[test]
fn a_helper_of_mount_takes_its_command_line() {
    if !can_mount("a_helper_of_mount_takes_its_command_line") {
        return;
    }
    let ground = Ground::new();
    let options = "rw,lowerdir=l,upperdir=u,workdir=w";
    for (name, arguments, source, kind) in [
        (
            "mount.fuse.mica",
            &["a,b\\c", "m", "-o", options][..],
            "a,b\\134c",
            "fuse.mica",
        ),
        (
            "mount.mica",
            &["none", "m", "-n", "-o", options, "-t", "mica"],
            "mica",
            "fuse.mica",
        ),
        (
            "mount.mica",
            &["-no", options, "src", "m", "-t", "fuse.mica"],
            "src",
            "fuse.mica",
        ),
        (
            "mount.fuse.mica",
            &["src", "m", "-t", "fuse.x", "-o", options],
            "src",
            "fuse.x",
        ),
        (
            "mount.fuse.mica",
            &["src", "m", "-o", options, "-ofsname=other"],
            "other",
            "fuse.mica",
        ),
    ] {
        assert_eq!(
            run(&mut ground.called_as(name, arguments)),
            ok(),
            "{arguments:?}"
        );
        let fields = ground.mounted("m").unwrap();
        assert_eq!(
            (fields[0].as_str(), fields[2].as_str()),
            (source, kind),
            "{arguments:?}"
        );
        assert_eq!(run(Command::new("umount").arg(ground.at("m"))), ok());
    }
    let said = run(&mut ground.called_as("mount.mica", &["none", "m", "-v", "-o", options]));
    assert_eq!(said.status, Some(0));
    said.assert_said("lower 1 `l`\n");
    assert_eq!(run(Command::new("umount").arg(ground.at("m"))), ok());
    assert_eq!(
        run(&mut ground.called_as("mount.mica", &["none", "m", "-fo", options])),
        ok()
    );
    assert_eq!(ground.mounted("m"), None);
    let help = run(&mut ground.called_as("mount.mica", &["--help"]));
    assert!(
        help.stdout
            .starts_with("usage: mount.fuse.mica SOURCE MOUNTPOINT")
    );
    assert!(help.stdout.lines().all(|line| line.len() <= 78));
}

#[test]
fn a_helper_of_mount_fails_with_the_statuses_of_mount() {
    let ground = Ground::new();
    let hint = "hint: run `mount -t fuse.mica -o lowerdir=DIR,upperdir=DIR,workdir=DIR SOURCE MOUNTPOINT`\n";
    for (arguments, status, stderr) in [
        (&["none"][..], 1, format!("error: a source and a mountpoint are needed\n{hint}")),
        (&["none", "m", "x"], 1, format!("error: a source and a mountpoint are needed\n{hint}")),
        (&["none", "m", "-x"], 1, format!("error: unknown flag `-x`\n{hint}")),
        (&["none", "m", "-o"], 1, format!("error: missing argument after `-o`\n{hint}")),
        (
            &["none", "m", "-o", "lowerdir=l,wibble"],
            1,
            "error: unknown mount option `wibble`\n\
             hint: `mica mount --help` lists all options\n"
                .into(),
        ),
        (
            &["none", "m", "-fo", "lowerdir=l,nfs_export=on"],
            1,
            "error: mount option `nfs_export=on` cannot be had: file handles of a FUSE mount end with its server\n\
             hint: export the layers, or mount with the kernel: `mount -t overlay`\n"
                .into(),
        ),
        (
            &["none", "m", "-o", "lowerdir=gone,userxattr"],
            32,
            "error: cannot mount at `m`\n\
             caused by: lowerdir `gone` does not exist\n\
             hint: see how far the path leads with `namei gone`; a `:` or `,` that belongs to a path is written `\\:` or `\\,`\n"
                .into(),
        ),
        (
            &["none", "nowhere", "-fo", "lowerdir=l"],
            32,
            "error: cannot mount at `nowhere`\n\
             caused by: the mountpoint does not exist\n\
             hint: make it with `mkdir -p nowhere`\n"
                .into(),
        ),
        (
            &["none", "m", "-N", "no/ns", "-o", "lowerdir=l"],
            2,
            "error: cannot enter the mount namespace `no/ns`\n\
             caused by: no such file or directory (ENOENT)\n"
                .into(),
        ),
    ] {
        let outcome = run(&mut ground.called_as("mount.mica", arguments));
        assert_eq!(outcome, refusal(status, &stderr), "{arguments:?}");
    }
}

#[test]
fn a_sloppy_mount_notes_unknown_options() {
    if !can_mount("a_sloppy_mount_notes_unknown_options") {
        return;
    }
    let ground = Ground::new();
    let options = "lowerdir=l,wibble=1";
    let said = run(&mut ground.called_as("mount.mica", &["none", "m", "-sv", "-o", options]));
    assert_eq!(said.status, Some(0), "{}", said.stderr);
    let note = "option `wibble=1`: unknown, and ignored\n";
    said.assert_said(note);
}

#[test]
fn a_helper_enters_the_namespace_that_it_is_given() {
    if !can_mount("a_helper_enters_the_namespace_that_it_is_given") {
        return;
    }
    let ground = Ground::alone();
    let link = ground.link("mount.mica");
    let at = |name| ground.at(name).to_str().unwrap().to_owned();
    // A namespace that lives as long as its process, which waits for its standard input to end.
    let mut outside = Command::new("unshare");
    let mut outside = ground
        .here(outside.args(["-m", "cat"]))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pid = outside.id().to_string();
    wait_for_namespace(&pid);
    let options = format!("lowerdir={}", at("l"));
    let mut mount = Command::new(&link);
    mount.args(["none", &at("m"), "-N", &pid, "-o", &options]);
    assert_eq!(run(ground.here(&mut mount)), ok());
    let there = fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
    assert!(
        there.contains(&format!("mica {} fuse.mica ", at("m"))),
        "{there}"
    );
    assert_eq!(ground.mounted("m"), None);
    let mut umount = Command::new("nsenter");
    umount.args(["-m", "-t", &pid, "umount", &at("m")]);
    assert_eq!(run(&mut umount), ok());
    drop(outside.stdin.take());
    outside.wait().unwrap();
}

/// Waits until a process has a mount namespace of its own.
fn wait_for_namespace(pid: &str) {
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    let begun = std::time::Instant::now();
    while fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap() == own {
        assert!(
            begun.elapsed() < crate::ground::LIMIT,
            "it stays in this one"
        );
        std::thread::yield_now();
    }
}

/// Runs `script` where mount(8) finds the helpers, in a mount namespace of its own.
#[track_caller]
fn run_with_helpers(ground: &Ground, script: &str) -> Outcome {
    ground.link("mount.mica");
    ground.link("mount.fuse.mica");
    let prepare = "mount --bind bin /usr/sbin && exec sh -ec \"$0\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", prepare, script]);
    // Libraries of mount(8) do not trust a root whose IDs differ.
    ground.shown(run(ground.here(command.uid(0))))
}

/// Shows a mount at `m` in this script's namespace.
const SHOW: &str =
    "grep \" $PWD/m \" /proc/mounts | cut -d' ' -f1,3,4 | cut -d, -f1-3 || echo none";

#[test]
fn mount_and_fstab_mount_by_the_helper() {
    if !can_mount("mount_and_fstab_mount_by_the_helper") {
        return;
    }
    let ground = Ground::alone();
    fs::write(ground.at("l/f"), "lower\n").unwrap();
    let script = format!(
        "layers=lowerdir=$PWD/l,upperdir=$PWD/u,workdir=$PWD/w
         mount -t fuse.mica -o \"$layers,user,nosymfollow\" src m; {SHOW}; cat m/f; umount m; {SHOW}
         mount -t mica -o \"$layers,noauto\" none m; {SHOW}; umount m
         echo \"none $PWD/m mica $layers,nodev,noauto,nofail,_netdev,x-a.b=c,comment=d,defaults 0 0\" > fstab
         mount -T fstab $PWD/m; {SHOW}; umount m
         mount -t mica -o \"$layers,wibble\" none m || echo $?
         mount -s -t mica -o \"$layers,wibble\" none m && umount m
         mount -t mica -o lowerdir=$PWD/gone none m || echo $?"
    );
    let outcome = run_with_helpers(&ground, &script);
    assert_eq!(
        outcome.stdout,
        "src fuse.mica rw,nosuid,nodev\nlower\n\
         mica fuse.mica rw,relatime,user_id=0\n\
         mica fuse.mica rw,nodev,relatime\n\
         1\n32\n"
    );
    assert_eq!(outcome.status, Some(0));
    let said: Vec<&str> = outcome
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(
        said,
        [
            "error: unknown mount option `wibble`",
            "error: cannot mount at `$/m`"
        ]
    );
}

#[test]
fn a_remount_by_mount_passes_over_the_rest_of_fstab() {
    if !can_mount("a_remount_by_mount_passes_over_the_rest_of_fstab") {
        return;
    }
    let ground = Ground::alone();
    let script = format!(
        "layers=lowerdir=$PWD/l,upperdir=$PWD/u,workdir=$PWD/w
         echo \"none $PWD/m fuse.mica $layers,noauto,timeout=5,xino=on 0 0\" > fstab
         mount -T fstab $PWD/m; {SHOW}
         mount -T fstab -o remount,ro,noexec $PWD/m; {SHOW}
         mount -o remount,rw $PWD/m; {SHOW}
         umount m"
    );
    let outcome = run_with_helpers(&ground, &script);
    let expected = Outcome {
        status: Some(0),
        stdout: "mica fuse.mica rw,relatime,user_id=0\n\
                 mica fuse.mica ro,noexec,relatime\n\
                 mica fuse.mica rw,noexec,relatime\n"
            .into(),
        stderr: String::new(),
    };
    assert_eq!(outcome, expected);
}
