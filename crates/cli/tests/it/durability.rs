//! OVL-53, OVL-65 to OVL-67: what reaches the disk, and who is kept from what may not have.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use crate::ground::{Ground, Outcome, can_mount, ok, run, skipped};

const LAYERS: &str = "lowerdir=l,upperdir=u,workdir=w";

fn mount_with(ground: &Ground, option: &str) -> Outcome {
    ground.run(&["mount", "-o", &format!("{LAYERS},{option}"), "m"])
}

/// Tries to mount the layers by the kernel, in a mount namespace that ends with the attempt.
fn kernel_mounts(ground: &Ground, option: &str, then: &str) -> Outcome {
    let script = format!("mount -t overlay overlay -o {LAYERS},{option} m && {then}");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", &script]);
    run(ground.here(&mut command))
}

/// What Mica says of a work directory that a volatile mount used.
const REFUSAL: &str = "error: cannot mount at `m`\n\
     caused by: workdir `w` is marked with the incompatible feature `volatile`\n\
     hint: a volatile mount used it. If the machine did not crash since, take the mark away with `rm -r w/work/incompat/volatile`; if it did, `u` and `w` may hold half-written files: start with new ones\n";

#[track_caller]
fn refused(outcome: &Outcome) {
    let expected = Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: REFUSAL.into(),
    };
    assert_eq!(*outcome, expected);
}

#[test]
fn ovl_66_nobody_mounts_what_a_volatile_mount_used() {
    if !can_mount("ovl_66_nobody_mounts_what_a_volatile_mount_used") {
        return;
    }
    let ground = Ground::alone();
    fs::write(ground.at("l/f"), "lower").unwrap();
    assert_eq!(mount_with(&ground, "volatile"), ok());
    fs::write(ground.at("m/f"), "changed").unwrap();
    File::open(ground.at("m/f")).unwrap().sync_all().unwrap();
    ground.unmount("m");
    for option in ["rw", "volatile", "fsync=strict"] {
        refused(&mount_with(&ground, option));
        let kernel = kernel_mounts(&ground, option, "true");
        assert_ne!(kernel.status, Some(0), "the kernel mounts it with {option}");
    }
    // As the hint says.
    fs::remove_dir_all(ground.at("w/work/incompat/volatile")).unwrap();
    let kernel = kernel_mounts(&ground, "rw", "cat m/f");
    assert_eq!(
        (kernel.status, kernel.stdout.as_str()),
        (Some(0), "changed")
    );
    assert_eq!(mount_with(&ground, "rw"), ok());
    assert_eq!(fs::read_to_string(ground.at("m/f")).unwrap(), "changed");
}

#[test]
fn ovl_66_a_volatile_mount_of_the_kernel_is_refused() {
    if !can_mount("ovl_66_a_volatile_mount_of_the_kernel_is_refused") {
        return;
    }
    let ground = Ground::alone();
    fs::write(ground.at("l/f"), "lower").unwrap();
    let kernel = kernel_mounts(&ground, "volatile", "echo kernel > m/f; rm m/f");
    assert_eq!(kernel, ok());
    refused(&mount_with(&ground, "rw"));
    refused(&mount_with(&ground, "volatile"));
    fs::remove_dir_all(ground.at("w/work/incompat/volatile")).unwrap();
    // The whiteout that the kernel left in the work directory is no unfinished work.
    assert_eq!(mount_with(&ground, "rw"), ok());
    assert!(!ground.at("m/f").exists());
}

#[test]
fn ovl_66_the_mark_is_the_kernels() {
    if !can_mount("ovl_66_the_mark_is_the_kernels") {
        return;
    }
    use std::os::unix::fs::MetadataExt as _;
    let mark = |ground: &Ground| {
        let paths = ["incompat", "incompat/volatile", "incompat/volatile/dirty"];
        paths.map(|path| {
            let found = fs::symlink_metadata(ground.at("w/work").join(path)).unwrap();
            (found.mode(), found.uid(), found.gid(), found.nlink())
        })
    };
    let (ours, kernels) = (Ground::alone(), Ground::new());
    assert_eq!(mount_with(&ours, "volatile"), ok());
    ours.unmount("m");
    assert_eq!(kernel_mounts(&kernels, "volatile", "true"), ok());
    assert_eq!(mark(&ours), mark(&kernels));
}

#[test]
fn ovl_66_a_volatile_mount_that_fails_leaves_no_mark() {
    if !can_mount("ovl_66_a_volatile_mount_that_fails_leaves_no_mark") {
        return;
    }
    let ground = Ground::alone();
    let script = "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_mica")]);
    command.args(["mount", "-o", &format!("{LAYERS},volatile"), "m"]);
    let failed = run(ground.here(&mut command));
    assert_eq!(failed.status, Some(1));
    failed.assert_said("/dev/fuse");
    assert!(!ground.at("w/work/incompat").exists());
    assert_eq!(mount_with(&ground, "rw"), ok());
}

#[test]
fn what_is_chosen_is_said_unless_it_is_the_usual() {
    if !can_mount("what_is_chosen_is_said_unless_it_is_the_usual") {
        return;
    }
    for (option, said) in [
        ("fsync=auto", None),
        ("fsync=1", None),
        ("fsync=strict", Some("\nfsync strict: ")),
        ("fsync=volatile", Some("\nvolatile: ")),
        ("volatile", Some("\nvolatile: ")),
        ("fsync=0", Some("\nvolatile: ")),
    ] {
        let ground = Ground::new();
        let options = format!("{LAYERS},{option}");
        let outcome = ground.run(&["mount", "-v", "-o", &options, "m"]);
        assert_eq!(outcome.status, Some(0), "{option}: {}", outcome.stderr);
        let found = ["\nfsync ", "\nvolatile: "]
            .iter()
            .any(|words| outcome.stderr.contains(words));
        let right = said.map_or(!found, |said| outcome.stderr.contains(said));
        assert!(right, "{option}: {}", outcome.stderr);
    }
}

/// A small disk of its own under the ground, on which `u` and `w` are.
struct Disk {
    ground: Ground,
    /// The statistics of its device, Documentation/block/stat.rst.
    stat: PathBuf,
}

impl Disk {
    /// Makes it, and says so if that is not possible here.
    fn new(test: &str) -> Option<Self> {
        let ground = Ground::new();
        let image = ground.at("image");
        let file = File::create(&image).unwrap();
        file.set_len(64 << 20).unwrap();
        drop(file);
        fs::create_dir(ground.at("disk")).unwrap();
        // The journal's own commits, every 5 seconds, would be counted, too.
        let script = "mkfs.ext4 -q image && mount -o loop,commit=600 image disk";
        let made = run(ground.here(Command::new("sh").args(["-ec", script])));
        if made.status != Some(0) {
            skipped(test, &format!("needs a loop device: {}", made.stderr));
            return None;
        }
        let source = ground.mounted("disk").unwrap().remove(0);
        let device = source.strip_prefix("/dev/").unwrap();
        let stat = PathBuf::from(format!("/sys/block/{device}/stat"));
        for name in ["disk/u", "disk/w"] {
            fs::create_dir(ground.at(name)).unwrap();
        }
        // What making the filesystem left to write is no part of what is counted.
        rustix::fs::syncfs(File::open(ground.at("disk")).unwrap()).unwrap();
        Some(Self { ground, stat })
    }

    fn mount(&self, option: &str) {
        let options = format!("lowerdir=l,upperdir=disk/u,workdir=disk/w,{option}");
        assert_eq!(self.ground.run(&["mount", "-o", &options, "m"]), ok());
    }

    fn umount(&self) {
        assert_eq!(self.ground.run(&["umount", "m"]), ok());
    }

    /// Counts the flushes that the device was asked for while `act` ran.
    fn flushes(&self, act: impl FnOnce()) -> u64 {
        let read = || -> u64 {
            let stat = fs::read_to_string(&self.stat).unwrap();
            let flushes = stat.split_ascii_whitespace().nth(15).unwrap();
            flushes.parse().unwrap()
        };
        let before = read();
        act();
        read() - before
    }
}

#[test]
fn ovl_53_an_fsync_flushes_the_disk_of_the_upper_unless_the_mount_is_volatile() {
    let test = "ovl_53_an_fsync_flushes_the_disk_of_the_upper_unless_the_mount_is_volatile";
    if !can_mount(test) {
        return;
    }
    let Some(disk) = Disk::new(test) else { return };
    let at = |name: &str| disk.ground.at(name);
    fs::create_dir(at("l/d")).unwrap();
    fs::write(at("l/f"), "lower").unwrap();
    fs::write(at("l/untouched"), "lower").unwrap();
    for (option, flushes) in [
        ("fsync=auto", true),
        ("fsync=strict", true),
        ("volatile", false),
    ] {
        disk.mount(option);
        let file = File::create(at("m/d/new")).unwrap();
        let name = format!("m/d/{option}");
        for what in ["fsync", "fdatasync", "fsync of a directory"] {
            let found = disk.flushes(|| match what {
                "fsync" => {
                    fs::write(at("m/d/new"), option).unwrap();
                    file.sync_all().unwrap();
                }
                "fdatasync" => {
                    fs::write(at("m/d/new"), format!("{option} more")).unwrap();
                    file.sync_data().unwrap();
                }
                _ => {
                    fs::write(at(&name), "x").unwrap();
                    File::open(at("m/d")).unwrap().sync_all().unwrap();
                }
            });
            assert_eq!(found > 0, flushes, "{option}: {what}: {found} flushes");
        }
        // Of a lower there is nothing to sync.
        let found = disk.flushes(|| {
            let lower = File::open(at("m/untouched")).unwrap();
            lower.sync_all().unwrap();
        });
        assert_eq!(found, 0, "{option}");
        drop(file);
        disk.umount();
    }
}

#[test]
fn ovl_65_ovl_67_a_copy_up_flushes_the_disk_as_asked() {
    let test = "ovl_65_ovl_67_a_copy_up_flushes_the_disk_as_asked";
    if !can_mount(test) {
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    let Some(disk) = Disk::new(test) else { return };
    for (option, data, no_data) in [
        ("fsync=auto", true, false),
        ("fsync=strict", true, true),
        ("volatile", false, false),
    ] {
        let at = |name: &str| disk.ground.at(&format!("{name}-{option}"));
        fs::write(at("l/data"), "lower").unwrap();
        fs::write(at("l/empty"), "").unwrap();
        fs::create_dir(at("l/dir")).unwrap();
        disk.mount(option);
        for (name, expected) in [("m/data", data), ("m/empty", no_data), ("m/dir", no_data)] {
            let found = disk.flushes(|| {
                fs::set_permissions(at(name), fs::Permissions::from_mode(0o700)).unwrap();
            });
            assert_eq!(found > 0, expected, "{option}: {name}: {found} flushes");
        }
        disk.umount();
    }
}
