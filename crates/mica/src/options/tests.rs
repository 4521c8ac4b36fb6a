//! The language of mount options, as tables.

use super::*;

mod documented;
mod driver;
mod fuse;
mod generic;
mod layers;

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
fn the_source_is_fsname_or_mica() {
    assert_eq!(parse(&["lowerdir=l"]).unwrap().source, "mica");
    let spec = parse(&[r"fsname=a\,b c,lowerdir=l"]).unwrap();
    assert_eq!(spec.source, "a,b c");
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
fn a_bad_value_is_refused_with_those_that_there_are() {
    for (option, message, example) in [
        (
            "index=maybe",
            "bad value `maybe` of mount option `index`: `on` or `off`",
            "index=on",
        ),
        (
            "redirect_dir=1",
            "bad value `1` of mount option `redirect_dir`: `on`, `follow`, `nofollow` or `off`",
            "redirect_dir=on",
        ),
        (
            "xino=ON",
            "bad value `ON` of mount option `xino`: `on`, `auto` or `off`",
            "xino=on",
        ),
        (
            "writeback=2",
            "bad value `2` of mount option `writeback`: `0` or `1`",
            "writeback=0",
        ),
    ] {
        refused(
            &["lowerdir=a", option],
            message,
            &format!("write it as in `-o {example}`"),
        );
    }
    refused(
        &["lowerdir=a", "metacopy"],
        "mount option `metacopy` needs a value",
        "write `-o metacopy=VALUE`; `mica mount --help` lists all options",
    );
}

#[test]
fn of_two_values_the_last_one_counts() {
    let spec = parse(&[
        "lowerdir=a,nfs_export=on,xino=off",
        "nfs_export=off,xino=auto",
    ])
    .unwrap();
    let notes: Vec<String> = spec.notes.iter().map(Note::to_string).collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].starts_with("`nfs_export=off`: "), "{notes:?}");
    assert!(notes[1].starts_with("`xino=auto`: "), "{notes:?}");
}

#[test]
fn each_program_has_its_manner() {
    let parse = |option: &str, manner| {
        let request = Request::parse(["lowerdir=l", option], manner)?;
        let Request::Mount(spec) = request else {
            panic!("no mount");
        };
        Ok::<_, OptionError>(spec)
    };
    let ignored = |option: &str, manner| {
        let spec = parse(option, manner).unwrap();
        let ignored = spec.notes.iter().filter_map(Note::ignored);
        ignored
            .map(|text| text.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    for option in ["wibble", "wibble=a\\,b"] {
        assert!(parse(option, Manner::Mica).is_err());
        assert!(parse(option, Manner::Mount).is_err());
        assert_eq!(ignored(option, Manner::SloppyMount), [option]);
        assert_eq!(ignored(option, Manner::FuseOverlayfs), [option]);
    }
    // Options that fuse-overlayfs does not have, and that are refused here.
    for option in ["verity=on", "index=wrong", "dirsync", "blksize=512"] {
        assert!(parse(option, Manner::SloppyMount).is_err(), "{option}");
        assert_eq!(ignored(option, Manner::FuseOverlayfs), [option]);
    }
    // Options that it has, too.
    for option in [
        "redirect_dir=1",
        "plugins=/p",
        "xino=wrong",
        "noxattrs=1",
        "timeout=x",
    ] {
        assert!(parse(option, Manner::FuseOverlayfs).is_err(), "{option}");
    }
    let spec = parse("lazytime,suid", Manner::FuseOverlayfs).unwrap();
    assert_eq!(spec.flags, MountFlags::NOATIME);
    assert_eq!(
        (spec.source.as_str(), spec.fuse.subtype.as_str()),
        ("fuse-overlayfs", "fuse-overlayfs")
    );
    let spec = parse("atime,fsname=a,subtype=b", Manner::FuseOverlayfs).unwrap();
    assert_eq!(spec.flags, MountFlags::empty());
    assert_eq!(
        (spec.source.as_str(), spec.fuse.subtype.as_str()),
        ("a", "b")
    );
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
