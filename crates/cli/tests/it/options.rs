//! What mount options do to a mount.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::io::Errno;

use crate::ground::{Ground, Outcome, can_mount, ok, run};

#[test]
fn the_mount_table_shows_source_and_type() {
    if !can_mount("the_mount_table_shows_source_and_type") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&["-o", "noatime,nosuid,noexec,nodev"]);
    let fields = ground.mounted("m").unwrap();
    assert_eq!(fields[0], "mica");
    assert_eq!(fields[2], "fuse.mica");
    for option in [
        "rw",
        "noatime",
        "nosuid",
        "noexec",
        "nodev",
        "allow_other",
        "default_permissions",
    ] {
        assert!(
            fields[3].split(',').any(|o| o == option),
            "{option} not in {}",
            fields[3]
        );
    }
    ground.unmount("m");
    ground.mount(&["-o", "fsname=my source"]);
    assert_eq!(ground.mounted("m").unwrap()[0], r"my\040source");
}

#[test]
fn no_upper_is_read_only() {
    if !can_mount("no_upper_is_read_only") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/f"), "lower").unwrap();
    assert_eq!(ground.run(&["mount", "-o", "lowerdir=u:l", "m"]), ok());
    assert!(ground.mounted("m").unwrap()[3].starts_with("ro,"));
    assert_eq!(fs::read_to_string(ground.at("m/f")).unwrap(), "lower");
    let refused = fs::write(ground.at("m/f"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn ro_forbids_writing_to_an_upper() {
    if !can_mount("ro_forbids_writing_to_an_upper") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&["-o", "ro"]);
    assert!(ground.mounted("m").unwrap()[3].starts_with("ro,"));
    let refused = fs::write(ground.at("m/f"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn option_strings_longer_than_a_page_are_taken() {
    if !can_mount("option_strings_longer_than_a_page_are_taken") {
        return;
    }
    let ground = Ground::new();
    let names: Vec<String> = (0..90).map(|n| format!("{n:070}")).collect();
    for name in &names {
        fs::create_dir(ground.at(name)).unwrap();
        fs::write(ground.at(name).join(name), "").unwrap();
    }
    let absolute: Vec<&str> = names.iter().map(String::as_str).collect();
    let relative = format!("lowerdir={}", absolute.join(":"));
    assert!(relative.len() > 5000);
    let appended = names.iter().map(|name| format!("lowerdir+=./{name}"));
    let appended = appended.collect::<Vec<_>>().join(",");
    for options in [relative, appended] {
        assert_eq!(ground.run(&["mount", "-o", &options, "m"]), ok());
        assert_eq!(fs::read_dir(ground.at("m")).unwrap().count(), 90);
        ground.unmount("m");
    }
}

#[test]
fn paths_with_separators_in_them_are_escaped() {
    if !can_mount("paths_with_separators_in_them_are_escaped") {
        return;
    }
    let ground = Ground::new();
    for name in ["a:b", "c,d"] {
        fs::create_dir(ground.at(name)).unwrap();
        fs::write(ground.at(name).join("f"), name).unwrap();
    }
    for (options, first) in [
        (r"lowerdir=a\:b:c\,d", "a:b"),
        (r"lowerdir+=c\,d,lowerdir+=a:b", "c,d"),
    ] {
        assert_eq!(ground.run(&["mount", "-o", options, "m"]), ok());
        assert_eq!(fs::read_to_string(ground.at("m/f")).unwrap(), first);
        ground.unmount("m");
    }
}

#[test]
fn trusted_and_user_attributes_are_kept_where_they_were_asked_for() {
    if !can_mount("trusted_and_user_attributes_are_kept_where_they_were_asked_for") {
        return;
    }
    for (option, prefix) in [("userxattr", "user"), ("rw", "trusted")] {
        let ground = Ground::new();
        fs::create_dir(ground.at("l/d")).unwrap();
        let options = format!("lowerdir=l,upperdir=u,workdir=w,{option}");
        assert_eq!(ground.run(&["mount", "-o", &options, "m"]), ok());
        fs::remove_dir(ground.at("m/d")).unwrap();
        // A directory in the place of a whiteout is opaque.
        fs::create_dir(ground.at("m/d")).unwrap();
        let mut value = [0; 8];
        let name = format!("{prefix}.overlay.opaque");
        let length = rustix::fs::lgetxattr(ground.at("u/d"), name.as_str(), &mut value).unwrap();
        assert_eq!(&value[..length], b"y");
    }
}

#[test]
fn flags_of_access_times_are_seen_in_the_mount_table() {
    if !can_mount("flags_of_access_times_are_seen_in_the_mount_table") {
        return;
    }
    let ground = Ground::new();
    for (options, there, missing) in [
        ("rw", &["relatime"][..], &["noatime", "nodiratime"][..]),
        ("noatime", &["noatime"], &["relatime"]),
        ("noatime,relatime", &["relatime"], &["noatime"]),
        ("nodiratime", &["nodiratime", "relatime"], &["noatime"]),
        // The kernel shows strictatime by showing nothing.
        ("strictatime", &[], &["relatime", "noatime"]),
        ("strictatime,nostrictatime", &["relatime"], &["noatime"]),
    ] {
        ground.mount(&["-o", options]);
        let fields = ground.mounted("m").unwrap();
        let shown: Vec<&str> = fields[3].split(',').collect();
        assert!(
            there.iter().all(|o| shown.contains(o)),
            "{options}: {shown:?}"
        );
        assert!(
            !missing.iter().any(|o| shown.contains(o)),
            "{options}: {shown:?}"
        );
        ground.unmount("m");
    }
}

#[test]
fn nosymfollow_follows_no_symbolic_link() {
    if !can_mount("nosymfollow_follows_no_symbolic_link") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/f"), "there").unwrap();
    std::os::unix::fs::symlink("f", ground.at("l/link")).unwrap();
    ground.mount(&["-o", "nosymfollow"]);
    let refused = fs::read(ground.at("m/link")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    assert_eq!(
        fs::read_link(ground.at("m/link")).unwrap().to_str(),
        Some("f")
    );
    ground.unmount("m");
    ground.mount(&["-o", "nosymfollow,symfollow"]);
    assert_eq!(fs::read_to_string(ground.at("m/link")).unwrap(), "there");
}

#[test]
fn a_subtype_is_the_type() {
    if !can_mount("a_subtype_is_the_type") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&["-o", "subtype=other"]);
    assert_eq!(ground.mounted("m").unwrap()[2], "fuse.other");
    let refused = ground.run(&["umount", "m"]);
    let expected = "error: cannot unmount `m`\n\
                    caused by: the mount there is not of Mica, but of type `fuse.other`\n\
                    hint: unmount it with `umount m`\n";
    assert_eq!(
        (refused.status, refused.stderr.as_str()),
        (Some(1), expected)
    );
}

#[test]
fn allow_root_keeps_other_users_out() {
    if !can_mount("allow_root_keeps_other_users_out") {
        return;
    }
    let ground = Ground::new();
    fs::set_permissions(ground.root(), Permissions::from_mode(0o755)).unwrap();
    fs::write(ground.at("l/f"), "for root").unwrap();
    ground.mount(&["-o", "allow_root"]);
    assert_eq!(fs::read_to_string(ground.at("m/f")).unwrap(), "for root");
    let mut cat = Command::new("cat");
    cat.arg(ground.at("m/f")).uid(NOBODY);
    let refused = ground.shown(run(&mut cat));
    assert_eq!(refused.stderr, "cat: $/m/f: Permission denied\n");
}

#[test]
fn allow_root_is_for_root() {
    let ground = Ground::new();
    fs::set_permissions(ground.root(), Permissions::from_mode(0o755)).unwrap();
    let mut mount = ground.mica(&["mount", "-o", "lowerdir=l,userxattr,allow_root", "m"]);
    if rustix::process::geteuid().is_root() {
        mount.uid(NOBODY).gid(NOBODY);
    }
    let expected = Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: "error: cannot mount at `m`\n\
                 caused by: `allow_root` lets root in beside the mounter, which the kernel cannot do: it lets in everyone, or one user\n\
                 hint: use `-o allow_other`, or mount as root\n"
            .into(),
    };
    assert_eq!(run(&mut mount), expected);
}

const NOBODY: u32 = 65534;

#[test]
fn a_label_needs_selinux() {
    let kinds = fs::read_to_string("/proc/filesystems").unwrap();
    if kinds
        .split_ascii_whitespace()
        .any(|kind| kind == "selinuxfs")
    {
        eprintln!("SKIPPED a_label_needs_selinux: this kernel runs SELinux");
        return;
    }
    let ground = Ground::new();
    for name in ["context", "fscontext", "defcontext", "rootcontext"] {
        let options = format!("{name}=\"system_u:object_r:tmp_t:s0:c0,c1\",lowerdir=l,userxattr");
        let refused = ground.run(&["mount", "-o", &options, "m"]);
        let expected = format!(
            "error: cannot mount at `m`\n\
             caused by: mount option `{name}` is for SELinux, which this kernel does not run\n\
             hint: leave `{name}=` out; `cat /sys/kernel/security/lsm` lists what the kernel runs\n"
        );
        assert_eq!((refused.status, refused.stderr), (Some(1), expected));
        assert_eq!(ground.mounted("m"), None);
    }
}

#[test]
fn what_an_option_does_not_change_is_said_and_logged() {
    if !can_mount("what_an_option_does_not_change_is_said_and_logged") {
        return;
    }
    let ground = Ground::new();
    let note = "option `xino=off`: inode numbers are unique over all layers in any case\n";
    let options = ["mount", "-o", "lowerdir=l,xino=off,noauto", "--log", "log"];
    let quiet = [&options[..], &["--log-level", "info", "m"]].concat();
    assert_eq!(ground.run(&quiet), ok());
    let log = fs::read_to_string(ground.at("log")).unwrap();
    assert!(log.contains(note), "{log}");
    assert!(!log.contains("noauto"), "{log}");
    ground.unmount("m");
    let said = ground.run(&[&options[..], &["-v", "m"]].concat()).stderr;
    assert!(said.contains(note), "{said}");
}

#[test]
fn what_cannot_be_had_is_refused_with_status_2() {
    let ground = Ground::new();
    for foreground in [&[][..], &["-f"]] {
        let mount = ["mount", "-o", "lowerdir=l,nfs_export=on", "m"];
        let expected = Outcome {
            status: Some(2),
            stdout: String::new(),
            stderr: "error: mount option `nfs_export=on` cannot be had: file handles of a FUSE mount end with its server\n\
                     hint: export the layers, or mount with the kernel: `mount -t overlay`\n"
                .into(),
        };
        assert_eq!(ground.run(&[&mount[..], foreground].concat()), expected);
    }
    assert_eq!(ground.mounted("m"), None);
}

#[test]
fn ovl_66_a_volatile_mount_whose_options_cannot_be_had_leaves_no_mark() {
    let test = "ovl_66_a_volatile_mount_whose_options_cannot_be_had_leaves_no_mark";
    let kinds = fs::read_to_string("/proc/filesystems").unwrap();
    if kinds
        .split_ascii_whitespace()
        .any(|kind| kind == "selinuxfs")
    {
        eprintln!("SKIPPED {test}: this kernel runs SELinux");
        return;
    }
    let ground = Ground::new();
    let options = "lowerdir=l,upperdir=u,workdir=w,userxattr,volatile,context=a";
    assert_eq!(ground.run(&["mount", "-o", options, "m"]).status, Some(1));
    assert!(!ground.at("w/work/incompat").exists());
}
