//! The language of mount options, as tables.

use std::path::Path;

use mica_fuse::CacheTimes;
use mica_overlay::Redirects;
use mica_vfs::Coherence;

use super::*;

mod documented;

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
        ("allow_root,allow_other", F::ALLOW_OTHER),
        ("allow_other,allow_root", F::ALLOW_ROOT),
        (
            "nosymfollow,nodiratime,sync",
            F::NOSYMFOLLOW | F::NODIRATIME | F::SYNC,
        ),
        (
            "nosymfollow,symfollow,nodiratime,diratime,sync,async",
            F::empty(),
        ),
        ("noatime,strictatime", F::STRICTATIME),
        ("strictatime,noatime", F::NOATIME),
        ("strictatime,nostrictatime", F::empty()),
        ("noatime,relatime", F::empty()),
        ("user", F::NODEV | F::NOSUID | F::NOEXEC),
        ("users,exec", F::NODEV | F::NOSUID),
        ("owner", F::NODEV | F::NOSUID),
        ("group,suid", F::NODEV | F::SUID),
        ("dev,suid,exec,user", F::NODEV | F::NOSUID | F::NOEXEC),
        ("user=me", F::empty()),
        ("debug", F::DEBUG),
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
fn what_the_kernel_does_not_let_be_together_is_refused() {
    for (options, one, other) in [
        ("userxattr,metacopy=on", "userxattr", "metacopy=on"),
        (
            "metacopy=on,redirect_dir=off",
            "metacopy=on",
            "redirect_dir=off",
        ),
        (
            "metacopy=on,redirect_dir=follow",
            "metacopy=on",
            "redirect_dir=follow",
        ),
        (
            "metacopy=on,redirect_dir=nofollow",
            "metacopy=on",
            "redirect_dir=nofollow",
        ),
        ("index=off,nfs_export=on", "nfs_export=on", "index=off"),
        ("metacopy=on,nfs_export=on", "nfs_export=on", "metacopy=on"),
    ] {
        refused(
            &["lowerdir=a", options],
            &format!("mount options `{one}` and `{other}` contradict each other"),
            &format!("leave out `{one}` or `{other}`"),
        );
    }
    assert!(parse(&["lowerdir=a,userxattr,redirect_dir=off,metacopy=off"]).is_ok());
}

#[test]
fn redirects_are_written_unless_the_kernel_or_fuse_overlayfs_would_not_find_them() {
    let asked = |options: &str, manner| {
        let request = Request::parse([format!("lowerdir=l,{options}")], manner);
        let Ok(Request::Mount(spec)) = request else {
            panic!("{request:?}");
        };
        assert_eq!(spec.notes, [], "{options}");
        spec.stack.redirects
    };
    for (options, manner, expected) in [
        ("ro", Manner::Mica, RedirectDir::On),
        ("ro", Manner::Mount, RedirectDir::On),
        ("userxattr", Manner::Mica, RedirectDir::Off),
        ("ro", Manner::FuseOverlayfs, RedirectDir::Off),
        ("redirect_dir=on", Manner::FuseOverlayfs, RedirectDir::On),
        ("redirect_dir=on,userxattr", Manner::Mica, RedirectDir::On),
        (
            "userxattr,redirect_dir=follow",
            Manner::Mica,
            RedirectDir::Follow,
        ),
        ("redirect_dir=nofollow", Manner::Mica, RedirectDir::NoFollow),
        (
            "redirect_dir=on,redirect_dir=off",
            Manner::Mica,
            RedirectDir::Off,
        ),
    ] {
        assert_eq!(asked(options, manner), expected, "{options} {manner:?}");
    }
    use XattrNamespace::{Trusted, User};
    assert_eq!(RedirectDir::Off.in_xattrs(Trusted), Redirects::Follow);
    assert_eq!(RedirectDir::Off.in_xattrs(User), Redirects::NoFollow);
    for both in [Trusted, User] {
        assert_eq!(RedirectDir::On.in_xattrs(both), Redirects::On);
        assert_eq!(RedirectDir::Follow.in_xattrs(both), Redirects::Follow);
        assert_eq!(RedirectDir::NoFollow.in_xattrs(both), Redirects::NoFollow);
    }
}

#[test]
fn numbers_have_bounds() {
    let threads = |options| parse(&["lowerdir=l", options]).unwrap().fuse.threads;
    for (options, least, most) in [
        ("ro", 2, 10),
        ("max_threads=4", 2, 4),
        ("max_threads=1", 1, 1),
        ("max_idle_threads=5", 5, 10),
        ("max_idle_threads=20,max_threads=12", 12, 12),
        ("threaded=0", 1, 1),
        ("threaded=0,threaded=1", 2, 10),
        ("max_threads=1000,max_idle_threads=1000", 1000, 1000),
    ] {
        assert_eq!(threads(options), Threads { least, most }, "{options}");
    }
    for (option, expected, example) in [
        ("max_threads=0", "a number from 1 to 1000", "1"),
        ("max_threads=1001", "a number from 1 to 1000", "1"),
        ("max_idle_threads=-1", "a number from 1 to 1000", "1"),
        ("threaded=yes", "a number from 0 to 1", "0"),
        ("max_read=4095", "0 for no limit, or at least 4096", "4096"),
        ("max_read=4k", "a number from 0 to 4294967295", "0"),
    ] {
        let (name, value) = option.split_once('=').unwrap();
        refused(
            &["lowerdir=l", option],
            &format!("bad value `{value}` of mount option `{name}`: {expected}"),
            &format!("write it as in `-o {name}={example}`"),
        );
    }
    let max_read = |options| parse(&["lowerdir=l", options]).unwrap().fuse.max_read;
    assert_eq!(max_read("max_read=8192"), Some(8192));
    assert_eq!(max_read("max_read=8192,max_read=0"), None);
}

#[test]
fn seconds_may_have_a_fraction() {
    let cache = |options| {
        let cache = parse(&["lowerdir=l", options]).unwrap().fuse.cache;
        [cache.entry, cache.negative, cache.attr].map(|time| time.as_secs_f64())
    };
    let year = 365.0 * 24.0 * 60.0 * 60.0;
    for (options, expected) in [
        ("ro", [year, year, year]),
        ("timeout=1000000000", [1e9, 1e9, 1e9]),
        ("timeout=0", [0.0, 0.0, 0.0]),
        ("timeout=1.5", [1.5, 1.5, 1.5]),
        ("timeout=1e9", [1e9, 1e9, 1e9]),
        ("entry_timeout=2.5", [2.5, year, year]),
        ("negative_timeout=.5", [year, 0.5, year]),
        ("attr_timeout=3", [year, year, 3.0]),
        ("attr_timeout=3,timeout=4,entry_timeout=5", [5.0, 4.0, 4.0]),
    ] {
        let found = cache(options);
        let near = found
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near, "{options}: {found:?}");
    }
    for value in ["-1", "nan", "inf", "1s", "1e300", "0x1"] {
        refused(
            &[&format!("lowerdir=l,timeout={value}")],
            &format!(
                "bad value `{value}` of mount option `timeout`: a number of seconds, 0 or more"
            ),
            "write it as in `-o timeout=1.5`",
        );
    }
}

#[test]
fn a_label_may_stand_in_quotes() {
    let labels = |options: &[&str]| {
        let labels = parse(options).unwrap().fuse.labels.into_iter();
        labels
            .map(|label| (label.option, label.value))
            .collect::<Vec<_>>()
    };
    for (options, expected) in [
        (
            r#"lowerdir=l,context="a:b:c0,c1",ro"#,
            ("context", "a:b:c0,c1"),
        ),
        (r#"fscontext="a,b",lowerdir=l"#, ("fscontext", "a,b")),
        ("lowerdir=l,defcontext=a:b:c", ("defcontext", "a:b:c")),
        (r"lowerdir=l,rootcontext=a\,b", ("rootcontext", "a,b")),
        ("lowerdir=l,context=a,context=b", ("context", "b")),
    ] {
        let (option, value) = expected;
        assert_eq!(
            labels(&[options]),
            [(option, value.to_owned())],
            "{options}"
        );
    }
    let spec = parse(&[r#"lowerdir=l,context="a,b",ro"#]).unwrap();
    assert_eq!(spec.flags, MountFlags::READ_ONLY);
    // In a path a quote is a character like any other.
    assert_eq!(lower(&[r#"lowerdir=a"b,ro"#]), [r#"a"b"#]);
    for value in [r#""a"#, r#"a"b"#, r#""""#, r#""a"b"#] {
        refused(
            &[&format!("lowerdir=l,context={value}")],
            &format!(
                "bad value `{value}` of mount option `context`: a label, alone or between two quotes"
            ),
            "write it as in `-o context=\"system_u:object_r:tmp_t:s0:c0,c1\"`",
        );
    }
}

#[test]
fn auto_unmount_is_carried_to_the_server() {
    let flags = |options| parse(&["lowerdir=l", options]).unwrap().flags;
    assert_eq!(flags("auto_unmount"), MountFlags::AUTO_UNMOUNT);
}

fn remount(strings: &[&str], manner: Manner) -> Result<Remount, OptionError> {
    match Request::parse(strings, manner)? {
        Request::Remount(change) => Ok(change),
        Request::Mount(_) => panic!("no remount"),
    }
}

#[test]
fn a_remount_has_flags_to_set_and_flags_to_clear() {
    use MountFlags as F;
    let none = F::empty();
    let times = F::NOATIME | F::STRICTATIME;
    for (options, set, clear) in [
        ("remount", none, none),
        ("remount,ro", F::READ_ONLY, none),
        ("ro,remount,rw", none, F::READ_ONLY),
        ("rw,remount,ro,nodev", F::READ_ONLY | F::NODEV, none),
        ("remount,suid,exec", none, F::NOSUID | F::NOEXEC),
        ("remount,noatime", F::NOATIME, F::STRICTATIME),
        ("remount,noatime,strictatime", F::STRICTATIME, F::NOATIME),
        ("remount,noatime,relatime", none, times),
        ("remount,user,exec", F::NODEV | F::NOSUID, F::NOEXEC),
        ("remount,user=me,noauto,x-a=b", none, none),
    ] {
        let change = remount(&[options], Manner::Mica).unwrap();
        assert_eq!((change.set, change.clear), (set, clear), "{options}");
        assert_eq!(change.notes, [], "{options}");
    }
}

#[test]
fn a_remount_changes_nothing_else() {
    for option in [
        "lowerdir=a",
        "upperdir=u",
        "sync",
        "allow_other",
        "timeout=1",
        "index=off",
        "context=a",
    ] {
        let name = option.split('=').next().unwrap();
        let error = remount(&["remount", option], Manner::Mica).unwrap_err();
        let message = format!("mount option `{name}` cannot be changed by a remount");
        assert_eq!(error.to_string(), message);
        let hint = "a remount sets or clears ro, nodev, nosuid, noexec, nosymfollow and those of access times; for the rest, unmount and mount anew";
        assert_eq!(error.hint().as_deref(), Some(hint));
        let change = remount(&[option, "remount,ro"], Manner::Mount).unwrap();
        assert_eq!(change.set, MountFlags::READ_ONLY);
        let notes: Vec<String> = change.notes.iter().map(Note::to_string).collect();
        let note =
            format!("`{name}`: decided when the mount was made, and not changed by a remount");
        assert_eq!(notes, [note]);
    }
    let unknown = remount(&["remount,wibble"], Manner::Mount).unwrap_err();
    assert_eq!(unknown.to_string(), "unknown mount option `wibble`");
    assert_eq!(parse(&["remount"]), Err(OptionError::RemountIsNoMount));
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
}

#[test]
fn data_only_layers_come_after_two_colons_or_one_by_one() {
    let data = |options: &[&str]| {
        let stack = parse(options).unwrap().stack;
        let named = |paths: Vec<PathBuf>| -> Vec<String> {
            let paths = paths.into_iter();
            paths.map(|path| path.to_str().unwrap().into()).collect()
        };
        (named(stack.lower), named(stack.data))
    };
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    for options in [
        &["lowerdir=a:b::c::d"][..],
        &["lowerdir+=a,lowerdir+=b,datadir+=c,datadir+=d"],
        &["lowerdir=x::y,lowerdir=a:b::c::d"],
    ] {
        assert_eq!(data(options), (names(&["a", "b"]), names(&["c", "d"])));
    }
    assert_eq!(data(&[r"lowerdir=a\:b::c\:::d"]).1, ["c:", "d"]);
    assert_eq!(data(&["lowerdir+=a,datadir+=c::d"]).1, ["c::d"]);
}

#[test]
fn data_only_layers_are_the_last_and_not_the_only_ones() {
    for options in [
        "lowerdir=a::b:c",
        "lowerdir=a::b::c:d",
        "lowerdir+=a,datadir+=b,lowerdir+=c",
    ] {
        refused(
            &[options],
            "a lower layer follows a data-only one, which shows no names",
            "name the data-only layers last, as in `-o lowerdir=TOP:BOTTOM::DATA1::DATA2` or `-o lowerdir+=TOP -o datadir+=DATA`",
        );
    }
    assert_eq!(parse(&["datadir+=a"]), Err(OptionError::NoLower));
    assert_eq!(parse(&["lowerdir=::a"]), Err(OptionError::LeadingColon));
    assert_eq!(parse(&["lowerdir=a::b::"]), Err(OptionError::TrailingColon));
    let many = format!("lowerdir={}::d", vec!["l"; 500].join(":"));
    assert_eq!(
        parse(&[&many]),
        Err(OptionError::TooManyLowers { count: 501 })
    );
}

#[test]
fn metacopy_on_makes_metacopies() {
    let metacopies = |options: &str| parse(&["lowerdir=a", options]).unwrap().stack.metacopies;
    for (options, expected) in [
        ("ro", Metacopies::Off),
        ("metacopy=on", Metacopies::On),
        ("metacopy=on,redirect_dir=on", Metacopies::On),
        ("metacopy=on,metacopy=off", Metacopies::Off),
        ("metacopy=off,redirect_dir=off", Metacopies::Off),
    ] {
        assert_eq!(metacopies(options), expected, "{options}");
    }
}

#[test]
fn the_two_ways_to_name_layers_are_not_mixed() {
    for options in [
        ["lowerdir=a", "lowerdir+=b"],
        ["lowerdir+=b", "lowerdir=a"],
        ["lowerdir=a", "datadir+=b"],
    ] {
        refused(
            &options,
            "`lowerdir=` cannot be mixed with `lowerdir+=` and `datadir+=`",
            "use one form for all layers, as in `-o lowerdir+=TOP -o lowerdir+=BOTTOM -o datadir+=DATA`",
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

#[test]
fn shared_layers_have_short_timeouts_and_contradict_what_relies_on_lowers() {
    for option in ["shared", "shared_layers"] {
        let spec = parse(&[&format!("lowerdir=l,{option}")]).unwrap();
        assert_eq!(spec.stack.coherence, Coherence::Shared);
        assert_eq!(spec.fuse.cache, CacheTimes::SHARED);
    }
    let spec = parse(&["lowerdir=l,attr_timeout=5,shared"]).unwrap();
    let attr = std::time::Duration::from_secs(5);
    let times = CacheTimes {
        attr,
        ..CacheTimes::SHARED
    };
    assert_eq!(spec.fuse.cache, times);
    let plain = parse(&["lowerdir=l"]).unwrap();
    assert_eq!(plain.stack.coherence, Coherence::Exclusive);
    assert_eq!(plain.fuse.cache, CacheTimes::default());
    for other in ["metacopy=on", "index=on", "datadir+"] {
        let given = match other {
            "datadir+" => "lowerdir=l::d,shared".to_owned(),
            other => format!("lowerdir=l,{other},shared"),
        };
        let one = "shared";
        assert_eq!(parse(&[&given]), Err(OptionError::Conflict { one, other }));
    }
}

#[test]
fn what_becomes_of_pages_depends_on_shared() {
    for (option, noted_with_shared) in [
        ("auto_cache", true),
        ("auto_inval_data", true),
        ("kernel_cache", false),
        ("noauto_cache", false),
        ("no_auto_inval_data", false),
    ] {
        for (shared, noted) in [("shared", noted_with_shared), ("rw", !noted_with_shared)] {
            match parse(&[&format!("lowerdir=l,{option},{shared}")]) {
                Ok(spec) => assert!(noted && spec.notes.len() == 1, "{option} {shared}"),
                Err(OptionError::Refused { .. }) => assert!(!noted, "{option} {shared}"),
                Err(error) => panic!("{option} {shared}: {error}"),
            }
        }
    }
}
