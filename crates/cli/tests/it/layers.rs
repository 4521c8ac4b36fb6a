//! Layers on other filesystems, many of them, and names as long as they can be.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use crate::ground::{Ground, Outcome, can_mount, ok, run};

/// Runs a shell script in the ground.
#[track_caller]
pub(crate) fn sh(ground: &Ground, script: &str) -> Outcome {
    let mut command = Command::new("sh");
    ground.shown(run(ground.here(command.args(["-ec", script]))))
}

/// Makes what [`use_overlay`] uses.
pub(crate) const FILL: &str = "mkdir -p d/deep e; echo data > f; echo deep > d/deep/g; echo gone > gone; ln -s f s; \
                    mkfifo p; truncate -s 100000 holes; echo end >> holes; chmod 640 f; touch -d @1000000000 f";

/// Uses an overlay in all ways that touch a lower of it, and shows what it finds.
pub(crate) const USE: &str = "ls -R m; cat m/f m/d/deep/g m/s; stat -c '%a %Y' m/f; echo more >> m/f; chmod 600 m/d/deep/g; \
                   rm m/gone; rmdir m/e; mkdir m/e; ln m/f m/link; mv m/holes m/moved; chmod 700 m/p m/d; \
                   stat -c '%n %a %h' m/f m/d m/moved m/p; stat -c %s m/f m/moved; tail -c 4 m/moved; ls -R m; find m | wc -l";

/// What [`USE`] prints over a directory.
pub(crate) fn expected() -> Outcome {
    let ground = Ground::new();
    sh(&ground, &format!("cd l; {FILL}"));
    ground.mount(&[]);
    let used = sh(&ground, USE);
    assert_eq!((used.status, used.stderr.as_str()), (Some(0), ""));
    used
}

/// Lists a tree with its content, its types, modes and times of change.
#[track_caller]
pub(crate) fn dump(ground: &Ground, dir: &str) -> String {
    let script = format!(
        "cd {dir}; find . -printf '%p %y %m %T@ %s %l\\n' | sort; find . -type f | sort | xargs cat"
    );
    let found = sh(ground, &script);
    assert_eq!(found.status, Some(0), "{}", found.stderr);
    found.stdout
}

/// Uses an overlay over `lower`, and checks that it is as over a directory, also after a remount, and that the lower stays as
/// it is.
#[track_caller]
fn used_as_a_directory(ground: &Ground, lower: &str, layers: &str) {
    let before = dump(ground, lower);
    let mount = ["mount", "-o", layers, "m"];
    assert_eq!(ground.run(&mount), ok());
    assert_eq!(sh(ground, USE), expected(), "{layers}");
    let view = dump(ground, "m");
    ground.unmount("m");
    assert_eq!(ground.run(&mount), ok());
    assert_eq!(dump(ground, "m"), view, "{layers}: after a remount");
    ground.unmount("m");
    assert_eq!(dump(ground, lower), before, "{layers}: the lower");
}

#[test]
fn a_lower_can_be_a_mount_of_mica() {
    if !can_mount("a_lower_can_be_a_mount_of_mica") {
        return;
    }
    let ground = Ground::new();
    sh(&ground, &format!("mkdir inner iu iw; cd l; {FILL}"));
    let inner = "lowerdir=l,upperdir=iu,workdir=iw";
    assert_eq!(ground.run(&["mount", "-o", inner, "inner"]), ok());
    // Part of what the outer one sees is in the inner upper.
    sh(&ground, "echo data > inner/f; touch -d @1000000000 inner/f");
    for namespace in ["rw", "userxattr"] {
        fs::create_dir(ground.at(namespace)).unwrap();
        let layers =
            format!("lowerdir=inner,upperdir={namespace}/u,workdir={namespace}/w,{namespace}");
        for name in ["u", "w"] {
            fs::create_dir(ground.at(namespace).join(name)).unwrap();
        }
        used_as_a_directory(&ground, "inner", &layers);
    }
}

#[test]
fn a_lower_can_be_an_overlay_of_the_kernel() {
    if !can_mount("a_lower_can_be_an_overlay_of_the_kernel") {
        return;
    }
    let ground = Ground::new();
    let fill = format!("mkdir inner iu iw; cd l; {FILL}");
    sh(&ground, &fill);
    let data = "lowerdir=l,upperdir=iu,workdir=iw";
    let made = sh(
        &ground,
        &format!("mount -t overlay overlay -o {data} inner"),
    );
    assert_eq!(made, ok());
    sh(&ground, "echo data > inner/f; touch -d @1000000000 inner/f");
    used_as_a_directory(&ground, "inner", "lowerdir=inner,upperdir=u,workdir=w");
}

#[test]
fn layers_can_be_on_tmpfs() {
    if !can_mount("layers_can_be_on_tmpfs") {
        return;
    }
    for namespace in ["rw", "userxattr"] {
        let ground = Ground::new();
        fs::create_dir(ground.at("t")).unwrap();
        mount("t", ground.at("t"), "tmpfs", MountFlags::empty(), None).unwrap();
        sh(&ground, &format!("mkdir t/l t/u t/w; cd t/l; {FILL}"));
        let layers = format!("lowerdir=t/l,upperdir=t/u,workdir=t/w,{namespace}");
        used_as_a_directory(&ground, "t/l", &layers);
        sh(&ground, "rm -r t/u t/w; mkdir t/u t/w");
        // Upper and lower on two filesystems.
        sh(&ground, &format!("cd l; {FILL}"));
        let layers = format!("lowerdir=l,upperdir=t/u,workdir=t/w,{namespace}");
        used_as_a_directory(&ground, "l", &layers);
        let layers = format!("lowerdir=t/l,upperdir=u,workdir=w,{namespace}");
        used_as_a_directory(&ground, "t/l", &layers);
    }
}

#[test]
fn five_hundred_layers_are_mounted_and_listed() {
    if !can_mount("five_hundred_layers_are_mounted_and_listed") {
        return;
    }
    let ground = Ground::new();
    let mut names = Vec::new();
    for n in 0..500 {
        let dir = ground.at(&format!("layer{n}/d"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("only{n}")), n.to_string()).unwrap();
        fs::write(dir.join("all"), n.to_string()).unwrap();
        names.push(format!("layer{n}"));
    }
    let layers = format!("lowerdir={},upperdir=u,workdir=w", names.join(":"));
    assert_eq!(ground.run(&["mount", "-o", &layers, "m"]), ok());
    assert_eq!(fs::read_dir(ground.at("m/d")).unwrap().count(), 501);
    assert_eq!(fs::read_to_string(ground.at("m/d/all")).unwrap(), "0");
    for n in 0..500 {
        let found = fs::read_to_string(ground.at(&format!("m/d/only{n}"))).unwrap();
        assert_eq!(found, n.to_string());
    }
    fs::write(ground.at("m/d/only499"), "changed").unwrap();
    fs::remove_file(ground.at("m/d/only250")).unwrap();
    assert_eq!(fs::read_dir(ground.at("m/d")).unwrap().count(), 500);
    let lower = fs::read_to_string(ground.at("layer499/d/only499")).unwrap();
    assert_eq!(lower, "499");
}

/// Checks that an operation on a name that is too long fails as it should.
#[track_caller]
fn too_long(done: std::io::Result<()>) {
    let error = done.unwrap_err();
    let errno = Errno::from_io_error(&error);
    assert_eq!(errno, Some(Errno::NAMETOOLONG), "{error}");
}

#[test]
fn names_of_255_bytes_work_in_every_operation() {
    if !can_mount("names_of_255_bytes_work_in_every_operation") {
        return;
    }
    let long = |c: char| c.to_string().repeat(255);
    let ground = Ground::new();
    for c in ['a', 'b', 'c'] {
        fs::write(ground.at("l").join(long(c)), "lower").unwrap();
    }
    for c in ['d', 'e'] {
        fs::create_dir(ground.at("l").join(long(c))).unwrap();
        fs::write(ground.at("l").join(long(c)).join(long('f')), "lower").unwrap();
    }
    ground.mount(&[]);
    let m = ground.at("m");
    let at = |c: char| m.join(long(c));
    // What a lower has: copied up, hidden, renamed with a whiteout, replaced.
    fs::write(at('a'), "changed").unwrap();
    fs::remove_file(at('b')).unwrap();
    fs::rename(at('c'), at('g')).unwrap();
    fs::write(at('d').join(long('f')), "changed").unwrap();
    fs::remove_file(at('e').join(long('f'))).unwrap();
    fs::remove_dir(at('e')).unwrap();
    fs::create_dir(at('e')).unwrap();
    fs::write(at('b'), "over a whiteout").unwrap();
    // What is new.
    fs::create_dir(at('h')).unwrap();
    symlink(long('a'), at('i')).unwrap();
    fs::hard_link(at('a'), at('j')).unwrap();
    let fifo = at('k');
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    fs::rename(at('h'), at('e')).unwrap();
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    let here = rustix::fs::CWD;
    rustix::fs::renameat_with(here, at('g'), here, at('i'), exchange).unwrap();
    fs::set_permissions(at('a'), Permissions::from_mode(0o600)).unwrap();
    let value = "x".repeat(100);
    let attribute = format!("user.{}", "n".repeat(250));
    let set = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(at('a'), &attribute, value.as_bytes(), set).unwrap();

    let check = || {
        let mut names: Vec<_> = fs::read_dir(&m)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ['a', 'b', 'd', 'e', 'g', 'i', 'j', 'k'].map(long));
        assert_eq!(fs::read_to_string(at('a')).unwrap(), "changed");
        assert_eq!(fs::metadata(at('j')).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(at('b')).unwrap(), "over a whiteout");
        assert_eq!(fs::read_to_string(at('i')).unwrap(), "lower");
        assert_eq!(fs::read_link(at('g')).unwrap(), Path::new(&long('a')));
        let inside = fs::read_to_string(at('d').join(long('f'))).unwrap();
        assert_eq!(inside, "changed");
        assert_eq!(fs::read_dir(at('e')).unwrap().count(), 0);
        let mut buffer = [0; 200];
        let length = rustix::fs::getxattr(at('a'), &attribute, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], value.as_bytes());
    };
    check();
    ground.unmount("m");
    ground.mount(&[]);
    check();

    let longer = m.join("x".repeat(256));
    too_long(fs::write(&longer, ""));
    too_long(fs::create_dir(&longer));
    too_long(fs::metadata(&longer).map(drop));
    too_long(fs::rename(at('a'), &longer));
    too_long(fs::hard_link(at('a'), &longer));
    too_long(symlink("a", &longer));
    too_long(fs::remove_file(&longer));
    check();
}

#[test]
fn ovl_72_an_owner_without_a_mapping_is_shown_as_such_and_not_copied_up() {
    if !can_mount("ovl_72_an_owner_without_a_mapping_is_shown_as_such_and_not_copied_up") {
        return;
    }
    let ground = Ground::alone();
    for (name, uid, gid) in [("mine", 0, 0), ("theirs", 1000, 0), ("group", 0, 1000)] {
        let dir = ground.at("l").join(name);
        fs::create_dir_all(dir.join("sub")).unwrap();
        fs::write(dir.join("sub/f"), "lower\n").unwrap();
        chown(&dir, Some(uid), Some(gid)).unwrap();
    }
    // What is in `sub` is mine everywhere; to change it takes a copy of the directory above.
    let script = "\"$0\" mount --log messages -o lowerdir=l,upperdir=u,workdir=w,userxattr m
        stat -c '%n %u %g' m/mine m/theirs m/group
        for name in theirs group; do
            cat m/$name/sub/f
            chmod 600 m/$name/sub/f 2>&1 || true
            touch m/$name/sub/new 2>&1 || true
            mv m/$name m/moved 2>&1 || true
            ls m/$name/sub
        done
        chmod 600 m/mine/sub/f; touch m/mine/sub/new; ls m/mine/sub
        \"$0\" umount m";
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-ec", script, env!("CARGO_BIN_EXE_mica")]);
    let outcome = ground.shown(run(ground.here(&mut command)));
    let why = "Value too large for defined data type";
    let refused = |name: &str| {
        format!(
            "lower\nchmod: changing permissions of 'm/{name}/sub/f': {why}\n\
             touch: cannot touch 'm/{name}/sub/new': {why}\n\
             mv: cannot move 'm/{name}' to 'm/moved': {why}\nf\n"
        )
    };
    let expected = format!(
        "m/mine 0 0\nm/theirs 65534 0\nm/group 0 65534\n{}{}f\nnew\n",
        refused("theirs"),
        refused("group")
    );
    assert_eq!(outcome.stdout, expected);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""));
    // Nothing is half-made.
    let mut names: Vec<_> = fs::read_dir(ground.at("u"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["mine"]);
    assert_eq!(fs::read_dir(ground.at("w/work")).unwrap().count(), 0);
    let log = fs::read_to_string(ground.at("messages")).unwrap();
    for part in [
        "no mapping in this user namespace",
        "path=/theirs",
        "layer=l",
    ] {
        assert!(log.contains(part), "{part} is not in:\n{log}");
    }
}
