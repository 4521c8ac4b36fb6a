//! The language of mount options, as tables.

use std::path::Path;

use super::*;

fn parse(strings: &[&str]) -> Result<MountSpec, OptionError> {
    MountSpec::parse(strings)
}

/// Parses options that must be right, and shows their lower layers.
fn lower(strings: &[&str]) -> Vec<String> {
    let spec = parse(strings).unwrap();
    let paths = spec.stack.lower.iter();
    paths.map(|p| p.to_str().unwrap().to_owned()).collect()
}

#[test]
fn layers_are_split_at_bare_colons_and_unescaped() {
    for (option, expected) in [
        ("lowerdir=a", &["a"][..]),
        ("lowerdir=/a:/b:c/d", &["/a", "/b", "c/d"]),
        (r"lowerdir=a\:b:c", &["a:b", "c"]),
        (r"lowerdir=a\,b:c", &["a,b", "c"]),
        (r"lowerdir=a\\:b", &[r"a\", "b"]),
        (r"lowerdir=a\\\:b", &[r"a\:b"]),
        (r"lowerdir=\a\b", &["ab"]),
        ("lowerdir=a=b", &["a=b"]),
        ("lowerdir= a :b", &[" a ", "b"]),
        ("lowerdir=../x:./y", &["../x", "./y"]),
        (r"lowerdir=\:", &[":"]),
    ] {
        assert_eq!(lower(&[option]), expected, "{option}");
    }
}

#[test]
fn an_appended_layer_is_one_path() {
    for (option, expected) in [
        ("lowerdir+=/a:b", "/a:b"),
        (r"lowerdir+=/a\,b", "/a,b"),
        (r"lowerdir+=/a\:b", r"/a\:b"),
        (r"lowerdir+=/a\\b", r"/a\b"),
        ("lowerdir+=a::b:", "a::b:"),
    ] {
        assert_eq!(lower(&[option]), [expected], "{option}");
    }
    assert_eq!(
        lower(&["lowerdir+=a,lowerdir+=b", "lowerdir+=c"]),
        ["a", "b", "c"]
    );
}

#[test]
fn a_later_lowerdir_replaces_an_earlier_one() {
    assert_eq!(lower(&["lowerdir=a:b", "ro,lowerdir=c"]), ["c"]);
}

#[test]
fn upper_and_work_are_unescaped() {
    let spec = parse(&[r"lowerdir=l,upperdir=u\,1:2,workdir=w\\\:"]).unwrap();
    let upper = spec.stack.upper.unwrap();
    assert_eq!(upper.dir, Path::new("u,1:2"));
    assert_eq!(upper.work, Path::new(r"w\:"));
}

#[test]
fn flags_add_up_and_the_last_of_two_opposites_counts() {
    use MountFlags as F;
    for (option, expected) in [
        ("rw", F::empty()),
        ("ro", F::READ_ONLY),
        ("ro,rw", F::empty()),
        ("rw,ro", F::READ_ONLY),
        (
            "nodev,nosuid,noexec,noatime",
            F::NODEV | F::NOSUID | F::NOEXEC | F::NOATIME,
        ),
        ("nodev,dev", F::DEV),
        ("suid,nosuid", F::NOSUID),
        ("nosuid,suid,nosuid", F::NOSUID),
        ("noexec,exec", F::empty()),
        ("noatime,atime", F::empty()),
        ("allow_other,allow_other", F::ALLOW_OTHER),
        (",,ro,", F::READ_ONLY),
    ] {
        let spec = parse(&["lowerdir=l", option]).unwrap();
        assert_eq!(spec.flags, expected, "{option}");
    }
}

#[test]
fn the_source_is_fsname_or_mica() {
    assert_eq!(parse(&["lowerdir=l"]).unwrap().source, "mica");
    let spec = parse(&[r"fsname=a\,b c,lowerdir=l"]).unwrap();
    assert_eq!(spec.source, "a,b c");
}

#[test]
fn userxattr_chooses_the_user_namespace() {
    let namespace = |options| parse(options).unwrap().stack.xattrs;
    assert_eq!(namespace(&["lowerdir=l"]), XattrNamespace::Trusted);
    assert_eq!(namespace(&["lowerdir=l,userxattr"]), XattrNamespace::User);
}

#[test]
fn any_length_is_taken() {
    let layers: Vec<String> = (0..500).map(|n| format!("/{n:0100}")).collect();
    let option = format!("lowerdir={}", layers.join(":"));
    assert!(option.len() > 50_000);
    assert_eq!(lower(&[&option]), layers);
}

#[test]
fn bytes_that_are_not_utf8_pass_through() {
    let option = OsStr::from_bytes(b"lowerdir=\xff\xfe");
    let spec = MountSpec::parse([option]).unwrap();
    assert_eq!(spec.stack.lower[0].as_os_str().as_bytes(), b"\xff\xfe");
}

#[test]
fn a_source_is_text() {
    let error = MountSpec::parse([OsStr::from_bytes(b"lowerdir=l,fsname=\xff")]).unwrap_err();
    let message = "the value `\\xff` of mount option `fsname` is not UTF-8";
    assert_eq!(error.to_string(), message);
}

/// Checks the message and the hint of options that are wrong.
#[track_caller]
fn refused(options: &[&str], message: &str, hint: &str) {
    let error = parse(options).unwrap_err();
    assert_eq!(error.to_string(), message, "{options:?}");
    assert_eq!(error.hint().as_deref(), Some(hint), "{options:?}");
}

#[test]
fn an_unknown_option_is_named_with_the_nearest_known_one() {
    let all = "`mica mount --help` lists all options";
    for (option, near) in [
        ("lowerdri=/a", "lowerdir"),
        ("uperdir=/a", "upperdir"),
        ("workdirs=/a", "workdir"),
        ("noatim", "noatime"),
        ("allowother", "allow_other"),
        ("no_exec", "noexec"),
        ("RO", "ro"),
    ] {
        let name = option.split('=').next().unwrap();
        let hint = format!("did you mean `{near}`? {all}");
        // Two letters out of two are no likeness.
        let hint = if name == "RO" { all } else { &hint };
        refused(&[option], &format!("unknown mount option `{name}`"), hint);
    }
    refused(&["wibble,lowerdir=a"], "unknown mount option `wibble`", all);
    refused(&["=x"], "unknown mount option ``", all);
    refused(&["a\x1b[m"], r"unknown mount option `a\u{1b}[m`", all);
}

#[test]
fn an_option_of_overlayfs_that_is_not_here_is_said_to_be_so() {
    for option in [
        "index=on",
        "metacopy=on",
        "redirect_dir=on",
        "volatile",
        "xino=auto",
    ] {
        let name = option.split('=').next().unwrap();
        refused(
            &["lowerdir=a", option],
            &format!("mount option `{name}` is not supported by this version"),
            "leave it out; `mica mount --help` lists what this version has",
        );
    }
}

#[test]
fn values_are_there_where_they_belong_and_nowhere_else() {
    for option in [
        "lowerdir",
        "lowerdir=",
        "upperdir=",
        "workdir",
        "fsname=",
        "lowerdir+=",
    ] {
        let name = option.trim_end_matches('=');
        refused(
            &[option],
            &format!("mount option `{name}` needs a value"),
            &format!("write `-o {name}=VALUE`; `mica mount --help` lists all options"),
        );
    }
    refused(
        &["ro=1"],
        "mount option `ro` takes no value, but `1` was given",
        "write `-o ro`",
    );
    refused(
        &["userxattr="],
        "mount option `userxattr` takes no value, but `` was given",
        "write `-o userxattr`",
    );
}

#[test]
fn stray_colons_are_refused() {
    let colons = r"write one colon between two layers, as in `-o lowerdir=TOP:BOTTOM`; a colon that belongs to a path is written `\:`";
    let leading = "the value of `lowerdir` begins with a colon";
    let trailing = "the value of `lowerdir` ends with a colon";
    for (value, message) in [
        (":a", leading),
        ("::a", leading),
        (":", leading),
        ("a:", trailing),
        ("a::", trailing),
        (r"a\\:", trailing),
        ("a:::b", "an element of `lowerdir` is empty"),
    ] {
        refused(&[&format!("lowerdir={value}")], message, colons);
    }
    refused(
        &["lowerdir=a::b"],
        "data-only lower layers (after `::` in `lowerdir`) are not supported by this version",
        "write one colon between two layers, as in `-o lowerdir=TOP:BOTTOM`",
    );
}

#[test]
fn the_two_ways_to_name_layers_are_not_mixed() {
    for options in [["lowerdir=a", "lowerdir+=b"], ["lowerdir+=b", "lowerdir=a"]] {
        refused(
            &options,
            "`lowerdir=` and `lowerdir+=` cannot be mixed",
            "use one form for all layers, as in `-o lowerdir+=TOP -o lowerdir+=BOTTOM`",
        );
    }
}

#[test]
fn a_stack_is_complete() {
    refused(
        &["upperdir=u,workdir=w"],
        "mount option `lowerdir` is missing",
        "give at least one directory: `mica mount -o lowerdir=DIR MOUNTPOINT`",
    );
    refused(
        &["lowerdir=l,upperdir=/data/u"],
        "`upperdir` is given, but `workdir` is missing",
        "add an empty directory next to the upper one: `mkdir /data/u.work`, then `-o workdir=/data/u.work`",
    );
    refused(
        &["lowerdir=l,workdir=w"],
        "`workdir` is given, but `upperdir` is missing",
        "add `-o upperdir=DIR`, or leave `workdir` out for a read-only mount",
    );
    let none: [&str; 0] = [];
    assert_eq!(parse(&none), Err(OptionError::NoLower));
}

#[test]
fn five_hundred_layers_are_the_limit() {
    let layers = |count: usize| format!("lowerdir={}", vec!["l"; count].join(":"));
    assert_eq!(lower(&[&layers(500)]).len(), 500);
    refused(
        &[&layers(501)],
        "501 lower layers are too many: the limit is 500",
        "merge some of the layers into one directory, as with `cp -a LOWER/. UPPER/`",
    );
}

#[test]
fn a_lone_backslash_and_a_nul_are_refused() {
    refused(
        &[r"lowerdir=a\"],
        "mount option `lowerdir` ends in a lone backslash",
        r"a backslash in a path is written `\\`",
    );
    assert_eq!(lower(&[r"lowerdir=a\\"]), [r"a\"]);
    let error = parse(&["lowerdir=a\0b"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "mount option `lowerdir` contains a NUL byte"
    );
}
