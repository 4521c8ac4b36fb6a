//! Layers: how they are named, and which make a stack.

use std::path::Path;

use super::*;

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
