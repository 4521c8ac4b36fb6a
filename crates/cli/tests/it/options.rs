//! What mount options do to a mount.

use std::fs;

use crate::ground::{Ground, can_mount, ok};

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
    assert_eq!(ground.run(&["umount", "m"]), ok());
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
        assert_eq!(ground.run(&["umount", "m"]), ok());
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
        assert_eq!(ground.run(&["umount", "m"]), ok());
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
